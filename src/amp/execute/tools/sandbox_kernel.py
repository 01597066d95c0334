"""The kernel's part of the sandbox around the Python tool's child; says which walls it built.

Run in the child by `sandbox_child.py`, never imported by amp. What it forbids holds
for native code, too, and can't be undone by the process or its threads:

* ``network``: a network namespace without a network (Linux that lets users make namespaces);
* ``mounts``: a mount namespace in which no path exists but the listed directories, so that nothing
  else, no process among it, can even be asked about (the same);
* ``landlock``, https://docs.kernel.org/userspace-api/landlock.html: nothing in the file system is
  opened but the listed directories, and those to be read only (Linux 5.13 and later);
* ``seccomp``, https://docs.kernel.org/userspace-api/seccomp_filter.html: no system call but
  those that computing takes; none that starts a process, signals another one, opens a socket,
  changes a file, or leaves the process group (Linux on x86-64 and aarch64).

The constants are those of the kernel's headers.
"""

from __future__ import annotations

import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

try:
    import ctypes
except ImportError:  # an interpreter without ctypes
    LIBC = None
else:
    LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_THREAD = 0x20000, 0x10000000, 0x40000000, 0x10000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
NEW_ROOT = b"/tmp"  # is everywhere
PR_SET_PDEATHSIG, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 1, 22, 2, 38
SIGKILL = 9

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_ACCESS = ((1, 13), (2, 14), (3, 15), (5, 16))  # from this version on, so many kinds of access

X32_SYSCALLS = 0x40000000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000  # EPERM, ENOSYS
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Machine:
    """The numbers of a processor's system calls.

    Args:
        architecture: its name in the filter's data.
        clone, tgkill, openat, prlimit, clone3, pivot_root: numbers of the calls of these names.
        harmless: of the calls that computing takes, whatever their arguments.
        open: of the call that `openat` replaced; None where it never was.
    """

    def __init__(
        self,
        *,
        architecture: int,
        clone: int,
        tgkill: int,
        openat: int,
        prlimit: int,
        clone3: int,
        pivot_root: int,
        harmless: Sequence[int],
        open: int | None = None,
    ) -> None:
        self.architecture = architecture
        self.clone, self.tgkill, self.openat, self.open = clone, tgkill, openat, open
        self.prlimit, self.clone3, self.pivot_root = prlimit, clone3, pivot_root
        self.harmless = harmless


MACHINES = {
    "x86_64": Machine(
        architecture=0xC000003E,
        open=2,
        clone=56,
        pivot_root=155,
        tgkill=234,
        openat=257,
        prlimit=302,
        clone3=435,
        harmless=(
            *(0, 1, 3, 4, 5, 6, 8, 17, 19, 20, 262, 332),  # read, write, close, stat, lseek
            *(7, 23, 270, 271),  # poll, select
            *(9, 10, 11, 12, 25, 28),  # mmap, mprotect, munmap, brk, mremap, madvise
            *(13, 14, 15, 131),  # rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack
            *(21, 79, 89, 217, 267, 269, 439),  # access, getcwd, readlink, getdents64
            *(24, 35, 96, 98, 100, 201, 228, 229, 230),  # sched_yield, nanosleep, times, clocks
            *(39, 63, 97, 99, 102, 104, 107, 108, 110, 186, 204, 309),  # getpid, uname, getrlimit
            *(60, 231, 158, 202, 218, 219, 273, 318, 324, 334),  # exit, futex, getrandom, threads
        ),
    ),
    "aarch64": Machine(
        architecture=0xC00000B7,
        pivot_root=41,
        openat=56,
        tgkill=131,
        clone=220,
        prlimit=261,
        clone3=435,
        harmless=(
            *(63, 64, 57, 80, 62, 67, 65, 66, 79, 291),
            *(72, 73),
            *(222, 226, 215, 214, 216, 233),
            *(134, 135, 139, 132),
            *(17, 61, 78, 48, 439),
            *(124, 101, 169, 165, 153, 113, 114, 115),
            *(172, 160, 163, 179, 174, 176, 175, 177, 173, 178, 123, 168),
            *(93, 94, 98, 96, 128, 99, 278, 283, 293),
        ),
    ),
}
"""Harmless calls stand in the same order, those left out that a processor never had."""
MACHINE = MACHINES.get(os.uname().machine) if sys.maxsize > 2**32 else None

Instruction = tuple[int, int, int, int]


