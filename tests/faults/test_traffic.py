"""Learning from traffic keeps its promise where the truth is known; no kill loses what is kept."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from tests.fakes.two_models import CHEAP, DEAR, EASY, HARD, priced, question, right, two_models
from tests.fakes.upstream import serving
from tests.serve.running import gateway
from typer.testing import CliRunner

from amp.cli.app import app
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.dialects.said import normal_text
from amp.serve.traffic.tables import TrafficFile
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.upstream import UpstreamConfig

LEARNED_FROM, SERVED = 160, 40
AT_ONCE = 8


async def asked(
    folder: Path, route: Route, count: int, seed: int, watching: Watching | None = None
) -> tuple[list[tuple[str, str, bool]], float]:
    """Clients ask both kinds of question; kind, arm and whether it is right, and the bill."""
    rng = random.Random(seed)
    numbers = [(rng.randrange(3, 99), rng.randrange(3, 99)) for _ in range(count)]
    bodies = [question(rng.choice((EASY, HARD)), *pair) for pair in numbers]
    gate = asyncio.Semaphore(AT_ONCE)
    async with (
        serving(two_models) as upstream,
        gateway(
            UpstreamConfig(upstream.url, key="sk-of-the-gateway"), routes=[route],
            prices=priced(folder), watching=watching,
        ) as amp,
        httpx2.AsyncClient(timeout=30) as client,
    ):  # fmt: skip

        async def one(body: dict[str, object]) -> tuple[str, str, bool]:
            async with gate:
                got = await client.post(f"{amp.v1}/chat/completions", json=body)
            answer = got.json()["choices"][0]["message"]["content"]
            system = body["messages"][0]["content"]  # type: ignore[index]  # JSON
            return system, got.headers["x-amp-arm"], normal_text(answer) == right(body)

        found = list(await asyncio.gather(*map(one, bodies)))
        if watching is not None:
            async with asyncio.timeout(60):
                while len(upstream.asked) < 2 * count:  # noqa: ASYNC110  # it sets no event
                    await asyncio.sleep(0.01)
        return found, amp.accounts.spent.dollars


async def test_each_kind_is_sent_where_it_is_done_at_less_cost(tmp_path: Path) -> None:
    """Shadow, train, serve: the answers are as right as the dear model's, and the bill is lower."""
    books = AccountsFile(tmp_path / "accounts.sqlite")
    books.add("shadow", KeyLimits(dollars_per_day=1.0))
    books.close()
    traffic, policy = tmp_path / "traffic.sqlite", tmp_path / "policy.safetensors"
    watching = Watching(traffic, shadow=1.0, accounts=tmp_path / "accounts.sqlite")
    arms = (DEAR, CHEAP)  # nothing is decided: the first one answers
    before, _ = await asked(
        tmp_path, Route("amp/auto", arms=arms), LEARNED_FROM, seed=1, watching=watching
    )
    assert {arm for _, arm, _ in before} == {DEAR}

    done = CliRunner().invoke(app, ["train", "--from-traffic", str(traffic), "--to", str(policy)])
    assert done.exit_code == 0, done.output

    learned = Route("amp/auto", policy=str(policy), arms=arms)
    dear_only, dear_bill = await asked(tmp_path, Route("amp/auto", arms=arms), SERVED, seed=2)
    after, bill = await asked(tmp_path, learned, SERVED, seed=2)
    assert all(is_right for _, _, is_right in dear_only + after)
    assert {system: arm for system, arm, _ in after} == {EASY: CHEAP, HARD: DEAR}
    easy = sum(system == EASY for system, _, _ in after) / SERVED
    assert bill / dear_bill == pytest.approx(1.0 - 0.9 * easy)


