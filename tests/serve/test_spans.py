"""Spans of calls: they take what the accounts took, and say no content and no key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.fakes.otlp import Collector, Received, collecting
from tests.fakes.upstream import Asked, Reply, either, serving
from tests.serve.running import gateway

from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.telemetry import Telemetry
from amp.usage import Usage

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {
    "traceparent": f"00-{TRACE}-{PARENT}-01",
    "authorization": "Bearer sk-secret",
    "x-api-key": "sk-secret",
    "x-amp-episode": "ticket-7",
}
SAID = {"role": "user", "content": "the password is hunter2"}
CHAT: dict[str, Any] = {
    "model": "gpt-5-mini",
    "messages": [SAID],
    "max_completion_tokens": 50,
    "reasoning_effort": "low",
}
MESSAGE: dict[str, Any] = {"model": "claude-x", "messages": [SAID], "max_tokens": 50}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as there:
        yield there


def sent(telemetry: Telemetry) -> None:
    """Has sent what waits."""
    tracer: Any = telemetry.spans().tracer
    tracer.span_processor.force_flush()


def assert_adds_up(chats: list[Received], spent: Usage) -> None:
    assert sum(each.total("input_tokens") for each in chats) == spent.prompt_tokens
    assert sum(each.total("output_tokens") for each in chats) == spent.completion_tokens
    cached = sum(each.total("cache_read.input_tokens") for each in chats)
    assert cached == spent.cached_prompt_tokens
    thought = sum(each.total("reasoning.output_tokens") for each in chats)
    assert thought == spent.reasoning_tokens


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("path", "fields", "written"), [("chat/completions", CHAT, 0), ("messages", MESSAGE, 8)]
)
async def test_a_call_takes_what_the_accounts_took(
    path: str, fields: dict[str, Any], written: int, streams: bool, collector: Collector
) -> None:
    telemetry = Telemetry(endpoint=collector.url)
    async with (
        serving(either) as upstream,
        gateway(upstream.url, telemetry=telemetry) as amp,
        httpx2.AsyncClient(headers=HEADERS, timeout=60) as client,
    ):
        answer = await client.post(f"{amp.v1}/{path}", json=fields | {"stream": streams})
        assert answer.status_code == 200
        spent = amp.accounts.spent
    sent(telemetry)
    (call,) = collector.named("POST /v1/")
    (chat,) = collector.children(call)
    assert_adds_up([chat], spent)
    assert chat.total("cache_write.input_tokens") == written
    assert chat.total("cache_creation.input_tokens") == written  # as Phoenix has it
    assert (call.trace.hex(), call.parent.hex()) == (TRACE, PARENT)
    assert (call.kind, chat.kind) == (2, 3)
    assert call.begun <= chat.begun <= chat.ended <= call.ended
    assert chat.name == f"chat {fields['model']}"
    assert chat.said["server.address"] == "127.0.0.1"
    assert chat.said["gen_ai.request.max_tokens"] == 50
    assert chat.said.get("gen_ai.request.reasoning.level") == fields.get("reasoning_effort")
    assert call.said["amp.usage.completion_tokens"] == spent.completion_tokens
    assert call.said["gen_ai.conversation.id"] == "ticket-7"
    assert call.said["amp.allocation.model"] == fields["model"]
    assert call.said["http.response.status_code"] == 200
    told = b"".join(collector.bodies)
    assert [text for text in (b"hunter2", b"secret", b"four") if text in told] == []


async def test_attempts_that_failed_stand_beside_the_one_that_answered(
    collector: Collector,
) -> None:
    telemetry = Telemetry(endpoint=collector.url)
    broken = Reply([b'{"error": {"message": "hunter2 again"}}'], 500)
    async with (
        serving(lambda asked: broken) as first,
        serving(either) as second,
        gateway(
            UpstreamConfig(first.url, name="first"),
            UpstreamConfig(second.url, name="second"),
            telemetry=telemetry,
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        await client.post(f"{amp.v1}/chat/completions", json=CHAT)
        spent = amp.accounts.spent
    sent(telemetry)
    failed, answered = collector.named("chat ")
    assert (failed.failed, failed.said["error.type"], failed.said["amp.upstream"]) == (
        *(True, "500", "first"),
    )
    assert "gen_ai.usage.input_tokens" not in failed.said
    assert answered.said["amp.attempt"] == 2
    assert_adds_up([answered], spent)
    assert b"hunter2" not in b"".join(collector.bodies)


async def test_votes_are_attempts_of_one_call(collector: Collector) -> None:
    telemetry = Telemetry(endpoint=collector.url)
    route = Route("claude-x", policy="rules", arms=("claude-x x3",), samples=3)
    async with (
        serving(either) as upstream,
        gateway(upstream.url, telemetry=telemetry, routes=[route]) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        await client.post(f"{amp.v1}/messages", json=MESSAGE)
        spent = amp.accounts.spent
    sent(telemetry)
    (call,) = collector.named("POST")
    chats = collector.children(call)
    assert call.said["amp.allocation.samples"] == 3
    assert len(chats) == spent.model_calls == 2  # that agree
    assert_adds_up(chats, spent)
    assert collector.strays() == []


async def test_a_call_that_nobody_answers_is_an_error(collector: Collector) -> None:
    telemetry = Telemetry(endpoint=collector.url)

    def breaks(asked: Asked) -> Reply:
        return Reply(status=0, breaks=True)

    async with (
        serving(breaks) as upstream,
        gateway(upstream.url, telemetry=telemetry, patience=Patience(retries=0)) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        answer = await client.post(f"{amp.v1}/chat/completions", json=CHAT)
        spent = amp.accounts.spent
    sent(telemetry)
    (call,), (chat,) = collector.named("POST"), collector.named("chat")
    assert call.said["http.response.status_code"] == answer.status_code == 502
    assert call.failed
    assert chat.said["error.type"] == "no_answer"
    assert_adds_up([chat], spent)
