"""Features lie in [0, 1], know their limits, and the weighted sum is what spec 2.2 says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.worlds import context

from amp.assess.assessor import WeightedAssessor
from amp.assess.goal import goal_distance
from amp.assess.language import quantities, reasoning_indicators
from amp.assess.uncertainty import answer_entropy, saturating, uncertainty
from amp.errors import InvalidInputError
from amp.types import Candidate, Evidence, Observation, StepContext, Task

weight = st.floats(0, 10)
candidates = st.lists(
    st.builds(
        Candidate,
        text=st.just(""),
        action=st.sampled_from([None, "a", "b"]),
        entropy=st.none() | st.floats(0, 12),
        probability=st.none() | st.floats(0, 1),
    ),
    max_size=6,
).map(tuple)
evidences = st.builds(Evidence, candidates, st.integers(0, 4), st.none() | st.floats(0, 1))
contexts = st.builds(
    StepContext,
    st.builds(Task, st.just("t"), st.text(max_size=60)),
    st.builds(Observation, st.text(max_size=20), distance=st.none() | st.floats(-1, 2)),
    evidence=evidences,
)


@given(contexts, weight, weight, weight)
def test_the_score_is_a_weighted_mean_and_stays_in_bounds(
    at: StepContext, alpha: float, beta: float, gamma: float
) -> None:
    if alpha + beta + gamma < 1e-6:
        return
    complexity = WeightedAssessor(alpha, beta, gamma).assess(at)
    assert -1e-9 <= complexity.score <= 1 + 1e-9
    assert all(0.0 <= value <= 1.0 + 1e-9 for value in complexity.features.values())


def test_alpha_beta_gamma_weigh_uncertainty_indicators_distance() -> None:
    at = replace(
        context(Task("t", "if not, why"), Observation(distance=0.25)),
        evidence=Evidence(probe_entropy=0.5),
    )
    indicators = reasoning_indicators("if not, why")
    got = WeightedAssessor(0.5, 0.3, 0.2).assess(at)
    assert got.score == pytest.approx(0.5 * 0.5 + 0.3 * indicators + 0.2 * 0.25)
    assert got.substitutes == ()


def test_a_missing_feature_leaves_its_weight_to_the_others() -> None:
    at = context(Task("t", "plain words"), Observation(distance=0.6))
    got = WeightedAssessor(0.7, 0.0, 0.1).assess(at)
    assert "uncertainty" not in got.features
    assert got.score == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("weights", "named"),
    [((-1, 0, 1), "alpha"), ((0, float("nan"), 1), "beta"), ((0, 0, 0), "all")],
)
def test_senseless_weights_are_refused(weights: tuple[float, float, float], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        WeightedAssessor(*weights)


def test_entropy_of_answers_is_zero_in_harmony_and_one_in_chaos() -> None:
    def answers(*actions: str | None) -> Evidence:
        return Evidence(tuple(Candidate("", action) for action in actions), 1)

    assert answer_entropy(answers("a")) is None
    assert answer_entropy(answers("a", "a", "a")) == 0.0
    assert answer_entropy(answers("a", "b", "c")) == pytest.approx(1.0)
    assert answer_entropy(answers(None, None)) == pytest.approx(1.0)
    assert answer_entropy(answers("a", "a", "b")) < answer_entropy(answers("a", "b", "c"))  # type: ignore[operator]


def test_uncertainty_names_its_source_and_prefers_answers_to_tokens_to_the_look() -> None:
    look = Evidence(probe_entropy=0.3)
    one = look.after((Candidate("", "a", entropy=0.25),))
    two = one.after((Candidate("", "b", entropy=0.2),))
    assert uncertainty(Evidence()) is None
    assert uncertainty(look) == (0.3, "next-token entropy")
    assert uncertainty(one) == (0.5, "entropy of the answer's tokens")
    assert uncertainty(two) == (1.0, "entropy of the answers")
    assert uncertainty(Evidence((Candidate("", None),), 1)) == (1.0, "no answer")


def test_indicators_are_whole_words() -> None:
    assert reasoning_indicators("Thanks, Ifeoma: a button, likeness and butter") == 0.0
    assert reasoning_indicators("If it rains, then stay; otherwise go") > 0.4


@given(st.text(), st.sampled_from(["because", "if", "than"]))
def test_one_more_indicator_never_lowers_the_density(text: str, word: str) -> None:
    assert reasoning_indicators(f"{text} {word}") >= reasoning_indicators(text)


def test_quantities_are_counted_in_digits_and_words() -> None:
    assert quantities("3 dogs, 1,200 cats and two birds") == saturating(3, 4)
    assert quantities("someone often stones") == 0.0


def test_distance_is_the_environments_or_a_stated_substitute() -> None:
    assert goal_distance(context(observation=Observation(distance=0.4))) == (0.4, None)
    value, substitute = goal_distance(context(Task("t", "5 of 10")))
    assert 0 < value < 1
    assert substitute == "quantities in the goal for its distance"
