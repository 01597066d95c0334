"""Requests of Anthropic's Messages, from and into what they mean."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from amp.models.chat import effort
from amp.serve.decide.base import CallArm
from amp.serve.dialects.base import UNCAPPED_COMPLETION
from amp.serve.dialects.efforts import anthropic_effort, takes_budget, thinking_obstacle
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
    unsigned,
    untranslatable,
    written,
)

NAME = "messages"
API = "Anthropic messages"

_KEPT = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}  # as Claude Code has it
_IDLE: Mapping[str, tuple[object, ...]] = {
    "context_management": ({"edits": []}, _KEPT),
    "service_tier": ("auto",),
    "speed": ("standard",),
    "mcp_servers": ([],),
}
_IDLE_PART: Mapping[str, tuple[object, ...]] = {
    "citations": ([], {"enabled": False}),
    "caller": ({"type": "direct"},),
}
_HINTS = ("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "summary")
_LONGEST_USER = 64
_EFFORTS = {"minimal": "low"}
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]")
_DATA = re.compile(r"data:([^;,]*);base64,(.*)", re.DOTALL)


def read_question(fields: Mapping[str, Any]) -> ChatQuestion:
    """What a request asks.

    Raises:
        InvalidInputError: if a field of it has no meaning here.
    """
    asked = Fields(fields)
    asked.drop_idle(_IDLE)
    asked.drop("cache_control")  # the other APIs cache by themselves
    metadata, choice = asked.inner("metadata"), asked.inner("tool_choice")
    output = asked.inner("output_config")
    system = tuple(parts_of(asked, "system", _part, "text"))
    turns = [ChatTurn("system", system)] if system else []
    for message in asked.each("messages"):
        turns += _turns(message)
    parallel = choice.flag("disable_parallel_tool_use")
    user = metadata.text("user_id")
    asked_effort, summary = _effort(asked.inner("thinking"), output.text("effort"))
    question = ChatQuestion(
        asked.text("model"),
        joined(turns),
        tuple(_tool(tool) for tool in asked.each("tools")),
        _choice(choice),
        None if parallel is None else not parallel,
        asked.whole("max_tokens"),
        asked.texts("stop_sequences"),
        asked.figure("temperature"),
        asked.figure("top_p"),
        asked_effort,
        _shape(output.inner("format")),
        bool(asked.flag("stream")),
        True,
        {**asked.rest(), **({"user": _short(user)} if user else {}), **summary},
    )
    for inner in (metadata, choice, output):
        inner.end()
    return question


def _turns(message: Fields) -> list[ChatTurn]:
    """A message may hold results before what the user says."""
    role = message.text("role")
    if role not in ("user", "assistant", "system"):
        raise untranslatable(message.place("role"), f"{role[:40]!r} is unknown")
    parts = parts_of(message, "content", _part, "text")
    message.end()
    turns: list[ChatTurn] = []
    for part in parts:
        side: Any = "tool" if part.kind == "result" else role
        if not turns or turns[-1].role != side:
            turns.append(ChatTurn(side, ()))
        turns[-1] = ChatTurn(side, (*turns[-1].parts, part))
    return turns or [ChatTurn(role, ())]  # type: ignore[arg-type]  # it is one of the three


def _part(part: Fields) -> Part:
    kind = part.text("type")
    part.drop("cache_control")
    part.drop_idle(_IDLE_PART)
    if kind == "text":
        found = Part("text", part.text("text"))
    elif kind == "image":
        found = Part("image", url=_url(part.inner("source")))
    elif kind == "document":
        found = Part("file", name=part.text("title"), url=_url(part.inner("source")))
    elif kind in ("thinking", "redacted_thinking"):
        text = part.text("thinking")
        origin, name, own = unsigned(part.text("signature") or part.text("data"), NAME)
        sealed = kind == "redacted_thinking"
        found = Part("sealed" if sealed else "thought", text, name, signature=own, origin=origin)
    elif kind == "tool_use":
        name, arguments = part.text("name"), part.table("input")
        found = Part("call", written(arguments), part.text("id"), name)
    elif kind == "tool_result":
        said_parts = tuple(parts_of(part, "content", _part, "text"))
        failed = bool(part.flag("is_error"))
        found = Part("result", id=part.text("tool_use_id"), parts=said_parts, failed=failed)
    else:
        raise untranslatable(part.where, f"blocks of the type {kind[:40]!r} are Anthropic's own")
    part.end()
    return found


def _url(source: Fields) -> str:
    kind = source.text("type")
    url = source.text("url")
    if kind == "base64":
        url = f"data:{source.text('media_type')};base64,{source.text('data')}"
    elif kind != "url":
        raise untranslatable(source.where, f"sources of the type {kind[:40]!r} are Anthropic's own")
    source.end()
    return url


def _tool(tool: Fields) -> ChatTool:
    kind = tool.text("type")
    if kind not in ("", "custom"):
        raise untranslatable(tool.where, f"tools of the type {kind[:40]!r} are Anthropic's own")
    tool.drop("cache_control", "eager_input_streaming")
    name, description = tool.text("name"), tool.text("description")
    found = ChatTool(name, description, tool.table("input_schema"), tool.flag("strict"))
    tool.end()
    return found


def _choice(choice: Fields) -> str:
    kind = choice.text("type")
    return f"={choice.text('name')}" if kind == "tool" else kind


def _effort(thinking: Fields, asked: str) -> tuple[str, dict[str, str]]:
    """The effort that a budget of thinking stands for, and whether a summary is wanted."""
    kind, budget = thinking.text("type"), thinking.whole("budget_tokens")
    display = thinking.text("display")
    if kind not in ("", "adaptive", "enabled", "disabled"):
        raise untranslatable("thinking", f"the type {kind[:40]!r} is Anthropic's own")
    thinking.end()
    shown = {"summary": "auto"} if display == "summarized" else {}
    if kind == "disabled":
        return "none", shown
    if kind == "enabled" and not asked and budget is not None:
        return effort(budget), shown
    return asked, shown


def _shape(wanted: Fields) -> AnswerSchema | None:
    kind, schema = wanted.text("type"), wanted.table("schema")
    if kind not in ("", "json_schema"):
        raise untranslatable("output_config.format", f"the type {kind[:40]!r} is unknown")
    wanted.end()
    return AnswerSchema(schema, strict=True) if kind else None


def _short(user: str) -> str:
    """The name of a user as OpenAI takes it: of a longer one, the hash."""
    return user if len(user) <= _LONGEST_USER else hashlib.sha256(user.encode()).hexdigest()


def _mark(messages: list[dict[str, Any]]) -> None:
    """Has the conversation cached up to its end, as the other APIs do by themselves.

    To write a cache costs a quarter more, which pays as soon as the conversation goes on.
    """
    if messages and messages[-1]["content"]:
        messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}


def takes_stop(stop: str) -> bool:
    """Whether an answer may end at a string: not at white space alone."""
    return bool(stop.strip())


def write_question(question: ChatQuestion) -> dict[str, Any]:
    """The request that asks this.

    Raises:
        InvalidInputError: if it cannot be said in this API.
    """
    _require(question)
    turns = list(question.turns)
    asked: dict[str, Any] = {"model": question.model}
    asked["max_tokens"] = question.max_tokens or UNCAPPED_COMPLETION
    if turns and turns[0].role == "system":
        asked |= given(system=_blocks(turns.pop(0), "messages[0]") or None)
    asked["messages"] = []
    for at, turn in enumerate(turns):
        role = "user" if turn.role == "tool" else turn.role
        blocks = _blocks(turn, f"messages[{at}]")
        if turn.role == "user" and at and turns[at - 1].role == "tool":
            asked["messages"][-1]["content"] += blocks  # results and what is said of them
        elif blocks or role == "user":  # this API refuses an answer that says nothing
            asked["messages"].append({"role": role, "content": blocks})
    if question.tools:
        asked["tools"] = [_written_tool(tool) for tool in question.tools]
    if choice := _written_choice(question):
        asked["tool_choice"] = choice
    output: dict[str, Any] = {}
    asked |= given(
        stop_sequences=list(question.stop) or None,
        temperature=_unless_default(question.temperature),
        top_p=_unless_default(question.top_p),
        stream=question.stream or None,
    )
    asked |= _thinking(question, asked)
    if question.shape is not None:
        about = question.shape.description
        schema = {**({"description": about} if about else {}), **question.shape.schema}
        output["format"] = {"type": "json_schema", "schema": schema}
    if output:
        asked["output_config"] = {**asked.get("output_config", {}), **output}
    if question.tools or any(turn.role == "assistant" for turn in turns):
        _mark(asked["messages"])
    more = said(question, API, ("user",), _HINTS)
    return asked | ({"metadata": {"user_id": more["user"]}} if more else {})


def _unless_default(value: float | None) -> float | None:
    """A temperature or top_p, which newer models refuse, unless it is 1 and says nothing."""
    return None if value == 1 else value


def _thinking(question: ChatQuestion, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What asks for an effort; older models take a budget, and need it before they call tools."""
    effort_ = _EFFORTS.get(question.effort, question.effort)
    if effort_ in ("", "none"):
        return {"thinking": {"type": "disabled"}} if effort_ else {}
    if not takes_budget(question.model):
        display = {"display": "summarized"} if question.others.get("summary") else {}
        thinking = {"type": "adaptive", **display}
        return {"thinking": thinking, "output_config": {"effort": effort_}}
    arm = CallArm(question.model, "xhigh" if effort_ == "max" else effort_)
    if question.turns and question.turns[-1].role == "tool":
        kinds = [part.kind for turn in question.turns[-2:-1] for part in turn.parts]
        return anthropic_effort(asked, arm) if {"thought", "sealed"} & {*kinds} else {}
    if problem := thinking_obstacle(asked, arm):
        raise untranslatable("reasoning_effort", problem)
    return anthropic_effort(asked, arm)


