"""Commands about the benchmarks' data."""

from __future__ import annotations

import typer

from amp.cli.app import INTERRUPTED, app, new_console
from amp.cli.options import Data

data_app = typer.Typer(help="Get the benchmarks' data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("get")
def data_get(name: str, data: Data = None) -> None:
    """Get a benchmark's data from its own project. Example: amp data get alfworld"""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from amp.benchmarks.sources import get_data

    columns = TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=new_console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        try:
            folder = get_data(name, data, progress)
        except KeyboardInterrupt:  # what has come is kept
            raise typer.Exit(INTERRUPTED) from None
    print(folder)
