"""What rounds tell, and how far the goal still is."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import RIDDLE, context

from amp.assess import evidence as rounds
from amp.assess.evidence import goal_distance, remaining_quantities, remaining_words, stand_ins
from amp.assess.features import observe
from amp.assess.text import numbers
from amp.assess.uncertainty import MAX_DIVERGENCE, answer_entropy, divergence, saturating
from amp.types import (
    Candidate,
    Complexity,
    Evidence,
    Observation,
    Probe,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

candidates = st.lists(
    st.builds(
        Candidate,
        text=st.sampled_from(["", "2 + 3", "two", "x"]),
        action=st.sampled_from([None, "a", "b", "c"]),
        cut_off=st.booleans(),
        broken_rule=st.sampled_from([None, "rule"]),
    ),
    max_size=7,
)
evidences = candidates.map(lambda made: Evidence(tuple(made), 1))


def answers(*actions: str | None) -> Evidence:
    return Evidence(tuple(Candidate("", action) for action in actions), 1)


@given(evidences)
def test_shares_lie_between_zero_and_one(evidence: Evidence) -> None:
    for value in (
        rounds.margin(evidence),
        rounds.cut_off(evidence),
        rounds.unread(evidence),
        rounds.unused(evidence, "2 of 3"),
    ):
        assert value is None or 0.0 <= value <= 1.0


@given(evidences)
def test_the_margin_is_no_larger_than_the_agreement(evidence: Evidence) -> None:
    margin, agreement = rounds.margin(evidence), evidence.agreement
    assert (margin is None) == (agreement is None)
    assert margin is None or agreement is None or margin <= agreement


@given(evidences)
def test_entropy_in_nats_is_the_share_times_its_largest(evidence: Evidence) -> None:
    nats, share = rounds.answer_nats(evidence), answer_entropy(evidence)
    assert (nats is None) == (share is None)
    if nats is not None and share is not None:
        assert nats == pytest.approx(share * math.log(len(evidence.candidates)))


@given(evidences)
def test_one_more_candidate_moves_the_answers_by_a_finite_divergence(evidence: Evidence) -> None:
    moved = rounds.answer_divergence(evidence)
    assert (moved is None) == (len(evidence.candidates) < 2)
    assert moved is None or 0.0 <= moved <= MAX_DIVERGENCE


def test_a_candidate_that_confirms_moves_less_than_one_that_differs() -> None:
    assert rounds.answer_divergence(answers("a", "a")) == 0.0
    assert rounds.answer_divergence(answers("a", "b", "b")) == pytest.approx(
        divergence({"a": 1, "b": 2}, {"a": 1, "b": 1})
    )
    silent = rounds.answer_divergence(answers("a", None))
    assert silent == pytest.approx(divergence({"a": 1, "": 1}, {"a": 1}))


def test_nothing_is_known_before_a_round() -> None:
    evidence = Evidence()
    assert rounds.margin(evidence) is None
    assert rounds.log_prob(evidence) is None
    assert rounds.answer_tokens(evidence) is None
    assert rounds.unused(evidence, "2") is None
    assert next(stand_ins(evidence)).value is None


def test_means_run_over_the_candidates_that_tell() -> None:
    first = Candidate("", "a", -2.0, 0.2, completion_tokens=3, cut_off=True, p_correct=0.9)
    second = Candidate("", None, -4.0, completion_tokens=5)
    evidence = Evidence((first, second), 1)
    assert rounds.log_prob(evidence) == -3.0
    assert rounds.token_entropy(evidence) == 0.2
    assert rounds.answer_tokens(evidence) == 4.0
    assert rounds.cut_off(evidence) == 0.5
    assert rounds.unread(evidence) == 0.5
    assert rounds.unread(answers("a", None, "b", "b")) == 0.25
    assert rounds.p_correct(evidence) == 0.9
    assert rounds.margin(evidence) == 0.5
    assert rounds.answer_perplexity(evidence) == pytest.approx(math.exp(6 / 8))


@pytest.mark.parametrize("told", [math.nan, 0.5, math.inf])
def test_a_perplexity_of_no_log_probabilities_is_nan(told: float) -> None:
    evidence = Evidence((Candidate("", "a", told, completion_tokens=2),), 1)
    assert math.isnan(rounds.answer_perplexity(evidence) or 0.0)


def test_a_value_that_cannot_be_is_not_averaged_away() -> None:
    evidence = Evidence((Candidate("", "a", -9.0, 0.1), Candidate("", "a", 5.0, 99.0)), 1)
    assert rounds.log_prob(evidence) == 5.0
    assert rounds.token_entropy(evidence) == 99.0


def test_numbers_that_no_candidate_uses_count_as_unused() -> None:
    evidence = Evidence((Candidate("a = 2 * 3", "6"), Candidate("2", "2"), Candidate(" ", "1")), 1)
    assert rounds.unused(evidence, "2 of 3") == 0.25
    assert rounds.unused(evidence, "no numbers") is None


def test_stand_ins_follow_the_answers() -> None:
    known = {one.feature: one.value for one in stand_ins(answers("a", "a", "b", "c"))}
    nats = 1.5 * math.log(2)
    assert known["entropy"] == known["token_entropy"] == pytest.approx(nats)
    assert known["perplexity"] == pytest.approx(math.exp(nats))
    assert known["log_prob"] == math.log(0.5)
    assert known["choice_entropy"] == pytest.approx(0.75)
    assert known["choice_margin"] == 0.25


def test_no_agreement_stands_for_no_log_probability() -> None:
    assert "log_prob" not in {one.feature for one in stand_ins(answers(None, None))}


@given(st.lists(st.tuples(st.floats(-1e3, 0), st.integers(0, 50)), max_size=5))
def test_perplexity_is_at_least_one_and_one_for_certainty(told: list[tuple[float, int]]) -> None:
    def evidence(scale: float) -> Evidence:
        return Evidence(
            tuple(Candidate("", "a", scale * value, completion_tokens=n) for value, n in told), 1
        )

    found, certain = (rounds.answer_perplexity(evidence(scale)) for scale in (1.0, 0.0))
    assert (found is None) == (not any(n for _, n in told))
    assert found is None or found >= 1.0
    assert certain in (None, 1.0)


def test_the_first_round_shows_the_entropy_of_the_next_token() -> None:
    one, two = Candidate("", "a", first_entropy=0.5), Candidate("", "b", first_entropy=0.7)
    assert rounds.first_entropy(Evidence((one, two))) == pytest.approx(0.6)
    assert rounds.first_entropy(Evidence((Candidate("", "a"),))) is None
    shown = observe(replace(context(RIDDLE), evidence=Evidence((one,), 1)))
    assert shown.values["entropy"] == 0.5
    assert "entropy" not in shown.substituted
    probed = Evidence((one,), 1, Probe(entropy=0.2))
    assert observe(replace(context(RIDDLE), evidence=probed)).values["entropy"] == 0.2


# --------------------------------------------------------------------------- d lies in [0, 1], is t


NUMBERS = "quantities in the goal for its distance"
WORDS = "words in the goal for its distance"
token = st.sampled_from(["2", "two", "2.0", "3", "1,200", "1200", "dozen", "dogs", "and", "x"])
phrases = st.lists(token, max_size=8).map(" ".join)


def step(action: str | None) -> StepRecord:
    return StepRecord(Observation(), (), Complexity(0.5), action, Usage())


def planned(goal: str, state: str, *actions: str | None) -> StepContext:
    return StepContext(Task("t", goal), Observation(state), tuple(map(step, actions)))


@given(st.text(), st.text(), st.text(), st.none() | st.floats())
def test_distance_stays_in_bounds(
    goal: str, state: str, action: str, distance: float | None
) -> None:
    at = StepContext(Task("t", goal), Observation(state, distance=distance), (step(action),))
    assert 0.0 <= goal_distance(at)[0] <= 1.0


@given(st.text(min_size=1).filter(numbers) | phrases.filter(numbers))
def test_before_anything_is_said_the_goals_numbers_are_its_distance(goal: str) -> None:
    assert goal_distance(planned(goal, "")) == (saturating(len(numbers(goal)), 4.0), NUMBERS)


@given(phrases, phrases, phrases, phrases)
def test_saying_more_brings_the_goal_no_further_away(
    goal: str, state: str, action: str, more: str
) -> None:
    before, _ = goal_distance(planned(goal, state, action))
    assert goal_distance(planned(goal, f"{state} {more}", action))[0] <= before
    assert goal_distance(planned(goal, state, action, more))[0] <= before
    assert goal_distance(planned(goal, f"{state} {goal}"))[0] == 0.0


@given(phrases, phrases)
def test_what_remains_is_a_part_of_the_goal_in_its_order(goal: str, text: str) -> None:
    left = remaining_quantities(goal, text)
    wanted = iter(numbers(goal))
    assert all(number in wanted for number in left)
    assert Counter(left) <= Counter(numbers(goal))
    assert remaining_quantities(goal, goal) == []
    assert remaining_quantities(goal, text, text) == left


def test_each_mention_counts_and_words_are_numbers() -> None:
    assert remaining_quantities("2 of 2 and two", "two") == ["2", "two"]
    assert remaining_quantities("1,200 and a dozen, 2.50", "1200 eggs, 12 and 2.5") == []
    assert remaining_quantities("9" * 5000, "") == ["9" * 5000]


def test_a_goal_without_numbers_is_measured_by_its_words() -> None:
    goal = "go to the red ball and open the box"
    assert remaining_words(goal, "") == ["go", "red", "ball", "open", "box"]
    assert goal_distance(planned(goal, "", None)) == (5 / 9, WORDS)
    assert goal_distance(planned(goal, "a red ball", "open")) == (2 / 6, WORDS)


def test_state_and_plan_that_say_the_same_are_not_added_up() -> None:
    assert goal_distance(planned("2 and 2", "I take 2", "I take 2"))[0] == 1 / 5
    assert goal_distance(planned("2 and 3", "I take 2", "I take 3"))[0] == 0.0


def test_the_environments_estimate_comes_first_and_is_cut_to_its_bounds() -> None:
    assert goal_distance(context(observation=Observation(distance=0.4))) == (0.4, None)
    assert goal_distance(context(observation=Observation(distance=-1))) == (0.0, None)
    assert goal_distance(context(observation=Observation(distance=3))) == (1.0, None)


@pytest.mark.parametrize("distance", [math.nan, math.inf])
def test_an_estimate_that_is_no_number_is_not_believed(distance: float) -> None:
    at = context(Task("t", "5 of 10"), Observation(distance=distance))
    assert goal_distance(at) == (2 / 6, NUMBERS)
