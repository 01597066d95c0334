"""Measures how long a call waits for its budget, with many calls in the file already."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fakes.redis import redis_server

from amp.serve.accounts.base import Claim, Reservation
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.accounts.redis import RedisAccounts, RedisKeys
from amp.serve.accounts.redis_store import RedisStore
from amp.usage import Usage

ROWS = 10_000
CALLS = 2_000
OPEN = 64
"""Calls that are open meanwhile."""


def milliseconds(folder: Path) -> list[float]:
    """What `reserve` and `settle` of one call take together, call by call."""
    accounts = AccountsFile(folder / "accounts.sqlite")
    limits = KeyLimits(1e6, 1e7, 10**12, 10**9, 10**6, 1e6)
    key = accounts.find(accounts.add("ann", limits))
    for _ in range(OPEN):
        accounts.reserve(key, 0.01, 1000)
    taken = []
    for number in range(ROWS + CALLS):
        begin = time.perf_counter()
        reservation = accounts.reserve(key, 0.01, 1000, f"episode {number // 20}")
        accounts.settle(reservation, 0.004, 700)
        taken.append(1e3 * (time.perf_counter() - begin))
    accounts.close()
    return taken[ROWS:]


async def milliseconds_in_redis(url: str) -> list[float]:
    """The same in a Redis on this machine."""
    limits = KeyLimits(1e6, 1e6, 10**12, 10**9, 10**6, 1e6)
    keys = RedisKeys(RedisStore(url))
    token = await asyncio.to_thread(keys.add, "ann", limits)
    accounts, taken = RedisAccounts(RedisStore(url)), []
    for _ in range(OPEN):
        await accounts.reserve(token, Claim(dollars=0.01, tokens=1000))
    for number in range(ROWS + CALLS):
        begin = time.perf_counter()
        held = await accounts.reserve(
            token, Claim(dollars=0.01, tokens=1000, episode=f"episode {number // 20}")
        )
        assert isinstance(held, Reservation)
        await accounts.settle(held, Usage(dollars=0.004, prompt_tokens=700))
        taken.append(1e3 * (time.perf_counter() - begin))
    await accounts.close()
    await asyncio.to_thread(keys.close)
    return taken[ROWS:]


def budgets() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    with TemporaryDirectory() as folder:
        taken = milliseconds(Path(folder))
    p99 = statistics.quantiles(taken, n=100)[98]
    return [("reserve + settle with 10,000 calls in the file, p99 in ms", p99, "<", 5.0)]


def _told(place: str, taken: list[float]) -> None:
    cuts = statistics.quantiles(taken, n=100)
    print(f"{place}: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, most {max(taken):.2f} ms")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        _told("a file", milliseconds(Path(folder)))
        if shutil.which("redis-server"):
            with redis_server(Path(folder)) as url:
                _told("Redis", asyncio.run(milliseconds_in_redis(url)))
