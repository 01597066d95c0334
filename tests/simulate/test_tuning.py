"""Rules are tuned on training tasks, and what is told of each setting is what replay finds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from statistics import fmean

import pytest
from tests.fakes.synthetic import WAYS, synthetic

from amp.allocate.stopping import BayesianStop, mode_probability
from amp.simulate.policies import Price
from amp.simulate.replay import replay_allocator
from amp.simulate.samples import SampleTable
from amp.simulate.tuning import (
    TriedSetting,
    best_at,
    front,
    rule_settings,
    tried_rules,
    tuned_rules,
    ways_of,
)


@cache
def table() -> SampleTable:
    """Two arms that candidates tell apart by their tools, whose right samples look right."""
    made = synthetic(8, seed=1, samples=2)
    short, long = made.arms
    with_tools = replace(short.allocation, tools=frozenset({"python"}))
    return rated(replace(made, arms=(replace(short, allocation=with_tools), long)))


def rated(made: SampleTable) -> SampleTable:
    return replace(
        made,
        tasks=tuple(
            row.changed(
                lambda step, _: replace(
                    step,
                    by_arm={
                        name: replace(
                            arm,
                            samples=tuple(
                                replace(
                                    one,
                                    candidate=replace(
                                        one.candidate, p_right=0.8 if one.right else 0.3
                                    ),
                                )
                                for one in arm.samples
                            ),
                        )
                        for name, arm in step.by_arm.items()
                    },
                )
            )
            for row in made.tasks
        ),
    )


@cache
def tried() -> dict[str, tuple[TriedSetting, ...]]:
    return tried_rules(table(), orders=1)


def test_every_setting_is_told_as_replay_finds_it() -> None:
    for settings in tried().values():
        told = settings[len(settings) // 2]
        episodes = [
            episode
            for seed in range(1)
            for episode in replay_allocator(table().permuted(seed), told.allocator)
        ]
        assert told.success == pytest.approx(fmean(e.score for e in episodes))
        assert told.cost == told.tokens == pytest.approx(fmean(e.usage.tokens for e in episodes))
        assert told.written == pytest.approx(fmean(e.usage.completion_tokens for e in episodes))


@pytest.mark.parametrize("trade_off", [0.0, 0.5, 0.9, 1.0])
def test_the_tuned_setting_pays_most_and_lies_on_the_front(trade_off: float) -> None:
    price = Price(trade_off, budget=500.0)
    for settings in tried().values():
        best = best_at(settings, price)
        paid = [trade_off * s.success - (1.0 - trade_off) * s.cost / 500.0 for s in settings]
        assert trade_off * best.success - (1.0 - trade_off) * best.cost / 500.0 == max(paid)
        kept = front(settings)
        assert any(one.success >= best.success and one.cost <= best.cost for one in kept)
        assert [one.cost for one in kept] == sorted(one.cost for one in kept)
        assert [one.success for one in kept] == sorted({one.success for one in kept})


def test_every_rule_has_a_tuned_setting_of_the_orders_asked_for() -> None:
    price = Price(0.9, budget=500.0)
    tuned = tuned_rules(table(), price, orders=1)
    assert tuned == {rule: best_at(settings, price) for rule, settings in tried().items()}


def test_a_way_costs_what_its_samples_cost_alone() -> None:
    ways, short, long = ways_of(table()), WAYS["short"], WAYS["long"]
    assert ways["short"].cost == 1.0
    assert ways["long"].cost == pytest.approx(
        (long.prompt_tokens + long.completion_tokens)
        / (short.prompt_tokens + short.completion_tokens)
    )
    written = ways_of(table(), lambda usage: usage.completion_tokens)
    assert written["long"].cost == long.completion_tokens / short.completion_tokens


def test_chances_are_parts_of_the_ratings_or_else_the_share_of_right_samples() -> None:
    right = [s.right for row in table().tasks for s in row.by_arm["long"].samples]
    chances = ways_of(table())["long"].chances
    assert (chances[0], chances[-1]) == pytest.approx((0.3, 0.8))
    unrated = ways_of(synthetic(8, seed=1, samples=2))["long"]
    assert unrated.chances == (fmean(right),)


def test_the_prior_of_easy_tasks_believes_one_answer() -> None:
    rule = rule_settings(table())["bayesian_stop"]["long, 0.1"]
    assert isinstance(rule, BayesianStop)
    assert 0.5 < mode_probability(rule.prior, (1, 0, 0)) < mode_probability(rule.prior, (2, 0, 0))


def test_arms_that_candidates_do_not_tell_apart_are_no_choice() -> None:
    names = rule_settings(synthetic(4, samples=2))["by_gain"]
    assert names
    assert not any(" or " in name for name in names)
    assert any("short or long" in name for name in rule_settings(table())["by_gain"])
