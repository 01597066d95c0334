"""Commands that look at things: benchmarks, traces of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amp.cli.app import app, new_console
from amp.cli.options import Json
from amp.errors import InvalidInputError

trace_app = typer.Typer(help="Look at what a run did.", no_args_is_help=True)
app.add_typer(trace_app, name="trace")


@app.command()
def benchmarks(
    name: Annotated[str | None, typer.Argument(help="A benchmark, to see its levels.")] = None,
    methods: Annotated[bool, typer.Option("--methods", help="List the methods of run.")] = False,
) -> None:
    """List the benchmarks, or the levels of one. Example: amp benchmarks babyai"""
    from amp.benchmarks import BENCHMARKS, load_benchmark

    if methods:
        from amp.evaluate.baselines import METHODS

        for known, method in METHODS.items():
            print(f"{known}: {method.remark}")
        return
    if name is None:
        for known in sorted(BENCHMARKS):
            print(f"{known}: splits {', '.join(load_benchmark(known).splits)}")
        return
    chosen = load_benchmark(name)
    for line in chosen.levels or chosen.splits:
        print(line)


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
        f"{result.tasks} tasks: {second} solved {result.won} that {first} did not, and lost "
        f"{result.lost} (exact McNemar p = {result.p_value:.2f})"
    )
    for name, saving in result.savings.items():
        low, high = saving.interval.low, saving.interval.high
        print(f"saved {saving.share:.0%} of {name} (paired bootstrap {low:.0%} to {high:.0%})")
