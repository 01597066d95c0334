"""The APIs that are measured: chat completions, responses and embeddings of OpenAI, and messages.

A response may go on from one that the provider keeps (``previous_response_id``), so its prompt is
not bounded by the bytes of the request. What this process has seen of that one is its bound; of one
that it has not seen, a whole context is reserved. One that is made in the background tells its cost
to nobody who waits for the answer, so it is charged with its bounds.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amp.models.bill import number, size, table
from amp.serve.dialects.base import (
    UNCAPPED_COMPLETION,
    Asked,
    Dialect,
    Told,
    data_of,
    model_of,
    object_of,
    prompt_bound,
    whole_number,
)
from amp.serve.dialects.efforts import (
    ANTHROPIC_EFFORT,
    OPENAI_EFFORT,
    RESPONSES_EFFORT,
    anthropic_effort,
    armed,
    obstacle_of,
    openai_effort,
    responses_effort,
    thinking_obstacle,
)
from amp.serve.dialects.members import with_members

if TYPE_CHECKING:
    from amp.serve.decide.base import CallArm

UNKNOWN_CONTEXT = 1_000_000
"""Tokens that are reserved for what the provider has kept and this process has not seen."""

_GENERATED = (
    *("content", "refusal", "reasoning_content", "reasoning", "audio"),
    *("tool_calls", "function_call"),
)
_NO_USAGE = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,')
_CACHE_WRITTEN_5M, _CACHE_WRITTEN_1H = 0.25, 1.0
_MOST_SEEN = 10_000
_KEPT = ("conversation", "prompt")
_OPEN = ("queued", "in_progress")
_LAST = ("response.completed", "response.incomplete", "response.failed")


class _OpenAI:
    """What OpenAI's APIs have in common."""

    name = "openai"

    def without_usage(self, event: bytes) -> bytes:
        return event

    def error(self, status: int, message: str) -> dict[str, Any]:
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def error_event(self, status: int, message: str) -> bytes:
        return b"data: " + json.dumps(self.error(status, message)).encode() + b"\n\n"

    def authorization(self, key: str) -> tuple[str, str]:
        return "authorization", f"Bearer {key}"


