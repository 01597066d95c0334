"""What the back ends that speak a chat API share: messages, budgets of thinking, calls, refusals.

`Request.thinking_tokens` is a number of tokens; few APIs take one. What is sent instead:

| style | API | 0 | 1 to 2048 | to 8192 | more |
|---|---|---|---|---|---|
| ``effort`` | OpenAI and servers that follow it | none | low | medium | high |
| ``adaptive`` | Anthropic, newer models | disabled | low | medium | high |
| ``budget`` | Anthropic, older models | disabled | the number, at least 1024 | | |
| ``budget`` | llama.cpp's server, vLLM | template's switch off | the number | | |

An effort is a hint, no bound: the cap, which grows by the budget, is the bound. Models that cannot
do without thinking refuse the first way to say 0 and are asked with the next: the OpenAI API with
minimal, then low; Anthropic's with the lowest effort; at last nothing is said of it. NOT covered:
servers that take a budget in yet another field; pass it in `extra`.

Where a server makes one sample a call, calls go side by side, within one deadline.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from amp.errors import InvalidInputError
from amp.models.base import Completion, Prompt, Request
from amp.models.bill import Spent, begin_call
from amp.types import Usage

# Generous: the templates known to us need 3 to 8 tokens a message, and one adds a system prompt of
# 20 tokens where there is none.
_TOKENS_PER_MESSAGE = 16
_TOKENS_PER_PROMPT = 64

_CONTINUE = (
    "Your answer has already begun with the text between the lines of dashes. Continue exactly"
    " after it, without repeating it.\n----\n{prefix}\n----"
)


def as_messages(prompt: Prompt, *, prefix: bool, system: bool = True) -> list[dict[str, str]]:
    """Returns the chat as the API wants it.

    Where the server does not continue an assistant's last message (`prefix` is False), the user's
    message asks for it. It goes into the last user message, since many templates refuse two in a
    row. Where the server refuses system messages (`system` is False), their text goes before the
    first user message.
    """
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    if not system:
        told = [message["content"] for message in messages if message["role"] == "system"]
        messages = [message for message in messages if message["role"] != "system"]
        if not messages or messages[0]["role"] != "user":
            messages.insert(0, {"role": "user", "content": ""})
        messages[0]["content"] = "\n\n".join(filter(None, [*told, messages[0]["content"]]))
    if prefix or messages[-1]["role"] != "assistant":
        return messages
    plea = _CONTINUE.format(prefix=messages.pop()["content"])
    if messages and messages[-1]["role"] == "user":
        plea = f"{messages.pop()['content']}\n\n{plea}"
    return [*messages, {"role": "user", "content": plea}]


def without_prefix(text: str, prompt: Prompt) -> str:
    """Removes the prefix from an answer that repeats it, as servers and models do."""
    last = prompt.messages[-1]
    begun = last.content if last.role == "assistant" else ""
    if begun.strip() and text.lstrip().startswith(begun):
        return text.lstrip().removeprefix(begun)
    return text


def base_seed(seed: int) -> int:
    """Returns the server seed of sample 0; sample i gets this plus i.

    Neighbouring seeds are spread apart: seed 1's sample 0 must not be seed 0's sample 1. 31 bits,
    so that adding an index never reaches 2**32 - 1, which llama.cpp takes for "at random".
    """
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4]) >> 1


def upper_bound(messages: Sequence[dict[str, str]]) -> int:
    """Returns more tokens than these messages can have: each is at least a byte of the text."""
    size = sum(len(message["content"].encode()) + _TOKENS_PER_MESSAGE for message in messages)
    return size + _TOKENS_PER_PROMPT


OpenAIStyle = Literal["effort", "budget"]
AnthropicStyle = Literal["adaptive", "budget"]

OPENAI_STYLES: tuple[str, ...] = get_args(OpenAIStyle)
ANTHROPIC_STYLES: tuple[str, ...] = get_args(AnthropicStyle)

LOW_TOKENS = 2048
MEDIUM_TOKENS = 8192
MIN_TOKENS = 1024
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
        if tokens:
            return ({"reasoning_effort": effort(tokens)},)
        return (*({"reasoning_effort": level} for level in ("none", "minimal", "low")), {})
    if style == "budget":
        # llama.cpp's server and vLLM name it differently, and ignore each other's name. For 0 the
        # template alone is right: forced to end at once, small models think on in their answer.
        fields: dict[str, Any] = {_TEMPLATE: {"enable_thinking": tokens > 0}}
        if tokens:
            fields |= {"thinking_budget_tokens": tokens, "thinking_token_budget": tokens}
        return (fields,) if tokens else (fields, {})
    return ({},)


def anthropic_fields(style: AnthropicStyle | None, tokens: int) -> tuple[Fields, ...]:
    """Returns the fields of a message that ask for this much thinking, as `openai_fields` does."""
    if style is None:
        return ({},)
    if not tokens:
        least = {"output_config": {"effort": "low"}}
        off: Fields = {"thinking": {"type": "disabled"}}
        return (off, least, {}) if style == "adaptive" else (off, {})
    if style == "adaptive":
        return ({"thinking": {"type": "adaptive"}, "output_config": {"effort": effort(tokens)}},)
    return ({"thinking": {"type": "enabled", "budget_tokens": anthropic_budget(style, tokens)}},)


def anthropic_budget(style: AnthropicStyle | None, tokens: int) -> int:
    """Returns by how many tokens the cap grows: the budget as the API takes it."""
    if tokens and style == "budget":
        return max(MIN_TOKENS, tokens)
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


Call = Callable[[Request], Awaitable[list[Completion]]]
PaidCall = Callable[[Request, Spent], Awaitable[list[Completion]]]


def deadline_of(request: Request) -> float | None:
    """Returns the time of the running event loop at which the request runs out of time."""
    if request.timeout_seconds is None:
        return None
    return asyncio.get_running_loop().time() + request.timeout_seconds


async def within(
    deadline: float | None,
    call: PaidCall,
    request: Request,
    count_tokens: Callable[[Prompt], Awaitable[int]],
) -> list[Completion]:
    """Returns the samples of one call, or that it timed out.

    A call that timed out is charged with the bounds of its prompt and of its samples, marked as an
    estimate: what the server generated until then is not known.
    """
    begun = asyncio.get_running_loop().time()
    spent = begin_call(request.n)
    try:
        async with asyncio.timeout_at(deadline):
            return await call(request, spent)
    except TimeoutError:
        seconds = asyncio.get_running_loop().time() - begun
        share = Completion("", "timeout", Usage(seconds=seconds / request.n))
        cost = spent.usage
        if not spent.is_read:
            cap = request.prompt.max_tokens + request.thinking_tokens
            prompt_tokens = await count_tokens(request.prompt)
            cost = Usage(1, prompt_tokens, 0, request.n * cap, estimated_calls=1)
        first = dataclasses.replace(share, usage=share.usage + cost)
        return [first] + [share] * (request.n - 1)


async def one_by_one(request: Request, call: Call) -> list[Completion]:
    """Returns the samples of a request, made side by side in a call each.

    Like a task group, but what one call raises comes out as itself, not in a group.
    """
    numbers = range(request.first_sample, request.first_sample + request.n)
    singles = [dataclasses.replace(request, n=1, first_sample=number) for number in numbers]
    tasks = [asyncio.ensure_future(call(single)) for single in singles]
    try:
        return [sample for samples in await asyncio.gather(*tasks) for sample in samples]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
