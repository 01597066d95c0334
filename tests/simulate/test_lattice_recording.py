"""Lattices in recordings: gone on with, completed, and refused where they do not fit."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.trail import ARMS, Trail, TrailPrompts, Trails, walker
from tests.simulate.lattices import (
    SURVEY,
    TASKS,
    WARM,
    Guess,
    check_way,
    read,
    record,
    replay,
)

from amp.allocate.base import Allocator, FixedAllocator
from amp.assess.base import WeightedAssessor
from amp.errors import InvalidInputError, RecordingError
from amp.execute.executor import Executor
from amp.models.recorded import RecordedModel
from amp.models.recording import contents
from amp.planner import Planner
from amp.simulate.lattice_recording import (
    Survey,
    complete_lattice,
    record_lattice,
    visited,
)
from amp.simulate.lattice_replay import replay_lattice
from amp.simulate.lattice_states import OUTSIDE, Arms
from amp.types import (
    GIVEN_UP,
    STOP,
    Complexity,
    Decision,
    Limits,
    Observation,
    StepContext,
    Task,
    Transition,
)


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


class Numbered(Trails):
    """An environment whose states are told apart by a number."""

    def environment(self, task: Task) -> Trail:
        class Other(Trail):
            def fingerprint(self) -> str:
                return 5  # type: ignore[return-value]

        return Other()


def test_a_fingerprint_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Other.fingerprint returned 5, expected a text"):
        record(tmp_path / "it.sqlite", Survey(Numbered(), Arms(ARMS)))


class Hinge(Trail):
    """Fails in every step, as its copies do where it says so."""

    copies_fail = True

    def step(self, action: str) -> Transition:
        raise ValueError("the hinge fell off")

    def fork(self) -> Trail:
        return Hinge() if self.copies_fail else super().fork()


class Rusty(Trails):
    def environment(self, task: Task) -> Trail:
        return Hinge()


def test_an_environment_that_fails_in_a_step_is_told_once_a_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert record(tmp_path / "it.sqlite", Survey(Rusty(), Arms(ARMS))) == {}
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(TASKS)
    assert told[0] == (
        f"{TASKS[0].id}: Hinge.step failed: ValueError: the hinge fell off; the task is lost there"
    )


def test_an_environment_that_fails_where_it_did_not_before_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hinge, "copies_fail", False)
    left = record(tmp_path / "it.sqlite", Survey(Rusty(), Arms(ARMS)))
    assert left
    assert set(left.values()) == {"Hinge.step failed: ValueError: the hinge fell off"}


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
        (SURVEY, Trails().tasks("test", 2), "test/0: not in the recording; name a split or"),
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


def test_a_way_that_no_arm_goes_is_named(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "it.sqlite"
    shutil.copy(recorded, path)
    rewrite(path, row_with('[["fly"]]'))
    with pytest.raises(
        RecordingError, match="a way in the recording cannot be followed: in step 1"
    ):
        read(path)


def row_with(ways: str, cap: int = 9) -> bytes:
    rest = f'"cap": {cap}, "cut_off": 0, "prompts": 1, "states": []'
    return zlib.compress(f'{{{rest}, "ways": {ways}}}'.encode())


DAMAGED = {
    "not compressed": b"?",
    "a list": zlib.compress(b"[]"),
    "another type": zlib.compress(b'{"cap": "3"}'),
    "nested deeply": zlib.compress(b"[" * 200_000),
    "no way": row_with("[5]"),
    "no names": row_with("[[null]]"),
    "a way in no list": row_with('["act"]'),
    "no states at most": row_with("[]", cap=0),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_row_is_one_line(recorded: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "it.sqlite"
    shutil.copy(recorded, path)
    rewrite(path, content)
    for use in (read, record, contents):
        with pytest.raises(RecordingError, match="is damaged: a lattice in it cannot be read"):
            use(path)


def rewrite(path: Path, content: bytes) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE lattice_tasks SET content = ?", (content,))
        database.commit()


def test_a_recording_that_lacks_a_table_of_its_lattices_is_damaged(
    recorded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "it.sqlite"
    shutil.copy(recorded, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE lattice_tasks")
    with pytest.raises(RecordingError, match=r"damaged: .* \('lattice_tasks'\); record it again"):
        read(path)


def test_a_lattice_of_other_prompts_is_refused(recorded: Path) -> None:
    other = Trails()
    other.prompts = type("Other", (type(other.prompts),), {"version": "trail/2"})()
    with pytest.raises(
        RecordingError, match="made with prompts trail/1, this version uses trail/2"
    ):
        read(recorded, Survey(other, Arms(ARMS)))
