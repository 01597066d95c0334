"""Both back ends behind an SDK, against servers that fail: bounded, one line, and never the key."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from tests.fakes.server import Answer, Question, serving
from tests.models.conformance import ask

from amp.errors import ModelError
from amp.models.anthropic import AnthropicModel
from amp.models.base import LanguageModel, Request
from amp.models.bill import Bill, open_bill
from amp.models.openai import OpenAIModel
from amp.types import Usage

KEY = "sk-very-secret-0123456789"
JSON = {"Content-Type": "application/json"}
AT_ONCE = {"retry-after-ms": "1"}

CHAT = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "fine"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1},
}
MESSAGE = {
    "content": [{"type": "text", "text": "fine"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 1},
}


@dataclass(frozen=True)
class Kind:
    """One of the two back ends, and the answer that its server gives when all is well."""

    model: type[OpenAIModel] | type[AnthropicModel]
    fine: dict[str, Any]

    def make(self, address: str, **options: Any) -> LanguageModel:
        return self.model("m", base_url=address, api_key=KEY, **options)


@pytest.fixture(params=[Kind(OpenAIModel, CHAT), Kind(AnthropicModel, MESSAGE)], ids=["o", "a"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs' first wait is half a second."""
    for package in ("openai", "anthropic"):
        monkeypatch.setattr(f"{package}._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever happens, no library writes the key to its log, at any level."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert KEY not in caplog.text
    assert not [record for record in caplog.records if KEY in repr(record.__dict__)]


def in_turn(
    answers: list[Answer], asked: list[float], fine: dict[str, Any]
) -> AbstractContextManager[str]:
    """A server that gives these answers one after the other, and then fine ones."""

    def respond(question: Question) -> Answer:
        if "complet" not in question.path and "messages" not in question.path:
            return Answer(404)
        assert KEY in repr(question.headers)
        asked.append(time.monotonic())
        if len(asked) <= len(answers):
            return answers[len(asked) - 1]
        return Answer(body=json.dumps(fine).encode(), headers=JSON)

    return serving(respond)


async def failure(kind: Kind, answers: list[Answer], **options: Any) -> tuple[str, int]:
    """The one line of the error that comes of these answers, and how often the server was asked."""
    asked: list[float] = []
    with in_turn(answers, asked, kind.fine) as address:
        model = kind.make(address, **options)
        with pytest.raises(ModelError) as caught:
            await model.generate(Request(ask("x")))
        assert KEY not in repr(model) + str(vars(model))
        await model.close()
    error = caught.value
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error)
    assert "\n" not in str(error)
    return str(error), len(asked)


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(429, b"slow down", AT_ONCE),
        Answer(500, b"oops", AT_ONCE),
        Answer(503, b"oops", AT_ONCE),
        Answer(529, b'{"error": {"type": "overloaded_error"}}', JSON | AT_ONCE),
        Answer(408, b"", AT_ONCE),
        Answer(0),
        Answer(body=b'{"choices": [', headers=JSON, stated_length=1000),
    ],
    ids=["429", "500", "503", "529", "408", "hung up", "broken off"],
)
async def test_what_may_pass_is_tried_again(kind: Kind, trouble: Answer) -> None:
    asked: list[float] = []
    with in_turn([trouble, trouble], asked, kind.fine) as address:
        model = kind.make(address)
        (completion,) = await model.generate(Request(ask("x")))
        await model.close()
    assert completion.text == "fine"
    assert completion.usage.model_calls == 1
    assert len(asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_will_not_pass_is_tried_once(kind: Kind, status: int) -> None:
    said = json.dumps({"error": {"message": f"too long, {KEY},\nno"}}).encode()
    message, tries = await failure(kind, [Answer(status, said, JSON)] * 9)
    assert f"status {status}" in message
    assert "too long, [key], no" in message
    assert tries == 1


async def test_a_storm_ends_after_some_tries(kind: Kind) -> None:
    message, tries = await failure(kind, [Answer(429, b"slow down", AT_ONCE)] * 99, max_retries=3)
    assert "status 429" in message
    assert "tried 4 times" in message
    assert "slow down" in message
    assert tries == 4


@pytest.mark.slow
async def test_a_storm_ends_in_time_whatever_the_server_asks_for(kind: Kind) -> None:
    patient = Answer(429, b"slow down", {"Retry-After": "100"})
    message, tries = await failure(kind, [patient] * 99, timeout_seconds=2.0)
    assert "within 2 seconds (tried once, last status 429)" in message
    assert tries == 1


async def test_the_wait_is_as_long_as_the_server_asks_for(kind: Kind) -> None:
    asked: list[float] = []
    with in_turn([Answer(429, b"", {"Retry-After": "0.4"})], asked, kind.fine) as address:
        model = kind.make(address)
        await model.generate(Request(ask("x")))
        await model.close()
    assert asked[1] - asked[0] >= 0.4


async def test_a_server_that_drips_is_given_up(kind: Kind) -> None:
    """Every byte comes in time, the answer never."""
    drip = Answer(body=b" " * 10_000, headers=JSON, pause_seconds=0.05)
    async with asyncio.timeout(60):
        message, tries = await failure(kind, [drip] * 9, timeout_seconds=0.3)
    assert "gave no answer within 0.3 seconds (tried once" in message
    assert tries == 1


async def test_a_connection_that_always_breaks_is_told(kind: Kind) -> None:
    broken = Answer(body=b"{", headers=JSON, stated_length=1000)
    message, tries = await failure(kind, [broken] * 99, max_retries=1)
    assert "cannot be reached (tried 2 times" in message
    assert tries == 2


async def test_nobody_there_is_told(kind: Kind) -> None:
    model = kind.make("http://127.0.0.1:9/v1", max_retries=1)
    with pytest.raises(ModelError, match=r"cannot be reached \(tried 2 times.*is the server runn"):
        await model.generate(Request(ask("x")))
    assert await model.count_tokens(ask("x")) > 0  # a bound needs no server
    await model.close()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html>a proxy's page</html>", "no JSON"),
        (b'{"choices": ', "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"", "no JSON"),
        (b"[1]", "no object"),
        (b'{"error": {"message": "sk-very-secret-0123456789 broke"}}', r"\[key\] broke"),
        (b"{}", "no choices|no answer to a chat"),
    ],
)
async def test_garbage_is_told(kind: Kind, body: bytes, expected: str) -> None:
    message, tries = await failure(kind, [Answer(body=body, headers=JSON)] * 9)
    assert re.search(expected, message), message
    assert tries == 1


