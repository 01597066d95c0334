"""The command that compares every policy on recorded samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli import resultsview
from amp.cli.app import app
from amp.cli.options import Data, Json
from amp.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from amp.evaluate.draws import Draws
    from amp.evaluate.results import Adaptive

Recording = Annotated[Path, typer.Argument(help="Recording of the test tasks.")]


@app.command()
def results(
    recording: Recording,
    train: Annotated[
        Path, typer.Option(help="Recording of training tasks, on which the reference is chosen.")
    ],
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
        typer.Option(min=0.0, max=1.0, help="Of learned policies; repeat. Default: 0.85."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each way to ask.")] = 4,
    runs: Annotated[int, typer.Option(min=1, help="Orders of the samples.")] = 10,
    data: Data = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the rows to this file, too.")] = None,
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

    if trade_off and not policy:
        raise InvalidInputError("--trade-off is of learned policies; name one with --policy")
    files = _files(policy or [])
    if csv is not None and csv.suffix != ".csv":
        raise InvalidInputError(f"--csv is {csv}, expected a file whose name ends in .csv")
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
    adaptive |= _learned(files, trade_off or [0.85], test)
    found = compared(test, table(train, "train"), adaptive, contexts, runs)
    if csv is not None:
        resultsview.write_csv(found, csv)
    if as_json:
        print(to_json(found))
    elif markdown:
        print(resultsview.markdown(found))
    else:
        resultsview.show(found)


def _files(named: list[str]) -> dict[str, list[Path]]:
    """The files of each name."""
    files: dict[str, list[Path]] = {}
    for one in named:
        name, _, path = one.rpartition("=")
        if not path:
            raise InvalidInputError(f"--policy is {one!r}, expected FILE or NAME=FILE")
        files.setdefault(name or "learned", []).append(Path(path))
    return files


def _learned(
    files: dict[str, list[Path]], trade_offs: list[float], test: Draws
) -> dict[str, Adaptive]:
    """The learned policies at every trade-off, with controls at the first one.

    There the first of them is compared with everything, one by one.
    """
    from amp.assess.weighted import WeightedAssessor
    from amp.evaluate.learned import learned
    from amp.evaluate.results import Adaptive

    policies = {name: [learned(path, test) for path in paths] for name, paths in files.items()}
    return {
        f"{name}, trade-off {trade_off:g}": Adaptive(
            tuple(replace(one, deterministic=True, trade_off=trade_off) for one in several),
            WeightedAssessor(looks=frozenset()),
            controls=trade_off == trade_offs[0],
            duels=(name, trade_off) == (next(iter(policies)), trade_offs[0]),
        )
        for name, several in policies.items()
        for trade_off in trade_offs
    }
