"""Two answers that do the same have the same normal form, in every API and however they come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.upstream import Asked, chat, messages

from amp.serve.dialects.base import Events, data_of
from amp.serve.dialects.said import SHORT, Normal, Said, normal_text

leaves = st.integers(-(2**50), 2**50) | st.text(max_size=5) | st.sampled_from([None, True, 0.5])
values = leaves | st.lists(leaves, max_size=2) | st.fixed_dictionaries({"b": leaves, "a": leaves})
arguments = st.dictionaries(st.sampled_from("abcé"), values, max_size=3)
FIELDS = (
    *("content", "tool_calls", "type", "delta", "text", "message", "output", "input", "index"),
    *("finish_reason", "stop_reason", "function", "name", "arguments", "content_block"),
)
few = settings(max_examples=30)


def calls(*said: tuple[str, Any], text: str | None = None, **form: Any) -> Normal:
    """A chat completion that calls tools, its arguments written in some form."""
    written = [
        {"type": "function", "function": {"name": name, "arguments": json.dumps(given, **form)}}
        for name, given in said
    ]
    return of({"role": "assistant", "content": text, "tool_calls": written})


def of(message: dict[str, Any], end: str = "stop") -> Normal:
    said = Said()
    said.hear({"choices": [{"index": 0, "message": message, "finish_reason": end}]})
    return said.normal()


def text(content: str) -> Normal:
    return of({"role": "assistant", "content": content})


def streamed(events: bytes) -> Normal:
    said = Said()
    for event in Events().feed(events):
        said.hear(data_of(event) or {})
    return said.normal()


@few
@given(arguments, arguments)
def test_calls_are_the_same_exactly_if_their_arguments_are(one: Any, other: Any) -> None:
    """However their JSON is written, whatever is said beside them, in whatever order."""
    first = calls(("a", one), ("b", {}))
    again = calls(("b", {}), ("a", dict(reversed(one.items()))), text="Let me see.", indent=1)
    assert first.same(again)
    assert first.digest(b"salt") == again.digest(b"salt")
    assert calls(("a", one)).same(calls(("a", other))) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@few
@given(arguments, arguments)
def test_a_call_of_a_function_is_one_of_a_tool(one: Any, other: Any) -> None:
    """As it was called before there were tools, whole and in a stream."""
    call = {"name": "a", "arguments": json.dumps(one)}
    whole, told = of({"role": "assistant", "content": None, "function_call": call}), Said()
    for part in ({"name": "a", "arguments": ""}, {"arguments": call["arguments"]}):
        told.hear({"choices": [{"index": 0, "delta": {"function_call": part}}]})
    assert whole.same(calls(("a", one)))
    assert whole.same(told.normal())
    assert whole.same(calls(("a", other))) == calls(("a", one)).same(calls(("a", other)))


@given(st.text(max_size=SHORT), st.sampled_from(["{}", "**{}**", " {}\n", '"{}"', "{}."]))
def test_a_short_answer_is_the_same_however_it_is_set(answer: str, frame: str) -> None:
    plain = normal_text(answer.strip())
    framed = normal_text(frame.format(answer.strip()))
    assert plain == framed or len(frame.format(answer.strip())) > SHORT or "```" in frame + answer


@few
@given(st.integers(-(10**9), 10**9))
def test_a_result_is_found_at_the_end_of_a_chain(number: int) -> None:
    chain = "First this, then that. " * 20
    for end in (
        *(f"#### {number}", f"The answer is {number}.", f"**Answer:** {number:,}"),
        *(f"so $\\boxed{{{number}}}$.", f"Final answer: {number}.0"),
    ):
        assert normal_text(f"{chain}\n{end}") == str(number)


@few
@given(
    st.text(max_size=50),
    st.dictionaries(st.sampled_from(FIELDS), values | st.lists(arguments, max_size=2), max_size=4),
)
def test_whatever_comes_is_read(content: str, answer: dict[str, Any]) -> None:
    text(content).digest(b"")
    said = Said()
    for event in (
        *(answer, {"choices": [answer]}, {"choices": [{"delta": answer}]}, {"choices": [content]}),
        *({"type": kind, **answer} for kind in ("message", "content_block_start")),
        {"type": "response.completed", "response": {"output": [answer]}},
    ):
        said.hear(event)
    said.normal()


@pytest.mark.parametrize("tools", [None, [{"type": "function"}]])
def test_all_apis_and_streams_say_the_same(tools: Any) -> None:
    found = []
    for answer in (chat, messages):
        for stream in (False, True):
            body = {"model": "m", "messages": [], "tools": tools, "stream": stream}
            reply = answer(Asked("POST", "/v1", {}, json.dumps(body).encode()))
            content = b"".join(part for part in reply.parts if isinstance(part, bytes))
            said = Said()
            said.hear(json.loads(content)) if not stream else None
            found.append(streamed(content) if stream else said.normal())
    call = {"type": "function_call", "name": "add", "arguments": '{"b": 2.0, "a": 2}'}
    words = {
        "type": "message",
        "content": [{"type": "output_text", "text": "two and TWO make four"}],
    }
    response = {"object": "response", "output": [{"type": "reasoning"}, call if tools else words]}
    for event in (response, {"type": "response.completed", "response": response}):
        said = Said()
        said.hear(event)
        found.append(said.normal())
    assert found[0].calls == bool(tools)
    assert all(found[0].same(other) for other in found)


def test_what_nothing_tells_is_not_compared() -> None:
    essay, other = text("A long text. " * 20), text("Another long one. " * 20)
    assert essay.same(other) is None
    assert essay.digest(b"") == ""
    assert essay.same(calls(("a", {}))) is False  # one acts, the other talks
    cut = of({"role": "assistant", "content": "4"}, "length")
    assert cut.same(text("4")) is None
    two = Said()
    two.hear({"choices": [{"index": i, "message": {"content": "4"}} for i in (0, 1)]})
    assert two.normal().text is None
    assert of({"content": None, "refusal": "I won't."}).text is None


def test_thinking_is_no_part_of_an_answer() -> None:
    assert text("<think>It is 5. No, 4.</think>4").same(text("4."))
    assert text('```json\n{"b": 1, "a": [2.0]}\n```').same(text('{"a":[2],"b":1}'))
