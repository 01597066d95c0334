"""Lattices in recordings: visited with a model, kept beside its answers, and read without it.

`record_lattice` fills a recording, and `lattice_from_recording` reads it: it visits the states
again by what the recording has, and compares them with those that were there when it was made. What
is kept of a state is its digest, so the texts of a task come from its environment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amp.allocate.base import Allocator
from amp.benchmarks.base import Benchmark
from amp.errors import EnvironmentFailedError, InvalidInputError, ModelError, RecordingError
from amp.evaluate.record import TriedTask, work_through
from amp.evaluate.workers import Here, Workers
from amp.methods import AnyPlanner
from amp.models.base import ModelCard
from amp.models.recorded import RecordedModel
from amp.models.recording import digest
from amp.models.recording_file import add_lattice_task, read_lattice_tasks, read_lattices
from amp.planner import Planner
from amp.simulate.lattice_explorer import ENDS_HERE, Explorer, ReplayError, executor_of
from amp.simulate.lattice_states import Arms, LatticeEdge, TaskLattice, choice_in
from amp.types import GIVEN_UP, MODEL_ERROR, PLAN, Episode, Limits, Task, written

_ENDED, _OUTSIDE = -1, -2


@dataclass(frozen=True, slots=True)
class Lattice:
    """What was visited of some tasks.

    Attributes:
        benchmark: its name.
        prompts: versions of its prompts.
        card: the model.
        arms: what was asked in every state.
        max_steps: plan steps of an episode at most.
        tasks: their states.
        left_out: why tasks are not among them, by id.
    """

    benchmark: str
    prompts: tuple[str, ...]
    card: ModelCard
    arms: Arms
    max_steps: int
    tasks: tuple[TaskLattice, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be visited of every task.

    Attributes:
        benchmark: whose tasks they are.
        arms: what is asked in every state.
        cap: states of a task at most.
        max_steps: plan steps of an episode at most; None for the benchmark's.
    """

    benchmark: Benchmark
    arms: Arms
    cap: int = 100
    max_steps: int | None = None

    @property
    def told(self) -> dict[str, Any]:
        """All that the states depend on, but for the task, the model and the cap."""
        arms = self.arms
        return {
            "benchmark": self.benchmark.name,
            "prompts": list(self.prompts),
            "arms": {
                name: {
                    key: sorted(value) if isinstance(value, frozenset) else value
                    for key, value in dataclasses.asdict(one, dict_factory=written).items()
                }
                for name, one in arms.named.items()
            },
            "samples": max(map(arms.times, arms.named)),
            "probes": sorted(arms.probes),
            "main": arms.main,
            "max_steps": self.max_steps or self.benchmark.max_steps,
        }

    @property
    def prompts(self) -> tuple[str, ...]:
        """Versions of all prompts that the arms are asked."""
        plans = any(PLAN in arm.tools for arm in self.arms.named.values())
        own = self.benchmark.defaults.plans.version
        return (self.benchmark.prompts.version, *([own] if plans else []))

    @property
    def key(self) -> bytes:
        """Of its rows in a recording."""
        return digest(self.told)

    def planner(self, model: RecordedModel, allocator: Allocator) -> Planner:
        """Plays a policy whose allocations are arms, as they are asked here."""
        limits = Limits(steps=self.max_steps or self.benchmark.max_steps)
        executor, probes = executor_of(self.benchmark, model), self.arms.probes
        return Planner(model, executor, allocator=allocator, limits=limits, probes=probes)

    def explorer(self, model: RecordedModel, cap: int | None = None) -> Explorer:
        """Visits states with a model, or with its recording alone."""
        return Explorer(model, self.benchmark, self.arms, cap or self.cap, self.max_steps)


@dataclass(frozen=True, slots=True)
class Visited:
    """How much of a task is in a recording.

    Attributes:
        states: that were visited.
        cut_off: states that ways lead to and that were not visited, for the cap.
        prompts: different prompts that were asked.
        cap: states at most.
    """

    states: int
    cut_off: int
    prompts: int
    cap: int


def visited(path: Path, survey: Survey) -> dict[str, Visited]:
    """How much of each task is in a recording, by its id."""
    return {
        task: Visited(len(row["states"]), row["cut_off"], row["prompts"], row["cap"])
        for task, row in read_lattice_tasks(path, survey.key).items()
    }


@dataclass(frozen=True, slots=True)
class SurveyBench:
    """What it takes to visit the states of one task.

    Attributes:
        survey: what is visited.
        model: the model behind its recording.
        planner: with the same model; what it comes to is visited, too.
    """

    survey: Survey
    model: RecordedModel
    planner: AnyPlanner | None = None


@dataclass(frozen=True, slots=True)
class _Visit:
    """A task, the states at most, what is visited beyond them, and the states that are known."""

    task: Task
    cap: int
    ways: list[list[str]]
    states: int = 0


@dataclass(frozen=True, slots=True)
class _Seen(TriedTask):
    """What came of a visit: a row for the recording, if there is more than it has."""

    row: Mapping[str, Any] | None = None


