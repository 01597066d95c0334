"""Commands about recordings: fill one for a benchmark, and show what is in one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.benchmarks import benchmark_names, load_benchmark
from amp.cli.app import Data, Json, Model, Probe, app, open_model, output_file, probes_of, run_async
from amp.cli.terminal import new_console, say_json, task_bar
from amp.cli.workers import Address, On, check_on, workers_on
from amp.errors import AmpError, InvalidInputError, ModelError

if TYPE_CHECKING:
    from rich.table import Table

    from amp.evaluate.record import Grid, GridBench
    from amp.evaluate.workers import Places, Workers
    from amp.methods import AnyPlanner
    from amp.models.recorded import RecordedModel
    from amp.models.recording import Contents
    from amp.simulate.lattice_recording import Survey, SurveyBench, Visited
    from amp.types import ProbeKind, Task

record_app = typer.Typer(
    help="Record a model's answers to a benchmark, for every comparison to start from.\n\n"
    "They are recorded for several arms: the benchmark's own, or the corners of what can be "
    "allocated.",
    epilog="Example: amp record gsm8k --limit 100 --samples 4 --to pool.sqlite",
    no_args_is_help=True,
)
app.add_typer(record_app, name="record")

_Policy = tuple[str, float | None]
"""An allocator or a policy file, and its trade-off; None for its own."""

Limit = Annotated[int | None, typer.Option(min=1, help="Tasks at most.")]
Level = Annotated[str | None, typer.Option(help="Level of a benchmark that has levels.")]
Samples = Annotated[int, typer.Option(min=1, max=256, help="Samples of each arm.")]
Arms = Annotated[
    list[str] | None,
    typer.Option("--arm", help="One of the arms; repeat for several. All if left out."),
]
Seed = Annotated[int, typer.Option(help="Seed of the tasks.")]


def record(
    context: typer.Context,
    to: Annotated[
        Path,
        typer.Option(callback=output_file, help="The recording; its answers are used again."),
    ],
    model: Model = None,
    split: Annotated[str | None, typer.Option(help="Split; the test split if left out.")] = None,
    limit: Limit = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            help="Level of a benchmark that has levels; repeat for several, which take turns."
        ),
    ] = None,
    samples: Samples = 4,
    arm: Arms = None,
    probe: Probe = None,
    lattice: Annotated[
        bool,
        typer.Option(
            "--lattice",
            help="Ask every arm in every state that any arm reaches, so that policies which change "
            "their arm on the way find all answers.",
        ),
    ] = False,
    nodes: Annotated[int, typer.Option(min=1, help="States of a task with --lattice.")] = 100,
    main: Annotated[
        str | None,
        typer.Option(help="Arm whose states come first with --lattice; no arm if left out."),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Plan steps of an episode with --lattice; the benchmark's if none."
        ),
    ] = None,
    complete: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POLICY",
            help="With --lattice: an allocator or policy file; visits also the states it comes to. "
            "Repeat for several.",
        ),
    ] = None,
    trade_off: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Of policies in files of --complete; their own if left out."
        ),
    ] = None,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Every N-th task from the I-th on, so that several processes can fill one file.",
        ),
    ] = "1/1",
    jobs: Annotated[int, typer.Option(min=1, help="Tasks at a time.")] = 1,
    on: On = None,
    address: Address = None,
    seed: Seed = 0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Record every arm on every task; the same command goes on after an interruption.

    Example: amp record gsm8k --limit 100 --samples 4 --to pool.sqlite
    """
    from amp.evaluate.record import complete_tasks, record_grid
    from amp.evaluate.workers import Opener

    check_on(on, address)
    name = str(context.info_name)
    first, *others = dict.fromkeys(level) if level else (None,)
    told = partial(_grid, name, first, samples, arm, probe, data, lattice=lattice)
    grid = told()
    benchmark = grid.benchmark
    split = split or benchmark.splits[0]
    grids = [
        grid,
        *(_grid(name, one, samples, arm, probe, data, lattice=lattice) for one in others),
    ]
    tasks = in_turn([one.benchmark.tasks(split, limit, seed) for one in grids])
    mine = _shard(tasks, shard)
    if not mine:
        raise InvalidInputError(f"split {split!r} of {name} has no tasks for shard {shard}")
    console = new_console(stderr=True)
    elsewhere = partial(workers_on, on, address, jobs)
    if lattice:
        survey = partial(_survey, told, nodes, main, max_steps)
        policies = [(policy, trade_off) for policy in complete or ()]
        run_async(_record_lattice(to, survey, mine, model, policies, jobs, elsewhere, as_json))
        return

    async def go() -> None:
        opener = Opener(partial(_grid_bench, told, to, model), (to,))
        prompts = (benchmark.prompts.version,)
        try:
            async with _recorded(model, to, grid.probes, prompts) as recorded:
                done = (await complete_tasks(to, grid, mine)).values()
                there = frozenset[str].intersection(*done)
                left = [task for task in mine if task.id not in there]
                async with elsewhere(opener) as workers:
                    with task_bar(console, f"{name} {split}", len(mine), len(there)) as advance:
                        failures = await record_grid(recorded, grid, left, jobs, advance, workers)
        except asyncio.CancelledError:
            console.print("interrupted; go on with the same command")
            raise
        await _tell(to, grid, {split: tasks}, as_json)
        if failures:
            task, why = next(iter(failures.items()))
            raise ModelError(
                f"the model failed on {len(failures)} tasks, such as {task}: {why}; the same "
                "command tries them again"
            )

    run_async(go())


