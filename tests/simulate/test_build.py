"""A table holds what the planner sees of a recording, and says what a recording lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.recorded import CARD, CHAIN, GSM8K, PROGRAM, TASKS, answer, record, replayed

from amp.allocate.base import FixedAllocator
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, RecordingError
from amp.models.scripted import tokens
from amp.simulate.build import opening_contexts, table_from_recording
from amp.simulate.samples import Arm
from amp.types import Usage

ARMS = [PROGRAM, CHAIN]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    recording = tmp_path / "recording.sqlite"
    record(recording, ARMS)
    return recording


@pytest.mark.parametrize("arm", ARMS)
def test_the_answers_are_to_the_letter_those_that_a_planner_sees(path: Path, arm: Arm) -> None:
    table = table_from_recording(path, GSM8K, TASKS, ARMS, 4)
    for samples in (1, 4):
        wide = FixedAllocator(replace(arm.allocation, beam_width=samples))
        for row, episode in zip(table.tasks, replayed(path, wide), strict=True):
            drawn = tuple(draw.candidate for draw in row.by_arm[arm.name].samples[:samples])
            assert drawn == episode.steps[0].candidates


def test_draws_say_what_is_right_and_what_each_took(path: Path) -> None:
    table = table_from_recording(path, GSM8K, TASKS, ARMS, 4)
    assert (table.benchmark, table.prompts, table.card) == ("gsm8k", "gsm8k/1", CARD)
    assert table.samples == {"program": 4, "chain": 4}
    first = table.tasks[0]
    assert [draw.right for draw in first.by_arm["program"].samples] == [True, False, False, True]
    assert [draw.right for draw in first.by_arm["chain"].samples] == [False, True, True, False]
    context = opening_contexts(GSM8K, TASKS)[first.task]
    for arm in ARMS:
        prompt = GSM8K.prompts.solve(context, arm.allocation)
        lengths = [len(tokens(answer(prompt, index))) for index in range(4)]
        written = [draw.usage.completion_tokens for draw in first.by_arm[arm.name].samples]
        assert [abs(a - b) for a, b in zip(lengths, written, strict=True)] <= [3] * 4
        assert first.by_arm[arm.name].cached[1:] == (first.by_arm[arm.name].prompt_tokens,) * 3


def test_what_was_looked_at_is_kept_with_its_cost(path: Path) -> None:
    with pytest.raises(RecordingError, match="none of these tasks"):
        table_from_recording(path, GSM8K, TASKS, ARMS, 4, probes=frozenset({"next_token"}))
    table = table_from_recording(path, GSM8K, TASKS, ARMS, 4)
    assert {(row.probe, row.probe_usage) for row in table.tasks} == {(None, Usage())}


def test_tasks_that_lack_an_arm_are_refused_or_left_out(path: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial.sqlite"
    record(partial, [PROGRAM])
    record(partial, [CHAIN], tasks=TASKS[:2])
    with pytest.raises(RecordingError, match="not 4 samples of arm chain for 1 of 3 tasks, such"):
        table_from_recording(partial, GSM8K, TASKS, ARMS, 4)
    kept = table_from_recording(partial, GSM8K, TASKS, ARMS, 4, incomplete="leave out")
    assert [row.task for row in kept.tasks] == [task.id for task in TASKS[:2]]
    with pytest.raises(RecordingError, match="has 5 samples of program, chain for none of these"):
        table_from_recording(partial, GSM8K, TASKS, ARMS, 5)


def test_tasks_that_are_not_recorded_at_all_are_left_out(path: Path) -> None:
    more = GSM8K.tasks("demo", 5)
    assert len(table_from_recording(path, GSM8K, more, ARMS, 4).tasks) == len(TASKS)


def test_what_makes_no_table_is_refused(path: Path) -> None:
    twin = Arm("twin", replace(PROGRAM.allocation, temperature=0.9))
    with pytest.raises(InvalidInputError, match="arms program and twin ask the same prompt"):
        table_from_recording(path, GSM8K, TASKS, [PROGRAM, twin], 4)
    with pytest.raises(InvalidInputError, match="expected 1"):
        table_from_recording(path, GSM8K, [*TASKS, replace(TASKS[0], seed=1)], ARMS, 4)
    babyai = load_benchmark("babyai")
    with pytest.raises(InvalidInputError, match="tasks of one plan step, those of babyai have up"):
        table_from_recording(path, babyai, babyai.tasks("dev", 1), ARMS, 4)
    unknown = [replace(task, data={"steps": 1}) for task in TASKS]
    with pytest.raises(InvalidInputError, match="task gsm8k/demo/0 has no known answer"):
        table_from_recording(path, GSM8K, unknown, ARMS, 4)
