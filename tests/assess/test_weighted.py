"""The weighted sum is what spec 2.2 says, in bounds, and a missing term is no zero."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import context

from amp.assess.base import TERMS, WeightedAssessor
from amp.assess.text import reasoning_indicators
from amp.errors import InvalidInputError
from amp.types import Candidate, Evidence, Observation, Probe, StepContext, Task

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
probes = st.none() | st.builds(Probe, options=st.floats(0, 1).map(lambda p: {"a": p, "b": 1.0 - p}))
evidences = st.builds(Evidence, candidates, st.integers(0, 4), probes)
contexts = st.builds(
    StepContext,
    st.builds(Task, st.just("t"), st.text(max_size=60)),
    st.builds(Observation, st.text(max_size=20), distance=st.none() | st.floats(-1, 2)),
    evidence=evidences,
)
TYPICAL = {"uncertainty": 0.4, "indicators": 0.3, "distance": 0.9}


@given(contexts, weight, weight, weight)
def test_the_score_is_a_weighted_mean_and_stays_in_bounds(
    at: StepContext, alpha: float, beta: float, gamma: float
) -> None:
    if alpha + beta + gamma < 1e-6:
        return
    complexity = WeightedAssessor(alpha, beta, gamma).assess(at)
    assert 0 <= complexity.score <= 1
    weighed = zip(TERMS, (alpha, beta, gamma), strict=True)
    known = [complexity.features[t] for t, w in weighed if w and t in complexity.features] or [0.5]
    assert min(known) - 1e-9 <= complexity.score <= max(known) + 1e-9


def test_alpha_beta_gamma_weigh_uncertainty_indicators_distance() -> None:
    at = replace(
        context(Task("t", "if not, why"), Observation(distance=0.25)),
        evidence=Evidence(probe=Probe(options={"a": 0.5, "b": 0.5})),
    )
    indicators = reasoning_indicators("if not, why")
    got = WeightedAssessor(0.5, 0.3, 0.2).assess(at)
    assert got.score == pytest.approx(0.5 * 1.0 + 0.3 * indicators + 0.2 * 0.25)


def test_a_missing_term_leaves_its_weight_to_the_others() -> None:
    at = context(Task("t", "plain words"), Observation(distance=0.6))
    got = WeightedAssessor(0.7, 0.0, 0.1).assess(at)
    assert "uncertainty" not in got.features
    assert got.score == pytest.approx(0.6)


def test_learned_weights_may_be_negative_and_a_missing_term_takes_its_mean() -> None:
    at = context(Task("t", "plain words"), Observation(distance=0.6))
    learned = WeightedAssessor(0.5, 0.2, -0.4, bias=0.3, typical=TYPICAL)
    assert learned.assess(at).score == pytest.approx(0.3 + 0.5 * 0.4 - 0.4 * 0.6)
    far = replace(at, observation=Observation(distance=1.0))
    assert learned.assess(far).score < learned.assess(at).score


@given(contexts, st.floats(-50, 50), st.floats(-50, 50))
def test_a_learned_score_stays_in_bounds(at: StepContext, alpha: float, bias: float) -> None:
    learned = WeightedAssessor(alpha, 1.0, -1.0, bias=bias, typical=TYPICAL)
    assert 0.0 <= learned.assess(at).score <= 1.0


@pytest.mark.parametrize(
    ("weights", "named"),
    [((-1, 0, 1), "alpha"), ((0, float("nan"), 1), "beta"), ((0, 0, 0), "all")],
)
def test_senseless_weights_are_refused(weights: tuple[float, float, float], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        WeightedAssessor(*weights)


def test_a_senseless_bias_and_means_of_other_terms_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="bias is inf"):
        WeightedAssessor(bias=float("inf"))
    with pytest.raises(InvalidInputError, match="typical names words, expected uncertainty"):
        WeightedAssessor(typical={"words": 0.5})
