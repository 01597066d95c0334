"""What the gateway adds on the loopback address: `python -m perf.serve`.

A server that answers at once, the gateway in front of it in a process of its own, and one client
that asks both in turn, so that whatever else the machine does falls on both alike. What it takes to
decide a call and to translate it is measured by itself, in processor time, for conversations of
three lengths.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table
from tests.fakes.upstream import Asked, chat, messages, serving

from amp.serve.decide.desk import Desk
from amp.serve.dialects.apis import CHAT, MESSAGES
from amp.serve.exchange import Exchange
from amp.serve.translate.translation import Translation
from amp.serve.upstreams.fleet import Fleet, Route
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.usage import Usage
from perf import median_and_p99

CALLS = 400
STREAMS = 100
CHUNKS = 2_000
EPISODES = 20
WARM = 20
BODY = {"model": "m", "messages": [{"role": "user", "content": "word " * 400}]}


async def seconds(client: httpx2.AsyncClient, base: str, streams: bool) -> float:
    """Time to the end of an answer, or to the first byte of a stream."""
    begun = time.perf_counter()
    request = client.build_request(
        "POST", f"{base}/chat/completions", json={**BODY, "stream": streams}
    )
    answer = await client.send(request, stream=True)
    found = 0.0
    async for _ in answer.aiter_raw():
        if not found or not streams:
            found = time.perf_counter() - begun
    return found


async def compared(direct: str, through: str, streams: bool, calls: int) -> tuple[list[float], ...]:
    """Seconds of calls made directly and through the gateway, in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    async with httpx2.AsyncClient(timeout=30) as client:
        for call in range(calls + WARM):
            for times, base in zip(found, (direct, through), strict=True):
                taken = await seconds(client, base, streams)
                if call >= WARM:  # the first ones open connections
                    times.append(taken)
    return found


def row(name: str, direct: Sequence[float], through: Sequence[float]) -> tuple[str, ...]:
    """Percentiles of both and of what the gateway adds to each pair, in milliseconds."""
    added = [after - before for before, after in zip(direct, through, strict=True)]
    return (name, *map(median_and_p99, (direct, through, added)))


