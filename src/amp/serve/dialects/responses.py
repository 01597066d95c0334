"""OpenAI's other two APIs that are measured: responses, and embeddings.

A response may go on from one that the provider keeps (``previous_response_id``), so its prompt is
not bounded by the bytes of the request. What this process has seen of that one is its bound; of one
that it has not seen, a whole context is reserved. One that is made in the background tells its cost
to nobody who waits for the answer, so it is charged with its bounds.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amp.models.bill import number, size, table
from amp.serve.dialects.base import (
    UNCAPPED_COMPLETION,
    Asked,
    OpenAIChat,
    Told,
    model_of,
    object_of,
    whole_number,
)
from amp.serve.dialects.bounds import prompt_bound
from amp.serve.dialects.efforts import RESPONSES_EFFORT, armed, obstacle_of, responses_effort

if TYPE_CHECKING:
    from amp.serve.decide.base import Arm

UNKNOWN_CONTEXT = 1_000_000
"""Tokens that are reserved for what the provider has kept and this process has not seen."""

_MOST_SEEN = 10_000
_KEPT = ("conversation", "prompt")
_OPEN = ("queued", "in_progress")
_LAST = ("response.completed", "response.incomplete", "response.failed")


class OpenAIResponses:
    """Responses as OpenAI has them. Their streams tell their usage unasked."""

    name = "openai"
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
            whole_number(fields.get("max_output_tokens")) or UNCAPPED_COMPLETION,
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

    def without_usage(self, event: bytes) -> bytes:
        return event

    def error(self, status: int, message: str) -> dict[str, Any]:
        return OpenAIChat().error(status, message)

    def error_event(self, status: int, message: str) -> bytes:
        kind = self.error(status, message)["error"]["type"]
        data = {"type": "error", "code": kind, "message": message, "param": None}
        data["sequence_number"] = 0
        return b"event: error\ndata: " + json.dumps(data).encode() + b"\n\n"

    def authorization(self, key: str) -> tuple[str, str]:
        return OpenAIChat().authorization(key)

    def obstacle(self, fields: Mapping[str, Any], arm: Arm) -> str:
        cap = whole_number(fields.get("max_output_tokens"))
        return obstacle_of(fields, arm, RESPONSES_EFFORT, cap)

    def with_arm(self, body: bytes, arm: Arm, fields: Mapping[str, Any] | None = None) -> bytes:
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


class OpenAIEmbeddings:
    """Embeddings as OpenAI has them: all that they cost is their prompt."""

    name = "openai"
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

    def without_usage(self, event: bytes) -> bytes:
        return event

    def error(self, status: int, message: str) -> dict[str, Any]:
        return OpenAIChat().error(status, message)

    def error_event(self, status: int, message: str) -> bytes:
        return OpenAIChat().error_event(status, message)

    def authorization(self, key: str) -> tuple[str, str]:
        return OpenAIChat().authorization(key)

    def obstacle(self, fields: Mapping[str, Any], arm: Arm) -> str:
        return "embeddings take no effort" if arm.effort else ""

    def with_arm(self, body: bytes, arm: Arm, fields: Mapping[str, Any] | None = None) -> bytes:
        return armed(body, object_of(body) if fields is None else fields, arm, {})
