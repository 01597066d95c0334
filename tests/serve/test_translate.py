"""What is translated says the same, there and back, whole and in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from anthropic.types import Message, MessageParam
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from openai.types.responses import Response, ResponseInputItemParam
from pydantic import TypeAdapter
from tests.serve.talks import (
    APIS,
    PAIR_NAMES,
    PAIRS,
    answers,
    by_chat,
    by_messages,
    by_responses,
    calls,
    canonical,
    events,
    of,
    pieces,
    plain,
    questions,
    words,
)

from amp.errors import InvalidInputError
from amp.serve.dialects.apis import CHAT, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect
from amp.serve.translate.meaning import (
    MARK,
    AnswerSchema,
    BrokenAnswerError,
    ChatAnswer,
    ChatQuestion,
    ChatTurn,
    Counts,
    Part,
    gathered,
    scattered,
    without_marks,
    written,
)
from amp.serve.translate.translation import GRAMMARS, Cutting, StreamTranslation, Translation
from amp.serve.upstreams.answer import UpstreamError

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

HELLO = ChatQuestion("m", (ChatTurn("user", (Part("text", "Hello"),)),), max_tokens=9)

every_pair = pytest.mark.parametrize(("client", "upstream"), PAIRS, ids=PAIR_NAMES)


def meant(question: ChatQuestion) -> ChatQuestion:
    """The question in the form that all APIs keep."""
    turns = [
        replace(turn, parts=tuple(replace(p, text=canonical(p.text)) for p in turn.parts))
        for turn in question.turns
    ]
    tools = [replace(tool, strict=bool(tool.strict)) for tool in question.tools]
    shape = question.shape and AnswerSchema(question.shape.schema)
    sampled: Any = {
        name: None if getattr(question, name) == 1 else getattr(question, name)
        for name in ("temperature", "top_p")
    }
    choice = question.choice or ("auto" if question.parallel is not None else "")
    return replace(
        question,
        turns=tuple(turns),
        tools=tuple(tools),
        shape=shape,
        choice=choice,
        usage=True,
        **sampled,
    )


def split(stream: bytes) -> list[bytes]:
    """The events of a stream."""
    return [part + b"\n\n" for part in stream.split(b"\n\n") if part]


def asked(dialect: Dialect, question: ChatQuestion) -> bytes:
    return json.dumps(GRAMMARS[dialect.path].write_question(question)).encode()


def read(dialect: Dialect, body: bytes) -> ChatQuestion:
    return GRAMMARS[dialect.path].read_question(json.loads(body))


@every_pair
@settings(max_examples=12)
@given(question=questions())
def test_a_conversation_there_and_back_is_the_same(
    client: Dialect, upstream: Dialect, question: ChatQuestion
) -> None:
    sent = asked(client, question)
    there = Translation(client, upstream, sent, question.model).body
    back = Translation(upstream, client, there, question.model).body
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
    client: Dialect, upstream: Dialect, answer: ChatAnswer, cuts: int
) -> None:
    answer = of(answer, NAMES[upstream.path])
    question = replace(HELLO, stream=True, usage=True)
    sent = json.loads(asked(client, question))
    if client is CHAT:
        sent["stream_options"] = {"include_usage": True}
    translation = Translation(client, upstream, json.dumps(sent).encode(), "m")
    theirs, mine = GRAMMARS[upstream.path], GRAMMARS[client.path]
    body = json.dumps(theirs.write_answer(answer)).encode()
    whole = json.loads(Translation(client, upstream, asked(client, HELLO), "m").answer(body))
    at_once = mine.read_answer(ACCUMULATED[client.path](translation.answer(body)))
    assert plain(at_once.parts) == plain(answer.parts)
    TOLD[client.path].model_validate(whole)

    telling, stream = theirs.telling(question), translation.stream()
    sent_events = b"".join([telling.feed(piece) for piece in pieces(answer, cuts)])
    told = b"".join([stream.feed(event) for event in split(sent_events)])
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
def test_pieces_add_up(answer: ChatAnswer, cuts: int) -> None:
    assert gathered(pieces(answer, cuts)) == answer


finite = st.floats(allow_nan=False, allow_infinity=False)  # for others see the test below
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | finite | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def is_object(value: object) -> bool:
    return isinstance(value, dict)


@st.composite
def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one of its values replaced by whatever there is."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 9)):
        at = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        changed = draw(spoiled(value[at]))
        if isinstance(value, dict):
            return {**value, at: changed}
        return [*value[:at], changed, *value[at + 1 :]]
    return draw(JSON)


@pytest.mark.parametrize("client", APIS, ids=lambda dialect: dialect.path)
@settings(max_examples=25, phases=[Phase.generate])
@given(data=st.data())
def test_any_request_is_read_or_refused(client: Dialect, data: st.DataObject) -> None:
    grammar = GRAMMARS[client.path]
    whole = grammar.write_question(data.draw(questions()))
    with suppress(InvalidInputError):
        question = grammar.read_question(data.draw(spoiled(whole)))
        for other in GRAMMARS.values():
            with suppress(InvalidInputError):
                json.dumps(other.write_question(question)).encode()


@pytest.mark.parametrize("upstream", APIS, ids=lambda dialect: dialect.path)
@settings(max_examples=25, phases=[Phase.generate])
@given(data=st.data())
def test_any_answer_is_read_or_said_to_be_broken(upstream: Dialect, data: st.DataObject) -> None:
    grammar = GRAMMARS[upstream.path]
    answer = of(data.draw(answers()), NAMES[upstream.path])
    whole = json.loads(json.dumps(grammar.write_answer(answer)))
    with suppress(BrokenAnswerError):
        read_ = grammar.read_answer(data.draw(spoiled(whole).filter(is_object)))
        for other in GRAMMARS.values():
            with suppress(BrokenAnswerError):
                written(other.write_answer(read_)).encode()
    telling = grammar.telling(HELLO)
    stream = events(b"".join([telling.feed(piece) for piece in pieces(answer, 5)]))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] = data.draw(spoiled(stream[at]).filter(is_object))
    for other in GRAMMARS.values():
        translation = StreamTranslation(grammar.hearing(), other.telling(HELLO), Cutting(()))
        with suppress(UpstreamError):
            for event in stream:
                translation.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
            translation.end()


@pytest.mark.parametrize("client", APIS, ids=lambda dialect: dialect.path)
def test_an_answer_with_a_number_that_json_does_not_have_is_broken(client: Dialect) -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": float("nan")}}
    answer = {"id": "i", "type": "message", "role": "assistant", "model": "m", "content": [call]}
    with pytest.raises(UpstreamError, match="answer cannot be used"):
        Translation(client, MESSAGES, asked(client, HELLO), "m").answer(json.dumps(answer).encode())


@settings(max_examples=100)
@given(
    st.text("ab", max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=2),
    st.integers(1, 5),
)
def test_a_text_ends_at_the_stop_string_that_is_whole_first_wherever_it_is_torn(
    text: str, stops: list[str], cuts: int
) -> None:
    answer = ChatAnswer("id", "m", (Part("text", text), Part("call", "{}", "c", "f")))
    found = gathered(Cutting(stops).feed(pieces(answer, cuts)))
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    if not ends:
        assert found == answer
        return
    assert found.parts == (Part("text", text[: min(ends)[1]]),)
    assert found.stop == "sequence"
    assert text[min(ends)[1] :].startswith(found.sequence)


def sent_back(client: Dialect, answer: Any) -> bytes:
    """The next request of a client that keeps the answer as it came."""
    hello = {"role": "user", "content": "Hello"}
    if client is RESPONSES:
        return json.dumps({"model": "m", "input": [hello, *answer["output"], hello]}).encode()
    said = answer["choices"][0]["message"] if client is CHAT else answer
    kept = {name: said[name] for name in said if name in ("role", "content") or client is CHAT}
    kept.pop("tool_calls", None)  # which nobody has answered
    body = {"model": "m", "max_tokens": 9, "messages": [hello, kept, hello]}
    return json.dumps(body).encode()


@every_pair
@settings(max_examples=10)
@given(
    text=words,
    signature=st.sampled_from(["c2ln", "a:b", "amp"]),
    sealed=st.booleans(),
    streams=st.booleans(),
)
def test_a_thought_goes_back_to_its_maker_and_to_nobody_else(
    client: Dialect, upstream: Dialect, text: str, signature: str, sealed: bool, streams: bool
) -> None:
    maker = NAMES[upstream.path]
    thought = Part("thought", text, origin=maker)
    if upstream is not CHAT:  # which signs none
        thought = replace(thought, signature=signature, id="rs_1" if upstream is RESPONSES else "")
    if upstream is MESSAGES and sealed:
        thought = replace(thought, kind="sealed", text="")
    thoughts = [thought] if upstream is CHAT else [thought, replace(thought, id=thought.id + "2")]
    answer = ChatAnswer("id", "m", (*thoughts, Part("text", "So.")), counts=Counts(1, 0, 0, 1, 0))
    if upstream is not RESPONSES:
        answer = replace(answer, parts=tuple(replace(part, id="") for part in answer.parts))
    theirs, question = GRAMMARS[upstream.path], replace(HELLO, stream=True)

    def by_its_maker(body: bytes) -> bytes:
        body = body.replace(b"rs_id-0", b"rs_1").replace(b"rs_id-1", b"rs_12")
        for mark in (b"amp-messages::", b"amp-responses:rs_1:", b"amp-responses:rs_12:"):
            body = body.replace(mark, b"")
        return body

    translation = Translation(client, upstream, asked(client, question if streams else HELLO), "m")
    if streams:
        telling, stream = theirs.telling(question), translation.stream()
        told = by_its_maker(b"".join([telling.feed(piece) for piece in pieces(answer, 3)]))
        summed = b"".join([stream.feed(event) for event in split(told)]) + stream.end()
        again = sent_back(client, ACCUMULATED[client.path](summed))
    else:
        body = by_its_maker(json.dumps(theirs.write_answer(answer)).encode())
        again = sent_back(client, json.loads(translation.answer(body)))

    there = read(upstream, Translation(client, upstream, again, "m").body)
    found = [p for turn in there.turns for p in turn.parts if p.kind in ("thought", "sealed")]
    assert found == list(answer.parts[:-1])
    unmarked = without_marks(again)
    assert MARK.encode() not in unmarked or signature == MARK or MARK in text
    assert without_marks(unmarked) == unmarked
    mine = read(client, unmarked)
    assert [turn.parts for turn in mine.turns if turn.role == "user"] == [
        turn.parts for turn in there.turns if turn.role == "user"
    ]
    for other in APIS:
        if other not in (client, upstream):
            elsewhere = Translation(client, other, again, "m").body.decode()
            assert signature not in elsewhere or upstream is CHAT
            assert json.dumps(text)[1:-1] not in elsewhere or len(text) < 4


@settings(max_examples=30)
@given(st.lists(calls, min_size=1, max_size=3), st.data())
def test_parallel_calls_come_one_after_another_however_a_server_mixes_them(
    called: list[Part], data: st.DataObject
) -> None:
    waiting = [
        [(at, call.text[i : i + 3]) for i in range(0, len(call.text), 3)]
        for at, call in enumerate(called)
    ]
    chunks: list[dict[str, Any]] = []
    for at, call in enumerate(called):
        chunks.append({"index": at, "id": call.id, "function": {"name": call.name}})
        while any(waiting[: at + 1]) and data.draw(st.booleans()):
            ready = [each for each in waiting[: at + 1] if each]
            index, text = data.draw(st.sampled_from(ready)).pop(0)
            chunks.append({"index": index, "function": {"arguments": text}})
    while ready := [each for each in waiting if each]:
        index, text = data.draw(st.sampled_from(ready)).pop(0)
        chunks.append({"index": index, "function": {"arguments": text}})
    hearing = GRAMMARS[CHAT.path].hearing()
    told = [p for c in chunks for p in hearing.feed({"choices": [{"delta": {"tool_calls": [c]}}]})]
    told += hearing.feed({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    found = gathered([*told, *hearing.end()])
    assert found.parts == tuple(called)
    assert found.stop == "calls"


@every_pair
@pytest.mark.parametrize("streams", [True, False])
def test_a_call_without_arguments_has_none(
    client: Dialect, upstream: Dialect, streams: bool
) -> None:
    """Such as servers stream it: its arguments are never told."""
    answer = ChatAnswer("id", "m", (Part("call", "{}", "c1", "now"),), "calls", "", Counts())
    theirs, mine = GRAMMARS[upstream.path], GRAMMARS[client.path]
    question = replace(HELLO, stream=streams)
    translation = Translation(client, upstream, asked(client, question), "m")
    if streams:
        telling, stream = theirs.telling(question), translation.stream()
        bare = replace(answer, parts=(Part("call", "", "c1", "now"),))
        told = b"".join([telling.feed(piece) for piece in scattered(bare)])
        summed = b"".join([stream.feed(event) for event in split(told)]) + stream.end()
        whole = ACCUMULATED[client.path](summed)
        assert '"arguments":""' not in written(whole)  # which clients could not parse
        found = mine.read_answer(whole)
    else:
        body = json.dumps(theirs.write_answer(answer)).encode()
        found = mine.read_answer(json.loads(translation.answer(body)))
    assert plain(found.parts) == plain(answer.parts)
