"""Requests of OpenAI's Responses, from and into what they mean.

What the provider keeps (earlier responses, conversations, prompts) and tools that run there have no
meaning elsewhere. A request that is written here keeps nothing at the provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amp.serve.translate.chat import (
    SHARED,
    read_choice,
    read_shape,
    read_tool,
    write_choice,
    write_shape,
)
from amp.serve.translate.fields import Fields, parts_of
from amp.serve.translate.meaning import (
    ChatQuestion,
    ChatTool,
    ChatTurn,
    Part,
    Role,
    given,
    joined,
    said,
    text_of,
    unsigned,
    untranslatable,
)

NAME = "responses"
API = "OpenAI responses"

_IDLE: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "include": ([], ["reasoning.encrypted_content"]),  # thoughts come signed in any case
    "metadata": ({},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}


def read_question(fields: Mapping[str, Any]) -> ChatQuestion:
    """What a request asks.

    Raises:
        InvalidInputError: if a field of it has no meaning here.
    """
    asked = Fields(fields)
    asked.drop_idle(_IDLE)
    options, reasoning = asked.inner("stream_options"), asked.inner("reasoning")
    options.drop("include_obfuscation")
    text = asked.inner("text")
    system = tuple(parts_of(asked, "instructions", _part, "input_text"))
    items = asked.any("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    turns = [_turn(item) for item in Fields({"input": items}).each("input")]
    summary = reasoning.text("summary") or reasoning.text("generate_summary")
    others = given(verbosity=text.any("verbosity"), summary=summary or None)
    question = ChatQuestion(
        asked.text("model"),
        joined([ChatTurn("system", system), *turns] if system else turns),
        tuple(map(read_tool, asked.each("tools"))),
        read_choice(asked.any("tool_choice")),
        asked.flag("parallel_tool_calls"),
        asked.whole("max_output_tokens"),
        (),
        asked.figure("temperature"),
        asked.figure("top_p"),
        reasoning.text("effort"),
        read_shape(text.inner("format")),
        bool(asked.flag("stream")),
        True,
        {**asked.rest(), **others},
    )
    for inner in (options, reasoning, text):
        inner.end()
    return question


def _turn(item: Fields) -> ChatTurn:
    kind = item.text("type") or "message"
    item.drop("status", "phase", *(["id"] if kind != "reasoning" else []))
    if kind == "message":
        role = item.text("role")
        roles: dict[str, Role] = {"developer": "system", "system": "system"}
        roles |= {"user": "user", "assistant": "assistant"}
        if role not in roles:
            raise untranslatable(item.place("role"), f"{role[:40]!r} is unknown")
        turn = ChatTurn(roles[role], tuple(parts_of(item, "content", _part, "input_text")))
    elif kind == "function_call":
        called = item.text("call_id"), item.text("name")
        turn = ChatTurn("assistant", (Part("call", item.text("arguments"), *called),))
    elif kind == "function_call_output":
        output = tuple(parts_of(item, "output", _part, "input_text"))
        turn = ChatTurn("tool", (Part("result", id=item.text("call_id"), parts=output),))
    elif kind == "reasoning":
        turn = ChatTurn("assistant", tuple(_thoughts(item)))
    else:
        raise untranslatable(item.where, f"items of the type {kind[:40]!r} are OpenAI's own")
    item.end()
    return turn


def _thoughts(item: Fields) -> Iterator[Part]:
    name, data = item.text("id"), item.text("encrypted_content")
    texts = []
    for part in [*item.each("summary"), *item.each("content")]:
        part.drop("type")
        texts.append(part.text("text"))
        part.end()
    origin, thought, own = unsigned(data, NAME)
    sealed = origin != NAME and not texts
    yield Part(
        "sealed" if sealed else "thought",
        "\n\n".join(texts),
        name if origin == NAME else thought,
        signature=own,
        origin=origin,
    )


def _part(part: Fields) -> Part:
    kind = part.text("type")
    part.drop("prompt_cache_breakpoint")
    part.drop_idle({"detail": ("auto",), "annotations": ([],), "logprobs": ([],)})
    if kind in ("input_text", "output_text"):
        found = Part("text", part.text("text"))
    elif kind == "refusal":
        found = Part("refusal", part.text("refusal"))
    elif kind == "input_image":
        found = Part("image", url=part.text("image_url"), detail=part.text("detail"))
    elif kind == "input_file":
        url = part.text("file_data") or part.text("file_url")
        found = Part("file", name=part.text("filename"), url=url)
    else:
        raise untranslatable(part.where, f"parts of the type {kind[:40]!r} are OpenAI's own")
    part.end()
    return found


def write_question(question: ChatQuestion) -> dict[str, Any]:
    """The request that asks this.

    Raises:
        InvalidInputError: if it cannot be said in this API.
    """
    turns = list(question.turns)
    asked: dict[str, Any] = {"model": question.model, "store": False, "input": []}
    if turns and turns[0].role == "system" and len(turns[0].parts) == 1:
        asked["instructions"] = text_of(turns.pop(0).parts, "messages[0]")
    for at, turn in enumerate(turns):
        asked["input"] += _items(turn, f"messages[{at}]")
    if question.tools:
        asked["tools"] = [_written_tool(tool) for tool in question.tools]
    if question.choice:
        asked["tool_choice"] = write_choice(question.choice)
    more = said(question, API, (*SHARED, "summary"), ())
    text = given(verbosity=more.pop("verbosity", None))
    if question.shape is not None:
        text["format"] = {"type": "json_schema", **write_shape(question.shape)}
    reasoning = given(effort=question.effort or None, summary=more.pop("summary", None))
    asked |= given(
        max_output_tokens=question.max_tokens,
        temperature=question.temperature,
        top_p=question.top_p,
        parallel_tool_calls=question.parallel,
        reasoning=reasoning or None,
        text=text or None,
        stream=question.stream or None,
    )
    return asked | more


def _items(turn: ChatTurn, where: str) -> Iterator[dict[str, Any]]:
    """The items of a turn; texts and images of the user's are one of them."""
    said_parts = [part for part in turn.parts if part.kind in ("text", "image", "file")]
    if turn.role in ("user", "system") and (said_parts or not turn.parts):
        content = [_written_part(part, where) for part in said_parts]
        only = content[0].get("text") if len(content) == 1 else None
        yield {"role": turn.role, "content": only or content}
        return
    for part in turn.parts:
        if part.kind == "text":
            yield {"role": "assistant", "content": part.text}
        elif part.kind == "refusal":
            content = [{"type": "refusal", "refusal": part.text}]
            yield {"type": "message", "role": "assistant", "content": content}
        elif part.kind == "call":
            call = {"type": "function_call", "call_id": part.id, "name": part.name}
            yield {**call, "arguments": part.text or "{}"}
        elif part.kind == "result":
            yield _result(part, where)
        elif part.kind == "thought" and part.origin == NAME and part.signature:
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
            thought = {"type": "reasoning", "id": part.id, "summary": summary}
            yield {**thought, "encrypted_content": part.signature}
        elif part.kind in ("image", "file"):
            raise untranslatable(where, f"{API} has no place for such a {part.kind}")


def _result(result: Part, where: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = [_written_part(part, where) for part in result.parts]
    texts = [part["text"] for part in content if "text" in part]
    output: Any = content
    if len(texts) == len(content) < 2:
        output = ("Error: " if result.failed else "") + "".join(texts)
    elif result.failed:
        output = [{"type": "input_text", "text": "Error: "}, *content]
    return {"type": "function_call_output", "call_id": result.id, "output": output}


def _written_part(part: Part, where: str) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "input_text", "text": part.text}
    if part.kind == "image":
        return {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}
    if part.kind == "file":
        name = {"filename": part.name} if part.name else {}
        if part.url.startswith("data:"):
            return {"type": "input_file", "file_data": part.url, "filename": "file", **name}
        return {"type": "input_file", "file_url": part.url, **name}
    raise untranslatable(where, f"{API} has no place for such a {part.kind}")


def _written_tool(tool: ChatTool) -> dict[str, Any]:
    about = {"description": tool.description} if tool.description else {}
    strict = bool(tool.strict)  # left open, this API takes it for true
    return {
        "type": "function",
        "name": tool.name,
        **about,
        "parameters": tool.parameters,
        "strict": strict,
    }
