"""500 streams that are open at the same time for a minute: `python -m perf.streams`.

A server that says a word a second, the gateway in front of it in a process of its own, and one
client for all streams. Told are errors, the memory of the gateway, and how late words come.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL

import httpx2
from tests.fakes.upstream import USAGE, Asked, Reply, serving, sse

from perf.serve import processor_seconds, resident_mb

STREAMS = 500
SECONDS = 60
PORT = 18090


def word_a_second(asked: Asked) -> Reply:
    """A stream of so many words, which tells its usage."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
    (word,) = sse({**base, "choices": [delta]})
    parts: list[bytes | float] = []
    for _ in range(SECONDS):
        parts += [word, 1.0]
    parts += sse({**base, "choices": [], "usage": USAGE}, "[DONE]")
    return Reply(parts, headers={"content-type": "text/event-stream"}, streams=True)


async def stream(client: httpx2.AsyncClient, gaps: list[float]) -> str:
    """Reads one to its end; returns what is wrong with it."""
    content, last = b"", 0.0
    body = {"model": "m", "messages": [], "stream": True, "max_tokens": 100}
    try:
        async with client.stream(
            "POST", f"http://127.0.0.1:{PORT}/v1/chat/completions", json=body
        ) as got:
            async for chunk in got.aiter_raw():
                now = time.perf_counter()
                if last:
                    gaps.append(now - last)
                last = now
                content += chunk
    except httpx2.HTTPError as error:
        return type(error).__name__
    whole = content.count(b" word") == SECONDS and content.endswith(b"data: [DONE]\n\n")
    return "" if whole else f"status {got.status_code}, {len(content)} bytes"


async def main() -> None:
    """Measures, and prints what came of it."""
    async with serving(word_a_second) as upstream:
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "amp", "serve", "--upstream", upstream.url),
            *("--port", str(PORT)), stdout=DEVNULL, stderr=DEVNULL,
        )  # fmt: skip
        limits = httpx2.Limits(max_connections=None)
        try:
            async with httpx2.AsyncClient(timeout=60, limits=limits) as client:
                while True:
                    try:
                        await client.get(f"http://127.0.0.1:{PORT}/healthz")
                        break
                    except httpx2.ConnectError:
                        await asyncio.sleep(0.1)
                load, used, begun = os.getloadavg()[0], processor_seconds(gateway.pid), time.time()
                memory, gaps = [resident_mb(gateway.pid)], list[float]()
                tasks = []
                for _ in range(STREAMS):
                    tasks.append(asyncio.create_task(stream(client, gaps)))
                    await asyncio.sleep(0.01)
                for _ in range(2):  # when all are open, and shortly before the first one ends
                    memory.append(resident_mb(gateway.pid))
                    running = sum(not task.done() for task in tasks)
                    await asyncio.sleep(max(0.0, begun + SECONDS - 3 - time.time()))
                problems = [problem for problem in await asyncio.gather(*tasks) if problem]
                memory.append(resident_mb(gateway.pid))
                used = processor_seconds(gateway.pid) - used
        finally:
            gateway.send_signal(signal.SIGTERM)
            await gateway.wait()
    late = statistics.quantiles([gap - 1.0 for gap in gaps if gap > 0.5], n=100)
    print(f"{STREAMS} streams, {running} open at the same time, {time.time() - begun:.0f} s in all")
    print(f"wrong: {len(problems)} {sorted(set(problems))}")
    print("memory in MB: before {:.0f}, all open {:.0f}, 3 s before the first ends {:.0f}, after"
          " {:.0f}".format(*memory))  # fmt: skip
    print(f"words late by (median / 99 %): {late[49] * 1e3:.1f} / {late[98] * 1e3:.1f} ms")
    print(f"processor seconds of the gateway: {used:.1f}; load of the machine before: {load:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
