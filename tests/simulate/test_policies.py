"""What policies are compared with: each spends and knows exactly what it says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.synthetic import CERTAIN_LEVELS, synthetic

from amp.allocate.stopping import UntilAgreement
from amp.errors import InvalidInputError
from amp.simulate.policies import (
    THREE_AGREE,
    TOKENS,
    TWO_AGREE,
    Price,
    best_fixed,
    by_turns,
    fixed,
    fixed_plans,
    learn_threshold,
    oracle,
    prompt_length,
    resampled_control,
    reward_oracle,
    shuffled_control,
    until,
    vote_rules,
)
from amp.simulate.replay import Plan, Pull, pulls, replay_allocator, replay_plans
from amp.simulate.samples import SampleTable, TaskSamples
from amp.types import Episode

TABLE = synthetic(20, seed=1, samples=3)


def _pulls(episode: Episode, table: SampleTable = TABLE) -> Plan:
    return pulls(table, episode.steps[0])


PRICES = st.builds(Price, st.floats(0.0, 1.0), st.floats(10.0, 2000.0))


def test_fixed_plans_are_all_counts_but_none() -> None:
    plans = fixed_plans(TABLE)
    assert len(plans) == len(set(plans)) == 4 * 4 - 1
    assert (Pull("short", 2), Pull("long", 1)) in plans
    assert all(pull.samples for plan in plans for pull in plan)


def test_two_arms_take_turns_in_the_stated_orders() -> None:
    assert (TWO_AGREE, THREE_AGREE) == ("aabababb", "aaababbb")
    rule = until(synthetic(2), by_turns("short", "long", TWO_AGREE), agree=2)
    assert [a.depth for a in rule.sequence] == [0, 0, 1, 0, 1, 0, 1, 1]


@given(PRICES)
@settings(max_examples=8)
def test_no_fixed_plan_pays_more_than_the_oracle_and_the_best_pays_most(price: Price) -> None:
    paid = sum(map(price.of, reward_oracle(TABLE, price)))
    earned = {plan: sum(map(price.of, fixed(TABLE, plan))) for plan in fixed_plans(TABLE)}
    assert paid >= max(earned.values()) - 1e-9
    assert earned[best_fixed(TABLE, price)] == pytest.approx(max(earned.values()))


def test_the_oracle_is_right_where_any_fixed_plan_is_and_never_dearer() -> None:
    known = oracle(TABLE)
    everywhere = [fixed(TABLE, plan) for plan in fixed_plans(TABLE)]
    for index, outcome in enumerate(known):
        found = [outcomes[index] for outcomes in everywhere]
        right = [TOKENS(other.usage) for other in found if other.success]
        assert outcome.success == bool(right)
        assert TOKENS(outcome.usage) == min(right or [TOKENS(other.usage) for other in found])


def test_the_oracle_of_reward_is_the_oracle_where_success_is_nearly_all() -> None:
    spent = max(TOKENS(o.usage) for o in fixed(TABLE, fixed_plans(TABLE)[-1]))
    assert reward_oracle(TABLE, Price(0.999, spent)) == oracle(TABLE)


def test_shuffled_plays_the_same_rounds_on_other_tasks() -> None:
    known = oracle(TABLE)
    other = shuffled_control(TABLE, known, seed=3)
    assert Counter(_pulls(o) for o in other) == Counter(_pulls(o) for o in known)
    assert [_pulls(o) for o in other] != [_pulls(o) for o in known]
    assert other == shuffled_control(TABLE, known, seed=3) != shuffled_control(TABLE, known, seed=4)
    with pytest.raises(InvalidInputError, match="not of the tasks of the table"):
        shuffled_control(TABLE, known[1:], seed=3)


def test_random_draws_only_rounds_of_the_policy_as_often_as_it_plays_them() -> None:
    known = oracle(TABLE)
    drawn = Counter(_pulls(o) for seed in range(100) for o in resampled_control(TABLE, known, seed))
    for plan, count in Counter(_pulls(o) for o in known).items():
        assert drawn[plan] / 2000 == pytest.approx(count / 20, abs=0.05)
    assert set(drawn) == {_pulls(o) for o in known}


@given(PRICES)
@settings(max_examples=8)
def test_a_learned_threshold_pays_at_least_what_the_best_fixed_plan_does(price: Price) -> None:
    def noise(row: TaskSamples) -> float:
        assert row.probe is not None
        assert row.probe.perplexity is not None
        return row.probe.perplexity

    rule = learn_threshold(TABLE, price, noise)
    best = best_fixed(TABLE, price)
    learned, alike = replay_plans(TABLE, rule), fixed(TABLE, best)
    assert sum(map(price.of, learned)) >= sum(map(price.of, alike)) - 1e-9


def test_a_length_that_tells_the_level_is_learned_and_one_that_does_not_is_no_use() -> None:
    def stretched(row: TaskSamples) -> TaskSamples:
        assert row.probe is not None
        longer = 50 if row.probe.entropy == 0.6 else 40
        return replace(
            row, by_arm={n: replace(c, prompt_tokens=longer) for n, c in row.by_arm.items()}
        )

    price = Price(0.9, 1000.0)
    table = synthetic(20, samples=2, levels=CERTAIN_LEVELS[:2])
    plain = learn_threshold(table, price)
    assert {plain(row) for row in table.tasks} == {best_fixed(table, price)}
    rule = learn_threshold(replace(table, tasks=tuple(map(stretched, table.tasks))), price)
    assert (rule.measure, rule.value) == (prompt_length, 40.0)
    assert (rule.low, rule.high) == ((Pull("short"),), (Pull("long"),))


def test_every_rule_on_votes_runs_on_the_samples_there_are() -> None:
    rules = vote_rules(TABLE)
    for name, rule in rules.items():
        for outcome in replay_allocator(TABLE, rule):
            drawn = Counter[str]()
            for pull in _pulls(outcome):
                drawn[pull.arm] += pull.samples
            assert drawn <= Counter(TABLE.samples), name
    assert "short until 2 agree" in rules
    assert "long and short by turns until 3 agree" in rules
    assert len(rules) == 2 * 3 + (2 + 2) * 2 * 2 + 2


def test_two_and_two_by_turns_end_with_the_call_that_brings_two_equal_answers() -> None:
    table = synthetic(20, seed=1, samples=4)
    rule = vote_rules(table)["two short and two long by turns until 2 agree"]
    turns = (Pull("short", 2), Pull("long", 2), Pull("short", 2), Pull("long", 2))
    met = set()
    for row, outcome in zip(table.tasks, replay_allocator(table, rule), strict=True):
        answers = {
            name: [d.candidate.action for d in cell.samples] for name, cell in row.by_arm.items()
        }
        short, long = answers["short"], answers["long"]
        drawn = [short[:2], short[:2] + long[:2], short + long[:2], short + long]
        agree = [max(Counter(some).values()) >= 2 for some in drawn]
        calls = agree.index(True) + 1 if any(agree) else len(turns)
        assert _pulls(outcome, table) == turns[:calls]
        met.add(calls)
    assert {1, 2} < met  # some agree at once, some after the other arm, some later or never


@pytest.mark.parametrize(("samples", "calls"), [(2, 2), (3, 2), (4, 4), (5, 4)])
def test_two_and_two_by_turns_use_whole_pairs_of_what_there_is(samples: int, calls: int) -> None:
    rule = vote_rules(synthetic(2, samples=samples))[
        "two long and two short by turns until 2 agree"
    ]
    assert isinstance(rule, UntilAgreement)
    assert [one.beam_width for one in rule.sequence] == [2] * calls
    assert [one.depth for one in rule.sequence] == [1, 0] * (calls // 2)


def test_one_sample_of_each_arm_makes_no_pairs() -> None:
    assert not any(name.startswith("two ") for name in vote_rules(synthetic(2, samples=1)))


def test_until_agreement_stops_with_the_votes() -> None:
    for outcome in replay_allocator(TABLE, vote_rules(TABLE)["long until 2 agree"]):
        row = next(row for row in TABLE.tasks if row.task == outcome.task.id)
        answers = [draw.candidate.action for draw in row.by_arm["long"].samples]
        counts = [max(Counter(answers[:n]).values()) for n in range(1, 4)]
        assert len(_pulls(outcome)) == next((n for n in (1, 2, 3) if counts[n - 1] >= 2), 3)


@pytest.mark.parametrize("name", ["long until 3 agree", "short and long by turns until 2 agree"])
def test_the_first_samples_at_once_decide_the_same_and_read_fewer_prompts(name: str) -> None:
    rules = vote_rules(TABLE)
    apart, together = (
        replay_allocator(TABLE, rules[n]) for n in (name, f"{name}, first ones at once")
    )
    for one, other in zip(apart, together, strict=True):
        assert other.success == one.success
        assert other.usage.completion_tokens == one.usage.completion_tokens
        assert other.usage.prompt_tokens < one.usage.prompt_tokens


def test_a_budget_is_above_nothing() -> None:
    with pytest.raises(InvalidInputError, match="budget is 0, expected a cost above 0"):
        Price(0.5, 0)
