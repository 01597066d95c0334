"""The command that compares every policy on recorded samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import app, new_console
from amp.cli.options import Data, Json
from amp.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from amp.evaluate.draws import Draws
    from amp.evaluate.results import Results, Row

Recording = Annotated[Path, typer.Argument(help="Recording of the test tasks.")]


@app.command()
def results(
    recording: Recording,
    train: Annotated[Path, typer.Option(help="Recording of training tasks, to choose on.")],
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Ways to ask: program, chain; repeat. Default: program."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each way to ask.")] = 4,
    runs: Annotated[int, typer.Option(min=1, help="Orders of the samples.")] = 10,
    data: Data = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Json = False,
) -> None:
    """Compare fixed, rules, controls, heuristic and oracle on recorded samples of GSM8K.

    Example: amp results recordings/gsm8k.sqlite --train recordings/gsm8k-train.sqlite
    """
    from amp.allocate.heuristic import HeuristicAllocator
    from amp.assess.weighted import WeightedAssessor
    from amp.benchmarks import load_benchmark
    from amp.evaluate.draws import Arm
    from amp.evaluate.presets import ARMS, PRESETS
    from amp.evaluate.results import Adaptive
    from amp.evaluate.results import results as compared
    from amp.evaluate.tabulate import of_recording, opening_contexts
    from amp.trace import to_json

    benchmark = load_benchmark("gsm8k", data=data)
    wanted = []
    for name in arm or ["program"]:
        if name not in ARMS:
            raise InvalidInputError(
                f"unknown way to ask {name!r}{did_you_mean(name, list(ARMS))} "
                f"(ways: {', '.join(ARMS)})"
            )
        wanted.append(Arm(name, ARMS[name]))

    def table(path: Path, split: str) -> Draws:
        tasks = benchmark.tasks(split)
        return of_recording(path, benchmark, tasks, wanted, samples, incomplete="leave out")

    test = table(recording, "test")
    heuristic = HeuristicAllocator(PRESETS[benchmark.name].space)
    contexts = opening_contexts(benchmark, benchmark.tasks("test"))
    adaptive = {"heuristic": Adaptive(heuristic, WeightedAssessor())}
    found = compared(test, table(train, "train"), adaptive, contexts, runs)
    if as_json:
        print(to_json(found))
    elif markdown:
        print("\n".join(_markdown(found)))
    else:
        _show(found)


def _columns(found: Results, row: Row) -> list[str]:
    reach = f"{row.success:.3f} ({row.interval.low:.2f}-{row.interval.high:.2f})"
    front = saved = p_value = ""
    if row.kind != "fixed" and row.above_front is not None and row.above_front_interval is not None:
        low, high = row.above_front_interval.low, row.above_front_interval.high
        front = f"{row.above_front:+.3f} ({low:+.2f} to {high:+.2f})"
    if row.versus is not None:
        saving = row.versus.savings["tokens"]
        saved = f"{saving.share:.0%}"
        if saving.interval is not None:
            saved += f" ({saving.interval.low:.0%} to {saving.interval.high:.0%})"
    if row.holm is not None:
        p_value = f"{row.holm:.2f}"
    name = f"{row.name} (reference)" if row.name == found.reference else row.name
    return [
        *(row.kind, name, reach, f"{row.completion_tokens:.0f}", f"{row.tokens:.0f}"),
        *(f"{row.calls:.1f}", front, saved, p_value),
    ]


_HEADER = (
    *("kind", "policy", "success", "written", "tokens", "calls"),
    *("above the front", "tokens saved", "p (Holm)"),
)


def _caption(found: Results) -> str:
    smallest = "" if found.detectable is None else f"; detectable: {found.detectable:.2f}"
    return f"{found.tasks} tasks, samples in {found.runs} orders{smallest}"


def _markdown(found: Results) -> list[str]:
    lines = [f"| {' | '.join(_HEADER)} |", f"|{'---|' * len(_HEADER)}"]
    lines += [f"| {' | '.join(_columns(found, row))} |" for row in found.rows]
    return [*lines, "", _caption(found)]


def _show(found: Results) -> None:
    from rich.table import Table

    table = Table(box=None, caption=_caption(found))
    for name in _HEADER:
        table.add_column(name, justify="left" if name in ("kind", "policy") else "right")
    for row in found.rows:
        table.add_row(*_columns(found, row))
    new_console().print(table)
