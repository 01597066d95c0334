"""Budgets by their laws: a model that counts the slow way, books of each kind, and what is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from redis.asyncio import Redis

from amp.serve.accounts import ledger as in_file
from amp.serve.accounts.base import Accounts, Claim, Refusal, Reservation
from amp.serve.accounts.budgets import Spend, day_of
from amp.serve.accounts.keys import LIMITS, KeyLimits, nano
from amp.serve.accounts.redis import RedisAccounts, RedisKeys
from amp.serve.accounts.redis_store import RedisStore
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.usage import Usage

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
"""On the last day of a month."""

LEASE = 60

ELSEWHERE = "another-machine 1 1"
"""A process of which nobody here knows whether it lives."""

T = TypeVar("T")


@dataclass
class Books:
    """Accounts, what is asked of them beside calls, and their clock."""

    accounts: Accounts
    ask: Callable[[Callable[[Any], Any]], Awaitable[Any]]
    """Does something with the keys, which commands wait for."""

    now: list[float] = field(default_factory=lambda: [NOON])

    async def add(self, name: str = "ann", limits: KeyLimits | None = None) -> str:
        return str(await self.ask(lambda keys: keys.add(name, limits)))

    async def spend(self) -> Spend:
        """Of the one key."""
        (found,) = await self.ask(lambda keys: keys.spend())
        assert isinstance(found, Spend)
        return found

    async def held(
        self, token: str, dollars: float | None = 0.0, tokens: int = 0, episode: str = ""
    ) -> Reservation:
        """A reservation, which is allowed."""
        found = await self.accounts.reserve(
            token, Claim(dollars=dollars, tokens=tokens, episode=episode)
        )
        assert isinstance(found, Reservation), found
        return found

    async def refused(
        self, token: str, dollars: float | None = 0.0, tokens: int = 0, episode: str = ""
    ) -> Refusal:
        """A refusal."""
        found = await self.accounts.reserve(
            token, Claim(dollars=dollars, tokens=tokens, episode=episode)
        )
        assert isinstance(found, Refusal), found
        return found


@asynccontextmanager
async def books_in_a_file(folder: Path) -> AsyncIterator[Books]:
    now = [NOON]
    accounts = SqliteAccounts(folder / "accounts.sqlite")
    accounts.accounts.close()
    accounts.accounts = in_file.AccountsFile(
        folder / "accounts.sqlite", clock=lambda: now[0], hold_seconds=LEASE
    )
    accounts.accounts._process = ELSEWHERE

    async def ask(what: Callable[[Any], T]) -> T:
        return what(accounts.accounts)

    yield Books(accounts, ask, now)
    await accounts.close()


@asynccontextmanager
async def books_in(client: Callable[[], Redis]) -> AsyncIterator[Books]:
    now, url = [NOON], "redis://h:1/0"
    accounts = RedisAccounts(RedisStore(url, lambda: now[0], client()), LEASE)

    async def ask(what: Callable[[Any], T]) -> T:
        def asked() -> T:  # in a thread, as it has an event loop of its own
            keys = RedisKeys(RedisStore(url, lambda: now[0], client()))
            try:
                return what(keys)
            finally:
                keys.close()

        return await asyncio.to_thread(asked)

    yield Books(accounts, ask, now)
    await accounts.close()


@dataclass
class Call:
    """A call as the laws see it."""

    begun: float
    episode: str
    held: int
    held_tokens: int
    ending: str = ""
    spent: int = 0
    tokens: int = 0
    over: int = 0
    over_tokens: int = 0

    def counts(self) -> tuple[int, int, int]:
        """Dollars, tokens and requests that it takes of budgets."""
        if not self.ending:
            return self.held, self.held_tokens, 1
        return (self.spent, self.tokens, 1) if self.ending == "settled" else (0, 0, 0)


@dataclass
class Model:
    """Budgets of one key, counted the slow way."""

    limits: KeyLimits
    calls: list[Call] = field(default_factory=list)

    def of(self, period: str) -> list[Call]:
        return [
            call
            for call in self.calls
            if day_of(int(call.begun)).startswith(period) or period == f"episode {call.episode}"
        ]

    def used(self, period: str) -> tuple[int, ...]:
        counts = [call.counts() for call in self.of(period)]
        return tuple(sum(each[i] for each in counts) for i in range(3))

    def expire(self, now: float) -> None:
        for call in self.calls:
            if not call.ending and int(call.begun) + LEASE <= int(now):
                call.ending = "expired"

    def refuses(self, now: float, dollars: int, tokens: int, episode: str) -> str:
        """The limit that a call would break; empty for none."""
        day = day_of(int(now))
        spent, spent_tokens, requests = self.used(day)
        looks = {
            "dollars_per_day": (spent, dollars),
            "dollars_per_month": (self.used(day[:7])[0], dollars),
            "tokens_per_day": (spent_tokens, tokens),
            "requests_per_day": (requests, 1),
            "max_concurrent": (sum(not call.ending for call in self.calls), 1),
            "episode_dollars": (self.used(f"episode {episode}")[0] if episode else 0, dollars),
        }
        stored = self.limits.stored()
        for name in LIMITS:
            most, (used, want) = stored[name], looks[name]
            if most is not None and used + want > most:
                return name
        return ""

    def settle(self, call: Call, spent: int, tokens: int) -> None:
        if call.ending == "settled":
            return
        held, held_tokens = (0, 0) if call.ending else (call.held, call.held_tokens)
        call.over, call.over_tokens = max(0, spent - held), max(0, tokens - held_tokens)
        call.ending, call.spent, call.tokens = "settled", spent, tokens


LIMITED = KeyLimits(
    dollars_per_day=1.0,
    dollars_per_month=1.5,
    tokens_per_day=1000,
    requests_per_day=8,
    max_concurrent=4,
    episode_dollars=0.7,
)
DOLLARS = st.sampled_from([0.0, 0.000000001, 0.1, 0.3, 0.35, 0.7, 1.0])
TOKENS = st.sampled_from([0, 1, 100, 400])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), DOLLARS, TOKENS, st.sampled_from(["", "a", "b"])),
        st.tuples(st.just("settle"), DOLLARS, TOKENS, st.integers(0, 5)),
        st.tuples(st.just("release"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from([1, 59, 70, 40_000, 90_000])),
    ),
    max_size=20,
)


async def play(books: Books, steps: list[tuple[Any, ...]]) -> None:
    """Does the same in the books and in the model."""
    model, made = Model(LIMITED), list[Reservation]()
    token = await books.add(limits=LIMITED)
    for step in steps:
        if step[0] == "reserve":
            _, dollars, tokens, episode = step
            model.expire(books.now[0])
            limit = model.refuses(books.now[0], nano(dollars), tokens, episode)
            found = await books.accounts.reserve(
                token, Claim(dollars=dollars, tokens=tokens, episode=episode)
            )
            if limit:
                assert isinstance(found, Refusal), limit
                assert f"limit {limit} of" in found.reason
                assert found.status == 429
            else:
                assert isinstance(found, Reservation), found
                made.append(found)
                model.calls.append(Call(books.now[0], episode, nano(dollars), tokens))
        elif step[0] == "wait":
            books.now[0] += step[1]
        elif made:
            at = step[-1] % len(made)
            if step[0] == "settle":
                _, dollars, tokens, _ = step
                await books.accounts.settle(
                    made[at], Usage(dollars=dollars, completion_tokens=tokens)
                )
                model.settle(model.calls[at], nano(dollars), tokens)
            else:
                await books.accounts.release(made[at])
                model.calls[at].ending = model.calls[at].ending or "released"
    model.expire(books.now[0])
    spend = await books.spend()
    assert spend.open_calls == sum(not call.ending for call in model.calls)
    today = day_of(int(books.now[0]))
    for period, sums in ((today, spend.day), (today[:7], spend.month)):
        calls = model.of(period)
        open_calls = [call for call in calls if not call.ending]
        assert sums.period == period
        assert sums.dollars == sum(call.spent for call in calls)
        assert sums.tokens == sum(call.tokens for call in calls)
        assert sums.held_dollars == sum(call.held for call in open_calls)
        assert sums.held_tokens == sum(call.held_tokens for call in open_calls)
        assert sums.requests == sum(call.counts()[2] for call in calls)
        assert sums.over_dollars == sum(call.over for call in calls)
        assert sums.over_tokens == sum(call.over_tokens for call in calls)
        assert sums.lost_dollars == sum(c.held for c in calls if c.ending == "expired")
