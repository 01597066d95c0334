"""What calls cost: the bill for those that return nothing, and what answers say of themselves.

An answer carries its usage. A call that is cancelled, one whose connection breaks, and one whose
answer is rejected return nothing, but were paid for. So the caller opens a `Bill`, and back ends
write down on it, call by call, what was spent by now. A caller who gets an answer takes the usage
from there; one who gets an error or is cancelled takes it from the bill.

The bill is found by a context variable, not passed along: it reaches a back end through every
wrapper, and `LanguageModel` stays as small as it is. A model that knows nothing of bills is charged
with the most that a cancelled call can have cost.

Servers leave figures out, send null, text, NaN or negative numbers, count no tokens for a text, or
more cached tokens than the prompt has. A ledger that believed them would never reach its limits. So
a figure is taken only if it can be true; else the upper bound stands for it, and the usage is
marked as an estimate (`Usage.estimated_calls`):

| figure | cannot be true | what stands for it |
|---|---|---|
| any | no whole number from 0 to ten million | as if it were missing |
| prompt | missing, or fewer than a text of its length can have | what `count_tokens` says |
| cached | more than the prompt | 0, and for the prompt at least what `count_tokens` says |
| completion | missing, or fewer than the text can have | the cap of every sample |
| reasoning | more than the completion | it is added to the completion |
| total | more than its parts | the rest is added to the completion |
| prompt | more than `count_tokens` says | itself, since some servers add to it |
| completion | more than the caps allow | itself, since some servers overrun them |

Reasoning and total are habits of servers that do not count native thinking as completion. NOT
covered: a figure that is false and could be true.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from amp.models.base import Request
from amp.types import Usage


@dataclass(slots=True)
class Bill:
    """The calls of one request.

    Attributes:
        bound: the most that one call of one sample can cost, as an estimate.
        granted: how many calls the caller has reserved money for.
        more: reserves it for one more call of so many samples; raises LimitReachedError where the
            limits do not allow one.
        calls: what was written down; None if the model knows nothing of bills.
        sent: calls that were sent and may have cost something.
    """

    bound: Usage
    granted: int
    more: Callable[[int], None]
    calls: list[Spent] | None = None
    sent: int = 0

    def usages(self) -> list[Usage] | None:
        """Returns what was spent, one usage a call; None if the model knows nothing of bills."""
        return None if self.calls is None else [call.usage for call in self.calls]

    def most(self, samples: int) -> Usage:
        """Returns what a call of so many samples can cost."""
        return replace(
            self.bound,
            completion_tokens=samples * self.bound.completion_tokens,
            reasoning_tokens=samples * self.bound.reasoning_tokens,
        )


class Spent:
    """What one call has spent by now, with all its tries.

    Args:
        bill: where it stands; None if nobody reads it.
        samples: how many samples it asks for.
    """

    def __init__(self, bill: Bill | None, samples: int) -> None:
        self._bill = bill
        self._samples = samples
        self._lost = Usage()
        self._now = Usage()

    @property
    def is_read(self) -> bool:
        """Whether somebody reads it."""
        return self._bill is not None

    @property
    def usage(self) -> Usage:
        """Without seconds, which the caller measures."""
        return self._lost + self._now

    def prompt_bound(self, otherwise: int) -> int:
        """Returns the tokens that the caller has reserved for the prompt."""
        return otherwise if self._bill is None else self._bill.bound.prompt_tokens

    def send(self) -> None:
        """Notes that a try is sent: until it is told, it costs the bound.

        Raises:
            LimitReachedError: if the limits do not allow another try; it must not be sent.
        """
        if self._bill is None:
            return
        self._lost, self._now = self.usage, Usage()
        if self._bill.sent >= self._bill.granted:
            self._bill.more(self._samples)
            self._bill.granted += 1
        self._bill.sent += 1
        self._now = self._bill.most(self._samples)

    def free(self) -> None:
        """Notes that the last try cost nothing: it never arrived, or was refused."""
        if self._bill is not None and self._now.model_calls:
            self._bill.sent -= 1
        self._now = Usage()

    def told(self, usage: Usage) -> Usage:
        """Notes what the last try cost; returns what the whole call did."""
        self._now = replace(usage, seconds=0.0)
        return self._lost + usage


_bill: ContextVar[Bill | None] = ContextVar("_bill", default=None)


@contextmanager
def open_bill(bill: Bill) -> Iterator[None]:
    """Has the back ends that are awaited inside write on this bill."""
    token = _bill.set(bill)
    try:
        yield
    finally:
        _bill.reset(token)


def begin_call(samples: int = 1) -> Spent:
    """Begins a call, which has spent nothing yet."""
    bill = _bill.get()
    spent = Spent(bill, samples)
    if bill is not None:
        bill.calls = [*(bill.calls or ()), spent]
    return spent


_MOST_TOKENS = 10_000_000
"""No context is larger; a figure above is no figure."""

_LONGEST_TOKEN = 256
"""Bytes. The longest tokens of the vocabularies known to us are runs of 128 spaces."""

_DEEPEST = 8

_NOT_GENERATED = {"type", "id", "name", "role", "index", "format", "signature", "data", "error"}
"""Fields of parts of an answer that hold no text of the model's; a signature is long."""

