"""A context rebuilt from an episode holds what was known then, and nothing of what came after."""

from __future__ import annotations

import pytest
from tests.learn.test_examples import CANDIDATES, EPISODE, STEP

from amp.benchmarks.labels import blinded, candidates_of, context_at
from amp.errors import InvalidInputError
from amp.types import Evidence, Probe


def test_before_the_first_round_only_the_look_is_known() -> None:
    at = context_at(EPISODE, 0)
    assert at.evidence == Evidence(probe=STEP.probe)
    assert at.steps == ()
    assert at.observation == STEP.observation


def test_the_candidates_asked_for_are_known_in_the_order_asked_for() -> None:
    assert candidates_of(STEP) == CANDIDATES
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
