"""The vote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amp.types import Candidate
from amp.votes import vote

candidates = st.lists(
    st.builds(
        Candidate,
        text=st.text(max_size=3),
        action=st.sampled_from([None, "a", "b", "c"]),
        log_prob=st.none() | st.floats(-9, 0),
        broken_rule=st.sampled_from([None, None, "rule"]),
        p_correct=st.none() | st.floats(0, 1),
    ),
    max_size=7,
)


@given(candidates)
def test_the_winner_is_a_candidate_and_valid_if_any_is(some: list[Candidate]) -> None:
    winner = vote(some)
    if winner is None:
        assert all(c.action is None for c in some)
    else:
        assert winner in some
        assert winner.valid or not any(c.valid for c in some)


@given(candidates, st.integers(1, 3))
def test_more_backing_never_loses(some: list[Candidate], times: int) -> None:
    winner = vote(some)
    if winner is not None:
        again = vote([*some, *[winner] * times])
        assert again is not None
        assert again.action == winner.action


def test_the_majority_wins_and_ties_go_to_the_likelier() -> None:
    a, b = Candidate("", "a", log_prob=-5), Candidate("", "b", log_prob=-1)
    assert vote([a, a, b]) == a
    assert vote([a, b]) == b


def test_a_self_check_outweighs_a_majority_that_it_doubts() -> None:
    doubted = Candidate("", "a", p_correct=0.1)
    trusted = Candidate("", "b", p_correct=0.9)
    assert vote([doubted, doubted, trusted]) == trusted
