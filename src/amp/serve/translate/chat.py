"""Requests of chat completions, from and into what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amp.serve.translate.fields import Fields, parts_of
from amp.serve.translate.meaning import (
    AnswerSchema,
    ChatQuestion,
    ChatTool,
    ChatTurn,
    Part,
    given,
    joined,
    said,
    text_of,
    unsigned,
    untranslatable,
)

NAME = "chat"
API = "OpenAI chat completions"
THOUGHTS = ("reasoning_content", "reasoning")
"""The text of the thinking, as servers that follow this API call it."""

IDLE: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "metadata": ({},),
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
SHARED = (
    *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
    *("service_tier", "user", "verbosity"),
)
"""Fields that responses have, too."""


def read_question(fields: Mapping[str, Any]) -> ChatQuestion:
    """What a request asks.

    Raises:
        InvalidInputError: if a field of it has no meaning here.
    """
    asked = Fields(fields)
    asked.drop_idle(IDLE)
    options = asked.inner("stream_options")
    options.drop("include_obfuscation")
    most = asked.whole("max_completion_tokens"), asked.whole("max_tokens")
    question = ChatQuestion(
        asked.text("model"),
        joined(_turn(message) for message in asked.each("messages")),
        tuple(read_tool(tool, "function") for tool in asked.each("tools")),
        read_choice(asked.any("tool_choice"), "function"),
        asked.flag("parallel_tool_calls"),
        most[0] if most[0] is not None else most[1],
        asked.texts("stop"),
        asked.figure("temperature"),
        asked.figure("top_p"),
        asked.text("reasoning_effort"),
        read_shape(asked.inner("response_format"), "json_schema"),
        bool(asked.flag("stream")),
        bool(options.flag("include_usage")),
        asked.rest(),
    )
    options.end()
    return question


def _turn(message: Fields) -> ChatTurn:
    role = message.text("role")
    message.drop_idle({"annotations": ([],), "tool_calls": ([],), "refusal": ("",)})
    content = tuple(parts_of(message, "content", _part, "text"))
    if role == "tool":
        turn = ChatTurn("tool", (Part("result", id=message.text("tool_call_id"), parts=content),))
    elif role in ("system", "developer"):
        turn = ChatTurn("system", content)
    elif role == "user":
        turn = ChatTurn("user", content)
    elif role == "assistant":
        refusal = message.text("refusal")
        refused = (Part("refusal", refusal),) if refusal else ()
        calls = tuple(_call(call) for call in message.each("tool_calls"))
        turn = ChatTurn("assistant", (*_thoughts(message), *content, *refused, *calls))
    else:
        raise untranslatable(message.place("role"), f"{role[:40]!r} is unknown")
    message.end()
    return turn


def _thoughts(message: Fields) -> list[Part]:
    """What an assistant has thought, with the signatures that clients send back."""
    texts = [text for name in THOUGHTS if (text := message.text(name))]
    found = []
    for detail in message.each("reasoning_details"):
        detail.drop("format", "index", "id")
        sealed = detail.text("type") == "reasoning.encrypted"
        text, data = detail.text("text"), detail.text("data") or detail.text("signature")
        detail.end()
        origin, name, own = unsigned(data, NAME)
        kind = "sealed" if sealed else "thought"
        found.append(Part(kind, text, name, signature=own, origin=origin))  # type: ignore[arg-type]  # one of both
    return found or [Part("thought", text, origin=NAME) for text in texts[:1]]


def _part(part: Fields) -> Part:
    kind = part.text("type")
    part.drop("cache_control", "prompt_cache_breakpoint")
    if kind == "text":
        found = Part("text", part.text("text"))
    elif kind == "refusal":
        found = Part("refusal", part.text("refusal"))
    elif kind == "image_url":
        image = part.inner("image_url")
        image.drop_idle({"detail": ("auto",)})
        found = Part("image", url=image.text("url"), detail=image.text("detail"))
        image.end()
    elif kind == "file":
        file = part.inner("file")
        found = Part("file", name=file.text("filename"), url=file.text("file_data"))
        file.end()
    else:
        raise untranslatable(part.where, f"parts of the type {kind[:40]!r} are unknown")
    part.end()
    return found


def _call(call: Fields) -> Part:
    kind = call.text("type")
    if kind not in ("", "function"):
        raise untranslatable(call.where, f"calls of the type {kind[:40]!r} are unknown")
    function = call.inner("function")
    found = Part("call", function.text("arguments"), call.text("id"), function.text("name"))
    call.drop("index")
    function.end()
    call.end()
    return found


def read_tool(tool: Fields, inner: str = "") -> ChatTool:
    """A tool of OpenAI's APIs.

    Args:
        tool: as the API has it.
        inner: the field that holds the function, where it stands in one.
    """
    kind = tool.text("type")
    if kind != "function":
        raise untranslatable(tool.where, f"tools of the type {kind[:40]!r} run elsewhere")
    tool.drop("cache_control")
    function = tool.inner(inner) if inner else tool
    about = function.text("name"), function.text("description")
    found = ChatTool(*about, function.table("parameters"), function.flag("strict"))
    function.end()
    tool.end()
    return found


def read_choice(choice: object, inner: str = "") -> str:
    """Likewise the choice among tools."""
    if choice is None or isinstance(choice, str):
        return {None: "", "required": "any"}.get(choice, choice or "")
    asked = Fields(choice, "tool_choice")
    kind = asked.text("type")
    if kind != "function":
        raise untranslatable("tool_choice", f"the type {kind[:40]!r} is unknown")
    function = asked.inner(inner) if inner else asked
    name = function.text("name")
    function.end()
    asked.end()
    return f"={name}"


def read_shape(wanted: Fields, inner: str = "") -> AnswerSchema | None:
    """Likewise the JSON schema of an answer."""
    kind = wanted.text("type")
    if kind not in ("", "text", "json_schema"):
        raise untranslatable(wanted.where, f"{kind[:40]!r}; give it a json_schema")
    schema = wanted.inner(inner) if inner else wanted
    about = schema.text("name"), schema.text("description")
    found = AnswerSchema(schema.table("schema"), *about, schema.flag("strict"))
    schema.end()
    wanted.end()
    return found if kind == "json_schema" else None


def write_choice(choice: str, inner: str = "") -> str | dict[str, Any]:
    """The choice among tools as OpenAI's APIs have it."""
    if not choice.startswith("="):
        return "required" if choice == "any" else choice
    name = {"name": choice[1:]}
    return {"type": "function", **({inner: name} if inner else name)}


