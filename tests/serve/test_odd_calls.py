"""Odd requests and odd answers: each is charged, refused in a line, or passed on, and none breaks.

Every example is one that once got through.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.serve.dialects.apis import CHAT, DIALECTS, MESSAGES, RESPONSES
from amp.serve.dialects.base import UNCAPPED_COMPLETION, Dialect, Told
from amp.serve.dialects.said import Said
from amp.serve.translate.meaning import Part, gathered
from amp.serve.translate.responses_answers import ResponsesHearing
from amp.serve.translate.translation import Translation
from amp.serve.upstreams.upstream import is_below_v1, plain_path
from amp.usage import Usage

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TEXT = "x" * 400


def answer(usage: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


def charged(usage: dict[str, Any]) -> Usage:
    told = Told()
    CHAT.hear(answer(usage), told)
    return told.usage(CHAT.read(json.dumps(ASKED).encode()))


BOUND = CHAT.read(json.dumps(ASKED).encode()).prompt_bound
TOO_MANY_CACHED = {"prompt_tokens_details": {"cached_tokens": 5000}}


@pytest.mark.parametrize(
    ("usage", "prompt", "completion"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, BOUND, len(TEXT)),
        ({"prompt_tokens": 9, "completion_tokens": 0}, 9, len(TEXT)),
        ({"prompt_tokens": 0, "completion_tokens": 450}, BOUND, 450),
        ({"prompt_tokens": 9, "completion_tokens": 450, **TOO_MANY_CACHED}, BOUND, 450),
    ],
)
def test_figures_that_cannot_be_true_are_not_charged(
    usage: dict[str, Any], prompt: int, completion: int
) -> None:
    found = charged(usage)
    assert (found.prompt_tokens, found.completion_tokens) == (prompt, completion)
    assert (found.cached_prompt_tokens, found.estimated_calls) == (0, 1)


def test_a_message_that_counts_nothing_is_an_estimate() -> None:
    told = Told()
    usage = {"input_tokens": 7, "output_tokens": 0}
    MESSAGES.hear(
        {"type": "message", "content": [{"type": "text", "text": TEXT}], "usage": usage}, told
    )
    found = told.usage(MESSAGES.read(json.dumps(ASKED).encode()))
    assert (found.prompt_tokens, found.completion_tokens) == (7, len(TEXT))
    assert found.estimated_calls == 1


@pytest.mark.parametrize("field", ["content", "tool_calls", "function_call"])
def test_of_a_stream_that_breaks_off_what_came_is_charged(field: str) -> None:
    call = {"name": "f", "arguments": TEXT}
    said = {"content": TEXT, "tool_calls": [{"index": 0, "function": call}], "function_call": call}
    told = Told()
    CHAT.hear({"choices": [{"index": 0, "delta": {field: said[field]}}]}, told)
    asked = CHAT.read(json.dumps({**ASKED, "stream": True}).encode())
    assert told.usage(asked).completion_tokens >= len(TEXT)


def test_thinking_that_stands_in_the_total_alone_is_charged() -> None:
    found = charged({"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 500})
    assert found.completion_tokens == 490
    assert found.estimated_calls == 0


@pytest.mark.parametrize("options", ["null", "{}", '{"include_usage":false}'])
def test_half_a_character_beside_options_of_a_stream_stays_as_it_was(options: str) -> None:
    said = '"messages":[{"role":"user","content":"\\ud83d"}]'
    asked = CHAT.read(f'{{"model":"m","stream":true,"stream_options":{options},{said}}}'.encode())
    assert asked.adds_usage
    assert said.encode() in asked.body
    assert json.loads(asked.body)["stream_options"] == {"include_usage": True}


def test_utf_16_may_be_asked_for_its_usage() -> None:
    asked = CHAT.read(json.dumps({**ASKED, "stream": True}).encode("utf-16"))
    assert json.loads(asked.body) == {
        **ASKED,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("name", ["m\ud83d", "m\n", "m" * 501])
def test_a_name_that_cannot_be_shown_is_no_model(name: str) -> None:
    with pytest.raises(InvalidInputError, match="model") as error:
        CHAT.read(json.dumps({**ASKED, "model": name}).encode())
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ('"model":"dear"', "field 'model' stands twice in one object of the request"),
        ('"stream_options":{"a":1,"\\u0061":2}', "field 'a' stands twice"),
        ('"metadata":[[{"a":1,"a":1}]]', "field 'a' stands twice"),
        ('"temperature":1e400', "the request holds the number 1e400, expected one that is finite"),
        ('"metadata":[-1e999]', "number -1e999"),
        ('"top_p":NaN', "number NaN"),
        ('"max_tokens":Infinity', "number Infinity"),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_two_readers_could_read_differently_is_refused(
    dialect: Dialect, odd: str, said: str
) -> None:
    body = json.dumps({**ASKED, "input": "Hi"})[:-1]
    with pytest.raises(InvalidInputError) as refused:
        dialect.read(f"{body},{odd}}}".encode())
    assert str(refused.value).startswith(said) or said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert dialect.read(f'{body},"top":1e300}}'.encode()).fields["top"] == 1e300


@pytest.mark.parametrize("value", ["5", "1e6", True, [5], {}, 2.5])
@pytest.mark.parametrize(
    ("dialect", "field"),
    [
        (CHAT, "n"),
        (CHAT, "max_tokens"),
        (CHAT, "max_completion_tokens"),
        (RESPONSES, "max_output_tokens"),
        (MESSAGES, "max_tokens"),
    ],
)
def test_counts_that_some_servers_read_are_refused(
    dialect: Dialect, field: str, value: object
) -> None:
    """They would get more than is reserved."""
    with pytest.raises(InvalidInputError, match=f"field {field} is .*, expected a whole number"):
        dialect.read(json.dumps({**ASKED, field: value}).encode())
    for open_value in (None, 0, -1):
        asked = dialect.read(json.dumps({**ASKED, field: open_value}).encode())
        assert asked.completion_bound == UNCAPPED_COMPLETION
    asked = dialect.read(json.dumps({**ASKED, "max_tokens": 1, field: 10**30}).encode())
    assert asked.completion_bound == 10_000_000


def test_what_stands_twice_is_found_fast_among_many_names() -> None:
    names = [f'"k{number}":1' for number in (*range(50_000), 49_999)]
    begun = time.process_time()
    with pytest.raises(InvalidInputError, match="'k49999' stands twice"):
        CHAT.read(f"{{{','.join(names)}}}".encode())
    assert time.process_time() - begun < 2.0  # not for minutes, in which nobody else is served


@pytest.mark.parametrize("more", [0, 3])
def test_figures_told_before_the_end_are_not_those_of_what_comes_after(more: int) -> None:
    told = Told()
    counted = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    CHAT.hear({"choices": [{"delta": {"content": TEXT}}], "usage": counted}, told)
    for _ in range(more):
        CHAT.hear({"choices": [{"delta": {"content": TEXT}}], "usage": None}, told)
    CHAT.hear({"choices": [{"delta": {}, "finish_reason": "stop"}]}, told)
    found = told.usage(CHAT.read(json.dumps(ASKED).encode()))
    expected = (1 + more) * len(TEXT) if more else 1
    assert (found.completion_tokens, found.estimated_calls) == (expected, int(more > 0))


def test_arguments_that_are_no_text_are_told_apart() -> None:
    said = []
    for arguments in ({"a": 1}, {"a": 2}, '{"a": 2}'):
        said.append(Said())
        call = {"function": {"name": "f", "arguments": arguments}}
        said[-1].hear({"choices": [{"message": {"tool_calls": [call]}}]})
    assert said[0].normal() != said[1].normal() == said[2].normal()


def test_a_torn_character_is_the_same_as_a_whole_one() -> None:
    torn, whole = Said(), Said()
    for text in ("\ud83d", "\ude00"):
        torn.hear({"type": "content_block_delta", "index": 0, "delta": {"text": text}})
    whole.hear({"choices": [{"message": {"content": "\U0001f600"}}]})
    assert torn.normal() == whole.normal()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/./chat/completions",
        "/v1/Chat/Completions",
        "/v1/chat;x/completions;y=1",
    ],
)
def test_a_chat_is_one_however_its_path_is_written(path: str) -> None:
    assert plain_path(path) == CHAT.path
    assert plain_path("/v1/chat/completions/x") != CHAT.path


def test_parameters_do_not_hide_a_way_out() -> None:
    assert not is_below_v1("/v1/..;/admin")
    assert is_below_v1("/v1/files/a;b")


WORDS = "word " * 2_000


@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        (
            MESSAGES,
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": WORDS},
            },
        ),
        (CHAT, {"type": "file", "file": {"file_data": f"data:text/plain;base64,{'QUJD' * 2_000}"}}),
        (CHAT, {"type": "image_url", "image_url": {"url": "https://x/y"}, "text": WORDS}),
    ],
)
def test_a_text_counts_its_bytes_wherever_it_stands(dialect: Any, part: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": [part]}]}).encode()
    assert dialect.read(body).prompt_bound >= len(body)


def test_the_larger_of_two_caps_is_reserved() -> None:
    asked = {**ASKED, "max_completion_tokens": 5, "max_tokens": 90_000}
    assert CHAT.read(json.dumps(asked).encode()).completion_bound == 90_000


def test_a_stream_of_a_response_in_the_background_costs_its_cap_until_it_has_ended() -> None:
    asked = RESPONSES.read(b'{"model":"m","input":"Hi","background":true,"max_output_tokens":3000}')
    told, response = Told(), {"object": "response", "id": "resp_1", "background": True}
    RESPONSES.hear({"type": "response.created", "response": {**response, "status": "queued"}}, told)
    assert told.usage(asked).completion_tokens == 3000
    usage = {"input_tokens": 3, "output_tokens": 4}
    ended = {**response, "status": "completed", "usage": usage}
    RESPONSES.hear({"type": "response.completed", "response": ended}, told)
    assert (told.usage(asked).completion_tokens, told.usage(asked).estimated_calls) == (4, 0)


def heard(*events: dict[str, Any]) -> tuple[Part, ...]:
    """What a stream of a response says."""
    first = {"type": "response.created", "response": {"id": "r", "model": "m"}}
    last = {"type": "response.completed", "response": {"id": "r", "status": "completed"}}
    hearing = ResponsesHearing()
    pieces = [piece for event in (first, *events, last) for piece in hearing.feed(event)]
    return gathered([*pieces, *hearing.end()]).parts


def call(number: int, arguments: str = "") -> dict[str, Any]:
    name = {"call_id": f"call_{number}", "name": f"f{number}"}
    return {"type": "function_call", "id": f"fc_{number}", **name, "arguments": arguments}


def of_item(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": number, **fields}


@given(st.lists(st.sampled_from([0, 1, 2]), max_size=12), st.booleans())
def test_calls_whose_events_are_interleaved_keep_their_own_arguments(
    order: list[int], begin_together: bool
) -> None:
    told: dict[int, str] = {0: "", 1: "", 2: ""}
    events = [of_item("output_item.added", at, item=call(at)) for at in told if begin_together]
    for letter, at in enumerate(order):
        if not told[at] and not begin_together:
            events.append(of_item("output_item.added", at, item=call(at)))
        told[at] += f"{at}{letter} "
        delta = f"{at}{letter} "
        events.append(of_item("function_call_arguments.delta", at, delta=delta))
    there = [at for at in told if begin_together or told[at]]
    events += [of_item("output_item.done", at, item=call(at, told[at])) for at in there]
    assert {part.id: part.text for part in heard(*events)} == {
        f"call_{at}": told[at] or "{}" for at in there
    }


@pytest.mark.parametrize("with_deltas", [True, False])
@pytest.mark.parametrize("is_added", [True, False])
def test_a_text_of_which_a_server_does_not_say_that_it_begins_is_told(
    with_deltas: bool, is_added: bool
) -> None:
    content = [{"type": "output_text", "text": "Two and"}]
    message = {"type": "message", "id": "msg", "content": content}
    added = of_item("output_item.added", 0, item={**message, "content": []})
    deltas = [of_item("output_text.delta", 0, delta=word) for word in ("Two", " and")]
    done = of_item("output_item.done", 0, item=message)
    (part,) = heard(*[added] * is_added, *deltas * with_deltas, done)
    assert (part.kind, part.text) == ("text", "Two and")


def test_an_answer_that_says_nothing_is_no_message_of_anthropic() -> None:
    said = [("system", ""), ("user", "Hi"), ("assistant", ""), ("user", "Well?")]
    messages = [{"role": role, "content": text} for role, text in said]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    asked = json.loads(Translation(CHAT, MESSAGES, body, "m").body)
    assert [message["role"] for message in asked["messages"]] == ["user", "user"]
    assert "system" not in asked
