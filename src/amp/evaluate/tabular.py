"""Tables as values, which read as text, as Markdown or as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from amp.evaluate.metrics import Interval

Value: TypeAlias = str | int | float | Interval | None
_SHORT_CHARACTERS = 70


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, and how a value reads in text."""

    head: str
    text: Callable[[float], str] = "{:,.0f}".format


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: of its CSV file.
        title: above it.
        columns: in order.
        rows: values, one a column; None reads ``-``.
        note: below it; may be empty.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    @property
    def heads(self) -> list[str]:
        return [column.head for column in self.columns]

    def texts(self) -> Iterator[list[str]]:
        """The rows as people read them."""
        for row in self.rows:
            yield [_text(value, c) for value, c in zip(row, self.columns, strict=True)]


def markdown(title: str, notes: Sequence[str], tables: Sequence[Table]) -> str:
    """Tables as a page of Markdown; no text in a cell can end it or become markup."""
    lines = [f"# {_cell(title)}", "", *(f"- {_cell(note)}" for note in notes)]
    for table in tables:
        lines += ["", f"## {_cell(table.title)}", "", _line(table.heads)]
        lines += ["|" + "---|" * len(table.heads), *map(_line, table.texts())]
        if table.note:
            lines += ["", _cell(table.note)]
    return "\n".join(lines) + "\n"


def write_csv(tables: Sequence[Table], directory: Path) -> list[Path]:
    """Writes each table to a file of its own: values unrounded, an interval as two columns.

    Raises:
        OSError: if the directory cannot be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        path = directory / f"{table.name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            wide = {place for row in table.rows for place, v in enumerate(row) if _is_interval(v)}
            writer = csv.writer(file)
            writer.writerow(
                head
                for place, name in enumerate(table.heads)
                for head in ([f"{name} low", f"{name} high"] if place in wide else [name])
            )
            for row in table.rows:
                writer.writerow(
                    value for place, v in enumerate(row) for value in _csv(v, place in wide)
                )
        written.append(path)
    return written


# --------------------------------------------------------------------------- texts of values


def _text(value: Value, column: Column) -> str:
    if value is None or value == "":
        return "-" if value is None else ""
    if isinstance(value, str):
        return value
    if isinstance(value, Interval):
        return f"{column.text(value.low)} to {column.text(value.high)}"
    return column.text(value)


def percent(share: float) -> str:
    """A share."""
    return f"{share:.1%}"


def points(difference: float) -> str:
    """A difference of two shares, in percentage points."""
    return f"{100 * difference:+.1f}"


def correlation(value: float) -> str:
    """A correlation, with its sign."""
    return f"{value:+.2f}"


def p_value(value: float) -> str:
    """A p-value; of the smallest ones only how small they are at most."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def figure(value: float) -> str:
    """Three or more digits, whatever the unit."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"


def short(text: str) -> str:
    """One line of a text, with its end left out where it is long."""
    words = " ".join(text.split())
    return words if len(words) <= _SHORT_CHARACTERS else words[: _SHORT_CHARACTERS - 1] + "…"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """A text that Markdown leaves as it is: one line, none of its signs at work."""
    plain = " ".join(text.split())
    for sign in "\\`*_[]|#":
        plain = plain.replace(sign, "\\" + sign)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _is_interval(value: Value) -> bool:
    return isinstance(value, Interval)


def _csv(value: Value, wide: bool) -> list[str | int | float]:
    if isinstance(value, Interval):
        return [value.low, value.high]
    if value is None:
        return ["", ""] if wide else [""]
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@")):
        return ["'" + value]  # a spreadsheet would work it out
    return [value]
