"""The laws of a shared budget hold wherever it is kept: here, in an actor of Ray, in Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from tests.fakes.budgets import Books, books_in
from tests.fakes.methods import babbler
from tests.fakes.shared_budgets import Home, here, in_an_actor, in_redis
from tests.fakes.worlds import RIDDLE, Riddle
from tests.test_shared_budget import AGENTS, Rounds, facts, planner

from amp.errors import InvalidInputError, LimitReachedError
from amp.serve.accounts.base import Claim, Refusal, Reservation
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.redis_budget import RedisBudgets, from_whole, to_whole
from amp.serve.accounts.redis_store import RedisStore
from amp.shared_budget import Unit, join
from amp.shared_budget.distant import DistantBudget
from amp.types import Limits
from amp.usage import Usage

pytestmark = pytest.mark.slow

Opened = Callable[..., AbstractAsyncContextManager[Home]]
HOMES = ["this process", "an actor", "a fake of Redis", "Redis"]


@pytest.fixture(params=HOMES)
def opened(request: pytest.FixtureRequest) -> Opened:
    """Opens a new budget of each kind."""
    url = request.getfixturevalue("redis_url") if request.param == "Redis" else ""

    @asynccontextmanager
    async def made(
        total: float, floors: Mapping[str, float], unit: Unit = "tokens", at_once: int = 1
    ) -> AsyncIterator[Home]:
        if request.param == "this process":
            yield here(total, floors, unit, at_once)
        elif request.param == "an actor":
            async with in_an_actor(total, floors, unit, at_once) as home:
                yield home
        else:
            fake = fakeredis.FakeAsyncRedis(decode_responses=True)
            client = Redis.from_url(url, decode_responses=True) if url else fake
            async with in_redis(client, total, floors, unit, at_once) as home:
                yield home

    return made


# --------------------------------------------------------------------------- laws


@settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.lists(st.integers(0, 40), min_size=3, max_size=3),
)
def test_no_interleaving_spends_too_much_or_gets_stuck(
    opened: Opened, seed: int, at_once: int, least: list[int]
) -> None:
    rng, total = random.Random(seed), sum(least) + 60
    owed = dict(zip(AGENTS, least, strict=True))
    paid = dict.fromkeys(AGENTS, 0.0)
    held: list[float] = []

    async def agent(home: Home, name: str) -> None:
        for _ in range(rng.randrange(1, 5)):
            want = rng.choice([None, rng.randrange(80)])
            try:
                async with home.budget.turn(name, rng.choice([0.0, 1.0, 2.0]), want) as now:
                    held.append(now.most)
                    assert len(held) <= at_once
                    assert want is None or now.most == want
                    assert sum(paid.values()) + sum(held) <= total
                    await asyncio.sleep(rng.choice([0.0, 0.001]))
                    now.cost = rng.randint(0, int(now.most))
                    held.remove(now.most)
                    paid[name] += now.cost
            except LimitReachedError:
                assert want is not None
                assert want > max(0.0, owed[name] - paid[name])  # its floor it has whatever comes
        await home.waive(name)

    async def run() -> None:
        async with opened(total, owed, "tokens", at_once) as home:
            await asyncio.wait_for(asyncio.gather(*(agent(home, n) for n in (*AGENTS, "ann"))), 60)
            assert dict(await home.spent()) == paid
            async with home.budget.turn("ann", 0.0, total - sum(paid.values())) as now:
                assert now.most == total - sum(paid.values())  # nothing is lost

    asyncio.run(run())


@given(st.floats(0, 1e6))
def test_what_redis_counts_is_never_less_than_it_was(amount: float) -> None:
    counted = to_whole(amount, "dollars")
    assert amount - 1e-9 <= from_whole(counted, "dollars") <= amount + 1e-9
    assert to_whole(from_whole(counted, "dollars"), "dollars") == counted


# --------------------------------------------------------------------------- examples


async def test_the_highest_bid_goes_first_and_of_equals_who_spent_least(opened: Opened) -> None:
    went: list[str] = []
    async with opened(100, dict.fromkeys(AGENTS, 0)) as home:

        async def agent(name: str, bids: list[float]) -> None:
            for bid in bids:
                async with home.budget.turn(name, bid) as now:
                    await asyncio.sleep(0.25)  # all others have time to bid
                    went.append(name)
                    now.cost = 1

        async with home.budget.turn("cid", 9):  # until all wait
            tasks = [
                asyncio.create_task(agent("ann", [2])),
                asyncio.create_task(agent("bob", [5, 2])),
                asyncio.create_task(agent("cid", [3])),
            ]
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
    assert went == ["bob", "cid", "ann", "bob"]


async def test_a_call_waits_for_what_others_may_give_back(opened: Opened) -> None:
    async with opened(100, {"ann": 0, "bob": 30}, "tokens", 4) as home:
        with pytest.raises(LimitReachedError, match="ann wants 71 of the shared tokens, and 70 is"):
            async with home.budget.turn("ann", 0.0, 71):
                pass
        order: list[str] = []

        async def ask(agent: str, want: float) -> None:
            async with home.budget.turn(agent, 1.0, want) as now:
                order.append(agent)
                now.cost = now.most

        async with home.budget.turn("ann", 0.0, 60) as first:
            waits = asyncio.create_task(ask("bob", 60))
            await asyncio.sleep(0.2)
            assert order == []
            first.cost = 10
        await asyncio.wait_for(waits, 30)
        assert dict(await home.spent()) == {"ann": 10, "bob": 60}
        with pytest.raises(LimitReachedError):
            await ask("bob", 31)
        await ask("bob", 30)


async def test_who_does_not_wait_any_more_keeps_nobody_waiting(opened: Opened) -> None:
    async with opened(100, {"ann": 0, "bob": 0}) as home:
        async with home.budget.turn("ann"):
            gone = asyncio.create_task(home.budget.turn("bob", 9.0).__aenter__())
            await asyncio.sleep(0.1)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        async with asyncio.timeout(30), home.budget.turn("ann", 0.0) as now:
            assert now.most == 100


async def test_planners_draw_from_any_budget_as_from_their_own(opened: Opened) -> None:
    alone = planner(babbler(3), Rounds(3), Limits(steps=9, tokens=900))
    async with opened(900, {"ann": 0}) as home:
        joined = join(home.budget, "ann", planner(babbler(3), Rounds(3), Limits(steps=9)))
        one, other = await alone.run(RIDDLE, Riddle()), await joined.run(RIDDLE, Riddle())
        assert facts(one) == facts(other)
        assert (await home.spent())["ann"] == other.usage.tokens <= 900


async def test_nobody_draws_who_was_not_named(opened: Opened) -> None:
    async with opened(10, {"ann": 0}) as home:
        with pytest.raises(InvalidInputError, match=r"no agent 'anne' shares .* 'ann'"):
            async with home.budget.turn("anne"):
                pass


@pytest.mark.parametrize("where", HOMES[1:3])
async def test_of_an_agent_that_is_lost_what_was_set_aside_counts_as_spent(where: str) -> None:
    client = fakeredis.FakeAsyncRedis(decode_responses=True)
    floors = {"ann": 0, "bob": 40}
    opened = (
        in_an_actor(100, floors, "tokens", 1, 0.6)
        if where == "an actor"
        else in_redis(client, 100, floors, "tokens", 1, 0.6)
    )
    async with opened as home:
        assert isinstance(home.budget, DistantBudget)
        await home.budget._ask("lost", "ann", 5.0, 25)
        async with asyncio.timeout(30), home.budget.turn("bob") as now:
            assert now.most == 75
        assert dict(await home.spent()) == {"ann": 25, "bob": 0}


async def test_budgets_that_cannot_be_are_refused_in_a_line() -> None:
    client = fakeredis.FakeAsyncRedis(decode_responses=True)
    budgets = RedisBudgets(RedisStore("redis://h:1/0", None, client))
    with pytest.raises(InvalidInputError, match="floors of 2 agents add up to 3 dollars, more"):
        await budgets.make("team", 2.0, {"ann": 1.5, "bob": 1.5})
    with pytest.raises(InvalidInputError, match=r"unknown key 'ann'; add it first \(amp keys add"):
        await budgets.make("team", 2.0, {"ann": 1.5}, whose="keys")
    await budgets.make("team", 2.0, {"ann": 1.5})
    with pytest.raises(InvalidInputError, match="budget 'team' exists already"):
        await budgets.make("team", 2.0, {"ann": 1.5})
    with pytest.raises(InvalidInputError, match=r"unknown budget 'tea'; did you mean 'team'"):
        await budgets.tell("tea")
    await client.aclose()


# --------------------------------------------------------------------------- keys


@asynccontextmanager
async def keys_that_share(
    total: float, floors: Mapping[str, float], unit: Unit = "dollars"
) -> AsyncIterator[tuple[Books, dict[str, str]]]:
    fake = fakeredis.FakeServer()
    make = lambda: fakeredis.FakeAsyncRedis(server=fake, decode_responses=True)  # noqa: E731
    async with books_in(make) as books:
        tokens = {name: await books.add(name, KeyLimits()) for name in floors}
        await books.ask(lambda keys: keys.share("team", total, floors, unit, 64))
        yield books, tokens


async def test_keys_that_share_a_budget_never_spend_more_together() -> None:
    async with keys_that_share(1.0, {"ann": 0.25, "bob": 0.25}) as (books, token):
        accounts = books.accounts
        refused = await accounts.reserve(token["ann"], Claim(dollars=0.8, tokens=1))
        assert isinstance(refused, Refusal)
        assert (refused.status, refused.retry_after_seconds) == (429, None)
        assert "ann wants 0.8 of the shared dollars, and 0.75 is left" in refused.reason
        held = await accounts.reserve(token["ann"], Claim(dollars=0.75, tokens=1))
        assert isinstance(held, Reservation)
        await accounts.settle(held, Usage(dollars=0.5, prompt_tokens=1))
        for name, most in (("bob", 0.5), ("ann", 0.25)):
            released = await accounts.reserve(token[name], Claim(dollars=most, tokens=1))
            assert isinstance(released, Reservation)
            await accounts.release(released)
        (state,) = await books.ask(lambda keys: keys.shared())
        assert {name: (s.spent, s.held) for name, s in state.shares.items()} == {
            "ann": (0.5, 0.0),
            "bob": (0.0, 0.0),
        }
        assert isinstance(
            await accounts.reserve(token["bob"], Claim(dollars=None, tokens=1)), Refusal
        )
        await books.ask(lambda keys: keys.revoke("bob"))
        # Bob's floor is free.
        last = await accounts.reserve(token["ann"], Claim(dollars=0.5, tokens=1))
        assert isinstance(last, Reservation)
        await accounts.release(last)


async def test_the_call_that_bids_most_has_what_comes_back_and_one_that_goes_leaves() -> None:
    async with keys_that_share(100, {"ann": 0, "bob": 0, "cid": 0}, "tokens") as (books, token):
        accounts = books.accounts
        first = await books.held(token["ann"], None, 100)
        order: list[str] = []

        async def call(name: str, bid: float) -> None:
            held = await accounts.reserve(token[name], Claim(dollars=None, tokens=60, bid=bid))
            assert isinstance(held, Reservation), held
            order.append(name)
            await accounts.settle(held, Usage(prompt_tokens=20))

        async def until_there_wait(number: int) -> None:
            waiting = -1
            async with asyncio.timeout(30):
                while waiting != number:
                    (state,) = await books.ask(lambda keys: keys.shared())
                    waiting = state.waiting

        calls = [asyncio.create_task(call(n, b)) for n, b in (("ann", 1), ("bob", 2), ("cid", 3))]
        await until_there_wait(3)
        while not calls[1].done():  # the fake loses it where its answer has just come
            calls[1].cancel()
            await asyncio.sleep(0.01)
        await until_there_wait(2)
        await accounts.settle(first, Usage(prompt_tokens=10))
        await asyncio.wait(calls, timeout=30)
        assert order == ["cid", "ann"]
        (state,) = await books.ask(lambda keys: keys.shared())
        assert {name: share.spent for name, share in state.shares.items()} == {
            "ann": 30,
            "bob": 0,
            "cid": 20,
        }
        assert (state.running, state.waiting) == (0, 0)
