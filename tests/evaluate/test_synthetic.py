"""Where the truth is known, the evaluation reports it: oracle, chance and a useless feature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean

import pytest
from tests.fakes.synthetic import (
    CERTAIN_LEVELS,
    LEVELS,
    fixed_point,
    informed_plan,
    informed_point,
    oracle_point,
    success_of,
    synthetic,
    tokens_of,
)

from amp.errors import InvalidInputError
from amp.report.adaptivity import AllocatedAmount, rank_correlations
from amp.report.frontier import Point, cost_share
from amp.report.metrics import Interval
from amp.reward import reward
from amp.simulate.policies import (
    Price,
    best_fixed,
    fixed,
    fixed_plans,
    learn_threshold,
    oracle,
    resampled_control,
    reward_oracle,
    shuffled_control,
)
from amp.simulate.replay import Plan, pulls, replay_plans
from amp.simulate.samples import SampleTable, TaskSamples
from amp.types import Episode

PRICE = Price(0.8, 1000.0)
Deal = Callable[[SampleTable, Sequence[Episode], int], list[Episode]]
N = 600
PLANS = fixed_plans(synthetic(1, samples=2))
MANY = synthetic(N, seed=2, samples=3)


def point(outcomes: Sequence[Episode]) -> Point:
    n = len(outcomes)
    return Point(sum(o.usage.tokens for o in outcomes) / n, sum(o.score for o in outcomes) / n)


def near(found: Point, truth: Point, n: int) -> bool:
    """Within four standard errors of the success, and 3 % of the tokens."""
    error = math.sqrt(max(truth.success * (1 - truth.success), 1e-12) / n)
    return abs(found.success - truth.success) <= 4 * error and found.cost == pytest.approx(
        truth.cost, rel=0.03
    )


def informed(table: SampleTable, row: TaskSamples) -> Plan:
    """The best plan of the level that the look tells."""
    assert row.probe is not None
    (level,) = (level for level in LEVELS if level.entropy == row.probe.entropy)
    return informed_plan(table, level, PRICE)


@pytest.mark.slow
def test_every_plan_earns_what_its_closed_form_says() -> None:
    for plan in fixed_plans(MANY):
        assert near(point(fixed(MANY, plan)), fixed_point(plan), N), plan


def test_the_oracle_earns_what_its_closed_form_says() -> None:
    assert near(point(oracle(MANY)), oracle_point(MANY), N)


def reward_share(policy: Point, fixed: Sequence[Point], oracle: Point) -> float:
    """Share of the oracle's gain in reward over the best fixed plan that a policy realises."""

    def earned(one: Point) -> float:
        return reward(one.success, one.cost / PRICE.budget, PRICE.trade_off)

    best = max(map(earned, fixed))
    return (earned(policy) - best) / (earned(oracle) - best)


def test_who_knows_the_level_earns_what_the_closed_form_says() -> None:
    found = point(replay_plans(MANY, lambda row: informed(MANY, row)))
    assert near(found, informed_point(MANY, PRICE), N)


def test_without_luck_the_oracle_is_who_knows_the_level_to_the_token() -> None:
    table = synthetic(200, samples=2, levels=CERTAIN_LEVELS)
    found = point(reward_oracle(table, PRICE))
    truth = informed_point(table, PRICE, CERTAIN_LEVELS)
    assert (found.cost, found.success) == pytest.approx((truth.cost, truth.success))
    known = oracle_point(table, CERTAIN_LEVELS)
    assert (known.cost, known.success) == pytest.approx((truth.cost, truth.success))
    front = [fixed_point(plan, CERTAIN_LEVELS) for plan in fixed_plans(table)]
    assert reward_share(found, front, truth) == pytest.approx(1.0)
    assert cost_share(found, front, [truth]) == pytest.approx(1.0)