def write_shape(shape: AnswerSchema) -> dict[str, Any]:
    """Likewise the JSON schema of an answer, without its type."""
    about = given(description=shape.description or None, strict=shape.strict)
    return {"name": shape.name or "answer", "schema": shape.schema, **about}


def write_question(question: ChatQuestion) -> dict[str, Any]:
    """The request that asks this.

    Raises:
        InvalidInputError: if it cannot be said in this API.
    """
    asked: dict[str, Any] = {"model": question.model, "messages": []}
    for at, turn in enumerate(question.turns):
        asked["messages"] += _messages(turn, f"messages[{at}]")
    if question.tools:
        asked["tools"] = [_written_tool(tool) for tool in question.tools]
    if question.choice:
        asked["tool_choice"] = write_choice(question.choice, "function")
    if question.shape is not None:
        schema = write_shape(question.shape)
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    asked |= given(
        max_completion_tokens=question.max_tokens,
        stop=list(question.stop) or None,
        temperature=question.temperature,
        top_p=question.top_p,
        reasoning_effort=question.effort or None,
        parallel_tool_calls=question.parallel,
        stream=question.stream or None,
    )
    return asked | said(question, API, SHARED, ("summary",))


def _messages(turn: ChatTurn, where: str) -> list[dict[str, Any]]:
    if turn.role == "tool":
        return [
            {
                "role": "tool",
                "tool_call_id": result.id,
                "content": ("Error: " if result.failed else "") + text_of(result.parts, where),
            }
            for result in turn.parts
        ]
    by_kind: dict[str, list[Part]] = {}
    for part in turn.parts:
        by_kind.setdefault(part.kind, []).append(part)
    calls, refusals = by_kind.pop("call", []), by_kind.pop("refusal", [])
    thoughts = [part.text for part in by_kind.pop("thought", []) if part.origin == NAME]
    by_kind.pop("sealed", None)  # no thought of this API
    content = [_written_part(part, where) for part in turn.parts if part.kind in by_kind]
    only = content[0].get("text") if len(content) == 1 else None
    message: dict[str, Any] = {"role": turn.role, "content": only or content or ""}
    if calls and not content:
        message["content"] = None
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if refusals:
        message["refusal"] = "".join(part.text for part in refusals)
    if calls:
        message["tool_calls"] = [written_call(call) for call in calls]
    return [message]


def _written_part(part: Part, where: str) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "image":
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "image_url", "image_url": {"url": part.url, **detail}}
    if part.kind == "file" and part.url.startswith("data:"):
        return {"type": "file", "file": {"file_data": part.url, "filename": part.name or "file"}}
    raise untranslatable(where, f"{API} has no place for such a {part.kind}")


def written_call(call: Part) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.text or "{}"}
    return {"id": call.id, "type": "function", "function": function}


def _written_tool(tool: ChatTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    function |= {"description": tool.description} if tool.description else {}
    function |= {"strict": tool.strict} if tool.strict is not None else {}
    return {"type": "function", "function": function}