def _require(question: ChatQuestion) -> None:
    if (question.temperature or 0) > 1:
        what = f"it is {str(question.temperature)[:40]}, {API} takes 0 to 1"
        raise untranslatable("temperature", what)
    if question.turns and question.turns[-1].role == "assistant":
        what = f"it ends with the assistant's turn, which {API} would go on with"
        raise untranslatable("messages", what)


def _blocks(turn: ChatTurn, where: str) -> list[dict[str, Any]]:
    blocks = [_block(part, where) for part in turn.parts]
    return [block for block in blocks if block is not None]


def _block(part: Part, where: str) -> dict[str, Any] | None:
    if part.kind in ("text", "refusal"):
        return {"type": "text", "text": part.text} if part.text else None
    if part.kind in ("thought", "sealed"):
        if part.origin != NAME or not part.signature:
            return None  # the thoughts of another API, which this one would refuse
        if part.kind == "sealed":
            return {"type": "redacted_thinking", "data": part.signature}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    if part.kind == "call":
        return {
            "type": "tool_use",
            "id": _NO_ID.sub("_", part.id),
            "name": part.name,
            "input": _arguments(part, where),
        }
    if part.kind == "result":
        content = [_block(each, where) for each in part.parts]
        block = {"type": "tool_result", "tool_use_id": _NO_ID.sub("_", part.id)}
        failed = {"is_error": True} if part.failed else {}
        return {**block, "content": [each for each in content if each], **failed}
    if part.detail:
        raise untranslatable(where, f"{API} has no detail of images")
    data = _DATA.fullmatch(part.url)
    source = {"type": "url", "url": part.url}
    if data:
        source = {"type": "base64", "media_type": data[1], "data": data[2]}
    title = {"title": part.name} if part.name else {}
    return {"type": "document" if part.kind == "file" else "image", "source": source, **title}


def _arguments(call: Part, where: str) -> dict[str, Any]:
    try:
        found = json.loads(call.text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        what = f"the arguments of a call of {call.name[:80]!r} are no JSON object"
        raise untranslatable(where, what)
    return found


def _written_tool(tool: ChatTool) -> dict[str, Any]:
    schema = tool.parameters or {"type": "object", "properties": {}}
    about = {"description": tool.description} if tool.description else {}
    strict = {"strict": True} if tool.strict else {}
    return {"name": tool.name, **about, "input_schema": schema, **strict}


def _written_choice(question: ChatQuestion) -> dict[str, Any]:
    named = {"type": "tool", "name": question.choice.removeprefix("=")}
    kinds: dict[str, dict[str, Any]] = {name: {"type": name} for name in ("auto", "none", "any")}
    choice = kinds.get(question.choice, named) if question.choice else {}
    if question.parallel is not None and question.tools and question.choice != "none":
        single = {"disable_parallel_tool_use": not question.parallel}
        choice = {**(choice or {"type": "auto"}), **single}
    return choice
