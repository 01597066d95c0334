"""Annotated steps meet the evidence that they speak of; no step weighs more than another."""

from __future__ import annotations

import pytest
from tests.fakes.worlds import RIDDLE

from amp.annotations.store import Annotation
from amp.assess.text import structural
from amp.learn.pretrain import BLINDED_WEIGHT, examples
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Observation,
    Probe,
    Round,
    StepRecord,
    Usage,
)

CANDIDATES = (
    Candidate("8 legs", "8", log_prob=-1.0, entropy=0.1, completion_tokens=2),
    Candidate("six", "6", log_prob=-9.0, entropy=0.9, completion_tokens=9),
)
ROUND = Round(Complexity(0.5), Allocation(beam_width=2), 0.0, CANDIDATES, Usage())
STEP = StepRecord(
    Observation("a web"),
    (ROUND,),
    Complexity(0.5),
    "8",
    Usage(),
    probe=Probe(entropy=0.7, hidden=(1.0, 2.0)),
)
EPISODE = Episode(RIDDLE, (STEP,), True, 1.0, Usage(), "done")


def said(complexity: float, *candidates: int, step: int = 0, task: str = RIDDLE.id) -> Annotation:
    return Annotation(task, step, complexity, "person:ann", RIDDLE.goal, "a web", candidates)


def test_an_annotation_meets_the_evidence_that_it_knew() -> None:
    before, _, alone, _, both, _ = examples(
        [said(0.5), said(1.0, 1), said(0.0, 0, 1)], [EPISODE], structural
    )
    assert before.observed.values["entropy"] == 0.7
    assert "log_prob" not in before.observed.values
    assert alone.observed.values["log_prob"] == -9.0
    assert both.observed.values["log_prob"] == -5.0
    assert [e.candidates for e in (before, alone, both)] == [0, 1, 2]
    assert [e.complexity for e in (before, alone, both)] == [0.5, 1.0, 0.0]
    assert before.hidden == (1.0, 2.0)


def test_each_comes_a_second_time_as_a_black_box_would_leave_it() -> None:
    seen, blind = examples([said(1.0, 0, 1)], [EPISODE], structural)
    assert (seen.weight, blind.weight) == (1.0, BLINDED_WEIGHT)
    assert blind.hidden == ()
    assert "log_prob" in blind.observed.substituted
    assert blind.observed.values["agreement"] == seen.observed.values["agreement"]


def test_what_is_said_of_one_state_by_many_counts_once() -> None:
    made = examples([said(0.0), said(1.0), said(1.0, 0), said(1.0, 1)], [EPISODE], structural)
    assert sum(e.weight for e in made if e.candidates == 0) == pytest.approx(1 + BLINDED_WEIGHT)
    assert sum(e.weight for e in made if e.candidates == 1) == pytest.approx(1 + BLINDED_WEIGHT)


@pytest.mark.parametrize("note", [said(0.3, task="elsewhere"), said(0.3, step=4)])
def test_a_step_that_no_episode_holds_is_taken_at_its_annotations_words(note: Annotation) -> None:
    (made,) = examples([note], [EPISODE], structural)
    assert made.observed.values["words"] == len(f"{RIDDLE.goal} a web".split())
    assert made.hidden == ()
    assert "entropy" not in made.observed.values