@asynccontextmanager
async def _recorded(
    name: str | None, to: Path, probes: frozenset[ProbeKind], prompts: Sequence[str]
) -> AsyncIterator[RecordedModel]:
    """The model behind its recording."""
    from amp.models.recorded import RecordedModel

    model = open_model(name, hidden_states="hidden" in probes)
    recorded = RecordedModel(model, to, "auto", prompts=prompts)
    try:
        yield recorded
    finally:
        await recorded.close()


@asynccontextmanager
async def _grid_bench(
    told: Callable[[], Grid], to: Path, name: str | None, places: Places
) -> AsyncIterator[GridBench]:
    """What asking a task everything takes, opened in a worker elsewhere."""
    from amp.evaluate.record import GridBench

    grid = told()
    prompts = (grid.benchmark.prompts.version,)
    async with _recorded(name, places.get(to, to), grid.probes, prompts) as recorded:
        yield GridBench.of(recorded, grid)


@asynccontextmanager
async def _survey_bench(
    told: Callable[[], Survey], to: Path, name: str | None, policy: _Policy | None, places: Places
) -> AsyncIterator[SurveyBench]:
    """What visiting the states of a task takes, opened likewise."""
    from amp.simulate.lattice_recording import SurveyBench

    survey, at = told(), places.get(to, to)
    async with _recorded(name, at, survey.arms.probes, survey.prompts) as recorded:
        planner = None if policy is None else _planner(survey, recorded, *policy)
        yield SurveyBench(survey, recorded, planner)


def _survey(told: Callable[[], Grid], nodes: int, main: str | None, steps: int | None) -> Survey:
    from amp.simulate.lattice_recording import Survey
    from amp.simulate.lattice_states import Arms

    grid = told()
    arms = Arms(grid.arms, grid.samples, grid.probes, main)
    return Survey(grid.benchmark, arms, nodes, steps)


def _planner(survey: Survey, model: RecordedModel, policy: str, at: float | None) -> AnyPlanner:
    """Whose states are visited beyond those of the lattice."""
    from amp.allocate import find_allocator
    from amp.evaluate.assembly import build_planner
    from amp.evaluate.config import PlannerConfig

    trade_off = at if "trade_off" in find_allocator(policy).takes else None
    config = PlannerConfig(allocator=policy, max_steps=survey.max_steps, trade_off=trade_off)
    return build_planner(config, model, survey.benchmark)


