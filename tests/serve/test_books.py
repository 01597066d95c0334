"""The laws that all accounts with keys keep, wherever they are: in a file, or in Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from tests.fakes.budgets import LEASE, LIMITED, NOON, STEPS, Books, books_in, books_in_a_file, play
from tests.fakes.redis import redis_server

from amp.errors import InvalidInputError
from amp.serve.accounts.base import Claim, Refusal, Reservation
from amp.serve.accounts.budgets import day_of
from amp.serve.accounts.keys import NANO, KeyLimits, nano
from amp.serve.accounts.redis import RedisAccounts, RedisKeys
from amp.serve.accounts.redis_store import RedisStore, RedisUnreachableError, place_of
from amp.serve.episodes import EpisodeAccounts, episode
from amp.usage import Usage

pytestmark = pytest.mark.slow

Opened = Callable[[], AbstractAsyncContextManager[Books]]


@pytest.fixture(params=["a file", "a fake of Redis", "Redis"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Opens new, empty accounts of each kind."""
    if request.param == "a file":

        @asynccontextmanager
        async def opened_file() -> AsyncIterator[Books]:
            with TemporaryDirectory() as folder:
                async with books_in_a_file(Path(folder)) as books:
                    yield books

        return opened_file
    if request.param == "Redis":
        url: str = request.getfixturevalue("redis_url")

        @asynccontextmanager
        async def opened_redis() -> AsyncIterator[Books]:
            async with Redis.from_url(url) as client:
                await client.flushall()
            async with books_in(lambda: Redis.from_url(url, decode_responses=True)) as books:
                yield books

        return opened_redis

    @asynccontextmanager
    async def opened_fake() -> AsyncIterator[Books]:
        fake = fakeredis.FakeServer()
        make = lambda: fakeredis.FakeAsyncRedis(server=fake, decode_responses=True)  # noqa: E731
        async with books_in(make) as books:
            yield books

    return opened_fake


# --------------------------------------------------------------------------- laws


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(steps=STEPS)
def test_books_are_those_of_the_model(opened: Opened, steps: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        async with opened() as books:
            await play(books, steps)

    asyncio.run(run())


# --------------------------------------------------------------------------- examples


async def test_64_at_once_never_take_more_than_there_is(opened: Opened) -> None:
    async with opened() as books:
        token = await books.add(limits=KeyLimits(dollars_per_day=1.0, max_concurrent=40))
        chance, spent, most_open = random.Random(3), 0, 0

        async def caller(number: int) -> None:
            nonlocal spent, most_open
            for _ in range(20):
                most = chance.randint(1, 20_000_000)
                found = await books.accounts.reserve(token, Claim(dollars=most / NANO, tokens=1))
                if isinstance(found, Refusal):
                    continue
                await asyncio.sleep(0)
                cost = chance.choice([most, chance.randint(0, most)])
                await books.accounts.settle(found, Usage(dollars=cost / NANO))
                spent += cost

        await asyncio.gather(*map(caller, range(64)))
        spend = await books.spend()
        assert (spend.day.dollars, spend.day.held_dollars) == (spent, 0)
        assert 0.9 * NANO < spent <= NANO
        assert spend.day.over_dollars == 0


async def test_who_goes_away_while_money_is_reserved_holds_none(opened: Opened) -> None:
    async with opened() as books:
        token = await books.add(limits=KeyLimits(dollars_per_day=1.0))
        episodes = EpisodeAccounts(books.accounts, token)
        with episode("task", max_dollars=1.0) as task:
            for moment in range(12):
                call = asyncio.create_task(episodes.reserve("", Claim(dollars=0.01, tokens=1)))
                await asyncio.sleep(moment / 2_000)
                call.cancel()
                found = (await asyncio.gather(call, return_exceptions=True))[0]
                if isinstance(found, Reservation):
                    await episodes.release(found)
            async with asyncio.timeout(60):
                while (spend := await books.spend()).open_calls:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.01)
        assert spend.day.held_dollars == 0
        assert task.reserved == pytest.approx(0.0, abs=1e-12)


