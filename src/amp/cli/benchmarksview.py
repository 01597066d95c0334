"""What people see of the benchmarks in a terminal: a table of all, and one in detail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amp.benchmarks.survey import Survey


def benchmarks_view(surveys: Sequence[Survey]) -> Group:
    """One row a benchmark, and beneath them what gets whatever is missing."""
    table = Table(box=None, padding=(0, 2, 1, 0))
    table.add_column("benchmark", no_wrap=True, style="bold cyan")
    table.add_column("package, data", overflow="fold")
    table.add_column("tasks", no_wrap=True)
    table.add_column("levels", justify="right", no_wrap=True)
    table.add_column("difficulty counts", min_width=18)
    for found in surveys:
        table.add_row(
            found.name,
            Text.assemble("package ", _package(found), "\n", _data(found)),
            "\n".join(_sizes(found)),
            str(len(found.levels) or "-"),
            found.counts,
        )
    return Group(table, *(note for found in surveys for note in _notes(found)))


def benchmark_view(found: Survey) -> Group:
    """Everything about one benchmark."""
    easy, middle = found.boundaries
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    rows: dict[str, str | Text] = {
        "package": _package(found),
        "data": _data(found),
        "tasks": f"{', '.join(_sizes(found))} (the first is the usual split)",
        "difficulty": f"{found.counts}; thirds: up to {easy:g}, up to {middle:g}, more",
        "tools": ", ".join(found.tools) or "none",
        "limit": "1 plan step" if found.max_steps == 1 else f"{found.max_steps} plan steps",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    parts: list[RenderableType] = [Text(f"{found.name}: {found.about}", "bold"), table]
    if found.levels:
        levels = Columns([Text(level) for level in found.levels], padding=(0, 2), column_first=True)
        parts += [Text(f"{len(found.levels)} levels:", "dim"), levels]
    return Group(*parts, *_notes(found))


def _package(found: Survey) -> Text:
    return Text("installed", "green") if found.install is None else Text("missing", "yellow")


def _data(found: Survey) -> Text:
    if not found.needs_data:
        return Text("no data needed")
    if found.problem is not None:
        return Text("data damaged", "red")
    return Text("data missing", "yellow") if found.data is None else Text(_short(found.data))


def _sizes(found: Survey) -> Iterator[str]:
    for split, size in found.sizes.items():
        yield f"{split} -" if size is None else f"{split} {size:,}"


def _notes(found: Survey) -> Iterator[Text]:
    """What to do about whatever is missing, a line each, to be copied."""
    if found.install is not None:
        yield Text(f"{found.name}: {found.install}", "yellow")
    if found.problem is not None:
        yield Text(f"{found.name}: {found.problem}", "red")
    elif found.needs_data and found.data is None:
        yield Text(f"{found.name}: {found.get}", "yellow")
    elif absent := [split for split, size in found.sizes.items() if size is None]:
        yield Text(f"{found.name}, for {', '.join(absent)}: {found.get}", "yellow")


def _short(path: Path) -> str:
    """A path as people write it."""
    path = path.resolve()
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
