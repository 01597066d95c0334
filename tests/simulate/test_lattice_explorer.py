"""What is visited of a task, and that a planner which replays a recording finds it all there."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.fakes.trail import ARMS, CARD, Trail, TrailPrompts, Trails, walker

from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.rules import plan_arms
from amp.assess.base import WeightedAssessor
from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, RecordingError
from amp.execute.executor import Executor
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.recording import contents
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.simulate.lattice_explorer import Explorer
from amp.simulate.lattice_recording import (
    Lattice,
    Survey,
    complete_lattice,
    lattice_from_recording,
    record_lattice,
    visited,
)
from amp.simulate.lattice_replay import replay_lattice
from amp.simulate.lattice_states import OUTSIDE, Arms, TaskLattice, lattice_arms
from amp.types import (
    GIVEN_UP,
    STOP,
    Allocation,
    Complexity,
    Decision,
    Episode,
    Limits,
    Observation,
    StepContext,
    Task,
    Transition,
)

SURVEY = Survey(Trails(), Arms(ARMS))
TASKS = Trails().tasks("train", 4)
WARM = {"act": ARMS["act"], "warm": replace(ARMS["think"], temperature=0.7)}
PATH_FINDER = frozenset({"path_finder"})
FOUR = {
    "act": Allocation(),
    "think": Allocation(depth=1),
    "goal": Allocation(tools=PATH_FINDER),
    "think goal": Allocation(depth=1, tools=PATH_FINDER),
}
PLANS = plan_arms(Allocation(tools=PATH_FINDER), plans=(2, 4))


@dataclass
class Guess(Allocator):
    """An arm of chance in each round, one or two rounds a step."""

    seed: int
    arms: Sequence[Allocation] = tuple(ARMS.values())

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        done = context.evidence.rounds
        rng = random.Random(f"{self.seed} {context.task.id} {len(context.steps)} {done}")
        if done and rng.random() < 0.5 * done:
            return STOP
        return Decision(rng.choice(self.arms))


class Follow(Allocator):
    """Plans four actions, and follows them as long as they stand."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return STOP
        return Decision(PLANS["follow" if context.standing_plan else "plan 4"])


def record(
    path: Path, survey: Survey = SURVEY, tasks: Sequence[Task] = TASKS, waits: bool = False
) -> dict[str, str]:
    """Fills a recording; returns what was left out."""

    async def go() -> dict[str, str]:
        model = RecordedModel(walker(waits), path, "auto")
        try:
            return await record_lattice(model, path, survey, tasks)
        finally:
            await model.close()

    return asyncio.run(go())


def said(prompt: Prompt, sample: int) -> str:
    """A thought, or a plan of chance."""
    if prompt.version != "babyai-plan/1":
        return "so I go"
    steps = random.Random(repr(prompt.messages[-2:])).choices(("explore", *PRIMITIVES[:3]), k=4)
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))[2:]


def player() -> ScriptedModel:
    """A model for BabyAI whose arms hardly ever agree."""

    def next_tokens(prompt: Prompt) -> dict[str, float]:
        rng = random.Random(repr(prompt.messages[-2:]))
        masses = [rng.random() ** 3 for _ in range(9)]
        return {str(i + 1): mass / sum(masses) for i, mass in enumerate(masses)}

    return ScriptedModel(said, next_tokens=next_tokens, card=CARD)


def record_babyai(path: Path, survey: Survey, tasks: Sequence[Task]) -> None:
    """Likewise in BabyAI, by such a model."""

    async def go() -> None:
        model = RecordedModel(player(), path, "auto")
        assert await record_lattice(model, path, survey, tasks) == {}
        await model.close()

    asyncio.run(go())


def read(path: Path, survey: Survey = SURVEY, tasks: Sequence[Task] = TASKS) -> Lattice:
    return asyncio.run(lattice_from_recording(path, survey, tasks))


