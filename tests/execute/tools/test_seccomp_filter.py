"""The filter of system calls, interpreted as the kernel does it: for machines that this is not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.execute.tools.sandbox_kernel import (
    ALLOW,
    CHANGES,
    CLONE_THREAD,
    JUMP_ANY_BIT,
    JUMP_AT_LEAST,
    JUMP_EQUAL,
    KILL,
    LOAD,
    MACHINES,
    RETURN,
    Machine,
    seccomp_filter,
)

PROCESS = 4711
DANGEROUS = {
    "x86_64": {
        **{"execve": 59, "fork": 57, "vfork": 58, "execveat": 322, "ptrace": 101, "kill": 62},
        **{
            "tkill": 200,
            "socket": 41,
            "socketpair": 53,
            "connect": 42,
            "mount": 165,
            "chroot": 161,
        },
        **{"unshare": 272, "setns": 308, "setsid": 112, "setpgid": 109, "setrlimit": 160},
        **{"prctl": 157, "seccomp": 317, "bpf": 321, "io_uring_setup": 425, "keyctl": 250},
        **{
            "memfd_create": 319,
            "openat2": 437,
            "unlink": 87,
            "mkdir": 83,
            "rename": 82,
            "link": 86,
        },
        **{"truncate": 76, "ftruncate": 77, "chmod": 90, "chown": 92, "process_vm_readv": 310},
        **{"ioctl": 16, "fcntl": 72, "shmget": 29, "pidfd_open": 434, "pivot_root": 155},
    },
    "aarch64": {
        **{"execve": 221, "execveat": 281, "ptrace": 117, "kill": 129, "tkill": 130, "socket": 198},
        **{
            "socketpair": 199,
            "connect": 203,
            "mount": 40,
            "chroot": 51,
            "unshare": 97,
            "setns": 268,
        },
        **{
            "setsid": 157,
            "setpgid": 154,
            "setrlimit": 164,
            "prctl": 167,
            "seccomp": 277,
            "bpf": 280,
        },
        **{
            "io_uring_setup": 425,
            "keyctl": 219,
            "memfd_create": 279,
            "openat2": 437,
            "unlinkat": 35,
        },
        **{"mkdirat": 34, "renameat": 38, "linkat": 37, "truncate": 45, "ftruncate": 46},
        **{"fchmodat": 53, "fchownat": 54, "process_vm_readv": 270, "ioctl": 29, "fcntl": 25},
        **{"shmget": 194, "pidfd_open": 434, "pivot_root": 41},
    },
}
arguments = st.tuples(*[st.integers(0, 2**64 - 1)] * 6)
machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def answer(machine: Machine, number: int, *arguments: int, architecture: int = 0) -> int:
    """What the kernel answers to a call."""
    words = (*arguments, *[0] * 6)[:6]
    data = struct.pack("<IIQ6Q", number, architecture or machine.architecture, 0, *words)
    program, at, loaded = seccomp_filter(machine, PROCESS), 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == RETURN:
            return value
        if code == LOAD:
            (loaded,) = struct.unpack_from("<I", data, value)
            continue
        tests = {
            JUMP_EQUAL: loaded == value,
            JUMP_AT_LEAST: loaded >= value,
            JUMP_ANY_BIT: bool(loaded & value),
        }
        at += if_true if tests[code] else if_false


@machines
@given(number=st.integers(0, 2**32 - 1), arguments=arguments)
def test_only_known_calls_are_let_through(
    machine: Machine, number: int, arguments: tuple[int, ...]
) -> None:
    looked_at = {machine.open, machine.openat, machine.clone, machine.tgkill, machine.prlimit}
    allowed = answer(machine, number, *arguments) == ALLOW
    assert allowed <= (number in machine.harmless or number in looked_at)
    assert allowed >= (number in machine.harmless)


@pytest.mark.parametrize("name", DANGEROUS)
def test_no_dangerous_call_is_let_through(name: str) -> None:
    let_through = [
        call for call, number in DANGEROUS[name].items() if answer(MACHINES[name], number) == ALLOW
    ]
    assert let_through == []


@machines
@given(arguments=arguments)
def test_what_is_looked_at_is_let_through_for_harmless_arguments_alone(
    machine: Machine, arguments: tuple[int, ...]
) -> None:
    first, second, third, *_ = arguments
    low = 2**32 - 1

    def let(number: int) -> bool:
        return answer(machine, number, *arguments) == ALLOW

    assert let(machine.openat) == (not third & CHANGES)
    assert machine.open is None or let(machine.open) == (not second & CHANGES)
    assert let(machine.clone) == bool(first & CLONE_THREAD)
    assert let(machine.tgkill) == (first & low == PROCESS)
    assert let(machine.prlimit) == (third == 0)
    assert answer(machine, machine.openat, 0, 0, 0) == ALLOW
    assert answer(machine, machine.tgkill, PROCESS) == ALLOW


@machines
@given(
    number=st.integers(0, 500), architecture=st.sampled_from([0x40000003, 0x40000028, 0xC00000F3])
)
def test_numbers_of_another_processor_kill(
    machine: Machine, number: int, architecture: int
) -> None:
    assert answer(machine, number, architecture=architecture) == KILL


def test_both_machines_have_the_same_harmless_calls_but_those_replaced_long_ago() -> None:
    # stat, lstat, poll, select, access, readlink, time and arch_prctl never were on aarch64.
    assert len(MACHINES["x86_64"].harmless) - len(MACHINES["aarch64"].harmless) == 8
