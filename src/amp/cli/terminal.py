"""What the commands write: one way for lines, one for JSON, one for tables and progress.

Most of what is shown comes from elsewhere: answers of a model, traces of others, messages of a
server, names of files. None of it may steer the terminal (its colours, title, clipboard, the
direction of writing) or be read as rich's markup, so all of it passes one of these functions:
what steers is shown as an escape such as ``\\x1b``, and square brackets are square brackets.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_HARMLESS = frozenset("\n\t\u200c\u200d")
"""Line ends and tabs lay text out; the two joiners hold letters and emoji together."""

_ENDLESS = 1_000_000
"""Columns, more than any table needs."""

Item = TypeVar("Item")


def _steers(character: str) -> bool:
    return unicodedata.category(character) in _STEERING and character not in _HARMLESS


def shown(text: str) -> str:
    """A text as it may be shown: whatever steers a terminal or turns writing around is escaped."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if _steers(character) else character
        for character in text
    )


def shown_in_line(text: str) -> str:
    """Likewise, and in one line: line ends are escaped, too."""
    return shown(text).replace("\n", "\\n")


def say(text: object = "", *, error: bool = False) -> None:
    """Prints a text for people, to standard output or to the standard error."""
    print(shown(str(text)), file=sys.stderr if error else sys.stdout)


def say_json(value: Any) -> None:
    """Prints a value as `json_of` writes it."""
    print(json_of(value))


def json_of(value: Any) -> str:
    """A value as JSON in one line that every reader of JSON takes.

    Sets become sorted lists, and what is no number (JSON has neither infinities nor NaN) becomes
    null. What would steer a terminal is escaped as JSON does it, so a reader sees the same text.
    """
    text = json.dumps(_plain(value), default=str, ensure_ascii=False, allow_nan=False)
    if not text.isprintable():
        text = "".join(json.dumps(c)[1:-1] if _steers(c) else c for c in text)
    return text


def _plain(value: Any) -> Any:
    """A value of mappings, lists, texts and numbers that JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Console(Console):
    """A console that shows what steers terminals, and takes no text for markup or emoji.

    Where no terminal or variable says how wide it is, as in a pipe, tables are as wide as they
    need; a picture (`record`) keeps the width of the console.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **{"crop": not self._is_endless, **options})

    @property
    def _is_endless(self) -> bool:
        return not (self.is_terminal or self.record or "COLUMNS" in os.environ)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        if isinstance(renderable, Table) and self._is_endless:
            options = options or self.options
            needed = self.measure(renderable, options=options.update(max_width=_ENDLESS)).maximum
            options = options.update(width=max(needed, options.max_width))
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=shown(segment.text))

    def render_str(self, text: str, **options: Any) -> Text:
        # Here, too, so that columns are as wide as what is shown.
        return super().render_str(shown(text), **options)


def new_console(stderr: bool = False, record: bool = False) -> Console:
    """A console for tables and styled texts.

    Args:
        stderr: write to the standard error.
        record: remember what is shown, so that it can be saved as a picture.
    """
    return _Console(stderr=stderr, record=record, markup=False, emoji=False, highlight=False)


def progress(
    *columns: ProgressColumn, console: Console | None = None, transient: bool = False, **more: Any
) -> Progress:
    """A progress bar on the standard error; its description comes first."""
    from rich.progress import Progress, TextColumn

    description = TextColumn("{task.description}", markup=False)
    console = console or new_console(stderr=True)
    more = {"disable": transient and not console.is_terminal} | more  # or it prints an empty line
    return Progress(description, *columns, console=console, transient=transient, **more)


def tracked(items: Sequence[Item], description: str) -> Iterator[Item]:
    """The items one by one, with a progress bar while there are more."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with progress(*columns, transient=True) as bar:
        yield from bar.track(items, description=shown_in_line(description))


class _LogLines(logging.Handler):
    """Warnings of amp and of the packages it uses, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(f"amp: {shown_in_line(record.getMessage())}", error=True)
        except Exception:
            self.handleError(record)


def prepare() -> None:
    """Makes the process fit for foreign text: no character fails to print, and logs are lines."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # what tests put there has none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    root = logging.getLogger()
    if not any(isinstance(handler, _LogLines) for handler in root.handlers):
        root.addHandler(_LogLines(logging.WARNING))


@contextmanager
def task_bar(
    console: Console, title: str, total: int, done: int
) -> Iterator[Callable[[object], None]]:
    """A bar with the time left; gives what to call with every task that is done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        *(BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()),
    )
    # A task takes up to minutes, so the speed is that of the last hour.
    with progress(*columns, console=console, transient=True, speed_estimate_period=3600) as bar:
        tasks = bar.add_task(title, total=total, completed=done)
        yield lambda task: bar.advance(tasks)