async def test_what_a_killed_gateway_held_is_there_again_after_its_lease(opened: Opened) -> None:
    async with opened() as books:
        token = await books.add(limits=KeyLimits(dollars_per_day=0.1))
        held = await books.held(token, 0.1, 10)
        books.now[0] += LEASE - 1
        refused = await books.refused(token, 0.1)
        assert refused.retry_after_seconds == 12 * 3600 - LEASE + 1
        assert refused.reason == (
            "key ann: limit dollars_per_day of $0.10 reached: $0.00 is left, the call may take"
            " $0.10; it begins anew at 2026-12-01 00:00 UTC"
        )
        books.now[0] += 1
        again = await books.held(token, 0.1)
        spend = await books.spend()
        assert (spend.day.lost_dollars, spend.open_calls) == (nano(0.1), 1)
        await books.accounts.settle(held, Usage(dollars=0.02))  # it was only late
        await books.accounts.settle(again, Usage(dollars=0.1))
        spend = await books.spend()
        assert (spend.day.dollars, spend.day.over_dollars) == (nano(0.12), nano(0.02))
        assert spend.day.lost_dollars == 0


async def test_what_has_expired_stays_so_where_a_call_is_refused(opened: Opened) -> None:
    async with opened() as books:
        token = await books.add(limits=KeyLimits(episode_dollars=0.7))
        held = await books.held(token, 0.0, 1)
        books.now[0] += LEASE + 1
        await books.refused(token, 1.0)
        await books.accounts.settle(held, Usage(prompt_tokens=1))
        assert (await books.spend()).day.over_tokens == 1


async def test_nothing_is_charged_or_given_back_twice(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as books:
        token = await books.add()
        held = await books.held(token, 0.1, 10)
        for _ in range(2):
            await books.accounts.settle(held, Usage(dollars=0.05, prompt_tokens=7))
            await books.accounts.release(held)
        other = await books.held(token, 0.3)
        for _ in range(2):
            await books.accounts.release(other)
        spend = await books.spend()
        assert (spend.day.dollars, spend.day.tokens, spend.day.requests) == (nano(0.05), 7, 1)
        assert (spend.day.held_dollars, spend.open_calls) == (0, 0)
        assert "is not settled" in caplog.text


async def test_who_may_not(opened: Opened) -> None:
    async with opened() as books:
        token = await books.add(limits=KeyLimits(episode_dollars=1.0))
        assert await books.accounts.name_of(token) == "ann"
        other = f"amp-{token[4:12]}-{'0' * 48}"
        for wrong in ("", "sk-1", other, f"amp-{'0' * 8}-{'0' * 48}"):
            refusal = await books.refused(wrong)
            assert (refusal.status, refusal.reason) == (
                401,
                "unknown key; ask for one (amp keys add NAME)",
            )
            assert await books.accounts.name_of(wrong) == refusal
        assert (await books.refused(token, None)).status == 403  # no price
        assert (await books.refused(token, episode="x" * 201)).status == 400
        held = await books.held(token, 0.5)
        await books.ask(lambda keys: keys.revoke("ann"))
        refusal = await books.refused(token)
        assert refusal.status == 403
        assert refusal.reason == "key 'ann' was revoked on 2026-11-30"
        assert await books.accounts.name_of(token) == refusal
        await books.accounts.settle(held, Usage(dollars=0.25))  # is charged as ever
        assert (await books.spend()).day.dollars == nano(0.25)


async def test_keys_are_listed_and_names_are_used_once(opened: Opened) -> None:
    async with opened() as books:
        await books.add("ann", LIMITED)
        await books.add("bob")
        await books.ask(lambda keys: keys.revoke("bob"))
        ann, bob = await books.ask(lambda keys: keys.keys())
        assert (ann.name, ann.limits, ann.created, ann.revoked) == ("ann", LIMITED, NOON, None)
        assert (bob.name, bob.limits, bob.revoked) == ("bob", KeyLimits(), NOON)
        for what, complaint in (
            (lambda keys: keys.add("bob"), "key 'bob' exists already; choose another name"),
            (lambda keys: keys.add("a\nb"), "expected 1 to 64 printable characters"),
            (lambda keys: keys.add("eve", KeyLimits(dollars_per_day=-1)), "dollars_per_day is -1"),
            (lambda keys: keys.revoke("bob"), "key 'bob' was revoked on 2026-11-30"),
            (lambda keys: keys.spend("bbo"), "unknown key 'bbo'; did you mean 'bob'?"),
        ):
            with pytest.raises(InvalidInputError, match=complaint.replace("?", r"\?")):
                await books.ask(what)


# --------------------------------------------------------------------------- Redis alone


async def test_a_gateway_that_lives_keeps_what_it_holds() -> None:
    fake = fakeredis.FakeServer()
    client = fakeredis.FakeAsyncRedis(server=fake, decode_responses=True)
    keys = RedisKeys(RedisStore("redis://h", client=fakeredis.FakeAsyncRedis(
        server=fake, decode_responses=True)))  # fmt: skip
    token = await asyncio.to_thread(keys.add, "ann", KeyLimits(max_concurrent=1))
    accounts = RedisAccounts(RedisStore("redis://h", client=client), lease_seconds=6.0)

    async def lease_ends() -> float:
        (name,) = await client.keys("*:open:*")
        moment: Any = (await client.zrange(name, 0, -1, withscores=True))[0][1]
        return float(moment)

    held = await accounts.reserve(token, Claim(dollars=0.0, tokens=1))
    assert isinstance(held, Reservation)
    first = await lease_ends()
    async with asyncio.timeout(60):
        while await lease_ends() <= first:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.05)
    assert isinstance(await accounts.reserve(token, Claim(dollars=0.0, tokens=1)), Refusal)
    await accounts.settle(held, Usage(prompt_tokens=1))
    assert isinstance(await accounts.reserve(token, Claim(dollars=0.0, tokens=1)), Reservation)
    await accounts.close()
    await asyncio.to_thread(keys.close)


