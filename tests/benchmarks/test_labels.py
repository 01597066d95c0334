"""What a judge says of an episode, and contexts that hold what was known then."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.learn.test_examples import CANDIDATES, EPISODE, STEP

from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import (
    StepLabels,
    blinded,
    cheapest,
    context_at,
    failure_rate,
    label_steps,
    settling,
)
from amp.errors import InvalidInputError
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Evidence,
    Observation,
    Probe,
    Round,
    StepRecord,
    Task,
    Usage,
)

VERDICTS = {"right": False, "wrong": True, "unclear": None, None: True}


class ListJudge:
    """Says what a list says, and remembers what it was asked and told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str | None]] = []

    def mistaken(self, action: str | None) -> bool | None:
        self.heard.append(("asked", action))
        return VERDICTS[action]

    def advance(self, action: str) -> None:
        self.heard.append(("done", action))


def step(*rounds: list[str | None], action: str | None = "right") -> StepRecord:
    executed = tuple(
        Round(Complexity(0.0), Allocation(), 0.0, tuple(Candidate("", a) for a in one), Usage())
        for one in rounds
    )
    return StepRecord(Observation("a room"), executed, Complexity(0.0), action, Usage())


def judged(*steps: StepRecord) -> tuple[Episode, tuple[StepLabels, ...], ListJudge]:
    judge = ListJudge()
    episode = Episode(Task("t", "go"), steps, True, 1.0, Usage(), "done")
    benchmark = cast(Benchmark, SimpleNamespace(judge=lambda task: judge))
    return episode, label_steps(episode, benchmark), judge


actions = st.lists(st.sampled_from(list(VERDICTS)), max_size=6)
episodes = st.lists(st.builds(step, actions, actions), max_size=3).map(lambda s: judged(*s))


def test_each_candidate_is_judged_in_the_state_of_its_step_and_equal_actions_once() -> None:
    _, found, judge = judged(
        step(["right", "wrong"], ["right", None]), step(["wrong"], action=None), step([])
    )
    assert found == (
        StepLabels(0, (False, True, False, True)),
        StepLabels(1, (True,)),
        StepLabels(2, ()),
    )
    assert judge.heard == [
        *(("asked", action) for action in ("right", "wrong", None)),
        ("done", "right"),
        ("asked", "wrong"),
        ("done", "right"),
    ]


@given(episodes)
def test_every_annotation_lies_between_0_and_1_and_says_what_it_is_about(
    case: tuple[Episode, tuple[StepLabels, ...], ListJudge],
) -> None:
    episode, found, _ = case
    for rule in (failure_rate, cheapest, settling):
        for annotation in rule(episode, found):
            assert 0.0 <= annotation.complexity <= 1.0
            assert annotation.by == f"rule:{rule.__name__}"
            assert (annotation.task, annotation.goal) == ("t", "go")
            assert annotation.state == "a room"
            assert max(annotation.candidates, default=-1) < len(found[annotation.step].mistaken)


@given(st.lists(st.sampled_from(["unclear"]), max_size=4))
def test_what_nobody_can_tell_is_left_out(unclear: list[str | None]) -> None:
    episode, found, _ = judged(step(unclear))
    assert (
        failure_rate(episode, found) == cheapest(episode, found) == settling(episode, found) == []
    )


def test_the_failure_rate_is_the_share_of_mistakes_among_what_can_be_told() -> None:
    episode, found, _ = judged(step(["right", "wrong", "unclear"], [None]))
    assert [a.complexity for a in failure_rate(episode, found)] == [pytest.approx(2 / 3)]


@pytest.mark.parametrize(
    ("candidates", "complexity"),
    [
        (["right"], 0.0),
        (["right", "wrong", "wrong"], 0.0),
        ([None, "right"], math.log(2) / math.log(4)),
        (["wrong", "right", "right"], math.log(3) / math.log(6)),
        (["wrong"], 1.0),
        (["wrong", "right", "wrong"], 1.0),
    ],
)
def test_the_cheapest_is_the_first_vote_that_is_right(
    candidates: list[str | None], complexity: float
) -> None:
    episode, found, _ = judged(step(candidates))
    assert [a.complexity for a in cheapest(episode, found)] == [pytest.approx(complexity)]


def test_settling_asks_whether_to_act_on_what_is_known_fails() -> None:
    episode, found, _ = judged(step(["wrong", "right"], ["right"]))
    assert [(a.candidates, a.complexity) for a in settling(episode, found)] == [
        ((), pytest.approx(1 / 3)),
        ((0,), 1.0),
        ((1,), 0.0),
        ((2,), 0.0),
        ((0, 1), 1.0),
        ((0, 1, 2), 0.0),
    ]


def test_before_the_first_round_only_the_look_is_known() -> None:
    at = context_at(EPISODE, 0)
    assert at.evidence == Evidence(probe=STEP.probe)
    assert at.steps == ()
    assert at.observation == STEP.observation


def test_the_candidates_asked_for_are_known_in_the_order_asked_for() -> None:
    assert STEP.candidates == CANDIDATES
    assert context_at(EPISODE, 0, (1,)).evidence.candidates == (CANDIDATES[1],)
    assert context_at(EPISODE, 0, (0, 1)).evidence.candidates == CANDIDATES


def test_a_black_box_shows_texts_and_actions_alone() -> None:
    blind = blinded(context_at(EPISODE, 0, (0, 1)))
    assert blind.evidence.probe is None
    for silent, told in zip(blind.evidence.candidates, CANDIDATES, strict=True):
        assert (silent.text, silent.action) == (told.text, told.action)
        assert (silent.log_prob, silent.entropy, silent.first_entropy) == (None, None, None)
    assert blinded(blind) == blind


@pytest.mark.parametrize(("step", "candidates"), [(1, ()), (-1, ()), (0, (2,)), (0, (-1,))])
def test_what_the_episode_does_not_hold_is_refused(step: int, candidates: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="of riddle has"):
        context_at(EPISODE, step, candidates)


def test_the_look_is_kept_with_the_step() -> None:
    assert STEP.probe == Probe(entropy=0.7, hidden=(1.0, 2.0))
