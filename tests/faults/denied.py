"""Runs a command on a machine without some of the kernel's walls, whatever this one has.

    python -m tests.faults.denied landlock,namespaces COMMAND ...

A filter of system calls, which everything that the command starts inherits, has the kernel answer
as one does that lacks them. Linux on x86-64 only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

from amp.execute.tools import sandbox_kernel as kernel

CAN_DENY = sys.platform.startswith("linux") and platform.machine() == "x86_64"
_LANDLOCK, _SECCOMP, _PRCTL = (444, 445, 446), 317, 157
_BY_NUMBER = {"namespaces": 272, "mounts": 165, "pivot": 155}
"""Walls that one call builds: unshare, mount, pivot_root."""

_REFUSED, _MISSING = kernel._return(kernel.REFUSE), kernel._return(kernel.UNKNOWN)
_ALLOWED = kernel._return(kernel.ALLOW)


def _answers(wall: str) -> list[kernel.Instruction]:
    """What the kernel is to answer to the calls that a wall is built by."""
    if wall == "landlock":
        return [step for number in _LANDLOCK for step in kernel._on(number, _MISSING)]
    if wall in _BY_NUMBER:
        return kernel._on(_BY_NUMBER[wall], _REFUSED)
    asked = kernel._load(kernel.ARGUMENTS)
    is_filter = (kernel.JUMP_EQUAL, 0, 1, kernel.PR_SET_SECCOMP)
    return [
        *kernel._on(_SECCOMP, _MISSING),
        *kernel._on(_PRCTL, asked, is_filter, _REFUSED, _ALLOWED),
    ]


def deny(walls: list[str]) -> None:
    """Takes walls away from this process and all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [step for wall in walls for step in _answers(wall)]
    program = [kernel._load(kernel.NUMBER), *steps, _ALLOWED]
    packed = b"".join(struct.pack("=HBBI", *step) for step in program)
    code = ctypes.create_string_buffer(packed, len(packed))
    described = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, described, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this machine's own filter can't be set")


if __name__ == "__main__":
    deny([wall for wall in sys.argv[1].split(",") if wall])
    os.execvp(sys.argv[2], sys.argv[2:])
