"""Fills recordings with a model's answers, and reads episodes for assessors from them or from runs.

A recording of a grid of allocations on some tasks is what every comparison on them starts from. In
a benchmark of one plan step that is all that a policy on these arms can ask for. Over several steps
it has every fixed allocation of the grid for whole episodes; a policy that changes its allocation
on the way comes into states that none of them saw.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Self

from amp.allocate.space import REALS, Space
from amp.benchmarks import benchmark_names
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, ModelError, RecordingError, did_you_mean
from amp.evaluate.assembly import build_planner
from amp.evaluate.config import NO_CORRECTNESS, PlannerConfig, RunConfig
from amp.evaluate.workers import Here, Workers
from amp.methods import AnyPlanner
from amp.models.base import ModelCard
from amp.models.recorded import RecordedModel
from amp.models.recording_store import Store
from amp.settings import checked
from amp.trace import MANIFEST, read_episodes, read_manifest
from amp.types import MODEL_ERROR, Allocation, Episode, ProbeKind, Task, written

_FAILED_TASKS_TO_GIVE_UP = 3


def corners(space: Space) -> dict[str, Allocation]:
    """The corners of a space by name: both ends of whatever has room, each tool with and without.

    Names tell what differs, such as ``depth 2, 3 beams, python``. Without temperature nothing is
    cut by top_p, so there it has its upper end only.
    """
    ends = [sorted({*getattr(space, name)}) for name in REALS]
    found = {}
    for values in product(*ends):
        fields = dict(zip(REALS, values, strict=True))
        varied = {name for name, both in zip(REALS, ends, strict=True) if len(both) > 1}
        if fields["temperature"] == 0.0:
            if fields["top_p"] < space.top_p[1]:
                continue
            varied.discard("top_p")
        for wanted in product(*((None, tool) for tool in space.tool_names)):
            tools = frozenset(filter(None, wanted))
            parts = [_in_words(name, value) for name, value in fields.items() if name in varied]
            parts += sorted(tools) or (["no tools"] if space.tools else [])
            found[", ".join(parts) or "fixed"] = Allocation(**fields, tools=tools)
    return found


def _in_words(name: str, value: float) -> str:
    if name == "beam_width":
        return f"{value} beam" if value == 1 else f"{value} beams"
    return f"{name} {value}"


def arms_of(benchmark: Benchmark, names: Sequence[str] = ()) -> dict[str, Allocation]:
    """The arms that are recorded for a benchmark: allocations by name.

    Args:
        benchmark: has the arms of its defaults or, without any, the corners of their space.
        names: the arms wanted; all if there are none.

    Raises:
        InvalidInputError: if there is no arm of a name.
    """
    known = benchmark.defaults.arms or corners(benchmark.defaults.space)
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"unknown arm {name!r}{did_you_mean(name, list(known))} "
                f"(arms of {benchmark.name}: {'; '.join(known)})"
            )
    return {name: known[name] for name in known if not names or name in names}


@dataclass(frozen=True, slots=True)
class Grid:
    """What is asked of every task: each arm, several times.

    Attributes:
        benchmark: whose tasks they are.
        arms: allocations by name, as `arms_of` gives them.
        samples: how many of each arm. Where a task is one plan step they share one prompt; where
            it is several, each is an episode of its own, the i-th on the task's seed + i. An arm
            without temperature is played once there, since it would do the same again.
        probes: what the model is asked before each step.

    Raises:
        InvalidInputError: if there are no samples, or more than an allocation takes.
    """

    benchmark: Benchmark
    arms: Mapping[str, Allocation]
    samples: int
    probes: frozenset[ProbeKind] = frozenset()

    def __post_init__(self) -> None:
        try:
            Allocation(beam_width=self.samples)
        except ValueError:
            raise InvalidInputError(f"samples is {self.samples}, expected 1 to 256") from None

    def planner(self, model: RecordedModel, arm: str) -> AnyPlanner:
        """The planner that allocates an arm in every step."""
        allocation = self.arms[arm]
        if self.benchmark.max_steps == 1:
            allocation = replace(allocation, beam_width=self.samples)
        config = PlannerConfig(
            allocator="fixed",
            probes=self.probes,
            **dataclasses.asdict(allocation, dict_factory=written),
        )
        return build_planner(config, model, self.benchmark)

    def plays(self, task: Task, arm: str) -> Iterator[Task]:
        """The task once for each episode of an arm."""
        once = self.benchmark.max_steps == 1 or self.arms[arm].temperature == 0.0
        for index in range(1 if once else self.samples):
            yield replace(task, seed=task.seed + index)


@dataclass(frozen=True, slots=True)
class GridBench:
    """What it takes to ask one task everything.

    Attributes:
        grid: what is asked.
        planners: by arm.
    """

    grid: Grid
    planners: Mapping[str, AnyPlanner]

    @classmethod
    def of(cls, model: RecordedModel, grid: Grid) -> Self:
        """The bench of a model behind its recording."""
        return cls(grid, {arm: grid.planner(model, arm) for arm in grid.arms})


async def record_grid(
    model: RecordedModel,
    grid: Grid,
    tasks: Sequence[Task],
    jobs: int = 1,
    on_task: Callable[[Task], None] | None = None,
    workers: Workers[GridBench] | None = None,
) -> dict[str, str]:
    """Runs every arm on every task; what is recorded already costs nothing.

    A task is done with all its arms before the next one begins, so an interruption leaves complete
    tasks, and answers of those under way that asking again will find.

    Args:
        model: the model behind its recording.
        grid: what is asked.
        tasks: of whom.
        jobs: tasks at a time.
        on_task: called with every task that is done.
        workers: ask elsewhere, in place of the model here.

    Returns:
        For each task for which the model failed, by its id, the reason. A second call retries them.

    Raises:
        InvalidInputError: if jobs is less than 1.
        ModelError: if it failed for so many tasks in a row that it is not there.
    """
    workers = workers or Here(GridBench.of(model, grid), jobs)
    return await work_through(workers.each(ask, tasks), len(tasks), on_task)


@dataclass(frozen=True, slots=True)
class TriedTask:
    """What came of one task.

    Attributes:
        task: which.
        failure: why it failed; None if it did not.
        by_model: whether the model is to blame.
    """

    task: Task
    failure: str | None = None
    by_model: bool = False


async def work_through(
    tried: AsyncGenerator[TriedTask, None],
    count: int,
    on_task: Callable[[Task], None] | None = None,
) -> dict[str, str]:
    """Works through many tasks, and ends the work where it is of no use.

    Args:
        tried: the tasks, as they end.
        count: how many there are.
        on_task: called with every task that is done.

    Returns:
        For each task that failed, by its id, the reason.

    Raises:
        ModelError: if the model failed for so many tasks in a row that it is not there.
    """
    failures: dict[str, str] = {}
    in_a_row = 0
    async with aclosing(tried):
        async for one in tried:
            in_a_row = in_a_row + 1 if one.by_model else 0
            if one.failure is not None:
                failures[one.task.id] = one.failure
            if in_a_row == min(_FAILED_TASKS_TO_GIVE_UP, count):
                which, last = f"{in_a_row} tasks in a row", ", the last one by"
                if in_a_row == 1:
                    which, last = "1 task", ""
                raise ModelError(f"{which} ended by a model error{last}: {one.failure}")
            if on_task is not None:
                on_task(one.task)
    return failures


async def ask(bench: GridBench, task: Task) -> TriedTask:
    """Plays all arms on a task; says why the model failed in one of them."""
    failure = None
    for arm, planner in bench.planners.items():
        for play in bench.grid.plays(task, arm):
            episode = await planner.run(play, bench.grid.benchmark.environment(play))
            if episode.ended == MODEL_ERROR:
                failure = episode.steps[-1].failure
    return TriedTask(task, failure, failure is not None)


async def complete_tasks(
    path: Path, grid: Grid, tasks: Sequence[Task]
) -> dict[str, frozenset[str]]:
    """By arm, the ids of the tasks whose answers are all in a recording.

    Raises:
        RecordingError: if it is no recording, or was made with other prompts.
    """
    model = RecordedModel(None, path, mode="replay", prompts=(grid.benchmark.prompts.version,))
    found: dict[str, set[str]] = {arm: set() for arm in grid.arms}
    try:
        for arm, ids in found.items():
            bench = GridBench(grid, {arm: grid.planner(model, arm)})
            for task in tasks:
                with suppress(RecordingError):  # an answer is missing
                    await ask(bench, task)
                    ids.add(task.id)
    finally:
        await model.close()
    return {arm: frozenset(ids) for arm, ids in found.items()}


_FOLDS = 3


@dataclass(frozen=True, slots=True)
class EpisodeDataset:
    """Episodes of one benchmark and one model.

    Attributes:
        episodes: in the order of their tasks.
        benchmark: whose tasks they are, for its judge.
        card: the base model.
    """

    episodes: tuple[Episode, ...]
    benchmark: Benchmark
    card: ModelCard

    @classmethod
    def from_run(cls, path: Path, data: Path | None = None) -> Self:
        """The episodes of a run directory.

        Raises:
            InvalidInputError: if there is no run, or it has no episodes.
        """
        manifest = read_manifest(path)
        try:
            values, card = manifest["config"], ModelCard(**manifest["model"])
        except (KeyError, TypeError) as error:
            raise InvalidInputError(f"{path} does not say what was run: {error}") from None
        config = checked(RunConfig, values, str(path / MANIFEST))
        episodes = tuple(read_episodes(path))
        if not episodes:
            raise InvalidInputError(f"{path} has no episodes")
        return cls(episodes, config.load_benchmark(data), card)

    @classmethod
    def from_recording(
        cls,
        path: Path,
        benchmark: Benchmark,
        tasks: Iterable[Task],
        probes: frozenset[ProbeKind] = frozenset(),
        max_steps: int | None = None,
    ) -> Self:
        """The episodes of the benchmark's fixed allocation, as far as a recording has them.

        Args:
            path: the recording.
            benchmark: whose tasks they are.
            tasks: those to look for in it.
            probes: what the model was asked before each step; has to be in the recording.
            max_steps: plan steps of an episode, as when it was recorded; None for the benchmark's.

        Raises:
            RecordingError: if it is no recording, or has the answers to none of the tasks.
        """
        # Unrated: what is learned from them must not depend on heads that were learned before.
        config = PlannerConfig(
            allocator="fixed", probes=probes, max_steps=max_steps, correctness=NO_CORRECTNESS
        )
        model = RecordedModel(None, path, mode="replay", prompts=(benchmark.prompts.version,))
        planner = build_planner(config, model, benchmark)
        episodes = asyncio.run(_replayed(planner, benchmark, tasks, model))
        if not episodes:
            raise RecordingError(
                f"recording {path} has the answers to none of these tasks of {benchmark.name}; "
                "choose its split and level, or fewer probes"
            )
        return cls(tuple(episodes), benchmark, model.card)

    @classmethod
    def merge(cls, datasets: Sequence[EpisodeDataset]) -> Self:
        """Several as one, in their order.

        Raises:
            InvalidInputError: if they are of different benchmarks or models, or share a task.
        """
        first = datasets[0]
        episodes: dict[str, Episode] = {}
        for other in datasets:
            if other.benchmark.name != first.benchmark.name:
                raise InvalidInputError(
                    f"runs of {first.benchmark.name} and of {other.benchmark.name}; take one "
                    "benchmark"
                )
            if (other.card.name, other.card.sha256) != (first.card.name, first.card.sha256):
                raise InvalidInputError(
                    f"runs with model {first.card.name} and with {other.card.name}; take one model"
                )
            for episode in other.episodes:
                if episode.task.id in episodes:
                    raise InvalidInputError(
                        f"task {episode.task.id} comes twice; leave one run out"
                    )
                episodes[episode.task.id] = episode
        return cls(tuple(episodes.values()), first.benchmark, first.card)

    def train_test_split(self) -> tuple[Self, Self]:
        """Two thirds of the tasks to learn from, and a third that is held out.

        Which is which depends on the tasks' ids alone, so that it is the same for every run.

        Raises:
            InvalidInputError: if there are fewer than three tasks.
        """
        episodes = self.episodes
        test = held_out_tasks([episode.task.id for episode in episodes])
        return (
            replace(self, episodes=tuple(e for e in episodes if e.task.id not in test)),
            replace(self, episodes=tuple(e for e in episodes if e.task.id in test)),
        )


def held_out_tasks(tasks: Sequence[str]) -> frozenset[str]:
    """A third of some tasks; which ones depends on their ids alone.

    Raises:
        InvalidInputError: if there are fewer than three.
    """
    if len(tasks) < _FOLDS:
        raise InvalidInputError(
            f"{len(tasks)} tasks, expected at least {_FOLDS} to hold some out; run more"
        )
    order = sorted(tasks, key=lambda task: hashlib.sha256(task.encode()).digest())
    return frozenset(order[: len(tasks) // _FOLDS])


async def _replayed(
    planner: AnyPlanner, benchmark: Benchmark, tasks: Iterable[Task], model: RecordedModel
) -> list[Episode]:
    episodes = []
    try:
        for task in tasks:
            with suppress(RecordingError):  # its answers were not recorded
                episodes.append(await planner.run(task, benchmark.environment(task)))
    finally:
        await model.close()
    return episodes


def benchmark_of(path: Path) -> str:
    """The benchmark whose prompts a recording was made with.

    Raises:
        InvalidInputError: if there are none or several.
        RecordingError: if it is no recording.
    """
    store = Store(path, write=False)
    try:
        found = sorted(set(store.versions()) & set(benchmark_names()))
    finally:
        store.close()
    if len(found) != 1:
        raise InvalidInputError(
            f"recording {path} is of {', '.join(found) or 'no benchmark'}; say of which"
        )
    return found[0]
