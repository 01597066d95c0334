"""How deep native thinking goes: the mapping from reasoning steps to a budget of tokens."""

from __future__ import annotations

from amp.execute.meter import Meter
from amp.models.thinking import LEAST_TOKENS
from amp.types import Allocation

TOKENS_A_REASONING_STEP = LEAST_TOKENS
"""The smallest budget that every API takes; native reasoning is wordier than steps in an answer."""


def thinking_tokens(allocation: Allocation, meter: Meter) -> int:
    """Budget of native thinking for an allocation, which the meter's notes then state.

    `depth` steps are ``depth * TOKENS_A_REASONING_STEP`` tokens where the model has a thinking
    budget; how a back end passes them on (as tokens, or as an effort) stands in
    `amp.models.thinking`.

    Returns:
        Tokens; 0 at depth 0, and where the model has no such budget and is asked for its reasoning
        in words.
    """
    if allocation.depth == 0 or not meter.capabilities.thinking_budget:
        return 0
    tokens = allocation.depth * TOKENS_A_REASONING_STEP
    meter.notes.append(f"{tokens} tokens of native thinking for {allocation.depth} reasoning steps")
    return tokens
