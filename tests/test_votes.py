"""Laws of votes: what weighs them, and how sure they make us."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Observation,
    Round,
    StepRecord,
    Usage,
)
from amp.votes import COINCIDENCE, last_model_vote, p_chosen, posterior, vote, weighted_vote

ACTIONS = st.sampled_from(["1", "2", "3", None])
SHARES = st.floats(0.0, 1.0)


def candidate(
    action: str | None, p_right: float | None = None, log_prob: float = -1.0
) -> Candidate:
    return Candidate("", action, log_prob=log_prob, p_right=p_right)


CANDIDATES = st.lists(
    st.builds(candidate, ACTIONS, SHARES | st.none(), st.floats(-9.0, 0.0)), max_size=6
)
RATED = st.lists(st.builds(candidate, ACTIONS, SHARES, st.floats(-9.0, 0.0)), max_size=6)


@given(CANDIDATES)
def test_without_a_rater_a_weighted_vote_is_the_plain_one(candidates: list[Candidate]) -> None:
    plain = [replace(one, p_right=None) for one in candidates]
    assert weighted_vote(plain) == vote(plain)


@given(CANDIDATES, st.floats(0.25, 0.99))
def test_equal_weights_elect_who_the_plain_vote_elects(
    candidates: list[Candidate], p: float
) -> None:
    # Above q / (1 + q) a further vote speaks for an answer, however unsure its voter is.
    rated = [replace(one, p_right=p) for one in candidates]
    assert weighted_vote(rated) == vote(rated)


@given(SHARES)
def test_one_candidate_is_believed_as_far_as_it_is_rated(p: float) -> None:
    assert posterior([candidate("1", p)]).leader == pytest.approx(min(max(p, 1e-4), 1 - 1e-4))


@given(CANDIDATES)
def test_shares_are_probabilities(candidates: list[Candidate]) -> None:
    found = posterior(candidates)
    assert all(0.0 <= share <= 1.0 for share in found.shares.values())
    assert math.fsum(found.shares.values()) <= 1.0 + 1e-9
    assert found.runner_up <= found.leader
    assert set(found.shares) == {c.action for c in candidates} - {None}


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(candidates: list[Candidate], rng: object) -> None:
    shuffled = list(candidates)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    there, again = posterior(candidates).shares, posterior(shuffled).shares
    assert again == pytest.approx(there)


@given(RATED, st.floats(0.3, 0.99))
def test_one_more_vote_for_an_answer_makes_it_more_probable(
    candidates: list[Candidate], p: float
) -> None:
    assume(candidates and candidates[0].action is not None)
    action = candidates[0].action
    assert action is not None
    before = posterior(candidates).shares[action]
    after = posterior([*candidates, candidate(action, p)]).shares[action]
    assert after >= before - 1e-12


@given(RATED, SHARES)
def test_one_more_candidate_is_expected_to_gain_what_its_outcomes_gain(
    candidates: list[Candidate], p: float
) -> None:
    """The closed form is the mean over the outcomes, each with the posterior after it."""
    p = min(max(p, 1e-3), 1.0 - 1e-3)
    now = posterior(candidates)
    outcomes = [
        (share * p + (1.0 - share) * (1.0 - p) * COINCIDENCE, action)
        for action, share in now.shares.items()
    ]
    # One that is new is right if nothing seen is; more than 1 / q answers leave none of it.
    fresh = 1.0 - math.fsum(chance for chance, _ in outcomes)
    assume(fresh >= 0.0)
    expected = math.fsum(
        chance * posterior([*candidates, candidate(action, p)]).leader
        for chance, action in [*outcomes, (fresh, "new")]
    )
    assert now.gain(p) == pytest.approx(max(0.0, expected - now.leader), abs=2e-3)


@given(RATED, SHARES)
def test_no_gain_is_negative_or_more_than_is_missing(candidates: list[Candidate], p: float) -> None:
    now = posterior(candidates)
    assert 0.0 <= now.gain(p) <= 1.0 - now.leader + 1e-9


def test_a_sure_answer_outvotes_two_guesses() -> None:
    guesses = [candidate("1", 0.2), candidate("1", 0.2)]
    sure = candidate("2", 0.95)
    assert weighted_vote([*guesses, sure]) is sure
    assert vote([*guesses, sure]) in guesses


def test_what_breaks_a_rule_votes_only_alone() -> None:
    broken = replace(candidate("1", 0.99), broken_rule="cut off")
    assert weighted_vote([broken, candidate("2", 0.1)]) == candidate("2", 0.1)
    assert weighted_vote([broken]) is broken
    assert weighted_vote([]) is None
    assert posterior([]).leader == posterior([]).runner_up == 0.0


def test_an_unrated_candidate_counts_as_the_others_do() -> None:
    rated, unrated = [candidate("1", 0.7)], candidate("1")
    assert posterior([*rated, unrated]).shares == posterior([*rated, candidate("1", 0.7)]).shares


@given(RATED, st.floats(0.05, 0.95))
def test_who_is_not_rated_votes_with_the_mean_of_the_others(
    rated: list[Candidate], p: float
) -> None:
    assume(rated)
    mean = math.fsum(one.p_right or 0.0 for one in rated) / len(rated)
    unrated, usual = candidate("1"), candidate("1", mean)
    assert posterior([*rated, unrated]).scores == pytest.approx(posterior([*rated, usual]).scores)


@given(CANDIDATES)
def test_a_step_says_how_sure_the_vote_is_of_its_action(candidates: list[Candidate]) -> None:
    chosen = weighted_vote(candidates)
    action = None if chosen is None else chosen.action
    made = Round(Complexity(0.0), Allocation(), 0.0, tuple(candidates), Usage())
    found = p_chosen(StepRecord(Observation(), (made,), Complexity(0.0), action, Usage()))
    if action is None or all(one.p_right is None for one in candidates):
        assert found is None
    else:
        assert found == posterior(candidates).leader


def test_in_a_cascade_the_last_model_that_names_an_action_decides() -> None:
    small = tuple(Candidate("", action, model="small") for action in ("a", "a", "b"))
    big = (Candidate("", "b", model="big"), Candidate("", None, model="big"))
    for candidates, chosen in ((small, "a"), (small + big, "b"), (small + big[1:], "a")):
        winner = last_model_vote(candidates)
        assert winner is not None
        assert winner.action == chosen
    assert last_model_vote(()) is None
