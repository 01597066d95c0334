"""A server of the OpenAI and Anthropic APIs that streams as it is told, and counts what it gave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

WORDS = ("Two", " and", " two", " make", " four", ".")
CALL = {"name": "add", "arguments": '{"a":2,"b":2}'}


@dataclass
class Asked:
    """What it was asked."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Reply:
    """What it answers.

    Attributes:
        parts: sent one by one; a number is a pause in seconds.
        status: 0 for none, nor any headers.
        streams: whether the length is left open.
        breaks: whether the connection breaks off instead of ending.
    """

    parts: Sequence[bytes | float] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    streams: bool = False
    breaks: bool = False


@dataclass
class Upstream:
    """A running one.

    Attributes:
        url: its address, with /v1.
        asked: every request.
        hung_up: how many clients went away before the end.
    """

    url: str
    asked: list[Asked] = field(default_factory=list)
    hung_up: int = 0


@asynccontextmanager
async def serving(respond: Callable[[Asked], Reply]) -> AsyncIterator[Upstream]:
    """Runs it in this event loop."""
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.current_task())  # type: ignore[arg-type]  # it is one
        try:
            while (asked := await _read(reader)) is not None:
                upstream.asked.append(asked)
                if not await _answer(respond(asked), reader, writer):
                    upstream.hung_up += 1
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            upstream.hung_up += 1
        except asyncio.CancelledError:
            pass  # the end; asyncio would log it as an error
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream(f"http://127.0.0.1:{port}/v1")
    try:
        yield upstream
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)


