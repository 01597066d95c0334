"""What is said of requests and answers that not every API has words for, kind by kind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amp.errors import InvalidInputError
from amp.serve.dialects.apis import CHAT, EMBEDDINGS, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect
from amp.serve.translate.meaning import UntranslatableError, without_marks
from amp.serve.translate.translation import Translation, dialect_for, translated_headers
from amp.serve.upstreams.answer import UpstreamError
from amp.serve.upstreams.upstream import Api, Upstream, UpstreamConfig

USER = {"role": "user", "content": "Hi"}
SOURCE = {"type": "base64", "media_type": "image/png", "data": "aWk="}

LONG: dict[str, Any] = {MESSAGES.path: {"max_tokens": 9}, RESPONSES.path: {}}


def translated(client: Dialect, upstream: Dialect, model: str = "m", **fields: Any) -> Any:
    """The request of the upstream."""
    talk = {"input": "Hi"} if client is RESPONSES else {"messages": [USER]}
    body = json.dumps({"model": "asked", **talk, **fields}).encode()
    return json.loads(Translation(client, upstream, body, model).body)


def answered(client: Dialect, upstream: Dialect, answer: Any, **fields: Any) -> Any:
    """The answer of the client."""
    talk = {"input": "Hi"} if client is RESPONSES else {"messages": [USER]}
    body = json.dumps({"model": "m", **talk, **fields}).encode()
    translation = Translation(client, upstream, body, "m")
    return json.loads(translation.answer(json.dumps(answer).encode()))


def completion(message: Any, end: str = "stop", **more: Any) -> Any:
    """A chat completion."""
    choice = {"index": 0, "message": message, "finish_reason": end, **more}
    return {"id": "x", "model": "m", "choices": [choice], "usage": {"prompt_tokens": 3}}


REFUSED = [
    (CHAT, MESSAGES, {"n": 2}, "n"),
    (CHAT, MESSAGES, {"logprobs": True}, "logprobs"),
    (CHAT, MESSAGES, {"seed": 1}, "seed"),
    (CHAT, MESSAGES, {"frequency_penalty": 0.5}, "frequency_penalty"),
    (CHAT, MESSAGES, {"temperature": 1.5}, "temperature"),
    (CHAT, MESSAGES, {"response_format": {"type": "json_object"}}, "response_format"),
    (CHAT, MESSAGES, {"unheard_of": {}}, "unheard_of"),
    (CHAT, MESSAGES, {"store": True}, "store"),
    (CHAT, MESSAGES, {"modalities": ["text", "audio"]}, "modalities"),
    (CHAT, MESSAGES, {"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
    (CHAT, MESSAGES, {"messages": [{**USER, "name": "ann"}]}, "messages[0].name"),
    (CHAT, MESSAGES, {"messages": [USER, {"role": "assistant", "content": "A"}]}, "messages"),
    (CHAT, MESSAGES, {"messages": [{"role": "function", "content": ""}]}, "messages[0].role"),
    (CHAT, MESSAGES, {"stream_options": {"odd": 1}}, "stream_options.odd"),
    (CHAT, RESPONSES, {"n": 3}, "n"),
    (CHAT, RESPONSES, {"logit_bias": {"5": 1}}, "logit_bias"),
    (RESPONSES, CHAT, {"previous_response_id": "resp_1"}, "previous_response_id"),
    (RESPONSES, CHAT, {"conversation": "conv_1"}, "conversation"),
    (RESPONSES, CHAT, {"background": True}, "background"),
    (RESPONSES, CHAT, {"truncation": "auto"}, "truncation"),
    (RESPONSES, CHAT, {"include": ["file_search_call.results"]}, "include"),
    (RESPONSES, MESSAGES, {"tools": [{"type": "web_search"}]}, "tools[0]"),
    (RESPONSES, MESSAGES, {"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    (RESPONSES, MESSAGES, {"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    (RESPONSES, MESSAGES, {"text": {"verbosity": "low"}}, "verbosity"),
    (MESSAGES, CHAT, {"top_k": 4}, "top_k"),
    (MESSAGES, CHAT, {"container": "c"}, "container"),
    (MESSAGES, CHAT, {"context_management": {"edits": [{"type": "x"}]}}, "context_management"),
    (MESSAGES, CHAT, {"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0]"),
    (MESSAGES, CHAT, {"thinking": {"type": "between_tools"}}, "thinking"),
    (MESSAGES, RESPONSES, {"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
]


@pytest.mark.parametrize(("client", "upstream", "fields", "name"), REFUSED)
def test_what_has_no_words_there_is_refused_by_name(
    client: Dialect, upstream: Dialect, fields: Any, name: str
) -> None:
    with pytest.raises(UntranslatableError) as refused:
        translated(client, upstream, **fields)
    assert str(refused.value).startswith(f"field {name} cannot be translated: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("client", "fields"),
    [
        (CHAT, {"n": 1, "logprobs": False, "seed": None, "store": False, "logit_bias": {}}),
        (CHAT, {"prompt_cache_key": "k", "service_tier": "auto", "metadata": {}}),
        (RESPONSES, {"background": False, "include": ["reasoning.encrypted_content"]}),
        (RESPONSES, {"truncation": "disabled", "previous_response_id": None}),
    ],
)
def test_what_changes_no_answer_is_left_out(client: Dialect, fields: Any) -> None:
    assert translated(client, MESSAGES, **fields) == translated(client, MESSAGES)


@pytest.mark.parametrize("upstream", [CHAT, RESPONSES])
def test_marks_of_caches_are_left_out(upstream: Dialect) -> None:
    marked = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    talk: Any = {"system": [marked], "messages": [{"role": "user", "content": [marked]}]}
    tool: Any = {"name": "f", "input_schema": {}, "cache_control": {"type": "ephemeral"}}
    found = translated(MESSAGES, upstream, max_tokens=9, tools=[tool], **talk)
    assert "cache_control" not in json.dumps(found)


def test_a_conversation_that_goes_on_is_cached() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    said = [USER, {"role": "assistant", "content": "A"}, {"role": "user", "content": "B"}]
    mark = {"type": "ephemeral"}
    assert "cache_control" not in json.dumps(translated(CHAT, MESSAGES))
    for fields in ({"tools": [tool]}, {"messages": said}):
        found: Any = translated(CHAT, MESSAGES, **fields)
        assert found["messages"][-1]["content"][-1]["cache_control"] == mark
        assert json.dumps(found).count("cache_control") == 1
        assert MESSAGES.read(json.dumps(found).encode()).dearest_prompt > 1


def test_images_in_results_reach_who_takes_them() -> None:
    call = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    seen = {"type": "image", "source": SOURCE}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [seen]}
    turns = [USER, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    item = translated(MESSAGES, RESPONSES, max_tokens=9, messages=turns)["input"][-1]
    assert item["output"][0]["image_url"] == "data:image/png;base64,aWk="
    with pytest.raises(UntranslatableError, match="image where the upstream's API takes only text"):
        translated(MESSAGES, CHAT, max_tokens=9, messages=turns)


def test_names_of_calls_are_made_such_as_anthropic_takes() -> None:
    call = {"id": "functions.add:0", "type": "function", "function": {"name": "add"}}
    result = {"role": "tool", "tool_call_id": "functions.add:0", "content": ""}
    turns = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    _, assistant, user = translated(CHAT, MESSAGES, messages=turns)["messages"]
    assert assistant["content"][0]["id"] == "functions_add_0"
    assert user["content"][0] == {
        "type": "tool_result",
        "tool_use_id": "functions_add_0",
        "content": [],
        "cache_control": {"type": "ephemeral"},
    }


def test_arguments_that_are_no_object_are_refused_by_name() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{a"}}
    turns = [USER, {"role": "assistant", "tool_calls": [call]}, USER]
    with pytest.raises(UntranslatableError, match="arguments of a call of 'add'"):
        translated(CHAT, MESSAGES, messages=turns)


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9000}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
    ],
)
def test_thinking_becomes_an_effort(thinking: Any, effort: str | None) -> None:
    found = translated(MESSAGES, CHAT, max_tokens=9999, **thinking)
    assert found.get("reasoning_effort") == effort
    found = translated(MESSAGES, RESPONSES, max_tokens=9999, **thinking)
    assert found.get("reasoning", {}).get("effort") == effort


def test_an_effort_becomes_thinking_as_the_model_takes_it() -> None:
    fields: Any = {"reasoning_effort": "medium", "max_completion_tokens": 9000}
    new = translated(CHAT, MESSAGES, "claude-opus-5", **fields)
    assert (new["thinking"], new["output_config"]) == ({"type": "adaptive"}, {"effort": "medium"})
    old = translated(CHAT, MESSAGES, "claude-sonnet-4-5", **fields)
    assert old["thinking"] == {"type": "enabled", "budget_tokens": 4500}
    assert "output_config" not in old
    with pytest.raises(UntranslatableError, match="no room for thinking"):
        translated(CHAT, MESSAGES, "claude-sonnet-4-5", **{**fields, "max_completion_tokens": 99})
    off = translated(CHAT, MESSAGES, "claude-opus-5", reasoning_effort="none")
    assert off["thinking"] == {"type": "disabled"}


def test_stops_that_an_upstream_does_not_take_cut_the_text_here() -> None:
    stops: Any = {"stop": ["\n", "END"], "max_tokens": 9}
    assert translated(CHAT, MESSAGES, **stops)["stop_sequences"] == ["END"]
    text = {"type": "text", "text": "84\nEND and more"}
    answer = {"id": "m", "content": [text], "stop_reason": "end_turn"}
    choice = answered(CHAT, MESSAGES, answer, **stops)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("84", "stop")
    assert "stop" not in translated(CHAT, RESPONSES, **stops)


@pytest.mark.parametrize("upstream", [MESSAGES, RESPONSES])
@pytest.mark.parametrize("stop", ["", [""], ["", "END"]])
def test_an_empty_string_stops_nothing(upstream: Dialect, stop: Any) -> None:
    text = {"type": "text" if upstream is MESSAGES else "output_text", "text": "84"}
    answer: Any = {"id": "m", "content": [text], "stop_reason": "end_turn"}
    if upstream is RESPONSES:
        item = {"type": "message", "role": "assistant", "content": [text]}
        answer = {"id": "m", "status": "completed", "output": [item]}
    choice = answered(CHAT, upstream, answer, stop=stop, max_tokens=9)["choices"][0]
    assert choice["message"]["content"] == "84"


@pytest.mark.parametrize("client", [MESSAGES, RESPONSES])
def test_answers_of_odd_servers_of_chats(client: Dialect) -> None:
    def said(message: Any, end: str = "stop", **more: Any) -> tuple[str, str]:
        found = answered(client, CHAT, completion(message, end, **more), **LONG[client.path])
        parts = found.get("content") or [p for i in found["output"] for p in i["content"]]
        text = "".join(part["text"] for part in parts)
        return text, found.get("stop_reason") or found["status"]

    done = {MESSAGES.path: "end_turn", RESPONSES.path: "completed"}[client.path]
    assert said({"content": [{"type": "text", "text": "84"}]}) == ("84", done)
    assert said({"content": "84"}, logprobs=-0.003) == ("84", done)
    assert said({"content": "\ud83d 84"}) == ("\ufffd 84", done)
    tagged = "<think>5</think>84"
    assert said({"content": tagged}) == (tagged, done)  # a gateway changes no text
    for more in ({"error": {"message": "died", "code": 502}}, {}):
        with pytest.raises(UpstreamError) as broken:
            said({"content": ""}, "error", **more)
        assert broken.value.may_be_billed


def test_what_a_filter_keeps_back_is_told() -> None:
    filtered = completion({"content": ""}, "content_filter")
    assert answered(MESSAGES, CHAT, filtered, max_tokens=9)["stop_reason"] == "refusal"
    found = answered(RESPONSES, CHAT, filtered)
    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "content_filter"}


def test_some_servers_say_stop_where_they_call() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    calling = completion({"content": None, "tool_calls": [call]}, "stop")
    found = answered(MESSAGES, CHAT, calling, max_tokens=9)
    assert (found["stop_reason"], found["content"][0]["input"]) == ("tool_use", {})


def test_refusals_in_any_form_are_said_in_the_clients() -> None:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [USER]}).encode()
    translation = Translation(MESSAGES, CHAT, body, "m")
    for said, shown in (
        (b'{"detail":[{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}]}', "seed"),
        (b'{"error":{"message":"System role not supported"}}', "System role not supported"),
        (b"<html>Bad gateway</html>", "Bad gateway"),
        (b"", "the upstream answers with status 422"),
    ):
        error = json.loads(translation.refusal(422, said))
        assert error["type"] == "error"
        assert shown in error["error"]["message"]


def test_who_asked_for_a_stream_gets_one_of_a_whole_answer() -> None:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [USER], "stream": True})
    translation = Translation(MESSAGES, CHAT, body.encode(), "m")
    told = translation.answer(json.dumps(completion({"content": "84"})).encode())
    assert told.startswith(b"event: message_start\n")
    assert told.endswith(b'data: {"type":"message_stop"}\n\n')
    assert translation.media_type == b"text/event-stream"


def test_a_request_that_is_nested_deeply_is_refused() -> None:
    content: Any = "Hi"
    for _ in range(400):
        content = [{"type": "tool_result", "tool_use_id": "c", "content": content}]
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        translated(MESSAGES, CHAT, messages=[{"role": "user", "content": content}])


def test_claude_codes_request_reaches_openai() -> None:
    """The fields that it sends, as public bug reports of proxies show them."""
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    found = translated(
        MESSAGES,
        RESPONSES,
        system=[{"type": "text", "text": "You are an agent.", **mark}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Fix it.", **mark}]}],
        tools=[
            {
                "name": "Read",
                "description": "Reads a file.",
                "input_schema": {"type": "object", "additionalProperties": False},
                "eager_input_streaming": True,
            }
        ],
        metadata={"user_id": "user_" + "0" * 90},
        max_tokens=32_000,
        thinking={"type": "adaptive"},
        output_config={"effort": "medium"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        stream=True,
    )
    assert sorted(found) == [
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "reasoning",
        "store",
        "stream",
        "tools",
        "user",
    ]


def test_a_request_without_marks_of_ours_keeps_its_bytes() -> None:
    body = b'{ "messages": [{"role": "user", "content": "say \\"amp-chat:\\"" }], "x": 1.10 }'
    assert without_marks(body) == body
    assert without_marks(b'"amp-') == b'"amp-'


def test_headers_of_one_api_stay_there() -> None:
    headers = [("x-api-key", "k"), ("anthropic-beta", "b"), ("user-agent", "u"), ("x-mine", "1")]
    found = translated_headers(headers, "k", CHAT)
    assert found == [("user-agent", "u"), ("x-mine", "1"), ("authorization", "Bearer k")]
    assert ("anthropic-version", "2023-06-01") in translated_headers([], "", MESSAGES)


@pytest.mark.parametrize(
    ("api", "url", "cap"),
    [
        ("chat", "http://there.example/v1", "max_tokens"),
        ("chat", "https://api.openai.com/v1", "max_completion_tokens"),
        ("openai", "http://there.example/v1", "max_completion_tokens"),
    ],
)
def test_a_cap_has_the_name_that_a_server_knows(api: Api, url: str, cap: str) -> None:
    upstream = Upstream(UpstreamConfig(url, api=api))
    body = json.dumps({"model": "m", "messages": [USER], "max_tokens": 9}).encode()
    sent = Translation(MESSAGES, CHAT, body, "m", is_openai=upstream.is_openai).body
    caps = {name: n for name, n in json.loads(sent).items() if name.startswith("max_")}
    assert caps == {cap: 9}
    assert CHAT.read(sent).completion_bound == 9


def test_who_is_asked_in_what() -> None:
    assert dialect_for(CHAT, (MESSAGES, CHAT)) is CHAT
    assert dialect_for(CHAT, (MESSAGES,)) is MESSAGES
    assert dialect_for(EMBEDDINGS, (MESSAGES,)) is None
    assert dialect_for(MESSAGES, (EMBEDDINGS,)) is None


@pytest.mark.parametrize("stop", [5, 1e300, True, {}, [5], [None], ["a", ["b"]]])
@pytest.mark.parametrize(("client", "name"), [(CHAT, "stop"), (MESSAGES, "stop_sequences")])
def test_stops_that_are_no_texts_are_refused_by_name(client: Dialect, name: str, stop: Any) -> None:
    for upstream in (CHAT, MESSAGES, RESPONSES):
        if upstream is not client:
            with pytest.raises(InvalidInputError, match=f"field {name} is .*, expected a text or"):
                translated(client, upstream, **{name: stop})


def test_a_number_without_end_makes_no_refusal_without_end() -> None:
    with pytest.raises(InvalidInputError, match="temperature") as refused:
        translated(CHAT, MESSAGES, temperature=10**400)
    assert len(str(refused.value)) < 200


def test_numbers_that_json_has_not_are_neither_asked_nor_answered() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1e400}'}}
    result = {"role": "tool", "tool_call_id": "c", "content": "1"}
    talk = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    with pytest.raises(InvalidInputError, match="finite"):
        translated(CHAT, MESSAGES, messages=talk)
    used = '{"type":"tool_use","id":"c","name":"f","input":{"a":1e400}}'
    body = json.dumps({"model": "m", "messages": [USER]}).encode()
    with pytest.raises(UpstreamError, match="cannot be used"):
        Translation(CHAT, MESSAGES, body, "m").answer(f'{{"content":[{used}]}}'.encode())