def slow_after(first: int, fine: dict[str, Any]) -> Callable[[Question], Answer]:
    count = [0]

    def respond(question: Question) -> Answer:
        count[0] += 1
        if count[0] > first:
            time.sleep(2.5)
        return Answer(body=json.dumps(fine).encode(), headers=JSON)

    return respond


@pytest.mark.slow
async def test_samples_that_came_in_time_are_kept(kind: Kind) -> None:
    with serving(slow_after(1, kind.fine)) as address:
        model = kind.make(address)
        samples = await model.generate(Request(ask("x"), n=3, timeout_seconds=2.0))
        await model.close()
    assert sorted(sample.finish_reason for sample in samples) == ["stop", "timeout", "timeout"]
    assert [sample.usage.model_calls for sample in samples] == [1, 1, 1]
    assert all(sample.usage.prompt_tokens >= 5 for sample in samples)


@pytest.mark.slow
async def test_a_try_costs_from_the_moment_in_which_it_reaches_the_server(kind: Kind) -> None:
    """Cancelled while it is connecting, it is free; cancelled while it waits, it is not."""

    async def cancelled(address: str) -> Usage:
        model, bill = kind.make(address), Bill(Usage(1, 9, estimated_calls=1), 9, lambda n: None)
        with suppress(TimeoutError), open_bill(bill):
            async with asyncio.timeout(2.0):  # a busy machine needs a second to connect
                await model.generate(Request(ask("x")))
        await model.close()
        return sum(bill.usages() or (), Usage())

    with serving(slow_after(0, kind.fine)) as address:
        reached = await cancelled(address)
    assert (reached.model_calls, reached.prompt_tokens, reached.estimated_calls) == (1, 9, 1)
    with socket.socket() as full:  # it listens, and nobody takes what is in its queue
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            assert await cancelled(f"http://127.0.0.1:{full.getsockname()[1]}/v1") == Usage()


async def test_a_redirect_to_no_port_is_told(kind: Kind) -> None:
    away = Answer(status=307, headers={"Location": "http://127.0.0.1:99999/v1"})
    message, _ = await failure(kind, [away] * 9, max_retries=0)
    assert "port must be 0-65535" in message


async def test_counting_ends_where_the_server_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amp.models.openai_client._ASIDE_SECONDS", 0.2)
    asked: list[str] = []

    def drip(question: Question) -> Answer:
        asked.append(question.path)
        return Answer(body=b" " * 10_000, headers=JSON, pause_seconds=0.05)

    with serving(drip) as address:
        model = OpenAIModel("m", base_url=address, api_key=KEY)
        async with asyncio.timeout(60):
            assert [await model.count_tokens(ask("x")) for _ in range(2)] == [113, 113]
        assert len(asked) == len(set(asked))  # the second time it is not asked
        await model.close()


async def test_what_a_refused_try_may_have_cost_is_kept(kind: Kind) -> None:
    """A server that breaks on n tells so in an answer that it has generated."""
    body = {**kind.fine, "error": {"message": "broken", "code": 500}}
    answers = [Answer(body=json.dumps(body).encode(), headers=JSON)] * 9
    bill = Bill(Usage(1, 9, estimated_calls=1), 9, lambda n: None)
    with in_turn(answers, [], kind.fine) as address, open_bill(bill):
        model = kind.make(address, max_retries=0)
        with pytest.raises(ModelError, match="broken"):
            await model.generate(Request(ask("x"), n=2))
        await model.close()
    spent = sum(bill.usages() or (), Usage())
    assert spent.model_calls == spent.estimated_calls >= 2


@pytest.mark.parametrize("status", [504, 524])
async def test_an_answer_that_a_gateway_did_not_wait_for_may_be_billed(
    kind: Kind, status: int
) -> None:
    bill = Bill(Usage(1, 9, estimated_calls=1), 9, lambda n: None)
    with serving(lambda question: Answer(status=status, headers=JSON)) as address, open_bill(bill):
        model = kind.make(address, max_retries=0)
        with pytest.raises(ModelError, match=str(status)):
            await model.generate(Request(ask("x")))
        await model.close()
    assert sum(bill.usages() or (), Usage()).prompt_tokens == 9


async def test_headers_of_the_environment_are_not_shown(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_CUSTOM_HEADERS", "X-Gateway: gw-0123456789")

    def respond(question: Question) -> Answer:
        return Answer(401, json.dumps({"error": {"message": repr(question.headers)}}).encode())

    with serving(respond) as address:
        model = kind.make(address)
        with pytest.raises(ModelError, match=r"status 401") as caught:
            await model.generate(Request(ask("x")))
        await model.close()
    assert "gw-0123456789" not in str(caught.value)