async def _answer(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the client stayed to the end."""
    lengths = [len(part) for part in reply.parts if isinstance(part, bytes)]
    length = {"transfer-encoding": "chunked"} if reply.streams else {"content-length": sum(lengths)}
    head = [f"HTTP/1.1 {reply.status} Said"]
    head += [f"{name}: {value}" for name, value in {**length, **reply.headers}.items()]
    if reply.status:
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
    for part in reply.parts:
        if isinstance(part, bytes):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if reply.streams else part)
            await writer.drain()
            continue
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), part)
            return False
    if reply.breaks:
        writer.transport.abort()
        return False
    writer.write(b"0\r\n\r\n" if reply.streams else b"")
    await writer.drain()
    return True


def sse(*events: dict[str, Any] | str, named: bool = False) -> list[bytes]:
    """Events of a stream, as the APIs write them."""
    written = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
        written.append(f"{name}data: {data}\n\n".encode())
    return written


USAGE: dict[str, Any] = {
    "prompt_tokens": 21,
    "completion_tokens": 9,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
"""Of every answer of `chat`."""


def chat(asked: Asked, pause: float | None = None, words: Sequence[str] = WORDS) -> Reply:
    """Answers a chat completion as OpenAI does, with or without a stream, tools, and a usage."""
    fields = asked.json
    base = {"id": "chatcmpl-1", "created": 1, "model": fields["model"]}
    call = {"id": "call_1", "type": "function", "function": CALL}
    message = {"role": "assistant", "content": "".join(words)}
    end = "stop"
    if fields.get("tools"):
        message, end = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"  # type: ignore[dict-item]  # JSON
    if not fields.get("stream"):
        choices = [
            {"index": i, "message": message, "finish_reason": end, "logprobs": None}
            for i in range(fields.get("n", 1))
        ]
        answer = {**base, "object": "chat.completion", "choices": choices, "usage": USAGE}
        return Reply(
            [json.dumps(answer, indent=1).encode()], headers={"content-type": "application/json"}
        )
    base["object"] = "chat.completion.chunk"
    told = bool((fields.get("stream_options") or {}).get("include_usage"))
    none = {"usage": None} if told else {}
    deltas: list[dict[str, Any]] = [{"content": word} for word in words]
    if fields.get("tools"):
        begun = {**call, "index": 0, "function": {**CALL, "arguments": ""}}
        rest = {"index": 0, "function": {"arguments": CALL["arguments"]}}
        deltas = [{"tool_calls": [begun]}, {"tool_calls": [rest]}]
    events: list[dict[str, Any] | str] = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **none}
        for delta in ({"role": "assistant", "content": ""}, *deltas)
    ]
    events.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": end}], **none})
    events += [{**base, "choices": [], "usage": USAGE}] if told else []
    return _stream(sse(*events, "[DONE]"), pause)


def messages(asked: Asked, pause: float | None = None, words: Sequence[str] = WORDS) -> Reply:
    """Answers a message as Anthropic does; 4 fresh, 16 cached and 8 written prompt tokens."""
    fields = asked.json
    read = {"input_tokens": 4, "cache_read_input_tokens": 16, "cache_creation_input_tokens": 8}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": fields["model"]}
    tool = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2, "b": 2}}
    block = tool if fields.get("tools") else {"type": "text", "text": "".join(words)}
    end = {"stop_reason": "tool_use" if fields.get("tools") else "end_turn", "stop_sequence": None}
    if not fields.get("stream"):
        answer = {**message, "content": [block], **end, "usage": {**read, "output_tokens": 9}}
        return Reply([json.dumps(answer).encode()], headers={"content-type": "application/json"})
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    deltas = [{"type": "text_delta", "text": word} for word in words]
    if fields.get("tools"):
        block = {**tool, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": CALL["arguments"]}]
    else:
        block = {"type": "text", "text": ""}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**begun, "usage": {**read, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    return _stream(sse(*events, named=True), pause)


def responses(asked: Asked, pause: float | None = None, words: Sequence[str] = WORDS) -> Reply:
    """Answers a response as OpenAI does; the same figures as those of `chat`."""
    fields = asked.json
    usage = {
        "input_tokens": USAGE["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
        "output_tokens": USAGE["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": USAGE["total_tokens"],
    }
    text = {"type": "output_text", "text": "".join(words), "annotations": []}
    item: dict[str, Any] = {"type": "message", "id": "msg_1", "role": "assistant"}
    item |= {"content": [text], "status": "completed"}
    if fields.get("tools"):
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", **CALL}
    whole = {"id": "resp_1", "object": "response", "created_at": 1, "model": fields["model"]}
    whole |= {"output": [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    whole |= {"status": "completed", "usage": usage}
    if fields.get("background"):
        whole |= {"status": "queued", "output": [], "usage": None}
    if not fields.get("stream"):
        return Reply([json.dumps(whole).encode()], headers={"content-type": "application/json"})
    at = {"output_index": 0, "item_id": item["id"]}
    begun: dict[str, Any] = {**item, "status": "in_progress"}
    events: list[dict[str, Any]] = []
    if fields.get("tools"):
        begun |= {"arguments": ""}
        kind = "response.function_call_arguments"
        events += [{"type": f"{kind}.delta", **at, "delta": CALL["arguments"]}]
        events += [{"type": f"{kind}.done", **at, "arguments": CALL["arguments"]}]
    else:
        begun |= {"content": []}
        at |= {"content_index": 0}
        empty = {**text, "text": ""}
        events += [{"type": "response.content_part.added", **at, "part": empty}]
        deltas = {"type": "response.output_text.delta", **at, "logprobs": []}
        events += [{**deltas, "delta": word} for word in words]
        done = {"type": "response.output_text.done", **at, "text": text["text"], "logprobs": []}
        events += [done, {"type": "response.content_part.done", **at, "part": text}]
    first = {**whole, "output": [], "status": "in_progress", "usage": None}
    events = [
        {"type": "response.created", "response": first},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        *events,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return _stream(sse(*numbered, named=True), pause)


def embeddings(asked: Asked) -> Reply:
    """Answers with one vector, of 7 prompt tokens."""
    rows = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}]
    answer = {"object": "list", "model": asked.json["model"], "data": rows}
    answer["usage"] = {"prompt_tokens": 7, "total_tokens": 7}
    return Reply([json.dumps(answer).encode()], headers={"content-type": "application/json"})


def either(asked: Asked, words: Sequence[str] = WORDS) -> Reply:
    """Answers whatever was asked for, and lists one model."""
    if asked.method == "GET":
        return Reply([b'{"object":"list","data":[{"id":"gpt-5.4-mini","object":"model"}]}'])
    path = asked.target.rpartition("/")[2]
    if path == "embeddings":
        return embeddings(asked)
    answers = {"messages": messages, "responses": responses}
    return answers.get(path, chat)(asked, words=words)


def with_headers(headers: Mapping[str, str]) -> Callable[[Asked], Reply]:
    """Answers likewise, with these headers besides, or in place of its own."""

    def answer(asked: Asked) -> Reply:
        reply = either(asked)
        reply.headers.update(headers)
        return reply

    return answer


_RESULTS = (b'"role":"tool"', b'"role": "tool"', b"function_call_output", b"tool_result")


def working(asked: Asked) -> Reply:
    """Answers as a model at work: it calls a tool, reads the result, and keeps to schemas."""
    if asked.method == "GET":
        return either(asked)
    fields = asked.json
    if any(mark in asked.body for mark in _RESULTS):
        fields.pop("tools", None)
    told = Asked(asked.method, asked.target, asked.headers, json.dumps(fields).encode())
    keeps_schema = b'"json_schema"' in asked.body
    return either(told, ('{"sum"', ":4}") if keeps_schema else WORDS)


def _stream(events: list[bytes], pause: float | None) -> Reply:
    parts: list[bytes | float] = []
    for event in events:
        parts += [event] if pause is None else [event, pause]
    return Reply(parts, headers={"content-type": "text/event-stream"}, streams=True)
