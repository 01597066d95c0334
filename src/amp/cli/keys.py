"""Reading single keys from a terminal, and whole lines from anything else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

QUIT = "q"
_END_OF_INPUT = "\x04"


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Gives a function that waits for the next key and returns it in lower case.

    On a terminal that is a key pressed from now on, without Enter. Otherwise it is a line. The end
    of the input, Ctrl-D on a terminal, is `QUIT`. The terminal is put back as it was, whatever ends
    the block.
    """
    if not sys.stdin.isatty():
        yield _line
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def key() -> str:
        # What was typed before a step was shown is no rating of that step.
        termios.tcflush(terminal, termios.TCIFLUSH)
        # All that one key sends, of which the first character tells keys apart: the digits in
        # the sequence of an arrow key are no ratings.
        pressed = os.read(terminal, 64).decode("utf-8", "replace")[:1].lower()
        return QUIT if pressed in ("", _END_OF_INPUT) else pressed

    handler = signal.signal(signal.SIGTERM, _leave)
    tty.setcbreak(terminal)
    try:
        yield key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


def _line() -> str:
    line = sys.stdin.readline()
    return line.strip().lower() if line else QUIT


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
