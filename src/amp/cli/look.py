"""Commands that look at things: benchmarks, traces of runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from amp.cli.app import app, new_console
from amp.cli.options import Data, Json
from amp.errors import InvalidInputError

trace_app = typer.Typer(help="Look at what a run did.", no_args_is_help=True)
app.add_typer(trace_app, name="trace")


@app.command()
def benchmarks(
    name: Annotated[str | None, typer.Argument(help="A benchmark, to see all about it.")] = None,
    methods: Annotated[bool, typer.Option("--methods", help="List the methods of run.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the benchmarks and what of them is here. Example: amp benchmarks babyai"""
    if methods:
        from amp.evaluate.baselines import METHODS

        for known, method in METHODS.items():
            print(f"{known}: {method.remark}")
        return
    from amp.benchmarks import BENCHMARKS
    from amp.benchmarks.survey import survey
    from amp.cli.benchmarksview import benchmark_view, benchmarks_view

    found = [survey(known, data) for known in (BENCHMARKS if name is None else [name])]
    if as_json:
        listed = [asdict(one) for one in found]
        print(json.dumps(listed if name is None else listed[0], default=str))
    elif name is None:
        new_console().print(benchmarks_view(found))
    else:
        new_console().print(benchmark_view(found[0]))


@trace_app.command("show")
def trace_show(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Run directory or episodes.jsonl.")],
    task: Annotated[str | None, typer.Option(help="Only the episode of this task.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every candidate.")] = False,
    as_json: Json = False,
) -> None:
    """Show the episodes of a run. Example: amp trace show runs/gsm8k --full"""
    from amp import display
    from amp.evaluate.metrics import summarise
    from amp.trace import read_episodes, to_json

    episodes = [e for e in read_episodes(path) if task is None or e.task.id == task]
    if not episodes:
        what = "no episodes" if task is None else f"no episode of task {task!r}"
        raise InvalidInputError(f"{path} holds {what}")
    if as_json:
        for episode in episodes:
            print(to_json(episode))
        return
    console = new_console()
    for episode in episodes:
        console.print(display.episode_view(episode, full))
    console.print(display.summary_table([(str(path), summarise(episodes))]))


@trace_app.command("compare")
def trace_compare(
    first: Annotated[Path, typer.Argument(help="Run directory that is compared with.")],
    second: Annotated[Path, typer.Argument(help="Run directory on the same tasks.")],
    as_json: Json = False,
) -> None:
    """Compare two runs task by task. Example: amp trace compare runs/fixed runs/adaptive"""
    from amp.evaluate.compare import compare
    from amp.trace import read_episodes, to_json

    result = compare(list(read_episodes(first)), list(read_episodes(second)))
    if as_json:
        print(to_json(result))
        return
    print(
        f"{result.tasks} tasks, {result.pairs} pairs: {second} solved {result.won} that {first} "
        f"did not, and lost {result.lost} ({result.test} p = {result.p_value:.2f})"
    )
    for name, saving in result.savings.items():
        sure = "no interval: one task"
        if (interval := saving.interval) is not None:
            sure = f"paired bootstrap {interval.low:.0%} to {interval.high:.0%}"
        print(f"saved {saving.share:.0%} of {name} ({sure})")