async def test_calls_that_end_while_redis_is_away_are_settled_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        keys = RedisKeys(RedisStore(url))
        token = await asyncio.to_thread(keys.add, "ann", KeyLimits(dollars_per_day=1.0))
        accounts = RedisAccounts(RedisStore(url))
        held = await accounts.reserve(token, Claim(dollars=0.5, tokens=1))
        assert isinstance(held, Reservation)
    await accounts.settle(held, Usage(dollars=0.25))
    refused = await accounts.reserve(token, Claim(dollars=0.1, tokens=1))
    assert isinstance(refused, Refusal)
    assert (refused.status, "cannot be used" in refused.reason) == (503, True)
    assert "settled later" in caplog.text
    assert "127.0.0.1" not in refused.reason
    with redis_server(tmp_path, port):  # which kept what it was told
        assert isinstance(await accounts.reserve(token, Claim(dollars=0.75, tokens=1)), Reservation)
        (spend,) = await asyncio.to_thread(keys.spend)
        assert spend.day.dollars == nano(0.25)
        await accounts.close()
        await asyncio.to_thread(keys.close)


@settings(max_examples=200)
@given(st.integers(0, 4_102_444_800))
def test_days_of_the_script_are_those_of_the_calendar(moment: int) -> None:
    assert script_day(moment) == day_of(moment)


def script_day(moment: int, known: dict[str, Any] = {}) -> str:  # noqa: B006  # a cache
    if not known:
        import importlib.resources

        import lupa.lua51  # type: ignore[import-untyped]  # it has none

        text = importlib.resources.files("amp.serve.accounts").joinpath("redis.lua").read_text()
        begin, end = text.index("local function day_of"), text.index("local function periods")
        runtime = lupa.lua51.LuaRuntime()
        known["day_of"] = runtime.execute(f"local DAY = 86400\n{text[begin:end]}\nreturn day_of")
    return str(known["day_of"](moment))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@h:7000/2", "redis://h:7000/2"),
        ("rediss://ann:secret@h", "rediss://h:6379"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert place_of(url) == shown


@pytest.mark.parametrize("url", ["redis://", "http://h", "redis://h:x", "redis://h:99999"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(InvalidInputError, match="expected redis://HOST"):
        place_of(url)


async def test_nobody_there_is_one_line() -> None:
    store = RedisStore("redis://:secret12@127.0.0.1:9/0")
    with pytest.raises(RedisUnreachableError) as refused:
        await store.run("keys")
    assert str(refused.value).startswith("redis://127.0.0.1:9/0 cannot be used (ConnectionError")
    assert "secret12" not in str(refused.value)
    await store.close()


async def test_more_than_redis_counts_exactly_is_refused() -> None:
    client = fakeredis.FakeAsyncRedis(decode_responses=True)
    keys = RedisKeys(RedisStore("redis://h", client=client))
    with pytest.raises(InvalidInputError, match="dollars_per_day is more than Redis counts"):
        await asyncio.to_thread(keys.add, "ann", KeyLimits(dollars_per_day=9_100_000))
    await asyncio.to_thread(keys.close)