class OpenAIChat(_OpenAI):
    """Chat completions as OpenAI has them."""

    path = "/v1/chat/completions"

    def read(self, body: bytes) -> Asked:
        fields = object_of(body)
        samples = whole_number(fields, "n") or 1
        cap = self._cap(fields)
        adds_usage = False
        if fields.get("stream") is True:
            options = fields.get("stream_options")
            if options is None or (isinstance(options, dict) and not options.get("include_usage")):
                adds_usage = True
                body = with_members(body, {"stream_options": {"include_usage": True}}, fields)
        return Asked(
            model_of(fields),
            body,
            adds_usage,
            prompt_bound(body, fields, "messages"),
            samples * (cap or UNCAPPED_COMPLETION),
            fields=fields,
        )

    def hear(self, answer: Mapping[str, Any], told: Told) -> None:
        usage = answer.get("usage")
        if isinstance(usage, dict):
            told.prompt = number(usage.get("prompt_tokens"))
            told.cached = number(table(usage, "prompt_tokens_details").get("cached_tokens")) or 0
            told.completion = number(usage.get("completion_tokens"))
            details = table(usage, "completion_tokens_details")
            told.reasoning = number(details.get("reasoning_tokens")) or 0
            told.final = True
            # Some servers count thinking in the total alone.
            total = number(usage.get("total_tokens")) or 0
            if told.prompt is not None and told.completion is not None:
                told.completion = max(told.completion, total - told.prompt)
        came, choices = 0, answer.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                said = table(choice, "delta") or table(choice, "message")
                came += sum(size(said.get(part)) for part in _GENERATED)
        told.came_bytes += came
        # Some servers tell figures before the end, which are not those of what comes after.
        told.final &= isinstance(usage, dict) or not came

    def without_usage(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is None or "usage" not in data:
            return event
        if data["usage"] is None:
            shorter = _NO_USAGE.sub(b"", event, count=1)
            rest = {name: value for name, value in data.items() if name != "usage"}
            return shorter if data_of(shorter) == rest else event
        is_apart = data.get("choices") == [] and isinstance(data["usage"], dict)
        return b"" if is_apart else event

    def obstacle(self, fields: Mapping[str, Any], arm: CallArm) -> str:
        return obstacle_of(fields, arm, OPENAI_EFFORT, self._cap(fields))

    def with_arm(self, body: bytes, arm: CallArm, fields: Mapping[str, Any] | None = None) -> bytes:
        fields = object_of(body) if fields is None else fields
        return armed(body, fields, arm, {} if self.obstacle(fields, arm) else openai_effort(arm))

    @staticmethod
    def _cap(fields: Mapping[str, Any]) -> int:
        """The larger of the two that servers know."""
        names = ("max_completion_tokens", "max_tokens")
        return max(whole_number(fields, name) for name in names)


class OpenAIResponses(_OpenAI):
    """Responses as OpenAI has them. Their streams tell their usage unasked."""

    path = "/v1/responses"

    def __init__(self) -> None:
        self._seen: OrderedDict[str, int] = OrderedDict()  # tokens of responses, by their names

    def read(self, body: bytes) -> Asked:
        fields = object_of(body)
        return Asked(
            model_of(fields),
            body,
            False,
            prompt_bound(body, fields, "input") + self._kept(fields),
            whole_number(fields, "max_output_tokens") or UNCAPPED_COMPLETION,
            fields=fields,
        )

    def hear(self, answer: Mapping[str, Any], told: Told) -> None:
        kind = str(answer.get("type", ""))
        delta = answer.get("delta")
        if kind.endswith(".delta") and isinstance(delta, str):
            told.came_bytes += size(delta)
        whole = answer if answer.get("object") == "response" else table(answer, "response")
        if whole is answer or whole.get("background"):  # that goes on when nobody hears it
            told.is_unknown = whole.get("status") in _OPEN
        if whole is answer:
            told.came_bytes += size(whole.get("output"))
        usage = whole.get("usage")
        if not isinstance(usage, dict):
            return
        told.prompt = number(usage.get("input_tokens"))
        told.cached = number(table(usage, "input_tokens_details").get("cached_tokens")) or 0
        told.completion = number(usage.get("output_tokens"))
        details = table(usage, "output_tokens_details")
        told.reasoning = number(details.get("reasoning_tokens")) or 0
        told.final = whole is answer or kind in _LAST
        if told.prompt is not None and isinstance(whole.get("id"), str):
            self._seen[whole["id"]] = told.prompt + (told.completion or 0)
            while len(self._seen) > _MOST_SEEN:
                self._seen.popitem(last=False)

    def error_event(self, status: int, message: str) -> bytes:
        kind = self.error(status, message)["error"]["type"]
        data = {"type": "error", "code": kind, "message": message, "param": None}
        data["sequence_number"] = 0
        return b"event: error\ndata: " + json.dumps(data).encode() + b"\n\n"

    def obstacle(self, fields: Mapping[str, Any], arm: CallArm) -> str:
        cap = whole_number(fields, "max_output_tokens")
        return obstacle_of(fields, arm, RESPONSES_EFFORT, cap)

    def with_arm(self, body: bytes, arm: CallArm, fields: Mapping[str, Any] | None = None) -> bytes:
        fields = object_of(body) if fields is None else fields
        own = {} if self.obstacle(fields, arm) else responses_effort(arm)
        return armed(body, fields, arm, own)

    def _kept(self, fields: Mapping[str, Any]) -> int:
        """The most tokens of what stands in no request, because the provider has kept it."""
        before = fields.get("previous_response_id")
        given = fields.get("input")
        items = given if isinstance(given, list) else []
        refers = any(isinstance(i, dict) and i.get("type") == "item_reference" for i in items)
        if refers or any(fields.get(name) for name in _KEPT):
            return UNKNOWN_CONTEXT
        return self._seen.get(str(before), UNKNOWN_CONTEXT) if before else 0


class OpenAIEmbeddings(_OpenAI):
    """Embeddings as OpenAI has them: all that they cost is their prompt."""

    path = "/v1/embeddings"

    def read(self, body: bytes) -> Asked:
        fields = object_of(body)
        return Asked(
            model_of(fields), body, False, prompt_bound(body, fields, "input"), 0, fields=fields
        )

    def hear(self, answer: Mapping[str, Any], told: Told) -> None:
        usage = answer.get("usage")
        if isinstance(usage, dict):
            told.prompt = number(usage.get("prompt_tokens"))
            told.completion, told.final = 0, True

    def obstacle(self, fields: Mapping[str, Any], arm: CallArm) -> str:
        return "embeddings take no effort" if arm.effort else ""

    def with_arm(self, body: bytes, arm: CallArm, fields: Mapping[str, Any] | None = None) -> bytes:
        return armed(body, object_of(body) if fields is None else fields, arm, {})


class AnthropicMessages:
    """Messages as Anthropic has them. Its streams tell their usage unasked."""

    name = "anthropic"
    path = "/v1/messages"

    def read(self, body: bytes) -> Asked:
        fields = object_of(body)
        return Asked(
            model_of(fields),
            body,
            False,
            prompt_bound(body, fields, "messages"),
            whole_number(fields, "max_tokens") or UNCAPPED_COMPLETION,
            1.0 + _CACHE_WRITTEN_1H if b"cache_control" in body else 1.0,
            fields,
        )

    def hear(self, answer: Mapping[str, Any], told: Told) -> None:
        kind = answer.get("type")
        begun = table(answer, "message") if kind == "message_start" else answer
        usage = begun.get("usage")
        if isinstance(usage, dict):
            self._count(usage, told)
            told.final = kind in ("message", "message_delta")
        said = table(answer, "delta") or table(answer, "content_block")
        for part in ("text", "thinking", "partial_json"):
            told.came_bytes += size(said.get(part))
        if kind == "message":
            told.came_bytes += size(answer.get("content"))

    def without_usage(self, event: bytes) -> bytes:
        return event

    def error(self, status: int, message: str) -> dict[str, Any]:
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
        }
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def error_event(self, status: int, message: str) -> bytes:
        data = json.dumps(self.error(status, message)).encode()
        return b"event: error\ndata: " + data + b"\n\n"

    def authorization(self, key: str) -> tuple[str, str]:
        return "x-api-key", key

    def obstacle(self, fields: Mapping[str, Any], arm: CallArm) -> str:
        cap = whole_number(fields, "max_tokens")
        return obstacle_of(fields, arm, ANTHROPIC_EFFORT, cap) or thinking_obstacle(fields, arm)

    def with_arm(self, body: bytes, arm: CallArm, fields: Mapping[str, Any] | None = None) -> bytes:
        fields = object_of(body) if fields is None else fields
        own = {} if self.obstacle(fields, arm) else anthropic_effort(fields, arm)
        return armed(body, fields, arm, own)

    @staticmethod
    def _count(usage: Mapping[str, Any], told: Told) -> None:
        """Notes the figures; the last event may repeat those of the prompt, or leave them out."""
        fresh = number(usage.get("input_tokens"))
        if fresh is not None:
            told.cached = number(usage.get("cache_read_input_tokens")) or 0
            written = number(usage.get("cache_creation_input_tokens")) or 0
            told.prompt, told.written = fresh + told.cached + written, written
            hour = number(table(usage, "cache_creation").get("ephemeral_1h_input_tokens")) or 0
            hour = min(hour, written)
            told.surcharge = _CACHE_WRITTEN_5M * (written - hour) + _CACHE_WRITTEN_1H * hour
        told.completion = number(usage.get("output_tokens"))
        details = table(usage, "output_tokens_details")
        told.reasoning = number(details.get("thinking_tokens")) or 0


CHAT: Dialect = OpenAIChat()
MESSAGES: Dialect = AnthropicMessages()
RESPONSES: Dialect = OpenAIResponses()
EMBEDDINGS: Dialect = OpenAIEmbeddings()

DIALECTS: tuple[Dialect, ...] = (CHAT, MESSAGES, RESPONSES, EMBEDDINGS)
