"""The command that reports runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from amp.cli.app import app, new_console
from amp.cli.options import Data, Json
from amp.errors import InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from amp.benchmarks.base import Benchmark
    from amp.evaluate.runs import Run
    from amp.evaluate.tabular import Table

_IN_TERMINAL = ("runs", "comparisons", "savings", "gains")


@app.command()
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run directories on the same tasks, each DIR or NAME=DIR; those of one name are "
            "seeds of one policy.",
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(help="Run that the others are compared with; else the best fixed one."),
    ] = None,
    cost: Annotated[
        str, typer.Option(help="tokens, completion_tokens, flops, seconds or dollars.")
    ] = "tokens",
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the tasks that all runs did.")
    ] = False,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Tell right candidates from wrong ones.")
    ] = True,
    html: Annotated[Path | None, typer.Option(help="Write one page with figures.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the tables to this directory.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Report runs on the same tasks. Example: amp report runs/fixed runs/adaptive --html r.html"""
    from amp.evaluate import runtables
    from amp.evaluate.runreport import Cost, make_report
    from amp.evaluate.runs import comparable, read_runs
    from amp.evaluate.tabular import markdown as markdown_of
    from amp.evaluate.tabular import write_csv
    from amp.trace import to_json

    with _uncollected():
        read = comparable(read_runs(runs), common)
        benchmark, notice = _judge(read, data) if judge else (None, "")
        made = make_report(read, reference, cast(Cost, cost), benchmark)
    tables = runtables.tables(made)
    written = []
    if html is not None:
        from amp.evaluate.runpage import page

        with _writing(html):
            html.write_text(page(made, read, benchmark), encoding="utf-8")
        written.append(html)
    if markdown is not None:
        with _writing(markdown):
            text = markdown_of(runtables.title(made), made.notes, tables)
            markdown.write_text(text, encoding="utf-8")
        written.append(markdown)
    if csv is not None:
        with _writing(csv):
            written += write_csv(tables, csv)
    if as_json:
        print(to_json(made))
        return
    console = new_console()
    for table in tables:
        if table.name in _IN_TERMINAL:
            console.print(_view(table))
            console.print()
    for note in filter(None, (*made.notes, notice)):
        console.print(note, markup=False, style="dim")
    for path in written:
        print(f"written: {path}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cyclic collector: traces are millions of objects, and none of them in cycles."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _judge(runs: Sequence[Run], data: Path | None) -> tuple[Benchmark | None, str]:
    """The benchmark of the runs; where its packages or data are missing, a notice says so."""
    from amp.benchmarks import BENCHMARKS, load_benchmark
    from amp.evaluate.outcomes import outcomes
    from amp.settings import load_settings

    name = runs[0].benchmark
    if name not in BENCHMARKS:
        return None, f"right candidates are not marked: {name!r} is no benchmark"
    try:
        benchmark = load_benchmark(name, data=data or load_settings().data)
        outcomes(runs[0].episodes[0], benchmark)
    except (InvalidInputError, MissingDependencyError) as error:
        return None, f"right candidates are not marked: {error}"
    return benchmark, ""


def _view(table: Table) -> object:
    from rich.table import Table as View
    from rich.text import Text

    view = View(title=table.title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for place, head in enumerate(table.heads):
        view.add_column(
            head, justify="left" if place == 0 else "right", overflow="fold", no_wrap=place == 0
        )
    for row in table.texts():
        view.add_row(*map(Text, row))
    return view


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from None
