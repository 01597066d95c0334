"""Values refuse what is out of range, and evidence counts fairly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.types import Allocation, Candidate, Complexity, Evidence, Observation, StepContext, Task

candidates = st.lists(
    st.builds(
        Candidate,
        text=st.just(""),
        action=st.sampled_from([None, "a", "b"]),
        broken_rule=st.sampled_from([None, "rule"]),
    ),
    max_size=8,
).map(tuple)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", -1),
        ("temperature", 2.5),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("beam_width", 0),
        ("verification", 4),
    ],
)
def test_an_allocation_names_the_field_that_is_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"allocation {name} is"):
        Allocation(**{name: value})


@given(candidates)
def test_agreement_is_a_share_of_all_candidates(some: tuple[Candidate, ...]) -> None:
    agreement = Evidence(some, 1).agreement
    if not some:
        assert agreement is None
    else:
        assert agreement is not None
        assert 0.0 <= agreement <= 1.0
        assert agreement * len(some) == pytest.approx(max(Evidence(some).votes.values(), default=0))


@given(candidates)
def test_a_broken_rule_takes_the_vote_unless_all_broke_one(some: tuple[Candidate, ...]) -> None:
    votes = Evidence(some).votes
    if any(c.valid for c in some):
        assert sum(votes.values()) == sum(c.valid for c in some)
    else:
        assert sum(votes.values()) == sum(c.action is not None for c in some)


def test_a_tool_of_the_environment_replaces_the_actions() -> None:
    observation = Observation(actions=("left",), tool_actions={"guide": ("home",)})
    context = StepContext(Task("t", "g"), observation)
    assert context.actions(frozenset()) == ("left",)
    assert context.actions(frozenset({"guide", "python"})) == ("home",)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_complexity_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="complexity score is"):
        Complexity(score)