async def record_lattice(
    model: RecordedModel,
    path: Path,
    survey: Survey,
    tasks: Sequence[Task],
    jobs: int = 1,
    on_task: Callable[[Task], None] | None = None,
    workers: Workers[SurveyBench] | None = None,
) -> dict[str, str]:
    """Visits the states of tasks; those that are in the recording already cost nothing.

    A task is noted when all its states are visited. What was asked of one under way before an
    interruption is found again.

    Args:
        model: the model behind its recording.
        path: that of the recording.
        survey: what is visited.
        tasks: of whom.
        jobs: tasks at a time.
        on_task: called with every task that is done.
        workers: visit elsewhere, in place of the model here.

    Returns:
        For each task that is left out, by its id, the reason.

    Raises:
        InvalidInputError: if jobs is less than 1.
        ModelError: if it failed for so many tasks in a row that it is not there.
    """
    rows = read_lattice_tasks(path, survey.key)
    left = [
        _Visit(task, survey.cap, _ways(rows[task.id]) if task.id in rows else [])
        for task in tasks
        if task.id not in rows or _is_short(rows[task.id], survey.cap)
    ]
    workers = workers or Here(SurveyBench(survey, model), jobs)
    seen = _noted(workers.each(_visit, left), path, survey)
    return await work_through(seen, len(left), on_task)


async def complete_lattice(
    model: RecordedModel,
    path: Path,
    survey: Survey,
    planner: AnyPlanner,
    tasks: Sequence[Task],
    jobs: int = 1,
    on_task: Callable[[Task], None] | None = None,
    workers: Workers[SurveyBench] | None = None,
) -> dict[str, str]:
    """Visits what a planner comes to beyond the states that are in a recording.

    Args:
        model: the model behind its recording.
        path: that of the recording.
        survey: what was visited.
        planner: with the same model; what it allocates are arms of the lattice.
        tasks: of whom; they are in the recording.
        jobs: tasks at a time.
        on_task: called with every task that is done.
        workers: visit elsewhere, in place of the model and the planner here.

    Returns:
        For each task that is left out, by its id, the reason.

    Raises:
        InvalidInputError: if jobs is less than 1, or the planner allocates what is no arm.
        ModelError: as `record_lattice`.
    """
    rows = read_lattice_tasks(path, survey.key)
    there = [
        _Visit(task, rows[task.id]["cap"], _ways(rows[task.id]), len(rows[task.id]["states"]))
        for task in tasks
        if task.id in rows
    ]
    workers = workers or Here(SurveyBench(survey, model, planner), jobs)
    seen = _noted(workers.each(_visit, there), path, survey)
    absent = {task.id: "not in the recording" for task in tasks if task.id not in rows}
    return absent | await work_through(seen, len(there), on_task)


async def _visit(bench: SurveyBench, visit: _Visit) -> _Seen:
    """Visits a task; a failure of the model or of the environment leaves it out."""
    task = visit.task
    try:
        return _Seen(task, row=await _row_of(bench, visit))
    except ModelError as error:
        return _Seen(task, str(error), by_model=True)
    except (ReplayError, EnvironmentFailedError) as error:
        return _Seen(task, str(error))


async def _row_of(bench: SurveyBench, visit: _Visit) -> Mapping[str, Any] | None:
    task, ways = visit.task, visit.ways
    if bench.planner is not None:
        ways = [*ways, way_of(await _played(bench.planner, bench.survey, task))]
    found = await bench.survey.explorer(bench.model, visit.cap).explore(task, ways)
    return None if len(found.states) == visit.states else _row(found, visit.cap, ways)


async def visit_played(
    model: RecordedModel, path: Path, survey: Survey, task: Task, allocator: Allocator
) -> TaskLattice:
    """Visits what a policy comes to in a task beyond its states in a recording, and keeps them.

    Args:
        model: the model behind its recording.
        path: that of the recording.
        survey: what was visited.
        task: the task, which is in the recording.
        allocator: the policy; what it allocates are arms of the lattice.

    Raises:
        AmpError: as `Explorer.explore`.
    """
    row = read_lattice_tasks(path, survey.key)[task.id]
    ways = [*_ways(row), way_of(await _played(survey.planner(model, allocator), survey, task))]
    found = await survey.explorer(model, row["cap"]).explore(task, ways)
    add_lattice_task(path, survey.key, survey.told, task.id, _row(found, row["cap"], ways))
    return found


async def _played(planner: AnyPlanner, survey: Survey, task: Task) -> Episode:
    episode = await planner.run(task, survey.benchmark.environment(task))
    if episode.ended == MODEL_ERROR:
        raise ModelError(episode.steps[-1].failure or MODEL_ERROR)
    return episode


def way_of(episode: Episode) -> list[str]:
    """Names of the choices of an episode, also of one that was given up."""
    given_up = episode.ended == GIVEN_UP
    way = [choice_in(step).name for step in episode.steps[: -1 if given_up else None]]
    return [*way, ENDS_HERE] if given_up else way