def replay(
    path: Path, benchmark: Benchmark, allocator: Allocator, tasks: Sequence[Task]
) -> list[Episode]:
    """What the planner does with the answers of a recording alone."""
    model = RecordedModel(None, path, "replay")
    planner = Planner(
        model,
        Executor(
            benchmark.prompts,
            {},
            benchmark.defaults.plausibility,
            plans=benchmark.defaults.plans,
        ),
        WeightedAssessor(),
        allocator,
        Limits(steps=benchmark.max_steps),
        probes=frozenset(),
    )

    async def go() -> list[Episode]:
        try:
            return [await planner.run(task, benchmark.environment(task)) for task in tasks]
        finally:
            await model.close()

    return asyncio.run(go())


def check_way(lattice: TaskLattice, episode: Episode) -> None:
    """A planner's episode goes from state to state, and each arm says there what it said to it."""
    way = lattice.way(episode)
    arms = {name: asked for state in way if state for name, asked in state.asked.items()}
    assert None not in way
    assert len(way) == len(episode.steps) > 0
    for state, step in zip(way, episode.steps, strict=True):
        assert state is not None
        assert state.context.observation == step.observation
        said = {
            tuple((c.text, c.action, c.probability) for c in one.candidates)
            for name in arms
            for one in state.asked[name]
        }
        for made in step.rounds:
            assert tuple((c.text, c.action, c.probability) for c in made.candidates) in said


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lattice") / "lattice.sqlite"
    assert record(path) == {}
    return path


@pytest.mark.parametrize("seed", range(20))
def test_a_planner_that_changes_its_arm_on_the_way_stays_inside(recorded: Path, seed: int) -> None:
    lattice = read(recorded)
    episodes = replay(recorded, Trails(), Guess(seed), TASKS)
    for one, episode in zip(lattice.tasks, episodes, strict=True):
        assert one.cut_off == 0
        check_way(one, episode)


@pytest.mark.slow
@pytest.mark.parametrize("arms", [FOUR, PLANS])
def test_a_planner_in_babyai_stays_inside(arms: Mapping[str, Allocation], tmp_path: Path) -> None:
    """States are told apart by all that prompts read, or answers would be others than recorded."""
    benchmark, path = BabyAI("BabyAI-GoToLocal-v0", max_steps=4), tmp_path / "babyai.sqlite"
    survey, tasks = Survey(benchmark, Arms(arms), 1000), benchmark.tasks("train", 2)

    record_babyai(path, survey, tasks)
    lattice = read(path, survey, tasks)
    assert sum(len(one.states) for one in lattice.tasks) > 50
    for seed in range(20):
        policy = Guess(seed, tuple(arms.values()))
        episodes = replay(path, benchmark, policy, tasks)
        for one, episode in zip(lattice.tasks, episodes, strict=True):
            assert one.cut_off == 0
            check_way(one, episode)


@pytest.mark.slow
def test_to_follow_a_plan_is_no_change_of_the_line(tmp_path: Path) -> None:
    """So what plans and follows is inside even of a lattice that has little more than that."""
    benchmark, path = BabyAI("BabyAI-GoToLocal-v0", max_steps=9), tmp_path / "babyai.sqlite"
    arms = {name: PLANS[name] for name in ("act", "follow", "plan 4")}
    survey, tasks = Survey(benchmark, Arms(arms), 60), benchmark.tasks("train", 2)
    record_babyai(path, survey, tasks)
    lattice = read(path, survey, tasks)
    for one, episode in zip(lattice.tasks, replay(path, benchmark, Follow(), tasks), strict=True):
        assert one.cut_off > 0
        assert len(episode.steps) > 4
        check_way(one, episode)


@pytest.mark.parametrize("arm", list(ARMS))
def test_with_one_arm_the_states_are_the_steps_of_the_fixed_run(arm: str, tmp_path: Path) -> None:
    survey = Survey(Trails(), Arms({arm: ARMS[arm]}))
    record(tmp_path / "one.sqlite", survey)
    lattice = read(tmp_path / "one.sqlite", survey)
    episodes = replay(tmp_path / "one.sqlite", Trails(), FixedAllocator(ARMS[arm]), TASKS)
    for one, episode in zip(lattice.tasks, episodes, strict=True):
        assert [s.context.observation for s in one.states.values()] == [
            step.observation for step in episode.steps
        ]
        *_, last = one.states.values()
        (end,) = last.leads.values()
        assert (end.success, end.score) == (episode.success, episode.score)


