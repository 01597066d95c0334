"""One budget for several agents: it holds, floors hold, and the highest bid goes first."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.methods import babbler
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle

from amp.allocate.base import Allocator
from amp.assess.base import WeightedAssessor
from amp.errors import InvalidInputError
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.shared_budget import SharedBudget, Turn
from amp.types import STOP, Allocation, Complexity, Decision, Episode, Limits, StepContext

AGENTS = ("ann", "bob", "cid")


@dataclass(frozen=True)
class Rounds(Allocator):
    """Takes so many rounds, and bids the same for each."""

    count: int = 3
    worth: float = 0.0

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        more = context.evidence.rounds < self.count
        return Decision(Allocation(temperature=1.0)) if more else STOP

    def bid(self, context: StepContext, complexity: Complexity) -> float:
        return self.worth


def planner(model: ScriptedModel, allocator: Allocator, limits: Limits = Limits()) -> Planner:
    executor = Executor(PlainPrompts())
    return Planner(model, executor, WeightedAssessor(), allocator, limits)


floors = st.lists(st.integers(0, 40), min_size=3, max_size=3)
moves = st.lists(
    st.tuples(
        st.sampled_from(["hold", "settle", "waive"]), st.sampled_from(AGENTS), st.integers(0, 150)
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(floors, st.integers(0, 80), moves)
def test_whatever_happens_the_budget_and_the_floors_hold(
    least: list[int], extra: int, happens: list[tuple[str, str, int]]
) -> None:
    total = sum(least) + extra + 1
    floor = dict(zip(AGENTS, least, strict=True))
    budget = SharedBudget(total, floor, unit="tokens")
    held: dict[str, list[Turn]] = {agent: [] for agent in AGENTS}
    for what, agent, amount in happens:
        if what == "waive":
            budget.waive(agent)
            floor[agent] = 0
        elif what == "hold":
            fits = amount <= budget.free(agent)
            now = budget.hold(agent, amount)
            assert (now is not None) == fits
            held[agent] += [now] if now else []
        elif held[agent]:
            now = held[agent].pop()
            now.cost = min(now.most, amount)
            budget.settle(agent, now)
        spent = budget.spent
        aside = {agent: sum(one.most for one in rounds) for agent, rounds in held.items()}
        owed = {a: max(0, floor[a] - spent[a] - aside[a]) for a in AGENTS}
        assert sum(spent.values()) + sum(aside.values()) + sum(owed.values()) <= total
        assert all(budget.free(agent) >= owed[agent] for agent in AGENTS)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), floors)
def test_no_interleaving_of_agents_spends_too_much_or_gets_stuck(
    seed: int, at_once: int, least: list[int]
) -> None:
    rng = random.Random(seed)
    total = sum(least) + 60
    budget = SharedBudget(total, dict(zip(AGENTS, least, strict=True)), at_once=at_once)
    under_way: list[Turn] = []

    async def agent(name: str) -> None:
        try:
            for _ in range(rng.randrange(1, 5)):
                async with budget.turn(name, rng.choice([0.0, 1.0, 2.0])) as now:
                    under_way.append(now)
                    assert len(under_way) <= at_once
                    try:
                        for _ in range(rng.randrange(3)):
                            await asyncio.sleep(0)
                        now.cost = rng.choice([0.0, rng.random(), 1.0]) * now.most
                        spent = sum(budget.spent.values())
                        assert spent + sum(one.most for one in under_way) <= total + 1e-9
                    finally:
                        under_way.remove(now)
                for _ in range(rng.randrange(2)):
                    await asyncio.sleep(0)
        finally:
            budget.waive(name)

    async def run() -> None:
        tasks = [asyncio.create_task(agent(name)) for name in (*AGENTS, "ann")]
        await asyncio.sleep(0)
        if rng.random() < 0.3:
            tasks[rng.randrange(4)].cancel()
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        assert [one for one in done if isinstance(one, Exception)] == []

    asyncio.run(run())
    assert budget.free("ann") == pytest.approx(total - sum(budget.spent.values()))


@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.integers(1, 40))
def test_agents_with_equal_bids_are_ever_within_a_round_of_each_other(
    costs: list[int], rounds: int
) -> None:
    budget = SharedBudget(10**6, dict.fromkeys(AGENTS, 0), unit="tokens")
    price = dict(zip(AGENTS, costs, strict=True))
    for _ in range(rounds):
        agent = max(AGENTS, key=lambda name: budget.rank(name, 1.0))
        now = budget.hold(agent, price[agent])
        assert now is not None
        now.cost = price[agent]
        budget.settle(agent, now)
        assert max(budget.spent.values()) - min(budget.spent.values()) <= max(costs)


async def test_the_highest_bid_goes_first_and_an_outcome_changes_the_order() -> None:
    budget = SharedBudget(100, dict.fromkeys(AGENTS, 0), unit="tokens")
    went: list[str] = []

    async def agent(name: str, bids: list[float]) -> None:
        for bid in bids:
            async with budget.turn(name, bid) as now:
                went.append(name)
                now.cost = 1

    await asyncio.gather(agent("ann", [1, 9]), agent("bob", [5, 2]), agent("cid", [3]))
    assert went == ["bob", "cid", "bob", "ann", "ann"]


async def test_who_bids_least_still_has_its_floor() -> None:
    budget = SharedBudget(100, {"ann": 0, "bob": 30, "cid": 0}, unit="tokens")
    had: dict[str, float] = {}

    async def agent(name: str, bid: float) -> None:
        async with budget.turn(name, bid) as now:
            had[name] = now.cost = now.most

    await asyncio.gather(agent("bob", 0.1), agent("ann", 9.0), agent("cid", 5.0))
    assert had == {"ann": 70, "cid": 0, "bob": 30}


def facts(episode: Episode) -> object:
    """What is told of an episode, without its time."""
    steps = [
        (
            step.action,
            (step.failure or "").partition("; agent ann may")[0],
            [(r.allocation, r.candidates, r.usage.tokens, r.substitutes) for r in step.rounds],
        )
        for step in episode.steps
    ]
    return steps, episode.success, episode.ended, episode.usage.tokens


@pytest.mark.slow
@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 4000), st.integers(1, 4))
def test_one_agent_does_what_it_would_do_with_the_budget_as_its_limit(
    seed: int, total: int, rounds: int
) -> None:
    async def both() -> tuple[Episode, Episode]:
        alone = planner(babbler(seed), Rounds(rounds), Limits(steps=9, tokens=total))
        budget = SharedBudget(total, {"ann": 0}, unit="tokens")
        joined = budget.join("ann", planner(babbler(seed), Rounds(rounds), Limits(steps=9)))
        one, other = await alone.run(RIDDLE, Riddle()), await joined.run(RIDDLE, Riddle())
        assert budget.spent["ann"] == other.usage.tokens <= total
        return one, other

    one, other = asyncio.run(both())
    assert facts(one) == facts(other)


async def test_planners_of_many_steps_share_what_there_is() -> None:
    model = ScriptedModel(["walk"], next_tokens=lambda prompt: {"1": 0.2, "2": 0.8})
    budget = SharedBudget(2000, dict.fromkeys(AGENTS, 300), unit="tokens")
    planners = [budget.join(name, planner(model, Rounds(1), Limits(steps=50))) for name in AGENTS]
    episodes = await asyncio.gather(*(one.run(CORRIDOR, Corridor()) for one in planners))
    assert sum(episode.usage.tokens for episode in episodes) == sum(budget.spent.values()) <= 2000
    assert all(budget.spent[name] > 0 for name in AGENTS)


async def test_an_agent_for_which_nothing_is_left_is_told_so() -> None:
    budget = SharedBudget(20, {"ann": 0, "bob": 20}, unit="tokens")
    ann = budget.join("ann", planner(ScriptedModel(["Action: 8"]), Rounds(1)))
    episode = await ann.run(RIDDLE, Riddle())
    assert episode.ended == "limit of tokens"
    assert "agent ann may spend 0 of the shared tokens now" in (episode.steps[0].failure or "")


@pytest.mark.parametrize(
    ("total", "least", "more", "told"),
    [
        (10, {"ann": 6, "bob": 6}, {}, "add up to 12 dollars, more than the shared budget of 10"),
        (0, {"ann": 0}, {}, "shared budget is 0 dollars, expected more than 0"),
        (10, {}, {}, "no agents"),
        (10, {"ann": -1}, {}, "floor of agent ann is -1"),
        (10, {"ann": 1}, {"at_once": 0}, "at_once is 0, expected at least 1"),
        (10, {"ann": 1}, {"unit": "steps"}, "expected dollars, tokens or seconds"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    total: float, least: dict[str, float], more: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidInputError, match=told):
        SharedBudget(total, least, **more)  # type: ignore[arg-type]  # what is refused


def test_an_agent_that_was_not_named_is_refused() -> None:
    budget = SharedBudget(10, {"ann": 1})
    with pytest.raises(InvalidInputError, match=r"no agent 'anne' shares .* 'ann'"):
        budget.join("anne", planner(babbler(0), Rounds()))
