"""Values are learned: laws of the lattices, and optima that are known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.synthetic import WAYS, synthetic

from amp.allocate.policy_file import (
    VALUES,
    CurvePoint,
    Origin,
    load_origin,
    load_policy,
    load_values,
    policy_kind,
    save_values,
)
from amp.errors import InvalidInputError
from amp.learn.fitted_value import (
    ValueSettings,
    chances_of,
    decisions,
    fit,
    lattices,
    learn_values,
    play,
)
from amp.simulate.replay import replay_allocator
from amp.simulate.samples import RecordedSample, SampleTable

SETTINGS = ValueSettings("tokens", reference_cost=1000.0, trade_offs=(0.5, 0.8, 0.95, 1.0))


@cache
def table(tasks: int = 40, samples: int = 2, sure: float = 0.9) -> SampleTable:
    """Two arms that candidates tell apart by their tools; right samples look right, if `sure`."""
    made = synthetic(tasks, seed=1, samples=samples)
    short, long = made.arms
    arms = (replace(short, allocation=replace(short.allocation, tools=frozenset({"t"}))), long)

    def rated(sample: RecordedSample) -> RecordedSample:
        p = sure if sample.right else 1.0 - sure
        return replace(sample, candidate=replace(sample.candidate, p_right=p))

    rows = tuple(
        row.changed(
            lambda step, _: replace(
                step,
                by_arm={
                    name: replace(arm, samples=tuple(map(rated, arm.samples)))
                    for name, arm in step.by_arm.items()
                },
            )
        )
        for row in made.tasks
    )
    return replace(made, arms=arms, tasks=rows)


def test_to_stop_after_one_sample_is_worth_the_mean_sample() -> None:
    made = lattices(table(), "tokens", chances_of(table(), 3))
    actions = np.zeros(made.right.shape, np.intp)
    actions[:, 0] = 1
    came = play(made, actions)
    right = [np.mean([s.right for s in row.by_arm["short"].samples]) for row in table().tasks]
    np.testing.assert_allclose(came.success, right)
    np.testing.assert_allclose(came.cost, WAYS["short"].prompt_tokens + 40)


def test_to_take_all_is_worth_the_vote_of_all_and_costs_every_call() -> None:
    made = lattices(table(), "tokens", chances_of(table(), 3))
    actions = np.full(made.right.shape, 2, np.intp)
    full = (np.arange(16) >> 2) == 3  # both samples of the second arm are known
    actions[:, full] = 1
    actions[:, 15] = 0
    came = play(made, actions)
    np.testing.assert_allclose(came.success, made.right[:, 15])
    np.testing.assert_allclose(came.cost, 2 * (50 + 40) + 2 * (80 + 200))


@pytest.mark.parametrize("trade_off", [0.8, 1.0])
def test_the_planner_does_in_each_order_what_the_lattice_says(trade_off: float) -> None:
    policy, made = learn_values(table(), SETTINGS)
    policy = policy.with_trade_off(trade_off)
    chosen, arms = decisions(policy, made), made.arms
    for episode, actions, right in zip(
        replay_allocator(table(), policy), chosen, made.right, strict=True
    ):
        node = 0
        while actions[node]:
            mine = np.flatnonzero(arms == actions[node] - 1)
            node |= 1 << int(next(bit for bit in mine if not node >> int(bit) & 1))
        assert sum(len(r.candidates) for r in episode.steps[0].rounds) == bin(node).count("1")
        assert float(bool(episode.success)) == right[node]


def test_where_a_right_sample_looks_right_the_dear_arm_is_asked_after_a_failure_alone() -> None:
    """The cheap arm first; if it looks wrong, the one that is likelier to be right."""
    policy, made = learn_values(table(300, sure=0.999), SETTINGS)
    came = play(made, decisions(policy.with_trade_off(0.95), made))
    any_right = made.right[:, 15]
    assert came.success.mean() > 0.97 * any_right.mean()
    everything = 2 * (50 + 40) + 2 * (80 + 200)
    assert came.cost.mean() < 0.6 * everything


def test_more_weight_on_success_spends_more_and_reaches_more() -> None:
    policy, made = learn_values(table(200), SETTINGS)
    points = [play(made, decisions(policy.with_trade_off(t), made)) for t in (0.5, 0.8, 1.0)]
    costs = [point.cost.mean() for point in points]
    successes = [point.success.mean() for point in points]
    assert costs == sorted(costs)
    assert successes == sorted(successes)
    assert costs[0] < costs[-1]


def test_it_is_worth_more_than_every_fixed_number_of_samples() -> None:
    policy, made = learn_values(table(200), SETTINGS)
    for trade_off in (0.8, 0.95):
        price = (1.0 - trade_off) / 1000.0
        came = play(made, decisions(policy.with_trade_off(trade_off), made))
        worth = (trade_off * came.success - price * came.cost).mean()
        for first in range(3):
            for second in range(3):
                if not first + second:
                    continue
                taken = np.array([((n & 3).bit_count(), (n >> 2).bit_count()) for n in range(16)])
                actions = np.where(taken[:, 0] < first, 1, np.where(taken[:, 1] < second, 2, 0))
                fixed = play(made, np.tile(actions, (len(made.right), 1)))
                assert worth >= (trade_off * fixed.success - price * fixed.cost).mean() - 1e-9


def test_the_same_samples_give_the_same_policy_and_other_tasks_none_of_its_own() -> None:
    policy, made = learn_values(table(), SETTINGS)
    again, _ = learn_values(table(), SETTINGS)
    np.testing.assert_array_equal(policy.weights, again.weights)
    chances = chances_of(table(), SETTINGS.quantiles)
    half = fit(table(), made.part(np.arange(20)), chances, SETTINGS)
    assert np.abs(half.weights - policy.weights).max() > 1e-6


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    policy, _ = learn_values(table(), SETTINGS)
    path = tmp_path / "values.safetensors"
    origin = Origin("synthetic", "m", "ab", ("t",), (CurvePoint(0.8, 10.0, 0.5),), cost="flops")
    save_values(policy, path, origin)
    read = load_values(path)
    assert (read.arms, read.samples) == (policy.arms, policy.samples)
    np.testing.assert_array_equal(read.weights, policy.weights)
    assert load_origin(path) == origin
    assert policy_kind(path) == VALUES
    with pytest.raises(InvalidInputError, match="lacks 'space'"):
        load_policy(path)


def test_what_it_cannot_learn_from_is_refused() -> None:
    unrated = synthetic(4, seed=1, samples=2)
    with pytest.raises(InvalidInputError, match="no sample of arm short is rated"):
        learn_values(unrated, SETTINGS)
    with pytest.raises(InvalidInputError, match="12 together at most"):
        lattices(table(4, samples=7), "tokens", CHANCES)
    with pytest.raises(InvalidInputError, match="the dollars of synthetic are not known"):
        lattices(replace(table(), card=replace(table().card, parameters=None)), "dollars", CHANCES)


CHANCES = np.array([[0.5], [0.5]])
