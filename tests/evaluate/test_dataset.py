"""Episodes come from runs and recordings, and only what belongs together is joined."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, RecordingError
from amp.evaluate.record import EpisodeDataset, benchmark_of
from amp.models.base import ModelCard
from amp.types import Episode, Task, Usage

ROOT = Path(__file__).parents[2]
CARD = ModelCard("small", "ab")
BABYAI = load_benchmark("babyai")


def dataset(*tasks: str, card: ModelCard = CARD) -> EpisodeDataset:
    made = tuple(Episode(Task(t, "g"), (), True, 1.0, Usage(), "done") for t in tasks)
    return EpisodeDataset(made, BABYAI, card)


def test_a_recording_gives_the_episodes_that_it_holds_and_no_others() -> None:
    recording = ROOT / "recordings" / "babyai.sqlite"
    found = EpisodeDataset.from_recording(recording, BABYAI, BABYAI.tasks("test", 25))
    assert [e.task.id.rpartition("/")[2] for e in found.episodes] == [str(n) for n in range(20)]
    assert found.card.name == "qwen2.5-coder-1.5b"
    assert benchmark_of(recording) == "babyai"
    with pytest.raises(RecordingError, match="answers to none of these tasks of babyai"):
        EpisodeDataset.from_recording(recording, BABYAI, BABYAI.tasks("dev", 2))


def test_sources_of_one_model_and_benchmark_are_joined_in_order() -> None:
    assert [
        e.task.id for e in EpisodeDataset.merge([dataset("a", "b"), dataset("c")]).episodes
    ] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (dataset("a"), "task a comes twice"),
        (dataset("b", card=ModelCard("large")), "with model small and with large"),
        (replace(dataset("b"), benchmark=load_benchmark("gsm8k")), "runs of babyai and of gsm8k"),
    ],
)
def test_what_does_not_belong_together_is_refused(other: EpisodeDataset, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        EpisodeDataset.merge([dataset("a"), other])


def test_a_run_without_episodes_or_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no run at"):
        EpisodeDataset.from_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"benchmark": "gsm8k"}))
    with pytest.raises(InvalidInputError, match="does not say what was run: 'model'"):
        EpisodeDataset.from_run(tmp_path)
    (tmp_path / "run.json").write_text(
        json.dumps({"benchmark": "gsm8k", "model": {"name": "small"}})
    )
    (tmp_path / "episodes.jsonl").write_text("")
    with pytest.raises(InvalidInputError, match="has no episodes"):
        EpisodeDataset.from_run(tmp_path)


@given(st.sets(st.text(max_size=8), min_size=3, max_size=40))
def test_a_third_of_the_tasks_is_held_out_whatever_their_order(tasks: set[str]) -> None:
    inside, outside = dataset(*sorted(tasks)).train_test_split()
    ids = [{e.task.id for e in side.episodes} for side in (inside, outside)]
    assert ids[0] | ids[1] == tasks
    assert not ids[0] & ids[1]
    assert len(ids[1]) == len(tasks) // 3
    again = dataset(*sorted(tasks, reverse=True)).train_test_split()[1]
    assert {e.task.id for e in again.episodes} == ids[1]


def test_two_tasks_are_too_few_to_hold_one_out() -> None:
    with pytest.raises(InvalidInputError, match="2 tasks, expected at least 3"):
        dataset("a", "b").train_test_split()
