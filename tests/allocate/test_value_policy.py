"""Laws of the policy that stops by value, and of the features of votes that it reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.allocate.value_policy import Answers, ValuePolicy, basis, gain_of, posterior_of
from amp.errors import InvalidInputError
from amp.types import STOP, Allocation, Candidate, Complexity, Evidence, Observation, StepContext
from amp.types import Task as TaskOf
from amp.votes import posterior

TOOL = frozenset({"python"})
ARMS = {"program": Allocation(temperature=0.7, tools=TOOL), "chain": Allocation(temperature=0.7)}
CHANCES = np.array([[0.2, 0.5, 0.9], [0.1, 0.4, 0.6]])
WIDTH = basis(Answers.of((), ()), np.zeros((1, 0), np.bool_), CHANCES).shape[1]

CANDIDATES = st.lists(
    st.builds(
        lambda action, p, broken: Candidate(
            "", action, p_right=p, broken_rule="cut off" if broken else None
        ),
        st.sampled_from(["1", "2", "3", None]),
        st.floats(0.001, 0.999),
        st.booleans(),
    ),
    max_size=6,
)


def policy(weights: np.ndarray | None = None, samples: tuple[int, int] = (2, 2)) -> ValuePolicy:
    shape = (2, sum(samples) + 1, 3, WIDTH)
    given_weights = np.zeros(shape) if weights is None else weights
    return ValuePolicy(ARMS, samples, CHANCES, np.array([0.5, 0.9]), given_weights)


NONE = Complexity(0.0)


def step(candidates: list[Candidate], tools: list[frozenset[str]]) -> StepContext:
    evidence = Evidence(tuple(candidates), rounds=int(bool(candidates)), tools=tuple(tools))
    return StepContext(TaskOf("t", "goal"), Observation(""), evidence=evidence)


@given(CANDIDATES)
def test_its_posterior_is_that_of_the_votes(candidates: list[Candidate]) -> None:
    answers = Answers.of(candidates, [0] * len(candidates))
    shares, leader, _ = posterior_of(answers, np.ones((1, len(candidates)), np.bool_))
    told = posterior(candidates)
    assert sorted(share for share in shares[0] if share > 0.0) == pytest.approx(
        sorted(told.shares.values())
    )
    if told.shares:
        assert shares[0, leader[0]] == pytest.approx(told.leader)


@given(CANDIDATES, st.floats(0.01, 0.99))
def test_its_gain_is_that_of_the_votes(candidates: list[Candidate], p: float) -> None:
    answers = Answers.of(candidates, [0] * len(candidates))
    shares, leader, _ = posterior_of(answers, np.ones((1, len(candidates)), np.bool_))
    lead = shares[[0], leader] if shares.shape[1] else np.zeros(1)
    gain = gain_of(shares, lead, np.array([p]), np.array([p]))
    assert gain[0] == pytest.approx(posterior(candidates).gain(p), abs=1e-6)


@given(CANDIDATES, st.integers(0, 63))
def test_what_is_not_known_yet_does_not_matter(candidates: list[Candidate], bits: int) -> None:
    arms = [index % 2 for index in range(len(candidates))]
    known = np.array([[bool(bits >> i & 1) for i in range(len(candidates))]], np.bool_)
    part = [i for i in range(len(candidates)) if known[0, i]]
    alone = Answers.of([candidates[i] for i in part], [arms[i] for i in part])
    there = basis(Answers.of(candidates, arms), known, CHANCES)
    again = basis(alone, np.ones((1, len(part)), np.bool_), CHANCES)
    np.testing.assert_allclose(there, again, atol=1e-9)
    assert np.isfinite(there).all()


@given(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_it_takes_no_more_samples_than_it_may_and_at_least_one(
    tooled: int, plain: int, seed: int
) -> None:
    weights = np.random.default_rng(seed).normal(size=(2, 5, 3, WIDTH))
    candidates = [Candidate("", "1", p_right=0.5)] * (tooled + plain)
    context = step(candidates, [TOOL] * tooled + [frozenset()] * plain)
    made = policy(weights).allocate(context, Complexity(0.0))
    if tooled == plain == 2:
        assert made == STOP
    if tooled == plain == 0:
        assert made.allocation is not None
    if made.allocation is not None:
        assert (tooled if made.allocation.tools else plain) < 2


def test_the_nearest_trade_off_decides() -> None:
    weights = np.zeros((2, 5, 3, WIDTH))
    weights[0, :, 0, 0] = weights[1, :, 2, 0] = 1.0  # to stop at 0.5, a chain at 0.9
    context = step([Candidate("", "1", p_right=0.5)], [TOOL])
    low, high = (policy(weights).with_trade_off(t) for t in (0.6, 0.8))
    assert low.allocate(context, Complexity(0.0)) == STOP
    assert high.allocate(context, Complexity(0.0)).allocation == ARMS["chain"]


SMALL, BIG = (replace(ARMS["program"], model=name) for name in ("small", "big"))


def test_arms_of_two_models_count_the_samples_of_their_own() -> None:
    weights = np.zeros((2, 5, 3, WIDTH))
    weights[:, :, 1, 0], weights[:, :, 2, 0] = 2.0, 1.0  # small before big, both before a stop
    made = replace(policy(weights), arms={"small": SMALL, "big": BIG})
    small, big = (Candidate("", "1", p_right=0.5, model=name) for name in ("small", "big"))
    for taken, then in (([], SMALL), ([big] * 2 + [small], SMALL), ([small] * 2, BIG)):
        context = step(taken, [SMALL.tools] * len(taken))
        assert made.allocate(context, Complexity(0.0)).allocation == then
    assert made.allocate(replace(step([], []), failed=frozenset({"small"})), NONE).allocation == BIG
    both = replace(step([], []), failed=frozenset({"small", "big"}))
    assert made.allocate(both, NONE).allocation == SMALL  # which others answer in place of it


def test_an_arm_without_a_model_counts_the_samples_of_every_model() -> None:
    candidates = [Candidate("", "1", p_right=0.5, model=name) for name in ("small", "big")]
    worth = policy().worth(step(candidates, [TOOL] * 2).evidence)
    assert not np.isfinite(worth[1])
    assert np.isfinite(worth[2])


def test_overrides_change_the_arms_but_not_what_tells_them_apart() -> None:
    changed = policy().with_overrides({"temperature": 0.2, "tools": frozenset(), "beam_width": 4})
    assert changed.arms == {name: replace(arm, temperature=0.2) for name, arm in ARMS.items()}


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"arms": {"a": ARMS["chain"], "b": ARMS["chain"]}}, "arms are a, b, expected some that"),
        ({"samples": (0, 2)}, "expected 2 of at least 1"),
        ({"trade_off": 1.5}, "trade_off is 1.5, expected 0 to 1"),
        ({"chances": CHANCES[:1]}, r"chances of the policy have the shape \(1, 3\)"),
        ({"weights": np.zeros((1, 5, 3, WIDTH))}, r"expected \(2, 5, 3, "),
        ({"weights": np.full((2, 5, 3, WIDTH), np.nan)}, "not finite"),
    ],
)
def test_what_does_not_fit_together_is_refused(broken: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        replace(policy(), **broken)  # type: ignore[arg-type]
