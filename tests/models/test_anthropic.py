"""What is sent to Anthropic's API, and what is made of its answers.

The promises that all back ends share are tested against a real server (test_conformance.py), and
failures in test_sdkclient.py. Here a scripted server stands for what no model at hand can do: a
cache that is written, thinking, refusals. Its answers are made with the SDK's own types.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from anthropic.types import Message as Answered
from anthropic.types import TextBlock, ThinkingBlock, Usage
from tests.fakes.server import Answer, Question, serving
from tests.models.conformance import ask

from amp.errors import InvalidInputError, MissingDependencyError, ModelError
from amp.models.anthropic import AnthropicModel
from amp.models.base import Completion, Message, Prompt, Request
from amp.models.llamacpp import LlamaCppModel

JSON = {"Content-Type": "application/json"}
LONG = "word " * 1000


def said(
    text: str, *, thought: str = "", stop_reason: str = "end_turn", **usage: Any
) -> dict[str, Any]:
    blocks: list[Any] = [TextBlock(type="text", text=text)]
    if thought:
        blocks.insert(0, ThinkingBlock(type="thinking", thinking=thought, signature="s"))
    message = Answered(
        id="msg_1",
        type="message",
        role="assistant",
        model="m",
        content=blocks,
        stop_reason=stop_reason,  # type: ignore[arg-type]
        usage=Usage(**({"input_tokens": 5, "output_tokens": 2} | usage)),
    )
    return message.to_dict(mode="json")


def refusal(message: str) -> Answer:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return Answer(400, json.dumps(error).encode(), JSON)


def answering(
    respond: Callable[[dict[str, Any]], dict[str, Any] | Answer], asked: list[dict[str, Any]]
) -> AbstractContextManager[str]:
    def answer(question: Question) -> Answer:
        assert question.path == "/v1/messages"
        asked.append(json.loads(question.body))
        found = respond(asked[-1])
        if isinstance(found, Answer):
            return found
        return Answer(body=json.dumps(found).encode(), headers=JSON)

    return serving(answer)


async def exchange(
    request: Request, answer: dict[str, Any], **options: Any
) -> tuple[dict[str, Any], list[Completion]]:
    """The body that is sent for a request, and the samples that come of the answer."""
    asked: list[dict[str, Any]] = []
    with answering(lambda body: answer, asked) as address:
        model = AnthropicModel("m", base_url=address, **options)
        try:
            samples = await model.generate(request)
        finally:
            await model.close()
    return asked[0], samples


# --------------------------------------------------------------------------- what is sent


async def test_the_system_message_goes_apart_and_is_marked_for_the_cache() -> None:
    body, _ = await exchange(Request(ask("x", 7, stop=("END",)), temperature=0.5), said("y"))
    mark = {"type": "ephemeral"}
    assert body == {
        "model": "m",
        "max_tokens": 7,
        "system": [{"type": "text", "text": "You are helpful.", "cache_control": mark}],
        "messages": [{"role": "user", "content": "x"}],
        "stop_sequences": ["END"],
        "temperature": 0.5,
    }


async def test_top_p_is_sent_only_where_it_changes_anything() -> None:
    for request, sent in (
        (Request(ask("x"), temperature=0.5, top_p=1.0), False),
        (Request(ask("x"), temperature=0.0, top_p=0.5), False),
        (Request(ask("x"), temperature=0.5, top_p=0.5), True),
    ):
        body, _ = await exchange(request, said("y"))
        assert ("top_p" in body) == sent


async def test_a_temperature_above_one_is_sent_as_one_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[dict[str, Any]] = []
    with caplog.at_level(logging.WARNING), answering(lambda body: said("y"), asked) as address:
        model = AnthropicModel("m", base_url=address)
        for _ in range(2):
            await model.generate(Request(ask("x"), temperature=1.5))
        await model.close()
    assert [body["temperature"] for body in asked] == [1.0, 1.0]
    assert [record.getMessage() for record in caplog.records] == [
        "model m is sent temperature 1 instead of 1.5, the most that its API takes"
    ]


async def test_without_the_option_a_prefix_is_asked_for() -> None:
    prompt = ask("Count.", prefix="1, 2,")
    body, _ = await exchange(Request(prompt), said("3"))
    assert body["messages"][-1]["role"] == "user"
    assert "1, 2," in body["messages"][-1]["content"]
    body, _ = await exchange(Request(prompt), said("3"), prefix=True)
    assert body["messages"][-1] == {"role": "assistant", "content": "1, 2,"}


async def test_an_address_may_end_in_the_version() -> None:
    with answering(lambda body: said("y"), []) as address:
        model = AnthropicModel("m", base_url=f"{address}/v1/")
        await model.generate(Request(ask("x")))
        await model.close()


async def test_extra_fields_win() -> None:
    body, _ = await exchange(Request(ask("x")), said("y"), extra={"temperature": 0.9, "top_k": 3})
    assert (body["temperature"], body["top_k"]) == (0.9, 3)


# --------------------------------------------------------------------------- the cache


async def test_of_a_long_prompt_the_first_sample_goes_ahead_and_fills_the_cache() -> None:
    asked: list[dict[str, Any]] = []
    answered: list[float] = []
    begun: list[float] = []

    def respond(body: dict[str, Any]) -> dict[str, Any]:
        begun.append(time.monotonic())
        time.sleep(0.1)
        answered.append(time.monotonic())
        if len(answered) == 1:
            return said("0", cache_creation_input_tokens=1000)
        return said(str(len(answered)), cache_read_input_tokens=1000)

    with answering(respond, asked) as address:
        model = AnthropicModel("m", base_url=address)
        samples = await model.generate(Request(ask(LONG), n=3, temperature=1.0))
        await model.close()
    mark = {"type": "ephemeral"}
    assert all(body["messages"][-1]["content"][0]["cache_control"] == mark for body in asked)
    assert min(begun[1:]) >= answered[0]
    assert [s.usage.prompt_tokens for s in samples] == [1005] * 3
    assert [s.usage.cached_prompt_tokens for s in samples] == [0, 1000, 1000]
    assert [s.usage.model_calls for s in samples] == [1, 1, 1]


async def test_of_a_short_prompt_all_samples_go_side_by_side() -> None:
    asked: list[dict[str, Any]] = []
    together = threading.Barrier(4)

    def respond(body: dict[str, Any]) -> dict[str, Any]:
        together.wait(60)  # no call is answered before the others have come
        return said("y")

    with answering(respond, asked) as address:
        model = AnthropicModel("m", base_url=address)
        await model.generate(Request(ask("x"), n=4, temperature=1.0))
        await model.close()
    assert all(body["messages"][-1]["content"] == "x" for body in asked)


async def test_a_real_server_reads_marked_prompts_from_its_cache(smol: LlamaCppModel) -> None:
    model = AnthropicModel("smol", base_url=smol.address, api_key=smol.api_key)
    prompt = Prompt((Message("system", "You are helpful."), Message("user", LONG)), 2)
    samples = await model.generate(Request(prompt, n=2, temperature=1.0))
    await model.close()
    assert samples[0].usage.prompt_tokens == await smol.count_tokens(prompt)
    assert samples[1].usage.cached_prompt_tokens > 1000


# --------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("refusal", "filtered"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
    ],
)
async def test_how_an_answer_ended(stop_reason: str, expected: str) -> None:
    _, (sample,) = await exchange(Request(ask("x")), said("y", stop_reason=stop_reason))
    assert sample.finish_reason == expected


async def test_thinking_is_no_part_of_the_text() -> None:
    answer = said("yes", thought="hm", output_tokens_details={"thinking_tokens": 1})
    request = Request(ask("x"), thinking_tokens=10)
    _, (sample,) = await exchange(request, answer, thinking="adaptive")
    assert sample.text == "yes"
    assert (sample.usage.completion_tokens, sample.usage.reasoning_tokens) == (2, 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"content": []}, "no stop_reason"),
        ({"content": None, "usage": {}, "stop_reason": "end_turn"}, "no content"),
    ],
)
async def test_an_answer_that_lacks_something_says_what(
    answer: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        await exchange(Request(ask("x")), answer)


# --------------------------------------------------------------------------- refusals


async def test_what_a_model_refuses_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[dict[str, Any]] = []

    def respond(body: dict[str, Any]) -> dict[str, Any] | Answer:
        for name in ("temperature", "top_p"):
            if name in body:
                return refusal(f"`{name}` is deprecated for this model.")
        return said("y")

    with caplog.at_level(logging.WARNING), answering(respond, asked) as address:
        model = AnthropicModel("m", base_url=address)
        for _ in range(2):
            await model.generate(Request(ask("x"), temperature=0.5, top_p=0.5))
        await model.close()
    assert [("temperature" in body, "top_p" in body) for body in asked] == [
        (True, True),
        (False, True),
        (False, False),
        (False, False),
    ]
    assert len(caplog.records) == 2


async def test_where_only_one_of_the_two_is_taken_it_is_the_temperature() -> None:
    asked: list[dict[str, Any]] = []

    def respond(body: dict[str, Any]) -> dict[str, Any] | Answer:
        if "temperature" in body and "top_p" in body:
            return refusal("`temperature` and `top_p` cannot both be specified for this model.")
        return said("y")

    with answering(respond, asked) as address:
        model = AnthropicModel("m", base_url=address)
        samples = await model.generate(Request(ask("x"), n=3, temperature=0.5, top_p=0.5))
        await model.close()
    assert [sample.text for sample in samples] == ["y"] * 3
    assert all("temperature" in body for body in asked)


async def test_a_value_out_of_range_is_an_error() -> None:
    asked: list[dict[str, Any]] = []
    with answering(lambda body: refusal("temperature: range: 0..1"), asked) as address:
        model = AnthropicModel("m", base_url=address)
        with pytest.raises(ModelError, match="range"):
            await model.generate(Request(ask("x"), temperature=0.5))
        await model.close()
    assert len(asked) == 1


# --------------------------------------------------------------------------- making one


async def test_grammars_scores_and_probes_are_refused() -> None:
    model = AnthropicModel("m", base_url="http://127.0.0.1:9")
    with pytest.raises(InvalidInputError, match="takes no grammar"):
        await model.generate(Request(ask("x"), grammar='root ::= "a"'))
    with pytest.raises(ModelError, match="cannot score"):
        await model.score(ask("x"), ["y"])
    with pytest.raises(ModelError, match="cannot be probed"):
        await model.next_token(ask("x"))


def test_anthropic_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    with pytest.raises(InvalidInputError, match="ANTHROPIC_API_KEY"):
        AnthropicModel("claude")
    with pytest.raises(InvalidInputError, match="expected http"):
        AnthropicModel("claude", base_url="localhost:8000")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(MissingDependencyError, match=r"adaptive-meta-planning\[anthropic\]"):
        AnthropicModel("m", base_url="http://127.0.0.1:9")
