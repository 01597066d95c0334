"""How a budget of native thinking is said to each API; the one place where the mapping is written.

`Request.thinking_tokens` is a number of tokens; few APIs take one. What is sent instead:

| style | API | 0 | 1 to 2048 | to 8192 | more |
|---|---|---|---|---|---|
| ``effort`` | OpenAI and servers that follow it | none | low | medium | high |
| ``adaptive`` | Anthropic, newer models | disabled | low | medium | high |
| ``budget`` | Anthropic, older models | disabled | the number, at least 1024 | | |
| ``budget`` | llama.cpp's server, vLLM | template's switch off | the number | | |

An effort is a hint, no bound: the cap, which grows by the budget, is the bound. Models that cannot
do without thinking refuse the first way to say 0 and are asked with the next: the OpenAI API with
minimal, then low; Anthropic's with the lowest effort.

NOT covered: servers that take a budget in yet another field; pass it in `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from amp.errors import InvalidInputError
from amp.models.base import Request

OpenAIStyle = Literal["effort", "budget"]
AnthropicStyle = Literal["adaptive", "budget"]

OPENAI_STYLES: tuple[str, ...] = get_args(OpenAIStyle)
ANTHROPIC_STYLES: tuple[str, ...] = get_args(AnthropicStyle)

LOW_TOKENS = 2048
MEDIUM_TOKENS = 8192
LEAST_TOKENS = 1024
"""The smallest budget that Anthropic's API takes, and so the smallest that every API takes."""

Fields = Mapping[str, Any]

_TEMPLATE = "chat_template_kwargs"


def effort(tokens: int) -> str:
    """Returns the effort that stands for a budget: low, medium or high."""
    if tokens <= LOW_TOKENS:
        return "low"
    return "medium" if tokens <= MEDIUM_TOKENS else "high"


def openai_fields(style: OpenAIStyle | None, tokens: int) -> tuple[Fields, ...]:
    """Returns the fields of a chat completion that ask for this much thinking.

    Where there are several, a server that refuses one is asked with the next.
    """
    if style == "effort":
        levels = (effort(tokens),) if tokens else ("none", "minimal", "low")
        return tuple({"reasoning_effort": level} for level in levels)
    if style == "budget":
        # llama.cpp's server and vLLM name it differently, and ignore each other's name. For 0 the
        # template alone is right: forced to end at once, small models think on in their answer.
        fields: dict[str, Any] = {_TEMPLATE: {"enable_thinking": tokens > 0}}
        if tokens:
            fields |= {"thinking_budget_tokens": tokens, "thinking_token_budget": tokens}
        return (fields,)
    return ({},)


def anthropic_fields(style: AnthropicStyle | None, tokens: int) -> tuple[Fields, ...]:
    """Returns the fields of a message that ask for this much thinking, as `openai_fields` does."""
    if style is None:
        return ({},)
    if not tokens:
        least = {"output_config": {"effort": "low"}}
        off: Fields = {"thinking": {"type": "disabled"}}
        return (off, least) if style == "adaptive" else (off,)
    if style == "adaptive":
        return ({"thinking": {"type": "adaptive"}, "output_config": {"effort": effort(tokens)}},)
    return ({"thinking": {"type": "enabled", "budget_tokens": anthropic_budget(style, tokens)}},)


def anthropic_budget(style: AnthropicStyle | None, tokens: int) -> int:
    """Returns by how many tokens the cap grows: the budget as the API takes it."""
    if tokens and style == "budget":
        return max(LEAST_TOKENS, tokens)
    return tokens


def merged(fields: Fields, own: Fields) -> dict[str, Any]:
    """Returns both together; the caller's own fields win, also among those of the template."""
    both = {**fields, **own}
    if _TEMPLATE in fields and _TEMPLATE in own:
        both[_TEMPLATE] = {**fields[_TEMPLATE], **own[_TEMPLATE]}
    return both


def require_style(style: str | None, styles: tuple[str, ...]) -> None:
    """Refuses a style that the API does not know.

    Raises:
        InvalidInputError: if it is none of these, and not None.
    """
    if style is not None and style not in styles:
        raise InvalidInputError(f"thinking is {style!r}, expected None or {' or '.join(styles)}")


def require_budget(request: Request, model: str, *, supported: bool) -> None:
    """Refuses a budget of thinking that the model cannot keep.

    Raises:
        InvalidInputError: if one is asked for and the model has none.
    """
    if request.thinking_tokens and not supported:
        raise InvalidInputError(
            f"thinking_tokens is {request.thinking_tokens}, but model {model} takes no budget of"
            " thinking; ask for 0, or construct it with thinking=... if it does"
        )


def estimated_tokens(tokens: int, thought: str, said: str) -> int:
    """Returns how many of these tokens were thinking, split by the lengths of the two texts.

    An estimate, for servers that state only the sum.
    """
    if not thought:
        return 0
    return round(tokens * len(thought) / (len(thought) + len(said)))