async def _record_lattice(
    to: Path,
    told: Callable[[], Survey],
    tasks: Sequence[Task],
    model: str | None,
    complete: Sequence[_Policy],
    jobs: int,
    elsewhere: Callable[..., AbstractAsyncContextManager[Workers[SurveyBench] | None]],
    as_json: bool,
) -> None:
    """Visits the states of tasks, and tells how many there are."""
    from amp.evaluate.workers import Opener
    from amp.simulate.lattice_recording import complete_lattice, record_lattice, visited

    survey, console = told(), new_console(stderr=True)
    left_out: dict[str, str] = {}
    try:
        async with _recorded(model, to, survey.arms.probes, survey.prompts) as recorded:
            for policy in (None, *complete):
                opener = Opener(partial(_survey_bench, told, to, model, policy), (to,))
                left = [task for task in tasks if task.id not in left_out]
                title = f"{survey.benchmark.name} lattice" + (f": {policy[0]}" if policy else "")
                async with elsewhere(opener) as workers:
                    with task_bar(console, title, len(left), 0) as advance:
                        work = left, jobs, advance, workers
                        if policy is None:
                            left_out |= await record_lattice(recorded, to, survey, *work)
                        else:
                            planner = _planner(survey, recorded, *policy)
                            left_out |= await complete_lattice(recorded, to, survey, planner, *work)
    except asyncio.CancelledError:
        console.print("interrupted; go on with the same command")
        raise
    for task_id, why in left_out.items():
        console.print(f"left out {task_id}: {why}", markup=False)
    found = visited(to, survey)
    if as_json:
        rows = {task.id: asdict(found[task.id]) for task in tasks if task.id in found}
        say_json({"tasks": rows, "left_out": left_out})
    else:
        new_console().print(_lattice_view({t.id: found[t.id] for t in tasks if t.id in found}))
    if tasks and len(left_out) == len(tasks):
        task_id, why = next(iter(left_out.items()))
        raise AmpError(f"all {len(tasks)} tasks are left out, such as {task_id}: {why}")


def _lattice_view(found: Mapping[str, Visited]) -> Table:
    from rich.table import Table

    told = "cut off: states that were reached and not visited; visit more with --nodes"
    caption = told if any(one.cut_off for one in found.values()) else None
    view = Table(box=None, padding=(0, 2, 0, 0), caption=caption, caption_justify="left")
    for head in ("task", "states", "cut off", "prompts"):
        view.add_column(head, justify="left" if head == "task" else "right")
    rows = [(one.states, one.cut_off, one.prompts) for one in found.values()]
    for task, row in zip(found, rows, strict=True):
        view.add_row(task, *(f"{figure:,}" for figure in row))
    view.add_row(f"all {len(rows)} tasks", *(f"{sum(f):,}" for f in zip(*rows, strict=True)))
    return view


for _benchmark in benchmark_names():
    record_app.command(_benchmark, short_help=f"Record answers to {_benchmark}.")(record)


