"""H lies in [0, 1], names its source, and takes the best source there is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.assess.uncertainty import answer_counts, answer_entropy, saturating, uncertainty
from amp.types import Candidate, Evidence, Probe

numbers = st.none() | st.floats()
candidates = st.lists(
    st.builds(
        Candidate,
        text=st.just(""),
        action=st.sampled_from([None, "a", "b"]),
        entropy=numbers,
        probability=numbers,
    ),
    max_size=6,
).map(tuple)
probes = st.none() | st.builds(
    Probe, options=st.dictionaries(st.sampled_from("ab"), st.floats() | st.sampled_from([0.5, 1.0]))
)
evidences = st.builds(Evidence, candidates, st.integers(0, 4), probes)


def answers(*actions: str | None) -> Evidence:
    return Evidence(tuple(Candidate("", action) for action in actions), 1)


@given(evidences)
def test_uncertainty_stays_in_bounds_whatever_the_model_tells(evidence: Evidence) -> None:
    known = uncertainty(evidence)
    assert known is None or 0.0 <= known[0] <= 1.0


@given(candidates)
def test_every_candidate_stands_behind_one_answer(made: tuple[Candidate, ...]) -> None:
    assert sum(answer_counts(Evidence(made)).values()) == len(made)


def test_entropy_of_answers_is_zero_in_harmony_and_one_in_chaos() -> None:
    assert answer_entropy(answers("a")) is None
    assert answer_entropy(answers("a", "a", "a")) == 0.0
    assert answer_entropy(answers("a", "b", "c")) == pytest.approx(1.0)
    assert answer_entropy(answers(None, None)) == pytest.approx(1.0)
    assert answer_entropy(answers("a", "a", "b")) < answer_entropy(answers("a", "b", "c"))  # type: ignore[operator]


def test_uncertainty_names_its_source_and_prefers_answers_to_tokens_to_the_look() -> None:
    probe = Evidence(probe=Probe(options={"a": 0.5, "b": 0.5}))
    one = probe.after((Candidate("", "a", entropy=0.25),))
    chosen = probe.after((Candidate("", "a", entropy=0.25, probability=0.75),))
    two = one.after((Candidate("", "b", entropy=0.2),))
    assert uncertainty(Evidence()) is None
    assert uncertainty(probe) == (1.0, "next-token entropy")
    assert uncertainty(one) == (0.5, "entropy of the answer's tokens")
    assert uncertainty(chosen) == (0.25, "probability of the choice")
    assert uncertainty(two) == (1.0, "entropy of the answers")
    assert uncertainty(answers(None)) == (1.0, "no answer")


def test_what_cannot_be_a_measure_leaves_the_next_source_to_tell() -> None:
    probe = Evidence(probe=Probe(options={"a": 0.5, "b": 0.5}))
    odd = probe.after((Candidate("", "a", entropy=math.nan, probability=1.5),))
    assert uncertainty(odd) == (1.0, "next-token entropy")
    assert uncertainty(Evidence(probe=Probe(options={"a": 0.5, "b": 0.6}))) is None


@given(st.floats(0, 1e9), st.floats(0.1, 10))
def test_saturating_is_one_half_at_its_half_and_below_one(value: float, half: float) -> None:
    assert 0.0 <= saturating(value, half) < 1.0
    assert saturating(half, half) == 0.5