def test_what_two_arms_do_alike_is_there_once() -> None:
    """Each junction twice: on the right way and in the fog, where nothing leads back."""
    clear = [replace(task, data={"moods": [0, 1, 0, 1]}) for task in TASKS]
    faded = [replace(task, data={"moods": [2, 3, 2, 3]}) for task in TASKS]
    for tasks, states in ((clear, 4), (faded, 7)):
        for one in explored(tasks):
            assert len(one.states) == states


def test_the_states_that_a_fixed_arm_comes_to_are_first() -> None:
    tasks = [replace(task, data={"moods": [2, 3, 2, 3]}) for task in TASKS]
    (both, *_), (main, *_) = explored(tasks), explored(tasks, main="think", cap=4)
    assert main.cut_off > 0
    assert all("fog" not in s.context.observation.state for s in main.states.values())
    lost = ["fog" in s.context.observation.state for s in both.states.values()]
    assert lost == [False, True, False, True, False, True, False]


def explored(tasks: Sequence[Task], main: str | None = None, cap: int = 100) -> list[TaskLattice]:
    async def go(path: Path) -> list[TaskLattice]:
        model = RecordedModel(walker(), path, "auto")
        explorer = Explorer(model, Trails(), Arms(ARMS, main=main), cap)
        try:
            return [await explorer.explore(task) for task in tasks]
        finally:
            await model.close()

    with TemporaryDirectory() as folder:
        return asyncio.run(go(Path(folder, "it.sqlite")))


def test_arms_have_names_with_any_number() -> None:
    babyai = BabyAI()
    assert list(lattice_arms(babyai)) == ["act", "follow", "think 1", "plan 4", "plan 8"]
    named = lattice_arms(babyai, ["plan 3", "act", "think 2", "verification 1, no tools"])
    assert list(named) == ["plan 3", "act", "think 2", "verification 1, no tools"]
    assert (named["plan 3"].depth, named["think 2"].depth) == (3, 2)
    assert lattice_arms(Trails()) == ARMS
    with pytest.raises(InvalidInputError, match=r"unknown arm 'pln 4'; did you mean 'plan 4'\?"):
        lattice_arms(babyai, ["pln 4"])


# --------------------------------------------------------------------------- recordings


def test_what_is_recorded_costs_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "lattice.sqlite"
    record(path, tasks=TASKS[:2])
    before = path.read_bytes()
    again = walker()

    async def go() -> None:
        model = RecordedModel(again, path, "auto")
        await record_lattice(model, path, SURVEY, TASKS[:2])
        await model.close()

    asyncio.run(go())
    assert not again.requests
    assert not again.probes
    assert visited(path, SURVEY).keys() == {task.id for task in TASKS[:2]}
    assert path.read_bytes()[100:] == before[100:]  # but for SQLite's counter of changes


@pytest.mark.slow
def test_a_higher_cap_visits_what_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lattice.sqlite"
    record(path, replace(SURVEY, cap=2))
    few = visited(path, SURVEY)
    assert all(one.states == 2 and one.cut_off for one in few.values())
    assert all(len(one.states) == 2 for one in read(path).tasks)
    record(path)
    assert all(not one.cut_off for one in visited(path, SURVEY).values())
    record(path, replace(SURVEY, cap=2))
    assert all(not one.cut_off for one in visited(path, SURVEY).values())