_log = logging.getLogger(__name__)
_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class Stated:
    """The figures of an answer as the server sent them, of whatever type; None where it sent none.

    Attributes:
        prompt: tokens of the whole prompt, cached ones among them.
        cached: those of them that were read from a cache.
        completion: tokens generated, over all samples.
        reasoning: those of them that were thinking.
        total: prompt and completion together.
    """

    prompt: object
    cached: object
    completion: object
    reasoning: object
    total: object = None


@dataclass(frozen=True, slots=True)
class Came:
    """What came for it, to compare the figures with.

    Attributes:
        samples: how many.
        said_bytes: of their texts.
        thought_bytes: of the thinking that was shown.
        listed_tokens: tokens that were listed with their log-probabilities.
    """

    samples: int
    said_bytes: int
    thought_bytes: int
    listed_tokens: int = 0


def believed(stated: Stated, came: Came, request: Request, prompt_bound: int, model: str) -> Usage:
    """Returns what one call cost: what the server states, as far as it can be true.

    Args:
        stated: the figures.
        came: what there is to show for them.
        request: what was asked for.
        prompt_bound: tokens that the prompt has at most.
        model: its name, for the log, which says once a model what is not believed.

    Returns:
        The usage of the call without its seconds; `reasoning_tokens` is 0 where none are stated.
    """
    doubts = []

    def doubt(name: str, figure: object) -> None:
        plain = figure is None or isinstance(figure, int | float | str)
        shown = repr(figure) if plain else type(figure).__name__
        doubts.append(f"{name} tokens {shown:.20}")

    prompt = number(stated.prompt)
    if prompt is None or _too_few(prompt, _prompt_bytes(request)) or prompt > prompt_bound:
        doubt("prompt", stated.prompt)
        prompt = max(prompt or 0, prompt_bound)
    cached = 0 if stated.cached is None else number(stated.cached)
    if cached is None or cached > prompt:
        doubt("cached", stated.cached)
        prompt, cached = max(prompt, prompt_bound), 0
    completion = number(stated.completion)
    most = _most(came, request)
    too_few = completion is None or _too_few(completion, came.said_bytes + came.thought_bytes)
    if completion is None or too_few or completion > most:
        doubt("completion", stated.completion)
        completion = max(completion or 0, most)
    total = number(stated.total)
    if total is not None and total > prompt + max(completion, came.listed_tokens):
        doubt("total", total)
        completion = total - prompt
    reasoning = 0 if stated.reasoning is None else number(stated.reasoning)
    if reasoning is None:
        doubt("reasoning", stated.reasoning)
        reasoning = 0
    if reasoning > completion:
        doubt("reasoning", reasoning)
        completion += reasoning
    if doubts and model not in _warned:
        _warned.add(model)
        _log.warning(
            "model %s states a usage that cannot be true (%s); what is charged is an upper bound,"
            " marked as an estimate",
            model, ", ".join(doubts),
        )  # fmt: skip
    return Usage(
        model_calls=1,
        prompt_tokens=prompt,
        cached_prompt_tokens=cached,
        completion_tokens=completion,
        reasoning_tokens=reasoning,
        estimated_calls=int(bool(doubts)),
    )


def number(value: object) -> int | None:
    """Returns a number of tokens, or None if it is none that can be true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _MOST_TOKENS or value != math.floor(value):  # NaN is no number, either
        return None
    return int(value)


def table(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Returns the object of that name, or an empty one where there is something else."""
    found = answer.get(name)
    return found if isinstance(found, dict) else {}


def size(content: object, depth: int = _DEEPEST) -> int:
    """Returns the bytes of a text, or of all texts in parts that were generated."""
    if isinstance(content, str):
        return len(content.encode("utf-8", "replace"))
    if isinstance(content, dict):
        content = [part for name, part in content.items() if name not in _NOT_GENERATED]
    if isinstance(content, list) and depth:
        return sum(size(part, depth - 1) for part in content)
    return 0


def _most(came: Came, request: Request) -> int:
    """The most tokens that can have been generated.

    The cap, if it held the thinking, too; at some servers it does not.
    """
    cap = max(came.samples, request.n) * (request.prompt.max_tokens + request.thinking_tokens)
    return max(cap, came.listed_tokens, min(came.said_bytes, cap) + came.thought_bytes)


def _too_few(tokens: int, size: int) -> bool:
    """Whether a text of this many bytes has more tokens."""
    return tokens * _LONGEST_TOKEN < size


def _prompt_bytes(request: Request) -> int:
    return sum(size(message.content) for message in request.prompt.messages)
