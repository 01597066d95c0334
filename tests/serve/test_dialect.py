"""Bodies stay the bytes that they are, whatever is read in them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.upstream import USAGE, WORDS, Asked, chat, embeddings, messages, responses

from amp.errors import InvalidInputError
from amp.serve.dialects.apis import CHAT as OPENAI
from amp.serve.dialects.apis import (
    DIALECTS,
    EMBEDDINGS,
    RESPONSES,
    UNKNOWN_CONTEXT,
    OpenAIResponses,
)
from amp.serve.dialects.apis import MESSAGES as ANTHROPIC
from amp.serve.dialects.base import TOKENS_OF_MEDIA, UNCAPPED_COMPLETION, Events, Told, data_of

JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just({"a": [1.10, {}]})


def told(dialect: Any, *answers: dict[str, Any] | None) -> Told:
    found = Told()
    for answer in answers:
        dialect.hear(answer or {}, found)
    return found


def stream(respond: Any, **fields: Any) -> list[bytes]:
    body = json.dumps({"model": "m", "stream": True, **fields}).encode()
    return [part for part in respond(Asked("POST", "", {}, body)).parts if isinstance(part, bytes)]


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: x", b"a"]), max_size=20),
    st.lists(st.integers(0, 40), max_size=8),
)
def test_events_together_are_the_bytes_that_came_wherever_they_are_torn(
    pieces: list[bytes], cuts: list[int]
) -> None:
    whole = b"".join(pieces)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    events = Events()
    found = [event for begin, end in pairwise(places) for event in events.feed(whole[begin:end])]
    assert b"".join(found) + events.rest() == whole
    assert all(event.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) for event in found)


@settings(max_examples=15)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.booleans())
def test_a_request_keeps_every_field_but_the_wish_for_a_usage(
    more: dict[str, Any], indented: bool
) -> None:
    fields = {**more, "model": "m", "stream": True}
    fields.pop("stream_options", None)
    body = json.dumps(fields, indent=2 if indented else None).encode()
    asked = OPENAI.read(body)
    assert asked.adds_usage
    assert json.loads(asked.body) == {**fields, "stream_options": {"include_usage": True}}
    assert asked.body.replace(b'"stream_options":{"include_usage":true},', b"", 1) == body


@pytest.mark.parametrize(
    "fields",
    [{}, {"stream": False}, {"stream": True, "stream_options": {"include_usage": True}}],
)
def test_a_request_that_needs_no_wish_is_the_very_bytes(fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "unknown": [1.10, "é"], **fields}, indent=3).encode()
    assert all(dialect.read(body).body == body for dialect in DIALECTS)


def test_other_options_of_a_stream_stay() -> None:
    options = {"include_usage": False, "include_obfuscation": False}
    body = json.dumps({"model": "m", "stream": True, "stream_options": options}).encode()
    sent = json.loads(OPENAI.read(body).body)
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}


@pytest.mark.parametrize("tools", [[], [{"type": "function"}]])
def test_what_was_asked_for_besides_is_taken_out_to_the_byte(tools: list[Any]) -> None:
    unasked = stream(chat, tools=tools)
    asked = stream(chat, tools=tools, stream_options={"include_usage": True})
    assert len(asked) == len(unasked) + 1
    assert b"".join(map(OPENAI.without_usage, asked)) == b"".join(unasked)


def test_a_usage_beside_a_choice_and_one_inside_a_text_stay() -> None:
    inside = {"choices": [{"delta": {"content": ',"usage":null'}}], "x": {"usage": None}}
    for data in ({"choices": [{"delta": {}}], "usage": USAGE}, inside):
        event = f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
        assert OPENAI.without_usage(event) == event


@pytest.mark.parametrize("streams", [True, False])
def test_the_upstreams_figures_count(streams: bool) -> None:
    body = {"model": "m", "stream": streams, "stream_options": {"include_usage": True}}
    answers = chat(Asked("POST", "", {}, json.dumps(body).encode())).parts
    parts = [part for part in answers if isinstance(part, bytes)]
    read = [data_of(part) if streams else json.loads(part) for part in parts]
    usage = told(OPENAI, *read).usage(OPENAI.read(b'{"model":"m"}'))
    assert (usage.prompt_tokens, usage.cached_prompt_tokens) == (21, 16)
    assert (usage.completion_tokens, usage.reasoning_tokens, usage.estimated_calls) == (9, 3, 0)


def test_a_message_counts_what_it_reads_and_writes_in_a_cache() -> None:
    found = told(ANTHROPIC, *map(data_of, stream(messages)))
    usage = found.usage(ANTHROPIC.read(b'{"model":"m"}'))
    assert (usage.prompt_tokens, usage.cached_prompt_tokens) == (28, 16)
    assert (usage.completion_tokens, usage.estimated_calls) == (9, 0)
    assert found.surcharge == 8 * 0.25


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("tools", [[], [{"type": "function"}]])
def test_a_response_counts_as_a_chat_does(streams: bool, tools: list[Any]) -> None:
    body = json.dumps({"model": "m", "stream": streams, "tools": tools}).encode()
    parts = [p for p in responses(Asked("POST", "", {}, body)).parts if isinstance(p, bytes)]
    read = [data_of(part) if streams else json.loads(part) for part in parts]
    usage = told(RESPONSES, *read).usage(RESPONSES.read(body))
    assert (usage.prompt_tokens, usage.cached_prompt_tokens) == (21, 16)
    assert (usage.completion_tokens, usage.reasoning_tokens, usage.estimated_calls) == (9, 3, 0)


def test_what_the_provider_has_kept_is_bounded_by_what_was_seen_of_it() -> None:
    dialect = OpenAIResponses()
    body = json.dumps({"model": "m", "input": "Hi", "previous_response_id": "resp_1"}).encode()
    assert dialect.read(body).prompt_bound == len(body) + UNKNOWN_CONTEXT
    whole = responses(Asked("POST", "", {}, b'{"model":"m"}')).parts[0]
    assert isinstance(whole, bytes)
    told(dialect, json.loads(whole))
    assert dialect.read(body).prompt_bound == len(body) + 30
    for field in ("conversation", "prompt"):
        body = json.dumps({"model": "m", field: {"id": "x"}}).encode()
        assert dialect.read(body).prompt_bound > UNKNOWN_CONTEXT
    body = b'{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}'
    assert dialect.read(body).prompt_bound > UNKNOWN_CONTEXT


def test_an_answer_that_is_still_being_made_costs_its_bounds() -> None:
    body = b'{"model":"m","background":true,"max_output_tokens":50}'
    part = responses(Asked("POST", "", {}, body)).parts[0]
    assert isinstance(part, bytes)
    usage = told(RESPONSES, json.loads(part)).usage(RESPONSES.read(body))
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(body), 50)
    assert usage.estimated_calls == 1


def test_embeddings_cost_their_prompt() -> None:
    body = b'{"model":"m","input":["some","texts"]}'
    part = embeddings(Asked("POST", "", {}, body)).parts[0]
    assert isinstance(part, bytes)
    asked = EMBEDDINGS.read(body)
    usage = told(EMBEDDINGS, json.loads(part)).usage(asked)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated_calls) == (7, 0, 0)
    assert (asked.prompt_bound, asked.completion_bound) == (len(body), 0)
    assert told(EMBEDDINGS, {"data": []}).usage(asked).prompt_tokens == len(body)


@pytest.mark.parametrize(
    ("dialect", "respond"), [(OPENAI, chat), (ANTHROPIC, messages), (RESPONSES, responses)]
)
def test_of_a_stream_that_ends_early_what_came_is_an_estimate(dialect: Any, respond: Any) -> None:
    begun = stream(respond)[:5]
    asked = dialect.read(b'{"model":"m","messages":[]}')
    usage = told(dialect, *map(data_of, begun)).usage(asked)
    assert usage.estimated_calls == 1
    assert usage.prompt_tokens in (28, len(asked.body))
    words = b"".join(begun).decode()
    assert usage.completion_tokens == len("".join(w for w in WORDS if f'"{w}"' in words))


def test_figures_that_cannot_be_true_are_estimates() -> None:
    usage = {"prompt_tokens": -1, "completion_tokens": "many"}
    answer = {"choices": [{"message": {"content": "four"}}], "usage": usage}
    found = told(OPENAI, answer).usage(OPENAI.read(b'{"model":"m"}'))
    assert (found.prompt_tokens, found.completion_tokens, found.estimated_calls) == (13, 4, 1)


def test_an_image_counts_as_tokens_and_not_as_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}}
    body = {"model": "m", "messages": [{"role": "user", "content": [image]}]}
    bound = OPENAI.read(json.dumps(body).encode()).prompt_bound
    assert TOKENS_OF_MEDIA < bound < TOKENS_OF_MEDIA + 200
    shown = {"type": "input_image", "image_url": image["image_url"]["url"]}  # type: ignore[index]  # JSON
    seen = {"type": "function_call_output", "call_id": "c", "output": [shown]}
    item = {"role": "user", "content": [shown]}
    body = {"model": "m", "input": [item, seen]}
    bound = RESPONSES.read(json.dumps(body).encode()).prompt_bound
    assert 2 * TOKENS_OF_MEDIA < bound < 2 * TOKENS_OF_MEDIA + 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{}", b'{"model":7}', b"[" * 100_000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    for dialect in DIALECTS:
        with pytest.raises(InvalidInputError):
            dialect.read(body)


def test_an_answer_without_a_cap_is_reserved_for() -> None:
    for dialect in (OPENAI, ANTHROPIC, RESPONSES):
        asked = dialect.read(b'{"model":"m","n":2}')
        assert asked.completion_bound == (2 if dialect is OPENAI else 1) * UNCAPPED_COMPLETION
