"""The kernel's part of the sandbox around the Python tool's child; tells what the kernel lacks.

Run in the child by `sandbox_child.py`, never imported by amp. What it forbids holds
for native code, too, and can't be undone by the process or its threads:

* a network namespace without a network (Linux that lets users make namespaces);
* Landlock, https://docs.kernel.org/userspace-api/landlock.html: nothing in the file system but
  listed directories, and those to be read only (Linux 5.13 and later);
* a seccomp filter, https://docs.kernel.org/userspace-api/seccomp_filter.html: no system call but
  those that computing takes; none that starts a process, signals another one, opens a socket,
  changes a file, or leaves the process group (Linux on x86-64).

The constants are those of the kernel's headers.
"""

from __future__ import annotations

import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

try:
    import ctypes
except ImportError:  # an interpreter without ctypes
    LIBC = None
else:
    LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

CLONE_NEWUSER, CLONE_NEWNET, CLONE_THREAD = 0x10000000, 0x40000000, 0x10000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_ACCESS = ((1, 13), (2, 14), (3, 15), (5, 16))  # from this version on, so many kinds of access

AUDIT_ARCH_X86_64 = 0xC000003E
X32_SYSCALLS = 0x40000000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000  # EPERM, ENOSYS
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

OPEN, CLONE, TGKILL, OPENAT, PRLIMIT, CLONE3 = 2, 56, 234, 257, 302, 435
HARMLESS_CALLS = (
    *(0, 1, 3, 4, 5, 6, 8, 17, 19, 20, 262, 332),  # read, write, close, stat, lseek
    *(7, 23, 270, 271),  # poll, select
    *(9, 10, 11, 12, 25, 28),  # mmap, mprotect, munmap, brk, mremap, madvise
    *(13, 14, 15, 131),  # rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack
    *(21, 79, 89, 217, 267, 269, 439),  # access, getcwd, readlink, getdents64
    *(24, 35, 96, 98, 100, 201, 228, 229, 230),  # sched_yield, nanosleep, times and clocks
    *(39, 63, 97, 99, 102, 104, 107, 108, 110, 186, 204, 309),  # getpid, uname, getrlimit, sysinfo
    *(60, 231, 158, 202, 218, 219, 273, 318, 324, 334),  # exit, futex, getrandom, threads
)

Instruction = tuple[int, int, int, int]


def install_network_namespace() -> bool:
    """Moves this process into a network namespace without a network; False where not allowed."""
    return LIBC is not None and bool(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)


def install_landlock(readable: Iterable[str]) -> bool:
    """Leaves these paths, to be read only, and nothing else; False where there is no Landlock."""
    if LIBC is None:
        return False
    version = LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return False
    kinds = max(count for since, count in FILE_ACCESS if since <= version)
    every_access = struct.pack("=Q", (1 << kinds) - 1)
    rules = LIBC.syscall(LANDLOCK_CREATE_RULESET, every_access, len(every_access), 0)
    if rules < 0:
        return False
    for path in readable:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not on this system
        access = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
        rule = struct.pack("=Qi", access, place)
        LIBC.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        os.close(place)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    confined = bool(LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0)
    os.close(rules)
    return confined


def install_seccomp_filter() -> bool:
    """Leaves the system calls that computing takes; False where this system is not known here."""
    if LIBC is None or os.uname().machine != "x86_64" or sys.maxsize < 2**32:
        return False
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _filter(os.getpid()))
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, described, 0, 0) == 0)


def _filter(process: int) -> list[Instruction]:
    """The filter as a program of the kernel's packet filter: code, jumps if true or false, value.

    Jumps count the instructions that are passed over. Arguments have 64 bits and are loaded by
    halves, the low one first.
    """
    allow, refuse = _return(ALLOW), _return(REFUSE)
    flags_of_open, flags_of_openat = _load(ARGUMENTS + 8), _load(ARGUMENTS + 16)
    unless_it_changes = ((JUMP_ANY_BIT, 0, 1, CHANGES), refuse, allow)
    return [
        _load(ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        _return(KILL),
        _load(NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32_SYSCALLS),
        refuse,
        *_on(OPEN, flags_of_open, *unless_it_changes),
        *_on(OPENAT, flags_of_openat, *unless_it_changes),
        *_on(CLONE, _load(ARGUMENTS), (JUMP_ANY_BIT, 0, 1, CLONE_THREAD), allow, refuse),
        *_on(CLONE3, _return(UNKNOWN)),  # its flags are out of sight; the C library takes clone
        *_on(TGKILL, _load(ARGUMENTS), (JUMP_EQUAL, 0, 1, process), allow, refuse),
        *_on(  # reading limits, not setting them: the pointer to new ones is null
            PRLIMIT,
            _load(ARGUMENTS + 16),
            (JUMP_EQUAL, 0, 3, 0),
            _load(ARGUMENTS + 20),
            (JUMP_EQUAL, 0, 1, 0),
            allow,
            refuse,
        ),
        *(instruction for number in HARMLESS_CALLS for instruction in _on(number, allow)),
        refuse,
    ]


def _on(number: int, *then: Instruction) -> list[Instruction]:
    return [(JUMP_EQUAL, 0, len(then), number), *then]


def _load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def _return(value: int) -> Instruction:
    return (RETURN, 0, 0, value)
