"""How an effort is asked for in each API, and what stands in its way.

| API | low | medium | high |
|---|---|---|---|
| chat completions | `reasoning_effort` | | |
| responses | `reasoning.effort` | | |
| messages, models since Opus 4.5 | `output_config.effort` | | |
| messages, models before | `thinking`: 2,048 tokens | 8,192 | 16,384 |

A budget of thinking is a part of `max_tokens`, of which it takes at most half. It can't begin amid
tool calls, nor beside settings that the API allows only without it. Whatever the client says of
thinking itself is final, and so is a cap too small to think in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amp.models.bill import number
from amp.models.chat import LOW_TOKENS, MEDIUM_TOKENS, MIN_TOKENS
from amp.serve.dialects.members import with_members

if TYPE_CHECKING:
    from amp.serve.decide.base import CallArm

OPENAI_EFFORT = (
    "reasoning_effort",
    "reasoning",
    "thinking",
    "enable_thinking",
    "thinking_budget",
    "thinking_budget_tokens",
    "thinking_token_budget",
    "chat_template_kwargs",
)
"""Fields of chat completions by which clients set how much is thought, at one server or another."""

RESPONSES_EFFORT = ("reasoning.effort",)
"""Likewise of responses."""

ANTHROPIC_EFFORT = ("thinking", "output_config.effort")
"""Likewise of messages."""

_ROOM = {"medium": 1_024, "high": 4_096, "xhigh": 8_192}
_BUDGETS = {"low": LOW_TOKENS, "medium": MEDIUM_TOKENS, "high": 16_384, "xhigh": 32_768}
_OF_ANTHROPIC = {"none": "low", "minimal": "low"}
_TAKES_BUDGET = re.compile(
    r"claude-(?:3|(?:opus-4(?:-[01])?|sonnet-4(?:-[05])?|haiku-4(?:-5)?)(?=-\d{8}|@|-latest|-v\d|$))"
)


def obstacle_of(fields: Mapping[str, Any], arm: CallArm, names: tuple[str, ...], cap: int) -> str:
    """Why an effort may not be written; empty if it may.

    Args:
        fields: of the request.
        arm: with the effort; none is no obstacle.
        names: of the fields by which a client sets it, with a dot where one is inside another.
        cap: tokens of an answer at most, thinking included; 0 for none.
    """
    if not arm.effort:
        return ""
    for name in names:
        outer, _, inner = name.partition(".")
        held = fields.get(outer)
        if (outer in fields) if not inner else (isinstance(held, dict) and inner in held):
            return f"the client sets {name}"
    if 0 < cap < _ROOM.get(arm.effort, 0):
        return f"the client's cap of {cap:,} tokens leaves no room for effort {arm.effort}"
    return ""


def armed(body: bytes, fields: Mapping[str, Any], arm: CallArm, effort: Mapping[str, Any]) -> bytes:
    """A request with the model of an arm, and what asks for its effort; all other bytes stay.

    Args:
        body: the request.
        fields: the same, read.
        arm: with the model.
        effort: members that ask for the effort.
    """
    name = {} if fields.get("model") == arm.model else {"model": arm.model}
    return with_members(body, {**name, **effort}, fields) if name or effort else body


def openai_effort(arm: CallArm) -> dict[str, Any]:
    """What asks for an effort in chat completions."""
    return {"reasoning_effort": arm.effort} if arm.effort else {}


def responses_effort(arm: CallArm) -> dict[str, Any]:
    """What asks for an effort in responses."""
    return {"reasoning": {"effort": arm.effort}} if arm.effort else {}


def anthropic_effort(fields: Mapping[str, Any], arm: CallArm) -> dict[str, Any]:
    """What asks for an effort in messages; a model that takes a budget doesn't think without."""
    if not arm.effort:
        return {}
    if not _TAKES_BUDGET.search(arm.model):
        effort = _OF_ANTHROPIC.get(arm.effort, arm.effort)
        return {"output_config": {"effort": effort}}
    budget = _budget(fields, arm)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget else {}


def thinking_obstacle(fields: Mapping[str, Any], arm: CallArm) -> str:
    """Why a budget of thinking can't be given to a message, where the model takes one."""
    if not _TAKES_BUDGET.search(arm.model) or arm.effort not in _BUDGETS:
        return ""
    if _budget(fields, arm) < MIN_TOKENS:
        return "max_tokens leaves no room for thinking"
    for name, allowed in (("temperature", 1), ("top_k", None), ("top_p", None)):
        if fields.get(name) not in (None, allowed):
            return f"the client sets {name}, which the API refuses beside thinking"
    choice = fields.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        return "the client forces a tool, which the API refuses beside thinking"
    last = _last(fields)
    if last.get("role") == "assistant":
        return "the answer has begun, and thinking comes before it"
    content = last.get("content")
    kinds = (
        [each.get("type") for each in content if isinstance(each, dict)]
        if isinstance(content, list)
        else []
    )
    return "thinking can't begin amid tool calls" if "tool_result" in kinds else ""


def takes_budget(model: str) -> bool:
    """Whether a model of Anthropic's takes a budget of thinking instead of an effort."""
    return bool(_TAKES_BUDGET.search(model))


def cache_name(arm: CallArm) -> str:
    """What the cache of a prompt belongs to: a change of a thinking budget loses it, too."""
    return f"{arm.model}@{arm.effort}" if _TAKES_BUDGET.search(arm.model) else arm.model


def _budget(fields: Mapping[str, Any], arm: CallArm) -> int:
    cap = number(fields.get("max_tokens")) or 0
    return min(_BUDGETS.get(arm.effort, 0), cap // 2)


def _last(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    messages = fields.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return last if isinstance(last, dict) else {}
