"""Streams that no API means to send are told in the words of another all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.serve.test_translate_words import LONG, USER, answered, completion

from amp.serve.dialects.apis import CHAT, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect
from amp.serve.translate.translation import Translation
from amp.serve.upstreams.answer import UpstreamError

BEGUN: Any = {"type": "message_start", "message": {"id": "x", "model": "m"}}
ENDED: Any = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
FINISHED: Any = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def streamed(client: Dialect, upstream: Dialect, *events: Any) -> list[Any]:
    """What a client is told of the events of an upstream's stream."""
    talk = {"input": "Hi"} if client is RESPONSES else {"messages": [USER]}
    asked = {"model": "m", **talk, **LONG.get(client.path, {}), "stream": True}
    stream = Translation(client, upstream, json.dumps(asked).encode(), "m").stream()
    told = [stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n") for event in events]
    lines = b"".join([*told, stream.end()]).splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def delta(**said: Any) -> Any:
    """A chunk of a chat."""
    return {"choices": [{"delta": said, "finish_reason": None}]}


def chunk(arguments: str, **more: Any) -> Any:
    """A chunk with a part of the arguments of a call."""
    return delta(tool_calls=[{"index": 0, "function": {"arguments": arguments}, **more}])


def block(kind: str, index: int, **more: Any) -> Any:
    """An event of a block of a message."""
    return {"type": f"content_block_{kind}", "index": index, **more}


def test_signs_of_life_come_through() -> None:
    body = json.dumps({"model": "m", "messages": [USER], "stream": True}).encode()
    stream = Translation(CHAT, MESSAGES, body, "m").stream()
    for sign in (b": waiting\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'):
        assert stream.feed(sign) == b": ping\n\n"
    with pytest.raises(UpstreamError, match="ended before"):
        stream.end()


@pytest.mark.parametrize("before", [b": alive\n", b"\xef\xbb\xbf", b"id: 1\n", b"event: x\n"])
def test_what_stands_before_the_data_of_an_event_hides_none(before: bytes) -> None:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [USER], "stream": True}).encode()
    stream = Translation(MESSAGES, CHAT, body, "m").stream()
    said = [json.dumps(each).encode() for each in (delta(content="84"), FINISHED)]
    told = b"".join(stream.feed(before + b"data: " + each + b"\n\n") for each in said)
    assert b'"text":"84"' in told
    assert b"message_stop" in stream.feed(before + b"data: [DONE]\n\n") + stream.end()


@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
def test_arguments_that_are_no_text_stay_json(client: Dialect) -> None:
    asked = {"a": True, "b": None, "c": "é"}
    function = {"name": "f", "arguments": asked}
    call = {"index": 0, "id": "c", "type": "function", "function": function}
    told = streamed(client, CHAT, delta(tool_calls=[call]), FINISHED)
    came = "".join(
        event["delta"] if client is RESPONSES else event["delta"].get("partial_json", "")
        for event in told
        if event["type"] in ("content_block_delta", "response.function_call_arguments.delta")
    )
    assert json.loads(came) == asked
    found = answered(client, CHAT, completion({"tool_calls": [call]}), **LONG.get(client.path, {}))
    part = (found.get("content") or found["output"])[-1]
    assert (part.get("input") or json.loads(part["arguments"])) == asked


