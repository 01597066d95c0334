"""A conversation says the same in whichever API it is written; no request is too odd to read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.serve.decide.conversation import Conversation, read_conversation

Turn = tuple[str, dict[str, str], str, bool]
"""A tool's name, its arguments, its result, and whether that is an error."""

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ("role", "content", "type", "text", "tool_calls", "function", "name", "arguments")
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(("user", "assistant", "tool", "system")) | JSON,
            "type": st.sampled_from(("function_call", "function_call_output", "message")) | JSON,
            "content": JSON,
            "tool_calls": JSON,
            "output": JSON,
            "arguments": JSON,
        },
    )
    | JSON,
    max_size=5,
)
WORDS = st.text("abc do{}\"'\n", max_size=20)
TURNS = st.lists(
    st.tuples(
        st.sampled_from(("read_file", "edit", "bash", "search")),
        st.dictionaries(st.sampled_from(("path", "command")), WORDS, max_size=2),
        st.sampled_from(
            ("fine", "Traceback (most recent call last)", "ls: no such file", "3 rows")
        ),
        st.just(False),
    ),
    max_size=6,
)


def as_chat(goal: str, turns: list[Turn]) -> dict[str, Any]:
    said: list[dict[str, Any]] = [{"role": "system", "content": "Help."}]
    said.append({"role": "user", "content": goal})
    for at, (name, given_, result, _) in enumerate(turns):
        call = {"name": name, "arguments": json.dumps(given_, sort_keys=True)}
        calls = [{"id": f"c{at}", "type": "function", "function": call}]
        said.append({"role": "assistant", "content": None, "tool_calls": calls})
        said.append({"role": "tool", "tool_call_id": f"c{at}", "content": result})
    tool = {"type": "function", "function": {"name": "edit"}}
    return {"model": "m", "messages": said, "tools": [tool], "max_completion_tokens": 100}


def as_functions(goal: str, turns: list[Turn]) -> dict[str, Any]:
    """A chat as it was before there were tools."""
    said: list[dict[str, Any]] = [{"role": "system", "content": "Help."}]
    said.append({"role": "user", "content": goal})
    for name, given_, result, _ in turns:
        call = {"name": name, "arguments": json.dumps(given_, sort_keys=True)}
        said.append({"role": "assistant", "content": None, "function_call": call})
        said.append({"role": "function", "name": name, "content": result})
    return {"model": "m", "messages": said, "functions": [{"name": "edit"}], "max_tokens": 100}


def as_messages(goal: str, turns: list[Turn]) -> dict[str, Any]:
    said: list[dict[str, Any]] = [{"role": "user", "content": goal}]
    for at, (name, given_, result, failed) in enumerate(turns):
        call = {"type": "tool_use", "id": f"c{at}", "name": name, "input": given_}
        back = {"type": "tool_result", "tool_use_id": f"c{at}", "content": result}
        said.append({"role": "assistant", "content": [call]})
        said.append({"role": "user", "content": [{**back, "is_error": failed}]})
    fields = {"model": "m", "messages": said, "tools": [{"name": "edit"}], "max_tokens": 100}
    return {**fields, "system": [{"type": "text", "text": "Help."}]}


def as_response(goal: str, turns: list[Turn]) -> dict[str, Any]:
    said: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "input_text", "text": goal}]}
    ]
    for at, (name, given_, result, _) in enumerate(turns):
        call = {"name": name, "arguments": json.dumps(given_, sort_keys=True)}
        said.append({"type": "function_call", "call_id": f"c{at}", **call})
        said.append({"type": "function_call_output", "call_id": f"c{at}", "output": result})
    fields = {"model": "m", "input": said, "tools": [{"type": "function", "name": "edit"}]}
    return {**fields, "instructions": "Help.", "max_output_tokens": 100}


def read(fields: dict[str, Any]) -> Conversation:
    return read_conversation(fields, size=4_000)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(("system", "tools", "n", "response_format")), JSON), ITEMS)
@settings(max_examples=60)
def test_whatever_is_sent_can_be_read(fields: dict[str, Any], items: list[Any]) -> None:
    for name in ("messages", "input"):
        found = read({**fields, name: items})
        assert all(map(math.isfinite, found.features.values()))
        assert found.step >= 0
        assert len(found.episode) == 16


