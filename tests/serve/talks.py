"""Conversations and answers as hypothesis draws them, and what the SDKs make of streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from amp.serve.dialects.apis import CHAT, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect, Events, data_of
from amp.serve.translate.meaning import (
    AnswerSchema,
    ChatAnswer,
    ChatQuestion,
    ChatTool,
    ChatTurn,
    Counts,
    Part,
    Piece,
    is_json,
    joined,
    scattered,
)

APIS: tuple[Dialect, ...] = (CHAT, MESSAGES, RESPONSES)
PAIRS = [(client, upstream) for client in APIS for upstream in APIS if client != upstream]
PAIR_NAMES = [f"{client.path[4:]}-to-{upstream.path[4:]}" for client, upstream in PAIRS]
PICTURE = "data:image/png;base64,iVBORw0KGgo="

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
arguments = st.dictionaries(names, st.none() | st.integers() | words, max_size=2).map(
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
)
texts = words.map(lambda text: Part("text", text))
images = st.sampled_from(["https://x.example/a.png", PICTURE]).map(
    lambda url: Part("image", url=url)
)
files = names.map(lambda name: Part("file", name=name, url="data:application/pdf;base64,JVBERi0="))
calls = st.builds(lambda i, n, a: Part("call", a, f"call_{i}", n), st.uuids(), names, arguments)


@st.composite
def exchanges(draw: st.DrawFn) -> list[ChatTurn]:
    """What a user asks, what the assistant calls, and what came of it."""
    user = draw(st.lists(texts | images | files, min_size=1, max_size=2))
    said = draw(st.lists(texts, max_size=1))
    called = draw(st.lists(calls, min_size=0 if said else 1, max_size=2))
    results = [Part("result", id=call.id, parts=(draw(texts),)) for call in called]
    turns = [ChatTurn("user", tuple(user)), ChatTurn("assistant", (*said, *called))]
    return [*turns, *([ChatTurn("tool", tuple(results))] if results else [])]


@st.composite
def questions(draw: st.DrawFn) -> ChatQuestion:
    """What every API can ask."""
    system = draw(st.lists(texts, max_size=2))
    turns = [ChatTurn("system", tuple(system))] if system else []
    for exchange in draw(st.lists(exchanges(), max_size=2)):
        turns += exchange
    turns.append(ChatTurn("user", (draw(texts),)))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = draw(st.lists(st.builds(ChatTool, names, words, st.just(schema)), max_size=2))
    choices = ["", "auto", "none", "any", f"={tools[0].name}"] if tools else [""]
    choice = draw(st.sampled_from(choices))
    return ChatQuestion(
        draw(names),
        joined(turns),
        tuple(tools),
        choice,
        draw(st.none() | st.booleans()) if tools and choice != "none" else None,
        draw(st.integers(1, 9999)),
        (),
        draw(st.none() | st.floats(0, 1)),
        draw(st.none() | st.floats(0, 1)),
        draw(st.sampled_from(["", "none", "low", "medium", "high", "xhigh", "max"])),
        draw(st.none() | st.just(AnswerSchema(schema, "answer", "", True))),
        draw(st.booleans()),
    )


@st.composite
def answers(draw: st.DrawFn) -> ChatAnswer:
    """What every API can answer; a call may be cut off."""
    parts = draw(st.lists(words.map(lambda text: Part("thought", text)), max_size=1))
    parts += draw(st.lists(texts, max_size=1))
    called = draw(st.lists(calls, min_size=0 if parts else 1, max_size=3))
    counts = Counts(*(draw(st.integers(0, 99)) for _ in range(5)))
    counts = replace(counts, prompt=counts.prompt + counts.cached + counts.written)
    stop: Any = "calls" if called else draw(st.sampled_from(["stop", "length"]))
    return ChatAnswer("id1", draw(names), (*parts, *called), stop, "", counts, 1_700_000_000)


def of(answer: ChatAnswer, api: str) -> ChatAnswer:
    """The answer with its thoughts made by that API."""
    parts = [replace(p, origin=api) if p.kind == "thought" else p for p in answer.parts]
    return replace(answer, parts=tuple(parts))


def plain(parts: tuple[Part, ...]) -> list[tuple[str, ...]]:
    """What parts say, whatever their marks are."""
    return [(p.kind, canonical(p.text), p.id if p.kind == "call" else "", p.name) for p in parts]


def canonical(text: str) -> str:
    """JSON in one form."""
    return json.dumps(json.loads(text), sort_keys=True) if is_json(text) else text


def events(stream: bytes) -> list[dict[str, Any]]:
    """The data of a stream's events."""
    cut = Events()
    found = [data_of(event) for event in cut.feed(stream)]
    assert not cut.rest()
    return [data for data in found if data is not None]


def by_chat(stream: bytes) -> Any:
    """The whole answer that OpenAI's SDK makes of a stream."""
    assert stream.endswith(b"data: [DONE]\n\n")
    state: Any = ChatCompletionStreamState()
    for data in events(stream):
        state.handle_chunk(ChatCompletionChunk.model_validate(data))
    return state.current_completion_snapshot.model_dump(mode="json", exclude_none=True)


def by_messages(stream: bytes) -> Any:
    """The whole answer that Anthropic's SDK makes of a stream."""
    read: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    whole: Any = None
    begun: dict[int, bytes] = {}
    for data in events(stream):
        assert f"event: {data['type']}\n".encode() in stream
        event = read.validate_python(data)
        whole = accumulate_event(event=event, current_snapshot=whole, json_bufs=begun)
    return whole.model_dump(mode="json", exclude_none=True)


def by_responses(stream: bytes) -> Any:
    """The whole answer at the end of a stream, which is what OpenAI's SDK makes of its pieces."""
    read: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    told = events(stream)
    assert [data["sequence_number"] for data in told] == list(range(len(told)))
    for data in told:
        state.handle_event(read.validate_python(data))
    last = told[-1]["response"]
    for at, item in state._output_items.items():
        made, whole = item.model_dump(mode="json"), last["output"][at]
        assert made["id"] == whole["id"]
        if item.type == "message":
            assert made["content"][0]["text"] == whole["content"][0]["text"]
        elif item.type == "function_call":
            assert made["arguments"] == whole["arguments"]
    return last


def pieces(answer: ChatAnswer, cuts: int) -> Iterator[Piece]:
    """The answer in pieces, its texts cut every so many characters."""
    for piece in scattered(answer):
        if piece.kind != "part" or piece.part.kind == "sealed":
            yield piece
            continue
        text = piece.part.text
        yield Piece("part", replace(piece.part, text="", signature=""))
        for at in range(0, len(text), cuts):
            yield Piece("more", replace(piece.part, text=text[at : at + cuts], signature=""))
        if piece.part.signature:
            yield Piece("sign", replace(piece.part, text=""))