@record_app.command()
def info(
    file: Annotated[Path, typer.Argument(help="A recording.")],
    benchmark: Annotated[
        str | None, typer.Option(help="Count the tasks of this benchmark that are complete.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split; every one if left out.")] = None,
    limit: Limit = None,
    level: Level = None,
    samples: Samples = 4,
    arm: Arms = None,
    probe: Probe = None,
    seed: Seed = 0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what is in a recording. Example: amp record info pool.sqlite --benchmark gsm8k"""
    grid, tasks = None, {}
    if benchmark is not None:
        grid = _grid(benchmark, level, samples, arm, probe, data)
        splits = [split] if split else grid.benchmark.splits
        tasks = {name: grid.benchmark.tasks(name, limit, seed) for name in splits}
    run_async(_tell(file, grid, tasks, as_json))


def _grid(
    name: str,
    level: str | None,
    samples: int,
    arms: list[str] | None,
    probes: list[str] | None,
    data: Path | None,
    *,
    lattice: bool = False,
) -> Grid:
    from amp.evaluate.record import Grid, arms_of
    from amp.settings import load_settings

    benchmark = load_benchmark(name, data=data or load_settings().data, level=level)
    if lattice:
        from amp.simulate.lattice_states import lattice_arms

        named = lattice_arms(benchmark, arms or ())
    else:
        named = arms_of(benchmark, arms or ())
    return Grid(benchmark, named, samples, probes_of(probes))


def in_turn(levels: Sequence[Sequence[Task]]) -> Sequence[Task]:
    """The first task of each level, then the second ones; levels may differ in tasks alone."""
    if len(levels) == 1:
        return levels[0]
    tasks = [task for several in zip_longest(*levels) for task in several if task is not None]
    if len({task.id for task in tasks}) < len(tasks):
        raise InvalidInputError(
            "two of the levels have tasks of one name; record each level into a file of its own"
        )
    return tasks


def _shard(tasks: Sequence[Task], shard: str) -> Sequence[Task]:
    """Every N-th task from the I-th on, counted from 1."""
    parts = re.fullmatch(r"(\d+)/(\d+)", shard)
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise InvalidInputError(f"shard is {shard!r}, expected I/N with I from 1 to N, such as 1/2")
    return tasks[int(parts[1]) - 1 :: int(parts[2])]


@dataclass(frozen=True, slots=True)
class _Complete:
    """Tasks of a split of which the recording has every answer, by arm."""

    tasks: int
    samples: int
    arms: dict[str, int]
    every_arm: int
    some_arm: int


async def _tell(
    file: Path, grid: Grid | None, tasks: Mapping[str, Sequence[Task]], as_json: bool
) -> None:
    """Prints the contents of a recording, and which tasks it has every requested answer of."""
    from amp.evaluate.record import complete_tasks
    from amp.models.recording import contents

    found = contents(file)
    splits: dict[str, _Complete] = {}
    if grid is not None:
        for split, several in tasks.items():
            ids = await complete_tasks(file, grid, several)
            splits[split] = _Complete(
                tasks=len(several),
                samples=grid.samples,
                arms={arm: len(there) for arm, there in ids.items()},
                every_arm=len(frozenset[str].intersection(*ids.values())),
                some_arm=len(frozenset[str]().union(*ids.values())),
            )
    if as_json:
        listed = {split: asdict(row) for split, row in splits.items()}
        say_json(asdict(found) | {"complete": listed})
        return
    console = new_console()
    console.print(_contents_view(found))
    if splits:
        console.print()
        console.print(_complete_view(splits))


def _contents_view(found: Contents) -> Table:
    from rich.table import Table

    by_samples = ", ".join(f"{n:,} with {k}" for k, n in found.samples.items())
    view = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in (
        ("model", found.model.called),
        ("prompts", ", ".join(found.prompts)),
        ("requests", f"{found.requests:,}"),
        ("samples a request", by_samples or "none"),
        ("next tokens read", f"{found.probes:,}, {found.hidden:,} with the hidden state"),
        ("texts scored", f"{found.scores:,}"),
        ("tool runs", f"{found.tool_runs:,}"),
        ("tokens", f"{found.prompt_tokens:,} read, {found.completion_tokens:,} written"),
        ("size", f"{found.file_bytes / 1e6:,.1f} MB"),
        *(("lattice", lattice) for lattice in found.lattices),
    ):
        view.add_row(name, value)
    return view


def _complete_view(splits: Mapping[str, _Complete]) -> Table:
    from rich.table import Table

    view = Table(
        box=None,
        padding=(0, 2, 0, 0),
        caption="lacking: complete in another arm, not in this one",
        caption_justify="left",
    )
    for head in ("split", "arm", "complete tasks", "lacking"):
        view.add_column(head, justify="left" if head in ("split", "arm") else "right")
    there = {split: row for split, row in splits.items() if row.some_arm}
    for split, row in (there or splits).items():
        for arm, count in (*row.arms.items(), ("every arm", row.every_arm)):
            view.add_row(split, arm, f"{count:,} of {row.tasks:,}", f"{row.some_arm - count:,}")
    return view