@pytest.mark.slow
@given(WORDS, TURNS)
@settings(max_examples=40)
def test_the_api_makes_no_difference(goal: str, turns: list[Turn]) -> None:
    chat, messages, response, functions = (
        read(write(goal, turns)) for write in (as_chat, as_messages, as_response, as_functions)
    )
    assert chat == messages == response == functions
    assert (chat.step, chat.feature("calls")) == (len(turns), len(turns))


@given(WORDS, TURNS)
@settings(max_examples=10)
def test_an_episode_keeps_its_name_as_it_grows(goal: str, turns: list[Turn]) -> None:
    names = {read(as_chat(goal, turns[:some])).episode for some in range(len(turns) + 1)}
    assert len(names) == 1
    assert read(as_chat(f"{goal}!", turns)).episode not in names
    assert read_conversation(as_chat(goal, turns), "mine").episode == "mine"


def turn(name: str = "edit", path: str = "a", result: str = "fine", failed: bool = False) -> Turn:
    return name, {"path": path}, result, failed


def test_failures_and_repeats_are_seen() -> None:
    fails = [turn(result="Error: no such file"), turn(result="Error: no such file")]
    stuck = read(as_chat("Do it", fails))
    assert stuck.feature("failed") == 1.0
    assert stuck.feature("refused_in_row") == 2.0
    assert stuck.feature("repeated_lately") == 0.5
    assert stuck.feature("progress") == 0.0
    well = read(as_chat("Do it", [turn(path="a"), turn(path="b")]))
    assert (well.feature("failed"), well.feature("progress"), well.after_tool) == (0.0, 1.0, True)


def test_an_error_is_one_where_the_api_says_so() -> None:
    assert read(as_messages("Do it", [turn(failed=True)])).feature("failed") == 1.0
    # A file that talks of errors is none.
    talk = "def parse(text):\n    # may raise an error in lines that are unknown\n" * 3
    assert read(as_messages("Do it", [turn(result=talk)])).feature("refused") == 0.0


@pytest.mark.parametrize(
    ("name", "given_", "looks"),
    [
        ("read_file", {"path": "a"}, True),
        ("getWeather", {"city": "a"}, True),
        ("target", {"path": "a"}, False),
        ("bash", {"command": "grep -n x a.py"}, True),
        ("bash", {"command": "pytest -x"}, False),
        ("shell", {"command": ["ls", "-l"]}, True),
    ],
)
def test_a_look_is_told_from_a_deed(name: str, given_: dict[str, Any], looks: bool) -> None:
    found = read(as_messages("Do it", [(name, given_, "fine", False)]))
    assert found.feature("exploring") == float(looks)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"tools": [{}]}, "tools are offered"),
        ({"temperature": 0}, "at temperature 0 all answers are the same"),
        ({"temperature": 1}, ""),
        ({"seed": 0}, "of one seed all answers are the same"),
        ({"n": 2}, "the client asks for several answers itself"),
        ({"max_tokens": 10_000}, "an answer may be longer than 4,096 tokens"),
        ({"stream": True}, ""),
        ({"stream": True, "input": "2 + 2?"}, "streams of responses do not vote"),
    ],
)
def test_what_can_vote(fields: dict[str, Any], reason: str) -> None:
    asked = {"messages": [{"role": "user", "content": "2 + 2?"}], **fields}
    assert read(asked).unvoted == reason


def test_the_length_of_an_answer_is_that_of_those_before() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b" * 80}]
    asked = {"messages": [*said, {"role": "user", "content": "c"}]}
    assert read(asked).answer_tokens == 20
    assert read({**asked, "max_tokens": 7}).answer_tokens == 7


def test_what_the_server_keeps_is_an_episode_of_its_own() -> None:
    back = [{"type": "function_call_output", "call_id": "c", "output": "Error: no such file"}]
    one, other = (
        read({"input": back, "previous_response_id": name}) for name in ("resp_1", "resp_2")
    )
    assert one.episode != other.episode
    assert (one.after_tool, one.feature("failed")) == (True, 1.0)
    kept = {"input": back, "conversation": {"id": "conv_1"}}
    assert read(kept).episode == read({**kept, "input": "Go on"}).episode