@pytest.mark.slow
def test_what_a_policy_comes_to_is_visited_beyond_the_cap(tmp_path: Path) -> None:
    path, few = tmp_path / "lattice.sqlite", replace(SURVEY, cap=3)
    record(path, few)
    policy = Guess(3)

    def outside() -> int:
        episodes = replay(tmp_path / "whole.sqlite", Trails(), policy, TASKS)
        lattice = read(path, few)
        return sum(None in one.way(e) for one, e in zip(lattice.tasks, episodes, strict=True))

    record(tmp_path / "whole.sqlite")
    assert outside() > 0
    for _ in range(2):  # a second time adds nothing
        complete(path, few, policy)
        assert outside() == 0
    sizes = {task: one.states for task, one in visited(path, few).items()}
    record(path, few)
    assert {task: one.states for task, one in visited(path, few).items()} == sizes
    assert all(3 < size < 7 for size in sizes.values())


class Resigned(Allocator):
    """Acts twice, and gives up where that leads."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return STOP
        if len(context.steps) == 2:
            return Decision(None, give_up="it is far")
        return Decision(ARMS["act"])


def test_what_gives_up_is_visited_as_far_as_it_goes(tmp_path: Path) -> None:
    path, few = tmp_path / "lattice.sqlite", replace(SURVEY, cap=1)
    record(path, few)
    assert all(episode.ended == OUTSIDE for episode in replay_lattice(read(path, few), Resigned()))
    for _ in range(2):  # a second time adds nothing
        complete(path, few, Resigned())
        lattice = read(path, few)
        assert [len(task.states) for task in lattice.tasks] == [3] * len(TASKS)
        for episode in replay_lattice(lattice, Resigned()):
            assert (episode.ended, len(episode.steps)) == (GIVEN_UP, 3)


def test_a_policy_that_does_what_no_arm_does_is_refused(tmp_path: Path) -> None:
    path, one = tmp_path / "lattice.sqlite", Survey(Trails(), Arms({"act": ARMS["act"]}), 2)
    record(path, one)
    with pytest.raises(InvalidInputError, match=r"is done that no arm of the lattice does \(act\)"):
        complete(path, one, FixedAllocator(ARMS["think"]))


def complete(path: Path, survey: Survey, allocator: Allocator) -> None:
    async def go() -> None:
        model = RecordedModel(walker(), path, "auto")
        planner = Planner(
            model,
            Executor(TrailPrompts()),
            WeightedAssessor(),
            allocator,
            Limits(steps=6),
            probes=frozenset(),
        )
        try:
            assert await complete_lattice(model, path, survey, planner, TASKS) == {}
        finally:
            await model.close()

    asyncio.run(go())


def test_no_text_of_a_state_is_in_the_file(recorded: Path) -> None:
    with closing(sqlite3.connect(recorded)) as database:
        told = "\n".join(database.iterdump())
    assert "lattice_tasks" in told
    assert "junction" not in told
    assert b"junction" not in recorded.read_bytes()


class Restless(Trail):
    """Where the second environment is another one."""

    count = 0

    def reset(self, task: Task) -> Observation:
        Restless.count += 1
        seen = super().reset(task)
        return replace(seen, state="elsewhere") if Restless.count == 2 else seen


class RestlessTrails(Trails):
    def environment(self, task: Task) -> Trail:
        return Restless()


class Meanwhile(Trails):
    """An environment that answers otherwise than when it was recorded."""

    def environment(self, task: Task) -> Trail:
        class Other(Trail):
            def step(self, action: str) -> Transition:
                return replace(super().step(action), score=0.25)

        return Other()


def test_a_replay_that_leads_elsewhere_is_named_and_left_out(tmp_path: Path) -> None:
    Restless.count = 0
    left = record(tmp_path / "it.sqlite", Survey(RestlessTrails(), Arms(ARMS)))
    ((task, why),) = left.items()
    assert task == TASKS[0].id
    assert why.startswith("the same 0 actions led to another state than before")
    assert visited(tmp_path / "it.sqlite", SURVEY).keys() == {t.id for t in TASKS[1:]}


def test_an_environment_that_has_changed_is_named(recorded: Path) -> None:
    with pytest.raises(
        RecordingError, match=r"none can be read, such as train/0: state \d \(after"
    ):
        read(recorded, Survey(Meanwhile(), Arms(ARMS)))


@pytest.mark.parametrize(
    ("survey", "tasks", "said"),
    [
        (Survey(Trails(), Arms({"act": ARMS["act"]})), TASKS, "with arms act, think, expected act"),
        (
            Survey(Trails(), Arms(WARM, samples=2)),
            TASKS,
            "with arms act, think, expected act, warm",
        ),
        (Survey(Trails(), Arms(ARMS, main="act")), TASKS, "with main None, expected act"),
        (Survey(Trails(steps=5), Arms(ARMS)), TASKS, "with max_steps 6, expected 5"),
        (SURVEY, Trails().tasks("test", 2), "none can be read, such as test/0: not in the"),
    ],
)
def test_a_lattice_of_something_else_is_refused(
    recorded: Path, survey: Survey, tasks: Sequence[Task], said: str
) -> None:
    with pytest.raises(RecordingError, match=said):
        read(recorded, survey, tasks)


def test_a_recording_without_a_lattice_is_refused(tmp_path: Path) -> None:
    asyncio.run(RecordedModel(walker(), tmp_path / "it.sqlite", "auto").close())
    with pytest.raises(RecordingError, match="has no lattice; record it"):
        read(tmp_path / "it.sqlite")


@pytest.mark.slow
def test_samples_are_those_of_arms_with_a_temperature(recorded: Path, tmp_path: Path) -> None:
    """Where there is none, it makes no difference how many were wanted."""
    assert len(read(recorded, Survey(Trails(), Arms(ARMS, samples=4))).tasks) == len(TASKS)
    warm = Survey(Trails(), Arms(WARM, samples=3))
    record(tmp_path / "warm.sqlite", warm)
    for one in read(tmp_path / "warm.sqlite", warm).tasks:
        for state in one.states.values():
            assert {arm: len(asked) for arm, asked in state.asked.items()} == {"act": 1, "warm": 3}
    lattice = read(tmp_path / "warm.sqlite", warm)
    once = FixedAllocator(WARM["warm"])
    for one, episode in zip(
        lattice.tasks, replay(tmp_path / "warm.sqlite", Trails(), once, TASKS), strict=True
    ):
        check_way(one, episode)
    with pytest.raises(RecordingError, match="with samples 3, expected 2"):
        read(tmp_path / "warm.sqlite", Survey(Trails(), Arms(WARM, samples=2)))


def row_with(ways: str) -> bytes:
    rest = '"cap": 9, "cut_off": 0, "prompts": 1, "states": []'
    return zlib.compress(f'{{{rest}, "ways": {ways}}}'.encode())


DAMAGED = {
    "not compressed": b"?",
    "a list": zlib.compress(b"[]"),
    "another type": zlib.compress(b'{"cap": "3"}'),
    "nested deeply": zlib.compress(b"[" * 200_000),
    "no way": row_with("[5]"),
    "no names": row_with("[[null]]"),
    "a way in no list": row_with('["act"]'),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_row_is_one_line(recorded: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "it.sqlite"
    shutil.copy(recorded, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE lattice_tasks SET content = ?", (content,))
        database.commit()
    for use in (read, record, contents):
        with pytest.raises(RecordingError, match="is damaged: a lattice in it cannot be read"):
            use(path)


def test_a_lattice_of_other_prompts_is_refused(recorded: Path) -> None:
    other = Trails()
    other.prompts = type("Other", (type(other.prompts),), {"version": "trail/2"})()
    with pytest.raises(
        RecordingError, match="made with prompts trail/1, this version uses trail/2"
    ):
        read(recorded, Survey(other, Arms(ARMS)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"named": {}}, "there are no arms"),
        ({"samples": 0}, "samples is 0"),
        ({"main": "thnk"}, "main is 'thnk', expected one of the arms: act, think"),
    ],
)
def test_arms_that_make_no_sense_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        replace(Arms(ARMS), **fields)
