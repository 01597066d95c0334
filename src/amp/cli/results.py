"""The command that compares every policy on recorded samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import app, new_console
from amp.cli.options import Data, Json
from amp.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from amp.evaluate.draws import Draws
    from amp.evaluate.results import Adaptive, Duel, Results, Row

Recording = Annotated[Path, typer.Argument(help="Recording of the test tasks.")]


@app.command()
def results(
    recording: Recording,
    train: Annotated[Path, typer.Option(help="Recording of training tasks, to choose on.")],
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Ways to ask: program, chain; repeat. Default: program."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="File of a learned policy, or NAME=FILE; repeat. Several of one name, learned "
            "with different seeds, take turns."
        ),
    ] = None,
    trade_off: Annotated[
        list[float] | None,
        typer.Option(min=0.0, max=1.0, help="Of learned policies; repeat. Default: 0.9."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each way to ask.")] = 4,
    runs: Annotated[int, typer.Option(min=1, help="Orders of the samples.")] = 10,
    data: Data = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Json = False,
) -> None:
    """Compare fixed, rules, controls, heuristic, policies and oracle on recorded samples of GSM8K.

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
    adaptive = {"heuristic": Adaptive((heuristic,), WeightedAssessor())}
    adaptive |= _learned(policy or [], trade_off or [0.9], test)
    found = compared(test, table(train, "train"), adaptive, contexts, runs)
    if as_json:
        print(to_json(found))
    elif markdown:
        print("\n".join(_markdown(found)))
    else:
        _show(found)


def _learned(named: list[str], trade_offs: list[float], test: Draws) -> dict[str, Adaptive]:
    """The learned policies at every trade-off; at the first one they are compared with all."""
    from amp.allocate.mlp import MlpPolicy
    from amp.allocate.weights import load_origin, load_policy
    from amp.assess.weighted import WeightedAssessor
    from amp.evaluate.results import Adaptive

    files: dict[str, list[MlpPolicy]] = {}
    for one in named:
        name, _, path = one.rpartition("=")
        made, origin = load_policy(Path(path)), load_origin(Path(path))
        if not isinstance(made, MlpPolicy):
            raise InvalidInputError(f"policy {path} has no trade-off, expected a learned one")
        seen = {row.task for row in test.tasks}.intersection(origin.tasks if origin else ())
        if seen:
            raise InvalidInputError(f"policy {path} was learned on task {min(seen)} of the test")
        files.setdefault(name or "learned", []).append(replace(made, deterministic=True))
    return {
        f"{name}, trade-off {trade_off:g}": Adaptive(
            tuple(replace(policy, trade_off=trade_off) for policy in policies),
            WeightedAssessor(looks=frozenset()),
            duels=trade_off == trade_offs[0],
        )
        for name, policies in files.items()
        for trade_off in trade_offs
    }


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


_DUELS = ("policy", "against", "success gained", "tokens saved", "won : lost", "p")


def _duel(duel: Duel) -> list[str]:
    saving = duel.comparison.savings["tokens"]
    saved = f"{saving.share:.0%}"
    if saving.interval is not None:
        saved += f" ({saving.interval.low:.0%} to {saving.interval.high:.0%})"
    return [
        *(duel.policy, duel.against),
        f"{duel.gain:+.3f} ({duel.interval.low:+.2f} to {duel.interval.high:+.2f})",
        *(saved, f"{duel.comparison.won} : {duel.comparison.lost}"),
        f"{duel.comparison.p_value:.2f}",
    ]


def _caption(found: Results) -> str:
    smallest = "" if found.detectable is None else f"; detectable: {found.detectable:.2f}"
    return f"{found.tasks} tasks, samples in {found.runs} orders{smallest}"


def _markdown(found: Results) -> list[str]:
    lines = [f"| {' | '.join(_HEADER)} |", f"|{'---|' * len(_HEADER)}"]
    lines += [f"| {' | '.join(_columns(found, row))} |" for row in found.rows]
    if found.duels:
        lines += ["", f"| {' | '.join(_DUELS)} |", f"|{'---|' * len(_DUELS)}"]
        lines += [f"| {' | '.join(_duel(duel))} |" for duel in found.duels]
    return [*lines, "", _caption(found)]


def _show(found: Results) -> None:
    from rich.table import Table

    console = new_console()
    rows = [_columns(found, row) for row in found.rows]
    for header, lines in ((_HEADER, rows), (_DUELS, [_duel(duel) for duel in found.duels])):
        table = Table(box=None)
        for name in header:
            words = name in ("kind", "policy", "against")
            table.add_column(name, justify="left" if words else "right")
        for line in lines:
            table.add_row(*line)
        if lines:
            console.print(table)
    console.print(_caption(found))
