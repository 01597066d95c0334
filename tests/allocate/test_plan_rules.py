"""Rules for long plans: when they plan anew, think, and spend on trouble."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.execute.test_plans import ARMS, WAYS, Road, listed, walk

from amp.allocate.plan_state import (
    SIGNALS,
    BySignals,
    ReplanEvery,
    ThinkWhenUnsure,
    plan_rules,
    signs,
)
from amp.allocate.rules import plan_arms
from amp.types import Allocation, Complexity, Observation, StepContext, Task

ACT, FOLLOW, PLAN = ARMS["act"], ARMS["follow"], ARMS["plan 8"]
SURE = 0.7  # of what `walk`'s model chooses
roads = st.lists(st.sampled_from(WAYS), min_size=1, max_size=8)


@settings(max_examples=25)
@given(roads, st.integers(2, 8))
async def test_plans_are_written_every_so_many_steps(turns: list[str], every: int) -> None:
    starts = range(0, len(turns), every)
    plans = [listed(turns[start:]) for start in starts]
    episode, model = await walk(Road(turns), plans, ReplanEvery(ACT, FOLLOW, PLAN, every))
    assert episode.success
    assert len(model.requests) == math.ceil(len(turns) / every)
    assert [index for index, s in enumerate(episode.steps) if s.usage.model_calls] == [*starts]


@pytest.mark.parametrize(("doubt", "rounds"), [(1.0 - SURE + 0.01, 1), (1.0 - SURE - 0.01, 2)])
async def test_an_unsure_choice_is_made_again_and_that_counts(doubt: float, rounds: int) -> None:
    rule = ThinkWhenUnsure(ACT, ARMS["plan 4"], doubt)
    episode, _ = await walk(Road(["south"]), [listed(["north"])], rule, steps=1)
    (step,) = episode.steps
    assert len(step.rounds) == rounds
    assert step.action == ("south" if rounds == 1 else "north")


async def test_a_further_answer_that_cannot_be_read_leaves_the_first() -> None:
    rule = ThinkWhenUnsure(ACT, ARMS["plan 4"], 0.0)
    episode, _ = await walk(Road(["south"]), [listed(["up"])], rule, steps=1)
    assert episode.steps[0].action == "south"


async def test_trouble_is_seen_and_spent_on() -> None:
    # South is chosen at once, and changes nothing on the way east.
    rule = BySignals(ACT, FOLLOW, PLAN, 1)
    episode, _ = await walk(Road(["south", "east", "east"]), [listed(["east"] * 2)], rule)
    kinds = [sorted(step.rounds[0].allocation.tools) for step in episode.steps]
    assert kinds == [[], [], ["plan"], ["standing_plan"]]
    assert episode.success
    begins, _ = await walk(
        Road(["east"]), [listed(["east"])], BySignals(ACT, FOLLOW, PLAN, 1, True)
    )
    assert sorted(begins.steps[0].rounds[0].allocation.tools) == ["plan"]
    never, _ = await walk(Road(["south"] * 3), [], BySignals(ACT, FOLLOW, PLAN, 9))
    assert never.success
    assert all(step.rounds[0].allocation == ACT for step in never.steps)


def test_before_the_first_step_nothing_is_in_trouble() -> None:
    assert signs(StepContext(Task("t", "go"), Observation())) == dict.fromkeys(SIGNALS, False)


def test_rules_are_those_that_the_arms_allow() -> None:
    every = plan_rules(plan_arms(Allocation()))
    assert [*every] == [
        "plan, then follow", "replan every k", "think when unsure", "trajectory signals",
    ]  # fmt: skip
    assert [*plan_rules({"act": ACT, "think": ARMS["think 1"]})] == [
        "think when unsure", "trajectory signals",
    ]  # fmt: skip
    assert plan_rules({"act": ACT, "follow": FOLLOW}) == {}
    assert plan_rules({"plan 8": PLAN}) == {}
    known = set(plan_arms(Allocation()).values())
    for rule in every.values():
        for setting in rule.values():
            first = setting.allocate(StepContext(Task("t", "go"), Observation()), _NONE)
            assert first.allocation in known


_NONE = Complexity(0.0)
