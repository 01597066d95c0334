"""What a chat completion says: texts, log-probabilities, and above all what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from amp.models.base import Completion, FinishReason, Request, entropy, normalised
from amp.models.chat import estimated_tokens, without_prefix
from amp.models.usage import Came, Stated, believed, size, table
from amp.types import Usage

_THOUGHTS = ("reasoning_content", "reasoning")
"""The text of the thinking: llama.cpp, SGLang and DeepSeek call it so, vLLM otherwise."""


def read(
    request: Request, answer: Mapping[str, Any], usage: Usage, seconds: float
) -> list[Completion]:
    """Returns the samples of an answer, at most as many as were asked for.

    Tokens of further choices are charged to the first sample: they were paid for.

    Args:
        request: what was asked for.
        answer: the answer.
        usage: what it cost, as `usage_of` says.
        seconds: how long it took.

    Raises:
        KeyError, IndexError, TypeError, ValueError: if it is no chat completion.
    """
    choices = sorted(answer["choices"], key=lambda choice: int(choice.get("index", 0)))
    choices = choices[: request.n]
    counts = _counts([len(tokens(choice)) for choice in choices], usage.completion_tokens)
    reasoned = _reasoned(choices, counts, usage.reasoning_tokens)
    call = dataclasses.replace(usage, completion_tokens=0, reasoning_tokens=0)
    completions = []
    for position, choice in enumerate(choices):
        text = choice["message"].get("content") or ""
        said = _said(tokens(choice), text, _thought(choice))
        top = [[entry["logprob"] for entry in token.get("top_logprobs") or ()] for token in said]
        share = Usage(
            completion_tokens=counts[position],
            reasoning_tokens=reasoned[position],
            seconds=seconds / len(choices),
        )
        reason: FinishReason = "length" if choice.get("finish_reason") == "length" else "stop"
        completions.append(
            Completion(
                without_prefix(text, request.prompt),
                reason,
                share + call if position == 0 else share,
                log_probs=tuple(min(0.0, float(token["logprob"])) for token in said),
                entropies=tuple(entropy(normalised(values)) for values in top if values),
            )
        )
    return completions


def contents(answer: Mapping[str, Any]) -> tuple[bool, bool]:
    """Returns whether any choice has text, and whether any tells of its tokens.

    Raises:
        ValueError: if it has no choices, or one without a message.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("it has no choices")
    if not all(isinstance(c, dict) and isinstance(c.get("message"), dict) for c in choices):
        raise ValueError("a choice has no message")
    has_text = any(choice["message"].get("content") for choice in choices)
    return has_text, any(tokens(choice) for choice in choices)


def tokens(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the tokens that a choice tells of."""
    return (choice.get("logprobs") or {}).get("content") or []


def usage_of(request: Request, answer: Mapping[str, Any], prompt_bound: int, model: str) -> Usage:
    """Returns what the call cost, all its choices together, whatever else the answer lacks.

    Args:
        request: what was asked for.
        answer: the answer.
        prompt_bound: tokens that the prompt has at most.
        model: its name, for the log.
    """
    usage = table(answer, "usage")
    stated = Stated(
        usage.get("prompt_tokens"),
        table(usage, "prompt_tokens_details").get("cached_tokens"),
        usage.get("completion_tokens"),
        table(usage, "completion_tokens_details").get("reasoning_tokens"),
        usage.get("total_tokens"),
    )
    found = answer.get("choices")
    found = found if isinstance(found, list) else []
    choices = [choice for choice in found if isinstance(choice, dict)]
    messages = [table(choice, "message") for choice in choices]
    said = sum(size(message.get("content")) for message in messages)
    thought = sum(size(message.get(name)) for message in messages for name in _THOUGHTS)
    listed = sum(_listed(choice) for choice in choices)
    came = Came(len(choices), said, thought, listed)
    return believed(stated, came, request, prompt_bound, model)


def _counts(listed: Sequence[int], stated: int) -> list[int]:
    """Tokens of each choice: what it lists, and at least what the server states in all.

    Trap: llama.cpp's server states the tokens of one choice only. Where choices list no tokens, the
    stated figure is split evenly, which undercounts at such a server.
    """
    missing = max(0, stated - sum(listed))
    if any(listed) and len(listed) > 1:
        return [listed[0] + missing, *listed[1:]]
    return [count + part for count, part in zip(listed, _split(missing, len(listed)), strict=True)]


def _reasoned(
    choices: Sequence[Mapping[str, Any]], counts: Sequence[int], stated: int
) -> list[int]:
    """Tokens that each choice thought: what the server states, else what its text leaves over.

    Where a server states nothing, the tokens before the text count, or if it lists none, the
    estimate by length.
    """
    if stated:
        parts = _split(stated, len(choices))
        return [min(part, count) for part, count in zip(parts, counts, strict=True)]
    reasoned = []
    for choice, count in zip(choices, counts, strict=True):
        listed, thought = tokens(choice), _thought(choice)
        text = choice["message"].get("content") or ""
        if thought and listed:
            reasoned.append(len(listed) - len(_said(listed, text, thought)))
        else:
            reasoned.append(estimated_tokens(count, thought, text))
    return reasoned


def _thought(choice: Mapping[str, Any]) -> str:
    message = choice["message"]
    return str(next(filter(None, map(message.get, _THOUGHTS)), ""))


def _said(listed: list[dict[str, Any]], text: str, thought: str) -> list[dict[str, Any]]:
    """The tokens of the text alone: thinking comes first, and is listed with it."""
    if not thought:
        return listed
    text = text.strip()
    whole = "".join(str(token["token"]) for token in listed)
    begin = whole.rfind(text) if text else -1
    if begin < 0:
        return []
    position, said = 0, []
    for token in listed:
        position += len(str(token["token"]))
        if position > begin:
            said.append(token)
    return said


def _split(total: int, parts: int) -> list[int]:
    share, rest = divmod(total, parts)
    return [share + (1 if i < rest else 0) for i in range(parts)]


def _listed(choice: Mapping[str, Any]) -> int:
    content = table(choice, "logprobs").get("content")
    return len(content) if isinstance(content, list) else 0
