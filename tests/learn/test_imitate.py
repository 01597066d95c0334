"""Imitation: the policy comes to decide as it was shown, and says why it cannot."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from amp.allocate.mlp_policy import EXTRAS, MlpPolicy
from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.learn.behaviour_cloning import Demonstrations, ImitationSettings, imitate, latents_of
from amp.learn.networks import encoded
from amp.learn.rollout import most_likely
from amp.types import Allocation

SPACE = Space(
    temperature=(0.7, 0.7), top_p=(1.0, 1.0), verification=(0, 0), tools=frozenset({"a", "b"})
)
QUICK = ImitationSettings(hidden=16, batch_size=32)


def shown(count: int = 300, noise: float = 0.0, seed: int = 0) -> Demonstrations:
    """Easy steps get one beam without depth, hard ones all of it with a tool; agreement stops."""
    rng = np.random.default_rng(seed)
    values = np.full((count, 1 + len(EXTRAS)), np.nan)
    hard, agreed = rng.random(count) < 0.5, rng.random(count) < 0.3
    values[:, 0] = np.where(hard, 0.8, 0.2) + 0.05 * rng.normal(size=count)
    values[:, 1 + EXTRAS.index("trade_off")] = rng.random(count)
    values[:, 1 + EXTRAS.index("agreement")] = np.where(agreed, 1.0, np.nan)
    easy_way = Allocation(0, 0.7, 1.0, 1, frozenset(), 0)
    hard_way = Allocation(4, 0.7, 1.0, 4, frozenset({"b"}), 0)
    wanted = [
        None if stop else hard_way if is_hard else easy_way
        for stop, is_hard in zip(agreed, hard, strict=True)
    ]
    free = np.zeros((count, len(SPACE.dims)), np.bool_)
    free[:, [0, 1, 4, 6, 7]] = True
    return Demonstrations(values, free, latents_of(SPACE, wanted, free), np.ones(count))


def decided(policy: MlpPolicy, examples: Demonstrations) -> list[Allocation | None]:
    inputs = encoded(examples.values, policy.mean, policy.std)
    latents = most_likely(policy.locations(inputs), examples.free).tolist()
    return [None if row[0] else SPACE.allocation(row) for row in latents]


def test_the_policy_decides_as_it_was_shown_on_steps_that_it_never_saw() -> None:
    policy = imitate(SPACE, ("hint",), 3, shown(), QUICK)
    new = shown(seed=1)
    wanted = [None if row[0] else SPACE.allocation(row) for row in new.latents.tolist()]
    same = [ours == theirs for ours, theirs in zip(decided(policy, new), wanted, strict=True)]
    assert np.mean(same) > 0.97
    assert policy.max_rounds == 3


def test_what_is_left_of_chance_keeps_neighbouring_integers_in_reach() -> None:
    policy = imitate(SPACE, ("hint",), 3, shown(), replace(QUICK, min_log_std=-0.5))
    assert min(policy.log_stds) == pytest.approx(-0.5, abs=1e-4)


def test_an_example_of_no_weight_has_no_say() -> None:
    examples = shown()
    wrong = shown(seed=2)
    both = Demonstrations(
        values=np.concatenate((examples.values, wrong.values)),
        free=np.concatenate((examples.free, np.ones_like(wrong.free))),
        latents=np.concatenate((examples.latents, wrong.latents[::-1])),
        weights=np.concatenate((examples.weights, 0.0 * wrong.weights)),
    )
    policy = imitate(SPACE, ("hint",), 3, both, QUICK)
    wanted = [None if row[0] else SPACE.allocation(row) for row in examples.latents.tolist()]
    same = [ours == theirs for ours, theirs in zip(decided(policy, examples), wanted, strict=True)]
    assert np.mean(same) > 0.97


def test_weights_are_how_often_an_example_counts() -> None:
    # The same step, stopped with a weight of 3 and continued with one of 1.
    values = np.zeros((2, len(EXTRAS)))
    free = np.zeros((2, len(SPACE.dims)), np.bool_)
    free[:, 0] = True
    latents = np.zeros(free.shape)
    latents[0, 0] = 1.0
    examples = Demonstrations(values, free, latents, np.array([3.0, 1.0]))
    settings = ImitationSettings(hidden=8, epochs=400, entropy_weight=0.0, learning_rate=0.03)
    policy = imitate(SPACE, (), 3, examples, settings)
    stop = policy.locations(encoded(values, policy.mean, policy.std))[0, 0]
    assert 1.0 / (1.0 + math.exp(-stop)) == pytest.approx(0.75, abs=0.01)


def test_the_same_seed_gives_the_same_policy() -> None:
    short = replace(QUICK, epochs=3)
    one, other, different = (
        imitate(SPACE, ("hint",), 3, shown(), replace(short, seed=seed)) for seed in (0, 0, 1)
    )
    assert (one.layers[0].weight == other.layers[0].weight).all()
    assert (one.layers[0].weight != different.layers[0].weight).any()


def test_examples_that_cannot_be_learned_from_are_named() -> None:
    examples = shown(10)
    none = slice(0, 0)
    with pytest.raises(InvalidInputError, match="0 rows of values, .* expected equally many, at l"):
        Demonstrations(
            examples.values[none], examples.free[none], examples.latents[none], np.ones(10)[none]
        )
    with pytest.raises(InvalidInputError, match="10 rows of values, .* and 9 of weights"):
        replace(examples, weights=np.ones(9))
    with pytest.raises(InvalidInputError, match="weights of the examples, expected 0 or more"):
        replace(examples, weights=np.full(10, np.nan))
    with pytest.raises(InvalidInputError, match="expected finite ones of free draws"):
        replace(examples, free=np.zeros_like(examples.free))
    same = replace(examples, latents=np.zeros_like(examples.latents))
    with pytest.raises(InvalidInputError, match="all 10 examples wish for the same decision"):
        imitate(SPACE, ("hint",), 3, same)
    with pytest.raises(InvalidInputError, match=r"values .* shape \(10, 9\), expected 10 columns"):
        imitate(SPACE, ("hint", "another"), 3, examples)
    with pytest.raises(InvalidInputError, match="depth is 9, expected 0 to 4"):
        latents_of(SPACE, [Allocation(9, 0.7, 1.0, 1, frozenset(), 0)], examples.free[:1])