def die_with_parent() -> None:
    """Has the kernel kill this process when the one that started it ends, however it ends."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def enter_namespaces(readable: Iterable[str]) -> list[str]:
    """Leaves the network behind, and all of the file system but these paths; says what it left."""
    user, group = os.geteuid(), os.getegid()
    if LIBC is None or LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return []
    try:
        # Without names for user and group nothing can be made in the new file system.
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        _leave_only(readable)
    except OSError:
        return ["network"]
    return ["network", "mounts"]


def _leave_only(paths: Iterable[str]) -> None:
    """Makes a new file system the root, which holds these paths and nothing else.

    Raises:
        OSError: if the kernel refuses; the old root is still there then.
    """
    if MACHINE is None or LIBC is None:
        raise OSError("the number of pivot_root is not known here")
    _checked(LIBC.unshare(CLONE_NEWNS))
    _checked(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    present = [path for path in sorted(map(os.path.normpath, paths)) if os.path.exists(path)]
    # Descriptors, since what is mounted next may hide a path.
    places = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in present}
    _checked(LIBC.mount(b"none", NEW_ROOT, b"tmpfs", 0, None))
    try:
        for path, place in places.items():
            _hang(place, os.fsdecode(NEW_ROOT) + path)
            os.close(place)
        os.mkdir(NEW_ROOT + b"/.old")
        _checked(LIBC.syscall(MACHINE.pivot_root, NEW_ROOT, NEW_ROOT + b"/.old"))
    except OSError:
        LIBC.umount2(NEW_ROOT, MNT_DETACH)
        raise
    os.chdir("/")
    _checked(LIBC.umount2(b"/.old", MNT_DETACH))
    os.rmdir("/.old")


def _hang(place: int, target: str) -> None:
    """Mounts a file or a directory at a path, unless that is a part of one that hangs there."""
    if os.path.exists(target) or LIBC is None:
        return
    source = f"/proc/self/fd/{place}"
    if os.path.isdir(source):
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    _checked(LIBC.mount(source.encode(), os.fsencode(target), None, MS_BIND | MS_REC, None))


def _checked(result: int) -> None:
    if result != 0:
        raise OSError("the kernel refuses a new root")


def install_landlock(readable: Iterable[str]) -> bool:
    """Leaves these paths, to be read only, and nothing else to open; False without Landlock."""
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
    if LIBC is None or MACHINE is None:
        return False
    instructions = seccomp_filter(MACHINE, os.getpid())
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, described, 0, 0) == 0)


def seccomp_filter(machine: Machine, process: int) -> list[Instruction]:
    """The filter as a program of the kernel's packet filter: code, jumps if true or false, value.

    Jumps count the instructions that are passed over. Arguments have 64 bits and are loaded by
    halves, the low one first.

    Args:
        machine: whose numbers it knows.
        process: the only one whose threads may be signalled.
    """
    allow, refuse = _return(ALLOW), _return(REFUSE)
    unless_it_changes = ((JUMP_ANY_BIT, 0, 1, CHANGES), refuse, allow)
    opens = (
        [] if machine.open is None else _on(machine.open, _load(ARGUMENTS + 8), *unless_it_changes)
    )
    return [
        _load(ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, machine.architecture),
        _return(KILL),
        _load(NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32_SYSCALLS),
        refuse,
        *opens,
        *_on(machine.openat, _load(ARGUMENTS + 16), *unless_it_changes),
        *_on(machine.clone, _load(ARGUMENTS), (JUMP_ANY_BIT, 0, 1, CLONE_THREAD), allow, refuse),
        *_on(machine.clone3, _return(UNKNOWN)),  # its flags are out of sight; clone is taken then
        *_on(machine.tgkill, _load(ARGUMENTS), (JUMP_EQUAL, 0, 1, process), allow, refuse),
        *_on(  # reading limits, not setting them: the pointer to new ones is null
            machine.prlimit,
            _load(ARGUMENTS + 16),
            (JUMP_EQUAL, 0, 3, 0),
            _load(ARGUMENTS + 20),
            (JUMP_EQUAL, 0, 1, 0),
            allow,
            refuse,
        ),
        *(instruction for number in machine.harmless for instruction in _on(number, allow)),
        refuse,
    ]


def _on(number: int, *then: Instruction) -> list[Instruction]:
    return [(JUMP_EQUAL, 0, len(then), number), *then]


def _load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def _return(value: int) -> Instruction:
    return (RETURN, 0, 0, value)
