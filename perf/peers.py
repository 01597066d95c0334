"""What gateways add on the loopback address, AMP's beside two others: `python -m perf.peers`.

All stand in front of the same server, one after the other, each in a process of its own with one
worker; server and client share another. Rivals are run from their environments, unpatched and at
their defaults, but that LiteLLM asks for no key and OptiLLM passes requests on (``none``); one
whose environment is absent is left out.

- one caller: each call is made directly and through the gateway in turn, and what is told is the
  difference;
- 16 callers that each call again at once: calls a second, and the processor time of the gateway;
- a stream of which a word comes every 20 ms: time to its first byte;
- 100 calls a second, whoever still waits: time from the moment at which each was due.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import httpx2
from experiments.rivals.running import (
    ENVIRONMENTS,
    Serving,
    free_port,
    litellm,
    optillm,
    program,
    server,
)
from rich.console import Console
from rich.table import Table
from tests.fakes.upstream import WORDS, chat, serving

from amp.errors import MissingDependencyError
from perf import median_and_p99
from perf.serve import BODY, compared, processor_seconds, row

CALLS, STREAMS = 400, 40
CALLERS, SHARED_CALLS = 16, 640
RATE, RATED_SECONDS = 100, 8
PAUSE = 0.02
MODEL = str(BODY["model"])


@asynccontextmanager
async def amp(upstream: str) -> AsyncIterator[Serving]:
    """AMP's gateway."""
    port = free_port()
    command = [sys.executable, "-m", "amp", "serve", "--upstream", upstream, "--port", str(port)]
    async with server(port, *command) as serving:
        yield serving


def installed(environments: Path, environment: str, package: str) -> str:
    """The version of a package in an environment.

    Raises:
        MissingDependencyError: if there is no such environment.
    """
    python = program(environments, environment, "python")
    told = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(
        [python, "-c", told], capture_output=True, text=True, check=True
    ).stdout.strip()


async def is_through(base: str) -> bool:
    """Whether the upstream's answer comes through."""
    async with httpx2.AsyncClient(timeout=60) as client:
        got = await client.post(f"{base}/chat/completions", json=BODY)
    return got.status_code == 200 and "".join(WORDS) in got.text


async def calls_a_second(base: str) -> float:
    """Of callers that each call again as soon as they are answered."""
    left = iter(range(SHARED_CALLS))

    async def caller(client: httpx2.AsyncClient) -> None:
        for _ in left:
            got = await client.post(f"{base}/chat/completions", json=BODY)
            got.raise_for_status()

    async with httpx2.AsyncClient(timeout=60) as client:
        opening = (client.post(f"{base}/chat/completions", json=BODY) for _ in range(CALLERS))
        await asyncio.gather(*opening)
        begun = time.perf_counter()
        await asyncio.gather(*(caller(client) for _ in range(CALLERS)))
    return SHARED_CALLS / (time.perf_counter() - begun)


async def at_a_rate(base: str) -> list[float]:
    """Seconds from when each call was due to its end, however long others wait."""
    taken: list[float] = []
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as client:

        async def one(due: float) -> None:
            got = await client.post(f"{base}/chat/completions", json=BODY)
            got.raise_for_status()
            taken.append(time.perf_counter() - due)

        tasks, begun = [], time.perf_counter() + 0.1
        for call in range(RATE * RATED_SECONDS):
            due = begun + call / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(due)))
        await asyncio.gather(*tasks)
    return taken[RATE:]  # the first second opens connections


async def main(environments: Path) -> None:
    """Measures, and prints a table."""
    table = Table("milliseconds, median / 99 %", box=None)
    for column in (
        "one caller, added", f"{CALLERS} callers, calls a second", "processor time a call",
        "first byte of a stream", f"{RATE} calls a second",
    ):  # fmt: skip
        table.add_column(column)
    async with serving(partial(chat, pause=PAUSE)) as upstream:
        gateways: list[tuple[str, str, str, AbstractAsyncContextManager[Serving]]] = [
            ("AMP", "", "adaptive-meta-planning", amp(upstream.url)),
            ("LiteLLM", "litellm-proxy", "litellm", litellm(environments, upstream.url, [MODEL])),
            ("OptiLLM", "optillm", "optillm", optillm(environments, upstream.url, "none", MODEL)),
        ]
        rate = await calls_a_second(upstream.url)
        first = (await compared(upstream.url, upstream.url, True, STREAMS))[0]
        rated = await at_a_rate(upstream.url)
        table.add_row("none", "-", f"{rate:.0f}", "-", median_and_p99(first), median_and_p99(rated))
        for name, environment, package, gateway in gateways:
            try:
                which = version(package) if not environment else installed(
                    environments, environment, package
                )  # fmt: skip
            except MissingDependencyError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            async with gateway as running:
                base = running.url
                if not await is_through(base):
                    print(f"{name} is left out: the answer does not come through", file=sys.stderr)
                    continue
                pairs = await compared(upstream.url, base, False, CALLS)
                first = (await compared(upstream.url, base, True, STREAMS))[1]
                used = processor_seconds(running.process)
                rate = await calls_a_second(base)
                used = (processor_seconds(running.process) - used) / SHARED_CALLS
                # One that can't keep up would be late by as long as it is asked.
                rated = await at_a_rate(base) if rate > RATE else []
                table.add_row(
                    *(f"{name} {which}", row(name, *pairs)[3], f"{rate:.0f}", f"{used * 1e3:.1f}"),
                    *(median_and_p99(first), median_and_p99(rated) if rated else "can't"),
                )
    Console(width=140).print(table)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}; cores: {len(os.sched_getaffinity(0))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    asyncio.run(main(parser.parse_args().environments))