async def test_every_call_is_kept_once_and_every_shadow_is_paid_once(
    tmp_path: Path, thorough: bool
) -> None:
    """Also with streams, many at once, and clients that hang up."""
    count, path = 2_000 if thorough else 200, tmp_path / "traffic.sqlite"
    books = AccountsFile(tmp_path / "accounts.sqlite")
    books.add("shadow", KeyLimits(dollars_per_day=10.0))
    watching = Watching(path, shadow=0.5, accounts=tmp_path / "accounts.sqlite")
    gate, whole = asyncio.Semaphore(32), 0
    async with (
        serving(two_models) as upstream,
        gateway(
            UpstreamConfig(upstream.url, key="sk-of-the-gateway"),
            routes=[Route("amp/auto", arms=(DEAR, CHEAP))], prices=priced(tmp_path),
            watching=watching,
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip

        async def one(number: int) -> bool:
            body = question((EASY, HARD)[number % 2], number, 3, stream=number % 3 == 0)
            async with gate:
                url = f"{amp.v1}/chat/completions"
                async with client.stream("POST", url, json=body) as got:
                    assert got.status_code == 200
                    if number % 10 == 0:
                        return False  # hangs up
                    await got.aread()
                    return True

        whole = sum(await asyncio.gather(*map(one, range(count))))
        billed = amp.accounts.spent.model_calls
    file = TrafficFile(path)
    calls, shadows, _ = file.counts()
    paid = sum(row.shadow.paid for row in file.labelled() if row.shadow is not None)
    file.close()
    assert whole <= calls <= billed <= count  # an answer may be whole before its client hangs up
    assert 0 < shadows <= len(upstream.asked) - billed
    (spend,) = books.spend("shadow")
    assert spend.open_calls == 0
    assert spend.day.dollars >= round(paid * 1e9)  # those that the end cut off are paid, too
    assert spend.day.requests >= len(upstream.asked) - count
    books.close()


CALLS = """
import asyncio, resource, signal, sys
from pathlib import Path
from amp.serve.traffic.writer import Traffic
from amp.serve.traffic.tables import Answer, Call, Shadowed
from amp.usage import Usage

def keep(traffic, number):
    call = Call("ann", f"e{number}", 0, "openai", "cheap", "pass", "", "k", {"x": 1.0}, 9,
                Usage(1, 10, 0, 5, dollars=0.01), 200, "r", "x")
    traffic.call(call)
    one = Answer(10, 5, 0.02, "x")
    traffic.shadow(Shadowed(call.id, "cheap", "dear", True, 0.02, one, one))
"""
WRITER = f"""{CALLS}
async def write(path, number):
    traffic = Traffic(path)
    while True:
        number += 1
        keep(traffic, number)
        if number % 10 == 0:
            assert await traffic.outcome("ann", f"e{{number}}", 0, 1.0)
            print(number, flush=True)

asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
"""
FILLER = f"""{CALLS}
async def fill(path):
    traffic = Traffic(path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    for number in range(1500):
        keep(traffic, number)
        await asyncio.sleep(0.001)
    traffic.close()

asyncio.run(fill(Path(sys.argv[1])))
"""


def test_what_was_kept_survives_any_kill(tmp_path: Path, thorough: bool) -> None:
    """Whatever a writer has been told is written is there, and the file is whole."""
    path, told = tmp_path / "traffic.sqlite", 0
    for kill in range(30 if thorough else 4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(told)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            first = int(writer.stdout.readline())
            time.sleep(random.Random(kill).random() * 0.3)
            writer.send_signal(signal.SIGKILL)
            told = max([first, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        with closing(sqlite3.connect(path)) as looked:
            assert looked.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        file = TrafficFile(path)
        judged = {row.call.episode: row for row in file.labelled() if row.success is not None}
        file.close()
        assert all(f"e{number}" in judged for number in range(10, told + 1, 10))
        assert all(row.shadow and row.shadow.same for row in judged.values())


def test_a_full_disk_costs_rows_and_no_call(tmp_path: Path) -> None:
    """It is said once, what had been written stays, and nothing raises."""
    path = tmp_path / "traffic.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path)], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("traffic is not kept for now") == 1
    assert "rows of traffic could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    file = TrafficFile(path)
    assert 0 < file.counts()[0] < 1500
    file.close()
