"""What is translated says the same, there and back, whole and in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from anthropic.types import Message, MessageParam
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from openai.types.responses import Response, ResponseInputItemParam
from pydantic import TypeAdapter
from tests.serve.talks import (
    PAIR_NAMES,
    PAIRS,
    answers,
    by_chat,
    by_messages,
    by_responses,
    canonical,
    of,
    pieces,
    plain,
    questions,
)

from amp.serve.dialect import Dialect
from amp.serve.dialects import CHAT, MESSAGES, RESPONSES
from amp.serve.translate.meaning import Answer, Part, Question, Shape, Turn, gathered
from amp.serve.translate.translation import GRAMMARS, Translation

SENT: Mapping[str, tuple[str, TypeAdapter[Any]]] = {
    CHAT.path: ("messages", TypeAdapter(list[ChatCompletionMessageParam])),
    MESSAGES.path: ("messages", TypeAdapter(list[MessageParam])),
    RESPONSES.path: ("input", TypeAdapter(list[ResponseInputItemParam])),
}
TOLD: Mapping[str, Any] = {CHAT.path: ChatCompletion, MESSAGES.path: Message}
TOLD = {**TOLD, RESPONSES.path: Response}
ACCUMULATED: Mapping[str, Callable[[bytes], Any]] = {
    CHAT.path: by_chat,
    MESSAGES.path: by_messages,
    RESPONSES.path: by_responses,
}
NAMES = {CHAT.path: "chat", MESSAGES.path: "messages", RESPONSES.path: "responses"}

pytestmark = pytest.mark.slow

HELLO = Question("m", (Turn("user", (Part("text", "Hello"),)),), max_tokens=9)

every_pair = pytest.mark.parametrize(("client", "upstream"), PAIRS, ids=PAIR_NAMES)


def meant(question: Question) -> Question:
    """The question in the form that all APIs keep."""
    turns = [
        replace(turn, parts=tuple(replace(p, text=canonical(p.text)) for p in turn.parts))
        for turn in question.turns
    ]
    tools = [replace(tool, strict=bool(tool.strict)) for tool in question.tools]
    shape = question.shape and Shape(question.shape.schema)
    choice = question.choice or ("auto" if question.parallel is not None else "")
    return replace(
        question, turns=tuple(turns), tools=tuple(tools), shape=shape, choice=choice, usage=True
    )


def split(stream: bytes) -> list[bytes]:
    """The events of a stream."""
    return [part + b"\n\n" for part in stream.split(b"\n\n") if part]


def asked(dialect: Dialect, question: Question) -> bytes:
    return json.dumps(GRAMMARS[dialect.path].write_question(question)).encode()


def read(dialect: Dialect, body: bytes) -> Question:
    return GRAMMARS[dialect.path].read_question(json.loads(body))


@every_pair
@settings(max_examples=12)
@given(question=questions())
def test_a_conversation_there_and_back_is_the_same(
    client: Dialect, upstream: Dialect, question: Question
) -> None:
    sent = asked(client, question)
    there = Translation(client, upstream, sent).body
    back = Translation(upstream, client, there).body
    assert meant(read(client, sent)) == meant(question)
    assert meant(read(upstream, there)) == meant(question)
    assert meant(read(client, back)) == meant(question)
    for dialect, body in ((upstream, there), (client, back)):
        name, kinds = SENT[dialect.path]
        kinds.validate_python(json.loads(body)[name])


@every_pair
@settings(max_examples=12)
@given(answer=answers(), cuts=st.integers(1, 9))
def test_a_stream_adds_up_to_the_whole_answer(
    client: Dialect, upstream: Dialect, answer: Answer, cuts: int
) -> None:
    answer = of(answer, NAMES[upstream.path])
    question = replace(HELLO, stream=True, usage=True)
    sent = json.loads(asked(client, question))
    if client is CHAT:
        sent["stream_options"] = {"include_usage": True}
    translation = Translation(client, upstream, json.dumps(sent).encode())
    theirs, mine = GRAMMARS[upstream.path], GRAMMARS[client.path]
    whole = json.loads(translation.answer(json.dumps(theirs.write_answer(answer)).encode()))
    TOLD[client.path].model_validate(whole)

    telling, stream = theirs.telling(question), translation.stream()
    events = [telling.feed(piece) for piece in pieces(answer, cuts)]
    told = b"".join([stream.feed(each) for event in events for each in split(event)])
    summed = ACCUMULATED[client.path](told + stream.end())
    found, expected = mine.read_answer(summed), mine.read_answer(whole)
    assert plain(found.parts) == plain(expected.parts)
    assert plain(expected.parts) == plain(answer.parts)
    assert [p.origin for p in found.parts] == [p.origin for p in expected.parts]
    assert (found.stop, found.counts) == (expected.stop, expected.counts)
    assert (expected.stop, expected.model) == (answer.stop, answer.model)
    kept = expected.counts
    assert kept is not None
    assert kept == replace(answer.counts or kept, written=kept.written, reasoning=kept.reasoning)


@settings(max_examples=20)
@given(answer=answers(), cuts=st.integers(1, 9))
def test_pieces_add_up(answer: Answer, cuts: int) -> None:
    assert gathered(pieces(answer, cuts)) == answer