def conversation(calls: int, characters: int) -> bytes:
    """A request after so many calls of tools, whose results are so long."""
    said: list[dict[str, object]] = [{"role": "user", "content": "Mend the parser. " * 20}]
    for at in range(calls):
        function = {"name": "bash", "arguments": json.dumps({"command": f"grep -n x{at} a.py"})}
        call = {"id": f"c{at}", "type": "function", "function": function}
        said.append({"role": "assistant", "content": "I look.", "tool_calls": [call]})
        line = f"src/a.py:{at}: def parse(text): return text or None\n"
        content = (line * (1 + characters // len(line)))[:characters]
        said.append({"role": "tool", "tool_call_id": f"c{at}", "content": content})
    return json.dumps({"model": "gpt-5-mini", "messages": said, "tools": [{"type": "x"}]}).encode()


def decisions() -> Iterator[tuple[str, ...]]:
    """Milliseconds to read a request, to decide it by rules and to write the arm, a row a length.

    The conversation grows call by call, as an agent's does; each length is played `EPISODES` times.
    """
    gc.collect()
    gc.freeze()  # as the server does
    dialect = CHAT
    route = Route(policy="rules", arms=("gpt-5-mini@low", "gpt-5-mini@high", "gpt-4.1@low"))
    desk = Desk(fleet := Fleet([UpstreamConfig("http://127.0.0.1:9/v1")], [route]))
    for calls, characters in ((2, 500), (30, 4_000), (100, 8_000)):
        taken, read = [], []
        for episode in range(EPISODES):
            headers = [("x-amp-episode", f"{calls} {episode}")]
            exchange = Exchange("POST", dialect.path, headers, _never, _never)
            for step in range(max(0, calls - 10), calls):
                body = conversation(step, characters)
                begun = time.thread_time()
                asked = dialect.read(body)
                between = time.thread_time()
                ruling = desk.decide(exchange, dialect, asked, fleet.route(asked.model))
                dialect.with_arm(body, ruling.decision.arm, asked.fields)
                taken.append(time.thread_time() - between)
                read.append(between - begun)
                desk.settled(ruling, 200, Usage(1, prompt_tokens=len(body) // 4))
        cells = [statistics.quantiles(times, n=100) for times in (read, taken)]
        shown = [f"{each[49] * 1e3:.2f} / {each[98] * 1e3:.2f}" for each in cells]
        yield (f"{calls} calls of tools, {len(body) / 1000:,.0f} kB", *shown)


def translations() -> Iterator[tuple[str, ...]]:
    """Processor time to translate a request, and a chunk of a stream, a row a length."""
    for calls, characters in ((2, 500), (30, 4_000), (100, 8_000)):
        fields = json.loads(conversation(calls, characters))
        tool = {"type": "function", "function": {"name": "bash", "parameters": {}}}
        body = json.dumps({**fields, "tools": [tool], "stream": True}).encode()
        taken = []
        for _ in range(EPISODES):
            begun = time.thread_time()
            translation = Translation(CHAT, MESSAGES, body, "m")
            taken.append(time.thread_time() - begun)
        asked = Asked("POST", "", {}, b'{"model": "m", "stream": true}')
        head = [part for part in messages(asked).parts[:3] if isinstance(part, bytes)]
        stream = translation.stream()
        for event in head:
            stream.feed(event)
        begun = time.thread_time()
        for _ in range(CHUNKS):
            stream.feed(head[-1])
        chunk = (time.thread_time() - begun) / CHUNKS
        cells = f"{statistics.median(taken) * 1e3:.2f}", f"{chunk * 1e3:.3f}"
        yield (f"{calls} calls of tools, {len(body) / 1000:,.0f} kB", *cells)


async def _never(*message: object) -> Any:
    raise NotImplementedError("nothing is sent or received")


def processor_seconds(process: int) -> float:
    """What a process has used of the processors; other processes do not count."""
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_mb(process: int) -> float:
    """Memory of a process."""
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        found = re.search(r"VmRSS:\s+(\d+)", file.read())
    return int(found[1]) / 1024 if found else 0.0


async def main() -> None:
    """Measures, and prints a table."""
    async with serving(chat) as upstream:
        command = [sys.executable, "-m", "amp", "serve", "--upstream", upstream.url]
        gateway = await asyncio.create_subprocess_exec(
            *command, "--port", "18080", stdout=DEVNULL, stderr=DEVNULL
        )
        through = "http://127.0.0.1:18080/v1"
        try:
            async with httpx2.AsyncClient() as client:
                for _ in range(200):
                    try:
                        await client.get("http://127.0.0.1:18080/healthz")
                        break
                    except httpx2.ConnectError:
                        await asyncio.sleep(0.1)
            table = Table("milliseconds, median / 99 %", "direct", "gateway", "added", box=None)
            used = processor_seconds(gateway.pid)
            answers = await compared(upstream.url, through, False, CALLS)
            used = (processor_seconds(gateway.pid) - used) / (CALLS + WARM)
            table.add_row(*row(f"whole answer ({CALLS} calls)", *answers))
            streams = await compared(upstream.url, through, True, STREAMS)
            table.add_row(*row(f"first byte of a stream ({STREAMS})", *streams))
            before = resident_mb(gateway.pid)
            begun = time.perf_counter()
            async with httpx2.AsyncClient(timeout=60) as client:
                for _ in range(20):
                    calls = [seconds(client, through, True) for _ in range(50)]
                    await asyncio.gather(*calls)
            rate = 1000 / (time.perf_counter() - begun)
            after = resident_mb(gateway.pid)
            Console().print(table)
            table = Table("processor milliseconds, median / 99 %", "read", "decide", box=None)
            for cells in decisions():
                table.add_row(*cells)
            Console().print(table)
            table = Table("processor milliseconds to translate", "request", "chunk", box=None)
            for cells in translations():
                table.add_row(*cells)
            Console().print(table)
            print(f"processor time of the gateway a whole answer: {used * 1e3:.2f} ms")
            print(f"1000 streams, 50 at a time: {rate:.0f} a second (client and upstream share a")
            print(f"process); memory {before:.0f} MB before, {after:.0f} MB after")
        finally:
            gateway.send_signal(signal.SIGTERM)
            await gateway.wait()


if __name__ == "__main__":
    asyncio.run(main())
