"""What a chat completion says: texts, log-probabilities, and above all what it cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from amp.models.answer_text import (
    AnswerText,
    answer_text,
    cut_at_stop,
    entropies,
    finish_reason,
    listed,
    tokens_of,
    without_thinking,
)
from amp.models.base import Completion, Request
from amp.models.bill import Came, Stated, believed, number, size, table
from amp.models.chat import estimated_tokens, without_prefix
from amp.models.reply import failure_of_choice
from amp.types import Usage

_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thoughts")
"""The text of the thinking: llama.cpp, SGLang and DeepSeek call it so, others otherwise."""

_ALL_THOUGHTS = (*_THOUGHTS, "reasoning_details", "thinking_blocks")
_GENERATED = ("content", "refusal", "tool_calls", "function_call")
"""What was generated and paid for, whether it is of use or not."""


def read(
    request: Request, answer: Mapping[str, Any], usage: Usage, seconds: float
) -> list[Completion]:
    """Returns the samples of an answer, at most as many as were asked for.

    Choices that failed are left out. Tokens of further choices are charged to the first sample:
    they were paid for.

    Args:
        request: what was asked for.
        answer: the answer.
        usage: what it cost, as `usage_of` says.
        seconds: how long it took.

    Raises:
        ValueError: if it is no chat completion.
    """
    good = [choice for choice in answer["choices"] if failure_of_choice(choice) is None]
    choices = sorted(good, key=lambda choice: number(choice.get("index")) or 0)[: request.n]
    counts = _counts([_listed(choice) for choice in choices], usage.completion_tokens)
    parts = [_answer_text(choice) for choice in choices]
    reasoned = _reasoned(choices, parts, counts, usage.reasoning_tokens)
    call = dataclasses.replace(usage, completion_tokens=0, reasoning_tokens=0)
    completions = []
    for position, (choice, part) in enumerate(zip(choices, parts, strict=True)):
        share = Usage(
            completion_tokens=counts[position],
            reasoning_tokens=reasoned[position],
            seconds=seconds / len(choices),
        )
        whole = without_prefix(part.text, request.prompt)
        text = cut_at_stop(whole, request.prompt)
        reason = finish_reason(choice, part, is_cut=text != whole)
        told = listed(choice.get("logprobs"))
        if part.thought or text != part.text:
            told = tokens_of(text, told)
        log_probs = tuple(token.log_prob for token in told if token.log_prob is not None)
        completions.append(
            Completion(
                "" if reason == "filtered" else text,
                reason,
                share + call if position == 0 else share,
                log_probs=log_probs if len(log_probs) == len(told) else (),
                entropies=entropies(told),
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
    return has_text, any(listed(choice.get("logprobs")) for choice in choices)


def next_token(choice: Mapping[str, Any]) -> dict[str, float] | None:
    """Returns the log-probabilities of the likeliest first tokens of a choice.

    None if the choice begins with thinking, so that they are not those of its text.
    """
    part, told = _answer_text(choice), listed(choice.get("logprobs"))
    first = told[0] if told else None
    if part.thought or part.unfinished or (first and without_thinking(first.text).unfinished):
        return None
    masses: dict[str, list[float]] = {}
    for text, log_prob in first.top if first else ():
        masses.setdefault(text, []).append(math.exp(log_prob))
    totals = {text: math.fsum(parts) for text, parts in masses.items()}
    return {text: min(0.0, math.log(mass)) for text, mass in totals.items() if mass > 0.0}


def prompt_log_probs(answer: Mapping[str, Any]) -> list[float]:
    """Returns the log-probability of each token of the prompt; of the first one it is 0.

    Raises:
        ValueError: if one is missing or is none.
    """
    listed, ids = answer.get("prompt_logprobs"), answer.get("prompt_token_ids")
    if not isinstance(listed, list) or not isinstance(ids, list) or len(listed) != len(ids):
        raise ValueError("it has no log-probabilities of the prompt")
    found = [0.0]  # nothing is before it
    for told, token in zip(listed[1:], ids[1:], strict=True):
        entry = told.get(str(token)) if isinstance(told, dict) else None
        value = entry.get("logprob") if isinstance(entry, dict) else None
        if not isinstance(value, int | float) or not value <= 0.0:
            raise ValueError("a token of the prompt has no log-probability")
        found.append(float(value))
    return found


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
    text = sum(size(message.get(name)) for message in messages for name in _GENERATED)
    # The largest: some servers send the same thinking under two names.
    thought = sum(max(size(message.get(name)) for name in _ALL_THOUGHTS) for message in messages)
    tokens = sum(_listed(choice) for choice in choices)
    came = Came(len(choices), text, thought, tokens)
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
    choices: Sequence[Mapping[str, Any]],
    parts: Sequence[AnswerText],
    counts: Sequence[int],
    stated: int,
) -> list[int]:
    """Tokens that each choice thought: what the server states, else what its text leaves over.

    Where a server states nothing, the tokens before the text count, or if it lists none, the
    estimate by length.
    """
    if stated:
        shares = _split(stated, len(choices))
        return [min(share, count) for share, count in zip(shares, counts, strict=True)]
    reasoned = []
    for choice, part, count in zip(choices, parts, counts, strict=True):
        told = listed(choice.get("logprobs"))
        if part.thought and told:
            reasoned.append(min(count, len(told) - len(tokens_of(part.text, told))))
        else:
            reasoned.append(estimated_tokens(count, part.thought, part.text))
    return reasoned


def _answer_text(choice: Mapping[str, Any]) -> AnswerText:
    message = choice["message"]
    thought = next(filter(None, map(message.get, _THOUGHTS)), None)
    part = answer_text(message.get("content"), thought)
    refused = isinstance(message.get("refusal"), str) and message["refusal"] and not part.text
    return dataclasses.replace(part, withheld=bool(refused))


def _split(total: int, parts: int) -> list[int]:
    share, rest = divmod(total, parts)
    return [share + (1 if i < rest else 0) for i in range(parts)]


def _listed(choice: Mapping[str, Any]) -> int:
    content = table(choice, "logprobs").get("content")
    return len(content) if isinstance(content, list) else 0
