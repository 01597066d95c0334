"""What a wrapped client adds to a call, in the process that makes it: `python -m perf.wrapped`.

A server that answers at once in a process of its own, and the same client of the OpenAI SDK, plain
and wrapped, in turn, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import openai
from openai.types.chat import ChatCompletionUserMessageParam
from rich.console import Console
from rich.table import Table
from tests.fakes.upstream import chat, serving

import amp
from perf import median_and_p99

CALLS = 400
WARM = 20
SAID: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "word " * 400}]


async def serve() -> None:
    """Serves until nobody reads what it says."""
    async with serving(chat) as upstream:
        print(upstream.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def whole(client: openai.OpenAI) -> float:
    """Seconds to an answer."""
    begun = time.perf_counter()
    client.chat.completions.create(model="m", messages=SAID)
    return time.perf_counter() - begun


def first(client: openai.OpenAI) -> float:
    """Seconds to the first event of a stream."""
    begun = time.perf_counter()
    with client.chat.completions.create(model="m", messages=SAID, stream=True) as stream:
        next(iter(stream))
        return time.perf_counter() - begun


def main() -> None:
    """Measures, and prints a table."""
    command = [sys.executable, "-m", "perf.wrapped", "serve"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        plain = openai.OpenAI(base_url=server.stdout.readline().strip(), api_key="any")
        table = Table("milliseconds, median / 99 %", "plain", "wrapped", "added")
        with amp.wrap(plain) as wrapped:
            for name, measure in (("whole answer", whole), ("first event of a stream", first)):
                pairs = [(measure(plain), measure(wrapped)) for _ in range(CALLS + WARM)][WARM:]
                columns = [list(times) for times in zip(*pairs, strict=True)]
                columns.append([after - before for before, after in pairs])
                table.add_row(name, *map(median_and_p99, columns))
        server.communicate()
    Console().print(table)


if __name__ == "__main__":
    if "serve" in sys.argv:
        asyncio.run(serve())
    else:
        main()
