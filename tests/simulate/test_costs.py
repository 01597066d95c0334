"""Costs of a table in every unit: what the planner's replay is charged, and laws of each unit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.synthetic import CARD
from tests.simulate.test_plans import REWARD, SAMPLES, _named_apart, _of_no_features, plan_table
from tests.simulate.test_plans import contexts as contexts_of_plans
from tests.simulate.test_plans import env_of as env_of_plans
from tests.simulate.test_table_env import ASSESSOR, CONTEXTS, DRAWS, SPACE, policy

from amp.assess.base import WeightedAssessor
from amp.cost import COSTS, Cost, costing
from amp.errors import InvalidInputError
from amp.learn.rollout import roll_out
from amp.models.base import ModelCard
from amp.simulate.policies import Price, fixed, fixed_plans, reward_oracle
from amp.simulate.replay import replay_allocator
from amp.simulate.sample_env import costs_of, env_from_samples
from amp.simulate.samples import ArmSamples, SampleTable
from amp.simulate.table_oracle import oracle
from amp.types import ToolUse

LOCAL = replace(CARD, parameters=1_500_000_000, layers=28, attention_width=1536)
HOSTED = replace(
    LOCAL,
    dollars_per_million_prompt_tokens=2.0,
    dollars_per_million_cached_tokens=0.25,
    dollars_per_million_completion_tokens=8.0,
    dollars_per_million_reasoning_tokens=5.0,
)
CARDS = st.sampled_from([LOCAL, HOSTED])
SEEDS = st.integers(0, 2**16)
UNITS: list[Cost] = list(COSTS)


def costly(table: SampleTable, card: ModelCard, seed: int) -> SampleTable:
    """The same with prompts that a cache knows in part, thoughts, and tools that take time."""
    rng = random.Random(seed)

    def arm(one: ArmSamples) -> ArmSamples:
        samples = tuple(
            replace(
                s,
                usage=replace(
                    s.usage,
                    seconds=rng.random(),
                    reasoning_tokens=rng.randint(0, s.usage.completion_tokens),
                ),
                candidate=replace(
                    s.candidate, tool_uses=(ToolUse("python", "", "", seconds=rng.random()),)
                ),
            )
            for s in one.samples
        )
        known = sorted(rng.randint(0, one.prompt_tokens) for _ in samples)
        return replace(one, cached=tuple(known), samples=samples)

    tasks = tuple(
        row.changed(
            lambda step, _: replace(step, by_arm={n: arm(a) for n, a in step.by_arm.items()})
        )
        for row in table.tasks
    )
    return replace(table, card=card, tasks=tasks)


@given(SEEDS, CARDS)
@settings(max_examples=6, deadline=None)
def test_a_walk_through_the_table_costs_what_the_replay_is_charged(
    seed: int, card: ModelCard
) -> None:
    table = costly(plan_table(seed, tasks=3), card, seed)
    table = replace(table, tasks=tuple(_named_apart(row) for row in table.tasks))
    one = _of_no_features(replace(policy(seed), max_samples=SAMPLES))
    episodes = replay_allocator(
        table, one, WeightedAssessor(probes=frozenset()), contexts_of_plans(table)
    )
    env, tasks = env_of_plans(table), np.arange(3)
    lambdas = np.full(3, one.trade_off)
    for unit in UNITS:
        measure = costing(unit, card)
        came = roll_out(one, env.in_unit(unit), REWARD, tasks, lambdas, np.random.default_rng(0))
        assert came.success.tolist() == [e.score for e in episodes]  # whatever the unit is
        paid = [measure.of(e.usage) for e in episodes]
        assert came.cost.tolist() == pytest.approx(paid, rel=1e-12)


@given(SEEDS, CARDS, st.sampled_from(UNITS))
@settings(max_examples=10, deadline=None)
def test_no_fixed_plan_beats_the_oracle_of_the_table_in_any_unit(
    seed: int, card: ModelCard, unit: Cost
) -> None:
    table = costly(plan_table(seed, tasks=1), card, seed)
    measure = costing(unit, card).of
    dearest = fixed(table, fixed_plans(table)[-1])[0]
    price = Price(0.7, measure(dearest.usage), measure)
    reward = replace(REWARD, reference_cost=price.budget)
    success, cost = oracle(env_of_plans(table).in_unit(unit), reward, 0.7)
    best = reward.of(success, cost, np.full(1, 0.7))[0]
    # The lattice may also call an arm twice, which the other one does not try.
    assert best >= price.of(reward_oracle(table, price)[0]) - 1e-9


@given(SEEDS, CARDS)
@settings(max_examples=10, deadline=None)
def test_costs_are_never_negative_and_a_cached_prompt_costs_no_more(
    seed: int, card: ModelCard
) -> None:
    table = costly(DRAWS.with_tasks({"t/0", "t/1"}), card, seed)
    found = costs_of(table)
    assert set(found) == set(COSTS)
    for costs in found.values():
        assert (costs.calls >= 0).all()
        assert (costs.samples >= 0).all()
        # More and more of the prompt is known from call to call.
        assert (np.diff(costs.calls, axis=-1) <= 1e-9 * costs.calls.max()).all()
    assert (found["written"].calls == 0).all()
    assert (found["tokens"].calls == found["tokens"].calls[..., :1]).all()


def test_units_that_are_not_known_of_a_model_are_no_units_of_its_table() -> None:
    env = env_from_samples(
        replace(DRAWS, card=replace(CARD, parameters=None)), SPACE, (), ASSESSOR, CONTEXTS, 4
    )
    assert set(env.costs) == {"tokens", "written", "seconds"}
    with pytest.raises(InvalidInputError, match=r"no costs in dollars, expected one of tokens"):
        env.in_unit("dollars")


@pytest.mark.slow
def test_on_a_real_recording_the_table_costs_what_the_planner_is_charged() -> None:
    from amp.benchmarks import load_benchmark
    from amp.simulate.build import opening_contexts, table_from_recording
    from amp.simulate.samples import Arm

    benchmark = load_benchmark("gsm8k")
    tasks = benchmark.tasks("test", 20)
    arms = [Arm(name, benchmark.defaults.arms[name]) for name in ("program", "chain")]
    table = table_from_recording(Path("recordings/gsm8k.sqlite"), benchmark, tasks, arms, 4)
    contexts, space = opening_contexts(benchmark, tasks), benchmark.defaults.policy_space
    assert space is not None
    silent = WeightedAssessor(probes=frozenset())
    env = replace(env_from_samples(table, space, (), silent, contexts, 4), shuffled=False)
    one = replace(_of_no_features(policy(0)), space=space, max_samples=4, max_rounds=4)
    episodes = replay_allocator(table, one, silent, contexts)
    for unit in UNITS:
        measure = costing(unit, table.card)
        lambdas = np.full(20, one.trade_off)
        came = roll_out(
            one, env.in_unit(unit), REWARD, np.arange(20), lambdas, np.random.default_rng(0)
        )
        paid = [measure.of(e.usage) for e in episodes]
        assert came.cost.tolist() == pytest.approx(paid, rel=1e-12)
        assert min(paid) > 0