async def _noted(
    seen: AsyncGenerator[_Seen, None], path: Path, survey: Survey
) -> AsyncGenerator[TriedTask, None]:
    """The same, with what is new put in the recording first."""
    async with aclosing(seen):
        async for one in seen:
            if one.row is not None:
                add_lattice_task(path, survey.key, survey.told, one.task.id, one.row)
            yield one


def _ways(row: Mapping[str, Any]) -> list[list[str]]:
    """What was visited beyond the cap."""
    return list(row["ways"])


def _is_short(row: Mapping[str, Any], cap: int) -> bool:
    return bool(row["cut_off"]) and cap > row["cap"]


def _row(found: TaskLattice, cap: int, ways: Sequence[Sequence[str]]) -> dict[str, Any]:
    number = {name: index for index, name in enumerate(found.states)}

    def end(lead: LatticeEdge) -> list[Any]:
        to = _OUTSIDE if lead.outside else _ENDED if lead.to is None else number[lead.to]
        return [to, lead.success, lead.score, digest(lead.feedback).hex()[:8]]

    return {
        "cap": cap,
        "cut_off": found.cut_off,
        "prompts": found.prompts,
        "ways": [list(way) for way in ways],
        "states": [
            [name, [end(lead) for lead in state.leads.values()]]
            for name, state in found.states.items()
        ],
    }


async def lattice_from_recording(
    path: Path,
    survey: Survey,
    tasks: Sequence[Task],
) -> Lattice:
    """The states of tasks that are in a recording, with what every arm says there.

    Args:
        path: the recording.
        survey: what was visited; its cap is that of the recording.
        tasks: those to look for in it; what it does not have is left out.

    Raises:
        RecordingError: if it is no recording, was made with other prompts, has no lattice of these
            arms and settings, or none of these tasks.
    """
    benchmark = survey.benchmark
    model = RecordedModel(None, path, mode="replay", prompts=survey.prompts)
    try:
        rows = read_lattice_tasks(path, survey.key)
        if not rows:
            raise _no_lattice(path, survey)
        found: list[TaskLattice] = []
        left_out: dict[str, str] = {}
        for task in tasks:
            if task.id not in rows:
                left_out[task.id] = "not in the recording"
                continue
            try:
                row = rows[task.id]
                one = await survey.explorer(model, row["cap"]).explore(task, _ways(row))
            except (ReplayError, EnvironmentFailedError) as error:
                left_out[task.id] = str(error)
                continue
            except InvalidInputError as error:
                left_out[task.id] = f"a way in the recording cannot be followed: {error}"
                continue
            if (why := _difference(one, rows[task.id])) is not None:
                left_out[task.id] = why
                continue
            found.append(one)
    finally:
        await model.close()
    if not found:
        task_id, why = next(iter(left_out.items()), ("", "there are no tasks"))
        raise RecordingError(
            f"recording {path} has a lattice of {len(rows)} tasks, and of these {len(tasks)} none"
            f" can be read, such as {task_id}: {why}; name a split or levels that it"
            f" has, or record these (amp record {benchmark.name} --lattice --to {path})"
        )
    return Lattice(
        benchmark.name,
        survey.prompts,
        model.card,
        survey.arms,
        survey.told["max_steps"],
        tuple(found),
        left_out,
    )


def _difference(found: TaskLattice, row: Mapping[str, Any]) -> str | None:
    """Why what was visited is not what was recorded; None if it is."""
    now = _row(found, row["cap"], _ways(row))
    for number, (old, new) in enumerate(zip(row["states"], now["states"], strict=False)):
        if old != new:
            way = [step.action for step in found.states[new[0]].context.steps]
            done = ", ".join(action or "nothing" for action in way) or "nothing yet"
            is_same = isinstance(old, list) and old[:1] == new[:1]
            what = "leads elsewhere" if is_same else "is another"
            return (
                f"state {number + 1} (after: {done}) {what} than when it was recorded; its"
                " environment or the arms' tools have changed, so the task is left out"
            )
    return None if now == row else "has other states than when it was recorded"


def _no_lattice(path: Path, survey: Survey) -> RecordingError:
    known, wanted = list(read_lattices(path).values()), survey.told
    if not known:
        return RecordingError(
            f"recording {path} has no lattice; record it (amp record {wanted['benchmark']}"
            f" --lattice --to {path})"
        )
    nearest = min(known, key=lambda told: sum(told.get(name) != wanted[name] for name in wanted))
    name = next((name for name in wanted if nearest.get(name) != wanted[name]), "")
    old, new = nearest.get(name, ()), wanted.get(name, ())
    if name == "arms" and list(old) != list(new):
        old, new = ", ".join(old), ", ".join(new)
    return RecordingError(
        f"recording {path} has a lattice with {name} {old}, expected {new}; record that, too, or"
        " ask for what it has"
    )