@pytest.mark.slow
def test_an_oracle_gets_all_of_the_gap_and_the_best_fixed_plan_none() -> None:
    front = [point(fixed(MANY, plan)) for plan in fixed_plans(MANY)]
    best = best_fixed(MANY, PRICE)
    paid = reward_oracle(MANY, PRICE)
    known = point(paid)

    def share(outcomes: Sequence[Episode]) -> float:
        return reward_share(point(outcomes), front, known)

    assert share(paid) == pytest.approx(1.0)
    assert share(fixed(MANY, best)) == pytest.approx(0.0, abs=1e-9)
    told = share(replay_plans(MANY, lambda row: informed(MANY, row)))
    assert 0.3 < told < 1.0


@pytest.mark.parametrize("deal", [resampled_control, shuffled_control])
def test_the_same_rounds_without_knowing_where_gain_nothing(deal: Deal) -> None:
    """Chance earns the mean of the fixed plans that it plays, which is no more than the best."""
    known = replay_plans(MANY, lambda row: informed(MANY, row))
    mixed = [fixed_point(pulls(MANY, episode.steps[0])) for episode in known]
    truth = Point(sum(p.cost for p in mixed) / N, sum(p.success for p in mixed) / N)
    for seed in range(3):
        assert near(point(deal(MANY, known, seed)), truth, N)
    front = [fixed_point(plan) for plan in fixed_plans(MANY)]
    assert reward_share(truth, front, oracle_point(MANY)) <= 0.0
    saved = cost_share(truth, front, [oracle_point(MANY)])
    assert saved is None or saved <= 0.0


def entropy(row: TaskSamples) -> float:
    assert row.probe is not None
    assert row.probe.entropy is not None
    return row.probe.entropy


def perplexity(row: TaskSamples) -> float:
    assert row.probe is not None
    assert row.probe.perplexity is not None
    return row.probe.perplexity


def held_out(measure: Callable[[TaskSamples], float], seed: int) -> tuple[float, Interval | None]:
    """Share of the oracle's gain on tasks not seen, and the interval of the adaptivity."""
    levels = CERTAIN_LEVELS[:2]
    train, test = (synthetic(200, seed=s, samples=2, levels=levels) for s in (seed, seed + 1))
    rule = learn_threshold(train, PRICE, measure)
    front = [fixed_point(plan, [replace(level, share=0.5) for level in levels]) for plan in PLANS]
    known = point(reward_oracle(test, PRICE))
    share = reward_share(point(replay_plans(test, rule)), front, known)
    spent = [
        AllocatedAmount(
            row.task, tokens_of(rule(row)), sum(not d.right for d in samples) / len(samples)
        )
        for row in test.tasks
        for samples in [row.by_arm["short"].samples]
    ]
    return share, rank_correlations(spent, resamples=300).spearman.interval


def test_a_feature_that_tells_the_level_gains_all_there_is_on_tasks_not_seen() -> None:
    share, interval = held_out(entropy, seed=1)
    assert share == pytest.approx(1.0)
    assert interval is not None
    assert interval.low > 0.5


@pytest.mark.slow
def test_a_useless_feature_gains_nothing_and_is_not_adaptive() -> None:
    found = [held_out(perplexity, seed) for seed in range(1, 13, 2)]
    assert mean(share for share, _ in found) < 0.02
    told = [i for _, i in found if i is not None and not i.low <= 0.0 <= i.high]
    assert len(told) <= 1  # of six, at a rate of 5 %


def test_what_is_asked_of_the_vote_is_what_the_model_of_it_says() -> None:
    easy, _, hopeless = CERTAIN_LEVELS
    for plan in fixed_plans(synthetic(1, samples=2)):
        assert success_of(plan, easy) == pytest.approx(1.0)
        assert success_of(plan, hopeless) == pytest.approx(0.0)


def test_levels_have_their_shares() -> None:
    found = [row.probe.entropy for row in synthetic(50).tasks if row.probe is not None]
    assert [found.count(level.entropy) for level in LEVELS] == [25, 15, 10]
    with pytest.raises(InvalidInputError, match="at least 1 task"):
        synthetic(0)
