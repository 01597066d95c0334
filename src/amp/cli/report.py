"""`amp report` of runs on disk, and `amp simulate`: the same report of recorded samples."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from amp.cli.app import CostName, Data, Json, app, output_directory, output_file
from amp.cli.terminal import new_console, say, say_json
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.files import replace_file, writing

if TYPE_CHECKING:
    from amp.allocate.mlp_policy import MlpPolicy
    from amp.allocate.router import Router
    from amp.assess.correctness import Kind as Heads
    from amp.benchmarks.base import Benchmark
    from amp.learn.correctness import CorrectnessSettings
    from amp.report.runs import Run
    from amp.report.tables import Table
    from amp.simulate.compare import Adaptive
    from amp.simulate.samples import SampleTable

_IN_TERMINAL = ("runs", "comparisons", "savings", "gains")
_WORDS = frozenset({"kind", "policy", "against"})


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
    cost: CostName = "tokens",
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the tasks that all runs did.")
    ] = False,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Tell right candidates from wrong ones.")
    ] = True,
    html: Annotated[
        Path | None, typer.Option(callback=output_file, help="Write one page with figures.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(callback=output_file, help="Write the tables as Markdown.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(callback=output_directory, help="Write the tables to this directory."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Report runs on the same tasks. Example: amp report runs/fixed runs/adaptive --html r.html"""
    from amp.cost import read_cost
    from amp.report.report import make_report
    from amp.report.runs import comparable, read_runs
    from amp.report.tables import markdown as markdown_of
    from amp.report.tables import tables_of, write_csv

    with _uncollected():
        read = comparable(read_runs(runs), common)
        benchmark, notice = _judge(read, data) if judge else (None, "")
        made = make_report(read, reference, read_cost(cost), benchmark)
    tables = tables_of(made)
    written = []
    if html is not None:
        from amp.report.pages import run_page

        replace_file(html, run_page(made, read, benchmark).encode())
        written.append(html)
    if markdown is not None:
        replace_file(markdown, markdown_of(made.title, made.notes, tables).encode())
        written.append(markdown)
    if csv is not None:
        with writing(csv):
            written += write_csv(tables, csv)
    if as_json:
        say_json(made)
        return
    console = new_console()
    for table in tables:
        if table.name in _IN_TERMINAL:
            console.print(shown(table, table.title))
            console.print()
    for note in filter(None, (*made.notes, notice)):
        console.print(note, style="dim")
    for path in written:
        say(f"written: {path}")