def test_arguments_that_the_beginning_of_a_call_tells_are_not_lost() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    events = (BEGUN, block("start", 0, content_block=use), block("stop", 0), ENDED)
    calls = [
        call["function"]["arguments"]
        for event in streamed(CHAT, MESSAGES, *events)
        for call in event["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert json.loads("".join(calls)) == {"a": 1}


def test_a_usage_that_no_server_told_is_not_made_up() -> None:
    body = {"model": "m", "messages": [USER], "stream": True}
    body["stream_options"] = {"include_usage": True}
    stream = Translation(CHAT, MESSAGES, json.dumps(body).encode(), "m").stream()
    for event in (BEGUN, ENDED):
        stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert b"prompt_tokens" not in stream.end()


@pytest.mark.parametrize("none", [{}, {"id": None}, {"id": ""}])
def test_calls_without_a_name_get_one_each(none: dict[str, Any]) -> None:
    """Their results are told by it, so two of none would be one."""
    function = {"name": "f", "arguments": "{}"}
    calls = [{"index": at, "function": function, **none} for at in range(2)]
    whole = answered(MESSAGES, CHAT, completion({"tool_calls": calls}), max_tokens=9)["content"]
    told = streamed(MESSAGES, CHAT, delta(tool_calls=calls), FINISHED)
    parts = [event["content_block"] for event in told if event["type"] == "content_block_start"]
    for found in (whole, parts):
        names = {part["id"] for part in found}
        assert len(names) == 2
        assert all(names)


def test_what_the_last_event_of_a_response_alone_tells_is_not_lost() -> None:
    text = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "84"}],
    }
    called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
    begun = {"type": "response.created", "response": {"id": "r", "status": "in_progress"}}
    done = {"id": "r", "status": "completed", "output": [text, called]}
    told = streamed(CHAT, RESPONSES, begun, {"type": "response.completed", "response": done})
    deltas = [event["choices"][0]["delta"] for event in told]
    assert "".join(delta.get("content") or "" for delta in deltas) == "84"
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", ())]
    assert json.loads("".join(call["arguments"] for call in calls)) == {"a": 1}
    assert told[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
def test_a_stream_that_is_one_whole_answer_loses_nothing(client: Dialect) -> None:
    choice = {"index": 0, "message": {"content": "84"}, "finish_reason": "stop"}
    assert "84" in json.dumps(streamed(client, CHAT, {"choices": [choice]}))


@pytest.mark.parametrize("index", [0, None])
def test_calls_that_share_an_index_are_told_apart_by_their_names(index: int | None) -> None:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [USER], "stream": True}).encode()
    stream = Translation(MESSAGES, CHAT, body, "m").stream()
    told = b""
    for name in ("a", "b"):
        call = {"index": index, "id": name, "function": {"name": "f", "arguments": "{}"}}
        choice = {"delta": {"tool_calls": [call]}, "finish_reason": None}
        told += stream.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    told += stream.feed(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
    told += stream.feed(b"data: [DONE]\n\n")
    for name in ("a", "b"):
        assert f'"type":"tool_use","id":"{name}"'.encode() in told
    assert b'"stop_reason":"tool_use"' in told
    late = b'data: {"choices":[{"delta":{"content":"late"}}]}\n\n'
    assert (stream.feed(late), stream.end()) == (b"", b"")


@pytest.mark.parametrize("kind", ["text", "thinking", "partial_json"])
@pytest.mark.parametrize("client", [CHAT, RESPONSES])
def test_a_character_that_is_torn_over_two_events_stays_one(client: Dialect, kind: str) -> None:
    types = {"text": "text", "thinking": "thinking", "partial_json": "tool_use"}
    names = {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}
    pieces = ['["\ud83d', '\ude00"]', "\ud83d"]
    told = streamed(
        client,
        MESSAGES,
        BEGUN,
        block("start", 0, content_block={"type": types[kind], "id": "c", "name": "f"}),
        *(block("delta", 0, delta={"type": names[kind], kind: text}) for text in pieces),
        block("stop", 0),
        ENDED,
    )
    whole = json.dumps(told, ensure_ascii=False)
    assert "\U0001f600" in whole
    assert "\ufffd" in whole  # half of one alone
    whole.encode()


@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
def test_what_is_said_amid_the_arguments_of_a_call_waits_for_their_end(client: Dialect) -> None:
    first = chunk('{"a":', id="c", type="function")
    first["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] = "f"
    amid = [delta(content="Wait"), delta(reasoning_content="Hm"), chunk("1}"), chunk("\n")]
    told = streamed(client, CHAT, first, *amid, delta(content="!"), FINISHED)
    kinds = [each.get("type", "") for each in told]
    said = [str(e["delta"]) for e, kind in zip(told, kinds, strict=True) if kind.endswith("delta")]
    words = ("1}", "Wait", "Hm", "!")
    order = [next(at for at, each in enumerate(said) if word in each) for word in words]
    assert order == sorted(order)


def test_blocks_of_a_message_that_are_interleaved_come_one_after_another() -> None:
    json_delta, text = {"type": "input_json_delta"}, {"type": "text_delta", "text": "Wait"}
    told = streamed(
        CHAT,
        MESSAGES,
        BEGUN,
        block("start", 0, content_block={"type": "tool_use", "id": "c", "name": "f"}),
        block("delta", 0, delta={**json_delta, "partial_json": '{"a":'}),
        block("start", 1, content_block={"type": "text", "text": ""}),
        block("delta", 1, delta=text),
        block("delta", 0, delta={**json_delta, "partial_json": "1}"}),
        block("stop", 1),
        block("stop", 0),
        ENDED,
    )
    said = [choice["delta"] for each in told for choice in each["choices"]]
    calls = [c["function"]["arguments"] for d in said for c in d.get("tool_calls", ())]
    assert "".join(calls) == '{"a":1}'
    assert "".join(d.get("content") or "" for d in said) == "Wait"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"function_call": {"name": "f", "arguments": "{}"}}, "function_call"),
        ({"audio": {"id": "a", "data": "aWk="}}, "audio"),
        ({"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f"}}]}, "custom"),
    ],
)
@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
def test_what_other_apis_have_no_words_for_is_not_left_out_of_an_answer(
    client: Dialect, said: Any, name: str
) -> None:
    with pytest.raises(UpstreamError, match=name):
        answered(client, CHAT, completion({"content": None, **said}), **LONG[client.path])
    with pytest.raises(UpstreamError, match=name):
        streamed(client, CHAT, delta(**said), FINISHED)
