"""Wrapped clients on many threads and tasks, an upstream that fails, callers that leave."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.fakes.upstream import USAGE, Asked, Reply, chat
from tests.serve.test_in_process import upstream

import amp
from amp.serve.episodes import EpisodeSpend

KINDS = ("whole", "stream", "refused once", "failed once", "broken", "left", "too slow")
EXACT = KINDS[:4]


def patient(client: Any, kind: str) -> Any:
    """A client that tries again what another try may mend: that is left to the SDK."""
    return client.with_options(max_retries=2 if kind.endswith("once") else 0)


@pytest.mark.parametrize("awaited", [False, True], ids=["threads", "tasks"])
def test_what_is_charged_is_what_the_upstream_gave(
    tmp_path: Path, awaited: bool, thorough: bool
) -> None:
    calls, at_once = (1_000, 32) if thorough else (140, 16)
    prices = tmp_path / "prices.toml"
    prices.write_text("[openai.gpt]\nprompt = 10.0\ncached = 1.0\ncompletion = 100.0\n")
    seen: Counter[int] = Counter()
    before = set(threading.enumerate())

    def respond(asked: Asked) -> Reply:
        number, kind = asked.json["seed"], asked.json["user"]
        seen[number] += 1
        if seen[number] == 1 and kind in ("refused once", "failed once"):
            status = 429 if kind == "refused once" else 500
            return Reply([b"{}"], status, {"retry-after-ms": "5"})
        if kind == "too slow":
            return Reply([5.0, b"{}"])
        reply = chat(asked)
        if kind == "left":
            reply.parts = [*reply.parts[:3], 60.0, *reply.parts[3:]]
        if kind == "broken":
            reply.parts, reply.breaks = list(reply.parts)[:4], True
        return reply

    def fields(number: int, kind: str) -> dict[str, Any]:
        said = [{"role": "user", "content": f"call {number}"}]
        more = {"timeout": 0.5} if kind == "too slow" else {}
        streams = kind in ("stream", "broken", "left")
        asked = {"model": "gpt", "messages": said, "max_tokens": 50, "seed": number, "user": kind}
        return {**asked, **more, "stream": streams}

    rng = random.Random(awaited)
    work = [(number, rng.choice(KINDS)) for number in range(calls)]
    spends: list[EpisodeSpend] = []

    def one(client: openai.OpenAI, number: int, kind: str) -> None:
        with amp.episode(f"task {number}", max_dollars=1.0) as mine:
            spends.append(mine)
            try:
                answer: Any = patient(client, kind).chat.completions.create(**fields(number, kind))
                if kind in ("stream", "broken", "left"):
                    for chunk in answer:
                        if kind == "left" and chunk.choices[0].delta.content:
                            answer.close()
                            break
                assert kind not in ("broken", "too slow")
            except (openai.APIError, openai.APITimeoutError):
                assert kind in ("broken", "too slow")
            assert mine.spent.model_calls == 1  # at once, not some time later

    async def one_awaited(client: openai.AsyncOpenAI, number: int, kind: str) -> None:
        with amp.episode(f"task {number}", max_dollars=1.0) as mine:
            spends.append(mine)
            try:
                answer: Any = await patient(client, kind).chat.completions.create(
                    **fields(number, kind)
                )
                if kind in ("stream", "broken", "left"):
                    async for chunk in answer:
                        if kind == "left" and chunk.choices[0].delta.content:
                            await answer.close()
                            break
                assert kind not in ("broken", "too slow")
            except (openai.APIError, openai.APITimeoutError):
                assert kind in ("broken", "too slow")
            assert mine.spent.model_calls == 1  # at once, not some time later

    async def all_awaited(client: openai.AsyncOpenAI) -> None:
        gate = asyncio.Semaphore(at_once)

        async def gated(number: int, kind: str) -> None:
            async with gate:
                await one_awaited(client, number, kind)

        async with client:
            await asyncio.gather(*(gated(*each) for each in work))

    with upstream(respond) as server, amp.episode("all") as spent:
        options: dict[str, Any] = {"base_url": server.url, "api_key": "k"}
        if awaited:
            client = amp.wrap(openai.AsyncOpenAI(**options), prices=prices)
            asyncio.run(all_awaited(client))
        else:
            with (
                amp.wrap(openai.OpenAI(**options), prices=prices) as plain,
                ThreadPoolExecutor(at_once) as pool,
            ):
                # A thread is given the context of the task around it.
                runs = [contextvars.copy_context().run for _ in work]
                done = [
                    pool.submit(run, one, plain, number, kind)
                    for run, (number, kind) in zip(runs, work, strict=True)
                ]
                for call in done:
                    call.result(60)

    exact = sum(kind in EXACT for _, kind in work)
    assert (spent.spent.model_calls, spent.spent.estimated_calls) == (calls, calls - exact)
    assert spent.reserved == pytest.approx(0)
    assert sum(each.spent.dollars for each in spends) == pytest.approx(spent.spent.dollars)
    by_name = {each.name: each.spent for each in spends}
    for number, kind in work:
        usage = by_name[f"task {number}"]
        assert usage.model_calls == 1, kind
        if kind in EXACT:
            assert usage.tokens == USAGE["total_tokens"], kind
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
