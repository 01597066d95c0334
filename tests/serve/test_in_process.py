"""A wrapped client of an official SDK: the same answers, and what they cost is in the books."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import anthropic
import openai
import pytest
from tests.fakes.upstream import WORDS, Asked, Reply, Upstream, chat, either, serving
from tests.serve.running import given_up, until

import amp
from amp.errors import InvalidInputError
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.ledger import AccountsFile

pytestmark = pytest.mark.slow

TEXT = "".join(WORDS)
TOOL: Any = {"type": "function", "function": {"name": "add", "parameters": {}}}
HELLO: list[Any] = [{"role": "user", "content": "How much are two and two?"}]
ASKED: dict[str, Any] = {"model": "gpt", "messages": HELLO, "max_tokens": 50}
COST = (5 * 10 + 16 * 1 + 9 * 100) / 1e6


@contextmanager
def upstream(respond: Callable[[Asked], Reply] = either) -> Iterator[Upstream]:
    """An upstream on a thread of its own, since plain clients block that of the test."""
    running: SimpleQueue[Any] = SimpleQueue()

    async def serve() -> None:
        ended = asyncio.Event()
        async with serving(respond) as found:
            running.put((found, asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    found, loop, ended = running.get(timeout=60)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def test_openai_chats_streams_and_calls_tools(prices: Path) -> None:
    with upstream() as server:
        own = openai.OpenAI(base_url=server.url, api_key="sk-client")
        with amp.wrap(own, prices=prices) as client, amp.episode("seven") as episode:
            create = client.chat.completions.create
            assert create(**ASKED).choices[0].message.content == TEXT
            assert episode.spent.dollars == pytest.approx(COST)
            chunks = list(create(**ASKED, stream=True))
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
            assert not any(chunk.usage for chunk in chunks)
            assert episode.spent.dollars == pytest.approx(2 * COST)
            called: Any = create(**ASKED, tools=[TOOL]).choices[0].message.tool_calls
            assert called[0].function.name == "add"
            told = client.chat.completions.with_raw_response.create(**ASKED)
            assert float(told.headers["x-amp-dollars"]) == pytest.approx(COST)
            assert [model.id for model in client.models.list()] == ["gpt-5.4-mini"]
        own.chat.completions.create(**ASKED)  # it stays what it was
    assert episode.spent.model_calls == 4
    assert episode.reserved == pytest.approx(0)
    assert (episode.spent.prompt_tokens, episode.spent.completion_tokens) == (4 * 21, 4 * 9)
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-client"}
    assert not any("x-amp-episode" in asked.headers for asked in server.asked)


def test_anthropic_chats_streams_and_calls_tools(prices: Path) -> None:
    asked: dict[str, Any] = {"model": "claude", "max_tokens": 100, "messages": HELLO}
    with upstream() as server, amp.episode() as episode:
        own = anthropic.Anthropic(base_url=server.url.removesuffix("/v1"), api_key="sk-client")
        with amp.wrap(own, prices=prices) as client:
            whole: Any = client.messages.create(**asked)
            assert whole.content[0].text == TEXT
            with client.messages.stream(**asked) as stream:
                assert "".join(stream.text_stream) == TEXT
            tool: Any = {"name": "add", "input_schema": {"type": "object"}}
            called: Any = client.messages.create(**asked, tools=[tool])
            assert called.content[0].input == {"a": 2, "b": 2}
    assert (episode.spent.model_calls, episode.spent.estimated_calls) == (3, 0)
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-client"}


def test_those_who_await_share_a_client_over_loops(prices: Path) -> None:
    asked: dict[str, Any] = {"model": "claude", "max_tokens": 100, "messages": HELLO}

    async def talk() -> None:
        chunks = await one.chat.completions.create(**ASKED, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
        assert text == TEXT
        async with two.messages.stream(**asked) as stream:
            assert "".join([text async for text in stream.text_stream]) == TEXT

    with upstream() as server, amp.episode() as episode:
        key, url = "sk-client", server.url
        one = amp.wrap(openai.AsyncOpenAI(base_url=url, api_key=key), prices=prices)
        two = amp.wrap(
            anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key=key), prices=prices
        )
        for _ in range(2):
            asyncio.run(talk())
        assert episode.spent.model_calls == 4
        assert episode.reserved == pytest.approx(0)


def test_each_task_has_its_own_spend_and_an_outer_one_has_all(prices: Path) -> None:
    async def task(client: openai.AsyncOpenAI, calls: int) -> int:
        with amp.episode(f"task {calls}") as mine:
            for _ in range(calls):
                await client.chat.completions.create(**ASKED)
        return mine.spent.model_calls

    async def tasks(client: openai.AsyncOpenAI) -> list[int]:
        return await asyncio.gather(*(task(client, calls) for calls in (1, 2, 3)))

    with upstream() as server, amp.episode("all") as all_of_them:
        client = amp.wrap(openai.AsyncOpenAI(base_url=server.url, api_key="k"), prices=prices)
        assert asyncio.run(tasks(client)) == [1, 2, 3]
    assert all_of_them.spent.model_calls == 6
    assert all_of_them.spent.dollars == pytest.approx(6 * COST)


@pytest.mark.parametrize("threads", [1, 16])
def test_a_task_never_spends_more_than_its_limit(prices: Path, threads: int) -> None:
    body = json.dumps(ASKED).encode()
    bound = (len(body) * 10 + 50 * 100) / 1e6
    limit = 3 * COST + bound

    def ask(client: openai.OpenAI) -> bool:
        try:
            client.chat.completions.create(**ASKED)
        except openai.RateLimitError as error:
            assert "episode small: limit max_dollars" in str(error)
            assert "a smaller max_tokens takes less" in str(error)
            return False
        return True

    with (
        upstream() as server,
        amp.wrap(openai.OpenAI(base_url=server.url, api_key="k"), prices=prices) as client,
        amp.episode("small", max_dollars=limit) as episode,
        ThreadPoolExecutor(threads) as pool,
    ):
        copies = [contextvars.copy_context() for _ in range(32)]
        passed = sum(pool.map(lambda copy: copy.run(ask, client), copies))
    assert passed == len(server.asked) == episode.spent.model_calls
    assert episode.spent.dollars <= limit
    assert passed >= 1


def test_a_limit_needs_a_price() -> None:
    with (
        upstream() as server,
        amp.wrap(openai.OpenAI(base_url=server.url, api_key="k")) as client,
        amp.episode("dear", max_dollars=1.0),
        pytest.raises(openai.PermissionDeniedError, match="price of this call is not known"),
    ):
        client.chat.completions.create(**ASKED)
    assert server.asked == []


def test_a_key_of_the_accounts_pays(prices: Path, tmp_path: Path) -> None:
    books = AccountsFile(tmp_path / "books.sqlite")
    token = books.add("ann", KeyLimits(requests_per_day=2))
    with upstream() as server:
        own = openai.OpenAI(base_url=server.url, api_key="sk-provider")
        with amp.wrap(own, accounts=tmp_path / "books.sqlite", key=token, prices=prices) as client:
            for _ in range(2):
                client.chat.completions.create(**ASKED)
            with pytest.raises(openai.RateLimitError, match="key ann: limit requests_per_day"):
                client.chat.completions.create(**ASKED)
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-provider"}
    assert len(server.asked) == 2
    (spend,) = books.spend("ann")
    assert spend.day.dollars == pytest.approx(2 * COST * 1e9)
    books.close()


def test_who_leaves_a_stream_ends_the_call_and_pays_for_what_came(prices: Path) -> None:
    def stops(asked: Asked) -> Reply:
        """Sends some words and then nothing, which only who is streamed to can see."""
        reply = chat(asked)
        reply.parts = [*reply.parts[:4], 60.0, *reply.parts[4:]]
        return reply

    with upstream(stops) as server, amp.episode() as episode:
        client = amp.wrap(openai.OpenAI(base_url=server.url, api_key="k"), prices=prices)
        stream = client.chat.completions.create(**ASKED, stream=True)
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        stream.close()
        assert (episode.spent.model_calls, episode.spent.estimated_calls) == (1, 1)
        assert 0 < episode.spent.completion_tokens < len(TEXT)
        deadline = time.monotonic() + 60
        while not server.hung_up and time.monotonic() < deadline:
            time.sleep(0.01)
    assert server.hung_up == 1


async def test_who_gives_up_waiting_ends_the_call(prices: Path) -> None:
    async with serving(lambda asked: Reply([60.0, b"{}"])) as server:
        own = openai.AsyncOpenAI(base_url=server.url, api_key="k")
        with amp.episode() as episode:
            async with amp.wrap(own, prices=prices) as client:
                create = client.chat.completions.create
                await given_up(create(**ASKED), lambda: bool(server.asked))
                await until(lambda: server.hung_up == 1 and not client.is_closed())
                await until(lambda: episode.spent.estimated_calls == 1)
    assert episode.reserved == pytest.approx(0)


def test_what_reaches_the_server_is_what_the_client_would_have_sent(tmp_path: Path) -> None:
    file = tmp_path / "some.txt"
    file.write_bytes(bytes(range(256)))

    def use(client: openai.OpenAI) -> None:
        create: Any = client.chat.completions.create
        options = {"include_usage": True}
        create(**ASKED, n=2, seed=1, logprobs=True, stop=["x"], tools=[TOOL], extra_body={"é": 1})
        list(create(**ASKED, stream=True, stream_options=options, extra_query={"a": "b c&d"}))
        client.responses.create(model="gpt", input="2 + 2?", extra_headers={"x-mine": "1"})
        client.embeddings.create(model="gpt", input="x")
        client.models.retrieve("a/b")
        client.post("/odd%2Fpath", body={"b": [1.5, None]}, cast_to=object)
        client.with_options(default_headers={"x-own": "2"}).delete("/files/f", cast_to=object)
        client.files.create(file=file, purpose="batch")

    def seen(server: Upstream) -> list[Any]:
        told = []
        for asked in server.asked:
            left = ["accept-encoding", "connection", "content-type", "transfer-encoding", "host"]
            left += [] if asked.body else ["content-length"]  # 0, or none
            headers = {name: text for name, text in asked.headers.items() if name not in left}
            boundary = asked.headers.get("content-type", "").partition("boundary=")[2].encode()
            body = asked.body.replace(boundary, b"") if boundary else asked.body
            told.append((asked.method, asked.target, headers, body))
        return told

    def answer(asked: Asked) -> Reply:
        chats = ("completions", "responses", "embeddings")
        if asked.target.partition("?")[0].endswith(chats):
            path = asked.target.partition("?")[0]
            return either(Asked(asked.method, path, asked.headers, asked.body))
        return Reply([b"{}"], headers={"content-type": "application/json"})

    with upstream(answer) as here, upstream(answer) as there:
        use(openai.OpenAI(base_url=here.url, api_key="k"))
        with amp.wrap(openai.OpenAI(base_url=there.url, api_key="k")) as client:
            use(client)
    assert len(here.asked) == 8
    assert seen(there) == seen(here)


async def test_a_client_that_is_closed_ends_its_calls(prices: Path) -> None:
    def respond(asked: Asked) -> Reply:
        reply = chat(asked)
        pause: list[bytes | float] = [60.0]
        at = 3 if asked.json.get("stream") else 0
        reply.parts = [*reply.parts[:at], *pause, *reply.parts[at:]]
        return reply

    async with serving(respond) as server:
        own = openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0)
        client = amp.wrap(own, prices=prices)
        with amp.episode() as episode:
            whole = asyncio.create_task(client.chat.completions.create(**ASKED))
            stream = await client.chat.completions.create(**ASKED, stream=True)
            came = await anext(aiter(stream))
            assert came.choices[0].delta.role == "assistant"
            await until(lambda: len(server.asked) == 2)
            await client.close()
            with pytest.raises(openai.APIConnectionError):
                await asyncio.wait_for(whole, 60)
            with pytest.raises(openai.APIConnectionError):
                async for _ in stream:
                    pass
        await until(lambda: episode.spent.estimated_calls == 2)
        assert episode.reserved == pytest.approx(0)


def test_a_client_that_is_closed_or_forgotten_leaves_no_thread() -> None:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "amp"}

    with upstream() as server:
        before = threads()
        for closed in (True, False):
            client = amp.wrap(openai.OpenAI(base_url=server.url, api_key="k"))
            other = client.with_options(timeout=3)
            del client
            gc.collect()
            other.chat.completions.create(**ASKED)
            (made,) = threads() - before
            if closed:
                other.close()
            del other
            gc.collect()
            made.join(60)
            assert not made.is_alive()


def test_the_clients_own_timeout_holds(prices: Path) -> None:
    short = openai.Timeout(60, read=0.2)
    with upstream(lambda asked: Reply([2.0, b"{}"])) as server, amp.episode() as episode:
        own = openai.OpenAI(base_url=server.url, api_key="k", timeout=short, max_retries=0)
        with amp.wrap(own, prices=prices) as client, pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**ASKED)
    assert episode.spent.estimated_calls == 1
    assert episode.reserved == pytest.approx(0)


def test_it_decides_keeps_traffic_and_takes_outcomes(prices: Path, tmp_path: Path) -> None:
    file = tmp_path / "traffic.sqlite"
    call: Any = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    said: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
    ]
    with upstream() as server:
        own = openai.OpenAI(base_url=server.url, api_key="k")
        with amp.wrap(own, prices=prices, policy="rules", traffic=file) as client:
            with amp.episode("девять ✓"):
                create = client.chat.completions.with_raw_response.create
                told = create(model="gpt", messages=said, max_tokens=50)
            assert told.headers["x-amp-arm"] == "gpt@low"
            kept: Any = client.post(
                "/amp/outcome", body={"episode": "девять ✓", "success": 1.0}, cast_to=object
            )
        with pytest.raises(InvalidInputError, match="unknown effort 'los'"):
            amp.wrap(own, policy="rules", arms=["gpt@los"])
    assert server.asked[0].json["reasoning_effort"] == "low"
    assert kept
    with sqlite3.connect(file) as kept_calls:
        rows = kept_calls.execute("SELECT * FROM calls").fetchall()
    kept_calls.close()
    assert len(rows) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_calls_on(prices: Path) -> None:
    with upstream() as server:
        client = amp.wrap(openai.OpenAI(base_url=server.url, api_key="k"), prices=prices)
        client.chat.completions.create(**ASKED)
        child = os.fork()
        if not child:
            with amp.episode() as episode:
                client.chat.completions.create(**ASKED)
            os._exit(episode.spent.model_calls)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        client.chat.completions.create(**ASKED)


def test_what_is_no_client_is_refused() -> None:
    azure = openai.AzureOpenAI(api_key="k", api_version="1", azure_endpoint="http://127.0.0.1:9")
    for wrong in (object(), azure):
        with pytest.raises(InvalidInputError, match="expected one of OpenAI, AsyncOpenAI"):
            amp.wrap(wrong)
    with pytest.raises(InvalidInputError, match="accounts and key"):
        amp.wrap(openai.OpenAI(base_url="http://127.0.0.1:9", api_key="k"), key="x")
    with pytest.raises(InvalidInputError, match="max_dollars is -1"), amp.episode(max_dollars=-1):
        pass
    odd: Any = "5"
    with pytest.raises(InvalidInputError, match="max_dollars is '5'"), amp.episode(max_dollars=odd):
        pass
    number: Any = 4711
    with pytest.raises(InvalidInputError, match="episode is 4711, .* a text"), amp.episode(number):
        pass
    client = amp.wrap(openai.OpenAI(base_url="http://127.0.0.1:9", api_key="k", max_retries=0))
    with pytest.raises(openai.APIConnectionError) as failed:
        client.get("http://127.0.0.2:9/v1/models", cast_to=object)
    assert "wrapped for 127.0.0.1" in str(failed.value.__cause__)
    client.close()


def test_one_arm_is_not_read_letter_by_letter(prices: Path) -> None:
    with upstream() as server:
        own = openai.OpenAI(base_url=server.url, api_key="k")
        with amp.wrap(own, prices=prices, policy="rules", arms="gpt@low") as client:
            told = client.chat.completions.with_raw_response.create(**{**ASKED, "model": "own"})
        assert told.headers["x-amp-arm"].startswith("gpt")
        assert server.asked[-1].json["model"] == "gpt"


def test_a_program_ends_without_closing_its_client() -> None:
    code = (
        "import amp, openai\n"
        "client = amp.wrap(openai.OpenAI(base_url='http://127.0.0.1:9', api_key='k',"
        " max_retries=0))\n"
        "try: client.models.list()\n"
        "except openai.InternalServerError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert "cannot be reached" in done.stdout
    assert done.stderr == ""
