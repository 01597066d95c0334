"""Filling a recording: what is asked, that nothing is asked twice, and what is told of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.recorded import ARMS, CARD, GSM8K, TASKS, answer

from amp.allocate.space import REALS, Space
from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.babyai import BabyAI
from amp.errors import InvalidInputError, ModelError, RecordingError
from amp.evaluate.record import Grid, arms_of, complete_tasks, corners, record_grid
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.recording import contents
from amp.models.recording_store import Store
from amp.models.scripted import ScriptedModel, random_model
from amp.simulate.build import table_from_recording
from amp.simulate.samples import Arm, SampleTable
from amp.types import Allocation, Task

GRID = Grid(GSM8K, arms_of(GSM8K), samples=4)
EVERY = {task.id for task in TASKS}


def model(path: Path, inner: ScriptedModel | None = None) -> RecordedModel:
    return RecordedModel(inner or ScriptedModel(answer, card=CARD), path, "auto")


def filled(path: Path, grid: Grid = GRID, tasks: list[Task] | None = None) -> ScriptedModel:
    """Records, and returns the model that was asked."""
    inner = ScriptedModel(answer, card=CARD)
    recorded = model(path, inner)
    failures = asyncio.run(record_grid(recorded, grid, TASKS if tasks is None else tasks))
    asyncio.run(recorded.close())
    assert failures == {}
    return inner


def complete_in(path: Path, grid: Grid = GRID) -> dict[str, frozenset[str]]:
    return asyncio.run(complete_tasks(path, grid, TASKS))


def table(path: Path) -> SampleTable:
    arms = [Arm(name, allocation) for name, allocation in ARMS.items()]
    return table_from_recording(path, GSM8K, TASKS, arms, samples=4)


def drawn(path: Path) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    """What the table has but for the time that tools took."""
    return [
        (row.task, arm, [(draw.candidate.text, draw.right) for draw in cell.samples])
        for row in table(path).tasks
        for arm, cell in row.by_arm.items()
    ]


# --------------------------------------------------------------------------- what is asked


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    def bounds(least: float, most: float) -> st.SearchStrategy[tuple[float, float]]:
        return st.tuples(*[st.sampled_from((least, most))] * 2).map(lambda b: (min(b), max(b)))

    return Space(
        depth=draw(st.sampled_from([(0, 0), (0, 2), (1, 4)])),
        temperature=draw(bounds(0.0, 0.7)),
        top_p=draw(bounds(0.9, 1.0)),
        beam_width=draw(st.sampled_from([(1, 1), (1, 3), (2, 2)])),
        verification=draw(st.sampled_from([(0, 0), (0, 1), (2, 3)])),
        tools=draw(st.frozensets(st.sampled_from(["map", "python"]))),
    )


@given(spaces())
def test_every_corner_lies_in_the_space_and_none_is_left_out(space: Space) -> None:
    found = corners(space)
    for allocation in found.values():
        space.latents(allocation)  # refuses what lies outside
    ends = {name: len({*getattr(space, name)}) for name in REALS}
    sampling = sum(ends["top_p"] if t else 1 for t in {*space.temperature})  # greedy: one top_p
    others = ends["depth"] * ends["beam_width"] * ends["verification"] * 2 ** len(space.tools)
    assert len(set(found.values())) == len(found) == sampling * others


def test_a_corner_is_named_by_what_differs() -> None:
    space = Space((0, 2), (0.7, 0.7), (1.0, 1.0), (1, 3), (1, 1), frozenset({"python"}))
    found = corners(space)
    assert found["depth 2, 3 beams, python"] == Allocation(2, 0.7, 1.0, 3, space.tools, 1)
    assert "depth 0, 1 beam, no tools" in found


@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - {"gsm8k"}))
def test_the_best_fixed_allocation_that_we_know_is_a_corner(name: str) -> None:
    defaults = load_benchmark(name).defaults
    assert defaults.fixed in corners(defaults.space).values()


def test_an_unknown_arm_is_named_with_those_that_there_are() -> None:
    assert list(arms_of(GSM8K, ["chain"])) == ["chain"]
    with pytest.raises(InvalidInputError, match=r"'chian'; did you mean 'chain'\?.*program; chain"):
        arms_of(GSM8K, ["chian"])


def test_samples_have_to_fit_an_allocation() -> None:
    with pytest.raises(InvalidInputError, match="samples is 257, expected 1 to 256"):
        Grid(GSM8K, ARMS, 257)


# --------------------------------------------------------------------------- asking


def test_each_arm_is_asked_once_a_task_with_all_its_samples(tmp_path: Path) -> None:
    inner = filled(tmp_path / "pool.sqlite")
    assert [(r.n, r.first_sample) for r in inner.requests] == [(4, 0)] * 6
    goals = [r.prompt.messages[-1].content for r in inner.requests]
    asked_of = [[task.goal in goal for goal in goals].index(True) for task in TASKS]
    assert asked_of == [0, 2, 4]  # a task has all arms before the next one begins


def test_what_is_recorded_tabulates_with_all_its_samples(tmp_path: Path) -> None:
    filled(tmp_path / "pool.sqlite")
    draws = table(tmp_path / "pool.sqlite")
    assert {row.task for row in draws.tasks} == EVERY
    assert draws.samples == {"program": 4, "chain": 4}
    assert draws.shared_prompt


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_parts_of_the_tasks_make_the_same_recording_as_all_at_once(
    tmp_path: Path, jobs: int
) -> None:
    whole, parts = tmp_path / "whole.sqlite", tmp_path / "parts.sqlite"
    filled(whole)
    recorded = model(parts)
    for shard in (TASKS[1::2], TASKS[0::2]):
        asyncio.run(record_grid(recorded, GRID, shard, jobs))
    asyncio.run(recorded.close())
    assert drawn(parts) == drawn(whole)


def test_nothing_is_asked_twice_and_more_samples_only_for_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    filled(path, replace(GRID, samples=3))
    assert complete_in(path, replace(GRID, samples=3)) == {"program": EVERY, "chain": EVERY}
    assert complete_in(path) == {"program": set(), "chain": set()}
    more = filled(path)
    assert {(r.n, r.first_sample) for r in more.requests} == {(1, 3)}
    assert filled(path).requests == []


def test_an_interruption_leaves_complete_tasks_and_costs_only_those_under_way(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pool.sqlite"

    def stop(under_way: asyncio.Task[None]) -> None:
        under_way.cancel()

    async def interrupted() -> None:
        recorded = model(path)
        task = asyncio.current_task()
        assert task is not None
        with suppress(asyncio.CancelledError):
            await record_grid(recorded, GRID, TASKS, on_task=lambda _: stop(task))
        await recorded.close()

    asyncio.run(interrupted())
    there = complete_in(path)
    assert {TASKS[0].id} <= there["program"] & there["chain"] < EVERY
    assert 0 < len(filled(path).requests) < 6
    assert complete_in(path) == {"program": EVERY, "chain": EVERY}


def test_a_task_on_which_the_model_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"

    def fails(prompt: Prompt, index: int) -> str:
        if TASKS[1].goal in prompt.messages[-1].content and "Python" in str(prompt.messages):
            raise ModelError("the server is away")
        return answer(prompt, index)

    failures = asyncio.run(record_grid(model(path, ScriptedModel(fails, card=CARD)), GRID, TASKS))
    assert failures == {TASKS[1].id: "the server is away"}
    assert complete_in(path) == {"program": EVERY - {TASKS[1].id}, "chain": EVERY}
    assert len(filled(path).requests) == 1


def test_a_model_that_is_not_there_ends_it(tmp_path: Path) -> None:
    def fails(prompt: Prompt, index: int) -> str:
        raise ModelError("connection refused")

    inner = ScriptedModel(fails)
    with pytest.raises(ModelError, match="3 tasks in a row .* connection refused"):
        asyncio.run(record_grid(model(tmp_path / "p.sqlite", inner), GRID, GSM8K.tasks("demo")))
    assert len(inner.requests) == 6


def test_no_jobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="jobs is 0"):
        asyncio.run(record_grid(model(tmp_path / "p.sqlite"), GRID, TASKS, jobs=0))


# --------------------------------------------------------------------------- several steps


def test_arms_of_several_steps_are_played_for_whole_episodes(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    benchmark = BabyAI("BabyAI-GoToObj-v0", max_steps=3)
    grid = Grid(benchmark, arms_of(benchmark), samples=4)
    tasks = benchmark.tasks("test", 2)
    recorded = model(path, random_model())
    asyncio.run(record_grid(recorded, grid, tasks[:1]))
    asyncio.run(recorded.close())
    assert asyncio.run(complete_tasks(path, grid, tasks)) == {
        arm: {tasks[0].id} for arm in grid.arms
    }


def test_an_arm_that_draws_is_played_on_a_seed_for_each_sample() -> None:
    benchmark = BabyAI("BabyAI-GoToObj-v0")
    arms = {"greedy": Allocation(), "drawn": Allocation(temperature=1.0)}
    grid, task = Grid(benchmark, arms, samples=3), Task("t", "go", seed=7)
    assert [play.seed for play in grid.plays(task, "drawn")] == [7, 8, 9]
    assert list(grid.plays(task, "greedy")) == [task]
    once = Grid(GSM8K, ARMS, samples=3)  # its samples share one prompt
    assert list(once.plays(task, "program")) == [task]


# --------------------------------------------------------------------------- what is there


def test_the_contents_are_what_was_asked_and_answered(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    inner = filled(path, replace(GRID, probes=frozenset({"hidden", "next_token"})))
    found = contents(path)
    assert (found.model, found.prompts) == (CARD, (GSM8K.prompts.version,))
    assert (found.requests, found.samples) == (6, {4: 6})
    assert (found.probes, found.hidden, found.scores) == (3, 3, 0)
    assert found.tool_runs == Store(path, write=False).sizes()["tool_uses"] > 0
    written = sum(
        draw.usage.completion_tokens
        for row in table(path).tasks
        for cell in row.by_arm.values()
        for draw in cell.samples
    )
    assert found.completion_tokens == written + 3  # and one token a probe
    read = sum(asyncio.run(inner.count_tokens(r.prompt)) for r in inner.requests)
    read += sum(asyncio.run(inner.count_tokens(prompt)) for prompt in inner.probes)
    assert found.prompt_tokens == read
    assert found.file_bytes == path.stat().st_size


def test_other_prompts_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    filled(path)
    store = Store(path, write=True)
    store.set_version("gsm8k", "gsm8k/0")
    store.close()
    with pytest.raises(RecordingError, match="made with prompts gsm8k/0, this version uses"):
        complete_in(path)
    text = tmp_path / "text.sqlite"
    text.write_text("no recording, but long enough to be taken for the head of a file" * 9)
    with pytest.raises(RecordingError, match=r"text\.sqlite is damaged or no recording"):
        contents(text)
    Store(tmp_path / "new.sqlite", write=True).close()
    with pytest.raises(RecordingError, match="is empty"):
        contents(tmp_path / "new.sqlite")
