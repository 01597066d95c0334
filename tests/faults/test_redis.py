"""Budgets in Redis hold against gateways of many processes, and against kills at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import httpx2
import pytest
from redis import Redis
from tests.fakes.redis import redis_server
from tests.fakes.upstream import either, serving
from tests.faults.test_budgets import ended_well, forked
from tests.serve.test_command import started
from typer.testing import CliRunner

from amp.cli.app import app
from amp.serve.accounts.base import Claim, Refusal, Reservation
from amp.serve.accounts.keys import NANO, KeyLimits, nano
from amp.serve.accounts.redis import RedisAccounts, RedisKeys
from amp.serve.accounts.redis_store import RedisStore
from amp.usage import Usage

LEASE = 60.0


async def spends(accounts: RedisAccounts, token: str, seed: int, calls: int) -> int:
    """Makes calls of any size as long as it may; returns the nano-dollars that they cost."""
    rng, spent = random.Random(seed), 0
    for number in range(calls):
        most = rng.randint(NANO // 1000, NANO // 250)
        held = await accounts.reserve(
            token, Claim(dollars=most / NANO, tokens=10, episode=str(number))
        )
        if isinstance(held, Refusal):
            assert held.status == 429, held
            continue
        if rng.random() < 0.2:
            await accounts.release(held)
            continue
        cost = rng.choice([most, rng.randint(0, most)])
        await accounts.settle(held, Usage(dollars=cost / NANO, prompt_tokens=10))
        spent += cost
    return spent


def test_64_writers_of_8_processes_never_exceed_a_budget(tmp_path: Path, thorough: bool) -> None:
    calls = 300 if thorough else 60
    with redis_server(tmp_path) as url:
        keys = RedisKeys(RedisStore(url))
        token = keys.add("ann", KeyLimits(dollars_per_day=1.0, episode_dollars=0.05))

        def writer(number: int) -> None:
            async def work() -> int:
                accounts = RedisAccounts(RedisStore(url))
                mine = [spends(accounts, token, 8 * number + place, calls) for place in range(8)]
                counts = await asyncio.gather(*mine)
                await accounts.close()
                return sum(counts)

            (tmp_path / f"{number}.json").write_text(json.dumps(asyncio.run(work())))

        ended_well([forked(partial(writer, number)) for number in range(8)])
        told = sum(json.loads((tmp_path / f"{number}.json").read_text()) for number in range(8))
        (spend,) = keys.spend()
        keys.close()
        assert (spend.day.dollars, spend.day.held_dollars, spend.open_calls) == (told, 0, 0)
        assert nano(0.99) <= told <= NANO  # and hardly any of it was left
        assert spend.day.over_dollars == 0


def test_64_writers_of_8_keys_never_exceed_the_budget_that_they_share(
    tmp_path: Path, thorough: bool
) -> None:
    calls = 300 if thorough else 60
    with redis_server(tmp_path) as url:
        keys, floor = RedisKeys(RedisStore(url)), 0.02
        tokens = [keys.add(str(number)) for number in range(8)]
        keys.share("team", 1.0, {str(number): floor for number in range(8)}, "dollars", 64)

        def writer(number: int) -> None:
            async def work() -> int:
                accounts, mine = RedisAccounts(RedisStore(url)), tokens[number]
                each = [spends(accounts, mine, 8 * number + place, calls) for place in range(8)]
                counts = await asyncio.gather(*each)
                await accounts.close()
                return sum(counts)

            (tmp_path / f"{number}.json").write_text(json.dumps(asyncio.run(work())))

        ended_well([forked(partial(writer, number)) for number in range(8)])
        told = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(8)]
        (state,) = keys.shared()
        keys.close()
        assert [nano(state.shares[str(number)].spent) for number in range(8)] == told
        assert nano(0.97) <= sum(told) <= NANO  # and hardly any of it was left
        assert min(told) >= nano(floor) - NANO // 250  # but for less than the dearest call
        assert (state.running, state.waiting) == (0, 0)


def end_leases(url: str) -> None:
    """As if time had passed."""
    with Redis.from_url(url) as redis:
        for name in redis.scan_iter("*:open:*"):
            for call in redis.zrange(name, 0, -1):
                redis.zadd(name, {call: 0})


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_leaves_at_most_the_reservation_until_its_lease_ends(
    tmp_path: Path, seed: int, thorough: bool
) -> None:
    if not thorough and seed > 0:
        pytest.skip("only with --thorough")
    rng = random.Random(seed)
    with redis_server(tmp_path) as url:
        keys = RedisKeys(RedisStore(url))
        token = keys.add("ann", KeyLimits(dollars_per_day=1000))

        def writer(told: int) -> None:
            async def work() -> None:
                accounts = RedisAccounts(RedisStore(url), LEASE)
                while True:
                    held = await accounts.reserve(token, Claim(dollars=0.001, tokens=10))
                    assert isinstance(held, Reservation)
                    os.write(told, b"r")
                    await accounts.settle(held, Usage(dollars=0.0007, prompt_tokens=7))
                    os.write(told, b"s")

            asyncio.run(work())

        read, write = os.pipe()
        children = [forked(partial(writer, write)) for _ in range(3)]
        os.close(write)
        os.read(read, 1)
        time.sleep(0.2 + rng.random() / 5)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        with os.fdopen(read, "rb") as stream:
            settled = stream.read().count(b"s")
        (spend,) = keys.spend()
        # What a writer had been told is there, and at most one call more of each.
        assert settled <= spend.day.dollars // nano(0.0007) <= settled + 3
        assert spend.open_calls <= 3
        assert spend.day.held_dollars == spend.open_calls * nano(0.001)
        end_leases(url)
        (after,) = keys.spend()
        keys.close()
        assert (after.open_calls, after.day.held_dollars) == (0, 0)
        assert after.day.dollars == spend.day.dollars
        assert after.day.lost_dollars == spend.day.held_dollars


@pytest.mark.parametrize("whose", ["of a key", "of two keys"])
async def test_two_gateways_share_a_budget(tmp_path: Path, whose: str) -> None:
    (tmp_path / "prices.toml").write_text(
        "[openai.m]\nprompt = 10.0\ncached = 1.0\ncompletion = 100.0\n"
    )
    (tmp_path / "amp.toml").write_text('prices = "prices.toml"\n')

    def amp(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.exception
        return done.stdout

    with redis_server(tmp_path) as url:
        place, alone = ("--accounts", url), whose == "of a key"
        limit = ("--dollars-per-day", "0.02") if alone else ()
        tokens = []
        for name in ("ann",) if alone else ("ann", "bob"):
            told = await asyncio.to_thread(amp, "keys", "add", name, *limit, *place)
            tokens.append(told.split()[0])
        if not alone:
            floors = ("--floor", "ann=0.004", "--floor", "bob=0")
            share = ("keys", "share", "team", "--dollars", "0.02", *floors, *place)
            assert "0.02 dollars for ann, bob" in await asyncio.to_thread(amp, *share)
        async with serving(either) as upstream, httpx2.AsyncClient(timeout=60) as client:
            options = ("--upstream", upstream.url, "--accounts", url)
            gateways = [await started(tmp_path, *options) for _ in range(2)]
            body = {"model": "m", "messages": [], "max_tokens": 20}
            calls = [
                client.post(
                    f"{gateways[n % 2][1]}/v1/chat/completions",
                    json=body,
                    headers={
                        "authorization": f"Bearer {tokens[n // 2 % len(tokens)]}",
                        "x-amp-bid": str(n % 3),
                    },
                )
                for n in range(64)
            ]
            got = [answer.status_code for answer in await asyncio.gather(*calls)]
            assert set(got) == {200, 429}
            assert len(upstream.asked) == got.count(200)
            wrong = {"authorization": f"Bearer {tokens[0]}", "x-amp-bid": "most"}
            odd = await client.post(
                f"{gateways[0][1]}/v1/chat/completions", json=body, headers=wrong
            )
            assert odd.status_code == 400
            assert "x-amp-bid is 'most', expected a number" in odd.text
            for process, _ in gateways:
                process.send_signal(signal.SIGTERM)
                _, said = await process.communicate()
                assert (process.returncode, said) == (0, b"")
        spends = json.loads(await asyncio.to_thread(amp, "keys", "spend", "--json", *place))
        cost = 5 * 10 + 16 * 1 + 9 * 100  # of every answer, in millionths
        spent = {spend["name"]: nano(spend["day"]["dollars"]) for spend in spends}
        assert sum(spent.values()) == got.count(200) * cost * 1000 <= nano(0.02)
        assert all(each["open_calls"] == each["day"]["held_dollars"] == 0 for each in spends)
        if not alone:
            (state,) = json.loads(await asyncio.to_thread(amp, "keys", "shared", "--json", *place))
            shares = {name: nano(share["spent"]) for name, share in state["shares"].items()}
            assert shares == spent
            assert all(share["held"] == 0 for share in state["shares"].values())
            assert nano(0.02) - sum(spent.values()) < nano(0.004)  # less than a call may cost
            shown = await asyncio.to_thread(amp, "keys", "shared", *place)
            assert "team: $0.02 dollars" in shown