@app.command()
def simulate(
    recording: Annotated[Path, typer.Argument(help="Recording of the test tasks.")],
    train: Annotated[
        Path, typer.Option(help="Recording of training tasks, on which the reference is chosen.")
    ],
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Arms, such as program and chain; repeat. Default: program."),
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
    tuned: Annotated[
        list[float] | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Also rules tuned on the training tasks at this trade-off; repeat.",
        ),
    ] = None,
    correctness: Annotated[
        str | None,
        typer.Option(
            help="Weigh votes by heads trained on the training tasks: logistic or network."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each arm.")] = 4,
    orders: Annotated[int, typer.Option(min=1, help="Orders of the samples.")] = 10,
    cost: CostName = "tokens",
    data: Data = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    csv: Annotated[
        Path | None, typer.Option(callback=output_file, help="Write the rows to this file, too.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(callback=output_file, help="Write one page with figures, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare fixed, rules, controls, heuristic, policies and oracle on recorded samples of GSM8K.

    Example: amp simulate recordings/gsm8k.sqlite --train recordings/gsm8k-train.sqlite
    """
    from amp.allocate.rules import HeuristicAllocator
    from amp.assess.base import WeightedAssessor
    from amp.benchmarks import load_benchmark
    from amp.cost import read_cost
    from amp.learn.correctness import CorrectnessSettings
    from amp.report.overview import duels, overview, overview_markdown, write_overview
    from amp.report.report import OF_SAMPLES, make_report
    from amp.report.runs import comparable
    from amp.simulate.build import opening_contexts, table_from_recording
    from amp.simulate.compare import Adaptive
    from amp.simulate.compare import simulate as simulated
    from amp.simulate.samples import Arm

    if trade_off and not policy:
        raise InvalidInputError("--trade-off is of learned policies; name one with --policy")
    unit, files = read_cost(cost), _files(policy or [])
    heads = None if correctness is None else CorrectnessSettings(kind=cast("Heads", correctness))
    if csv is not None and csv.suffix != ".csv":
        raise InvalidInputError(f"--csv is {csv}, expected a file whose name ends in .csv")
    benchmark = load_benchmark("gsm8k", data=data)
    known, arms = benchmark.defaults.arms, []
    for name in arm or ["program"]:
        if name not in known:
            raise InvalidInputError(
                f"unknown arm {name!r}{did_you_mean(name, list(known))} (arms: {', '.join(known)})"
            )
        arms.append(Arm(name, known[name]))

    def table(path: Path, split: str) -> SampleTable:
        tasks = benchmark.tasks(split)
        return table_from_recording(path, benchmark, tasks, arms, samples, incomplete="leave out")

    test = table(recording, "test")
    heuristic = HeuristicAllocator(benchmark.defaults.space)
    contexts = opening_contexts(benchmark, benchmark.tasks("test"))
    training = table(train, "train")
    if heads is not None:
        training, test = _rated(heads, training, test, benchmark)
    learned = _learned(files, trade_off or [0.85], test)
    adaptive = {"heuristic": Adaptive((heuristic,), WeightedAssessor()), **learned}
    runs, reference = simulated(test, training, adaptive, contexts, orders, unit, tuned or ())
    duellists = list(learned)[:1]
    made = make_report(comparable(runs), reference, unit, analysis=OF_SAMPLES, duels=duellists)
    if html is not None:
        from amp.report.pages import run_page

        replace_file(html, run_page(made, runs).encode())
    if csv is not None:
        write_overview(made, csv)
    if as_json:
        say_json(made)
    elif markdown:
        say(overview_markdown(made))
    else:
        console = new_console()
        for table_of in (overview(made), duels(made)):
            if table_of.rows:
                console.print(shown(table_of))
        console.print(overview(made).note)
        if heads is not None:
            console.print(
                f"votes weighted by {heads.kind} heads, learned on the training problems; every"
                " policy here votes so"
            )
        if made.price:
            console.print(made.price)


def _rated(
    settings: CorrectnessSettings, training: SampleTable, test: SampleTable, benchmark: Benchmark
) -> tuple[SampleTable, SampleTable]:
    """Both tables with P(right) of every sample, by heads that have not seen its task."""
    from amp.learn.correctness import judged_samples, train_correctness
    from amp.simulate.build import opening_contexts, rate_samples, with_p_right

    contexts = {
        split: opening_contexts(benchmark, benchmark.tasks(split)) for split in ("train", "test")
    }
    judged = judged_samples(training, contexts["train"])
    heads = train_correctness(judged, settings)
    return (
        with_p_right(training, heads.held_out.tolist()),
        rate_samples(test, heads.correctness, contexts["test"]),
    )


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
    files: dict[str, list[Path]], trade_offs: list[float], test: SampleTable
) -> dict[str, Adaptive]:
    """The learned policies at every trade-off, with controls at the first one."""
    from amp.allocate.policy_file import ROUTER, policy_kind
    from amp.assess.base import WeightedAssessor
    from amp.simulate.compare import Adaptive, learned, learned_router

    def read(path: Path) -> MlpPolicy | Router:
        if policy_kind(path) == ROUTER:
            return learned_router(path, test)
        return replace(learned(path, test), deterministic=True)

    policies = {name: [read(path) for path in paths] for name, paths in files.items()}
    return {
        f"{name}, trade-off {trade_off:g}": Adaptive(
            tuple(one.with_trade_off(trade_off) for one in several),
            WeightedAssessor(probes=frozenset()),
            controls=trade_off == trade_offs[0],
        )
        for name, several in policies.items()
        for trade_off in trade_offs
    }


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
    from amp.benchmarks import benchmark_names, load_benchmark
    from amp.benchmarks.labels import label_steps
    from amp.settings import load_settings

    name = runs[0].benchmark
    if name not in benchmark_names():
        return None, f"right candidates are not marked: {name!r} is no benchmark"
    try:
        benchmark = load_benchmark(name, data=data or load_settings().data)
        label_steps(runs[0].episodes[0], benchmark)
    except (InvalidInputError, MissingDependencyError) as error:
        return None, f"right candidates are not marked: {error}"
    return benchmark, ""


def shown(table: Table, title: str | None = None) -> object:
    """A table as the terminal has it."""
    from rich.table import Table as View
    from rich.text import Text

    view = View(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    columns = zip(table.heads, *table.texts(), strict=True)
    told = [(head, *cells) for head, *cells in columns if any(cells)]
    words = [[len(word) for text in column for word in text.split()] for column in told]
    longest = [max(lengths, default=0) for lengths in words]
    # Texts wrap between words, and within them only where there is no room for the longest ones.
    is_room = sum(longest) + len(longest) <= new_console().width
    for place, (head, *_) in enumerate(told):
        left = place == 0 or head in _WORDS
        view.add_column(
            head,
            justify="left" if left else "right",
            overflow="fold",
            no_wrap=place == 0,
            min_width=longest[place] if is_room else None,
        )
    for row in zip(*(cells for _, *cells in told), strict=True):
        view.add_row(*map(Text, row))
    return view
