"""FLOPs and dollars of a usage, the cost that comparisons use, and the ledger of the limits.

Whatever is compared is compared by a `Cost`, which `costing` turns into the one function of a usage
that both sides are measured by. The ledger enforces the limits of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from amp.errors import InvalidInputError, LimitReachedError, did_you_mean
from amp.models.base import ModelCard
from amp.types import Limits, Usage

Cost = Literal["tokens", "written", "flops", "dollars", "seconds"]
"""What a comparison is made in: all tokens, those that were written, floating point operations (a
cached prompt token costs its attention alone), dollars by a price list (cached ones at their price
there), or seconds inside models and tools, which a replay has from its recording."""

COSTS: Mapping[Cost, str] = {
    "tokens": "tokens",
    "written": "written tokens",
    "flops": "FLOPs",
    "dollars": "dollars",
    "seconds": "seconds",
}
"""Every cost, in words."""

_FORMER_NAMES: Mapping[str, Cost] = {"completion_tokens": "written"}


def flops(usages: Sequence[Usage], card: ModelCard) -> float:
    """Floating point operations of a decoder for one request, attention included.

    A processed token costs 2 N for the weights (one multiply-add a parameter) and, as the t-th
    token of its text, 4 layers * width * t for attention: it is multiplied with t keys (Q K^T) and
    mixes t values (A V), 2 operations a multiply-add each. Over a text of n tokens that adds up to
    4 layers * width * n (n + 1) / 2, which is 2 layers * width * n a token for large n, the
    attention term of Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
    Grouped-query attention shares keys and values among heads, which saves memory and not one of
    these operations: every query head still meets every token.

    Prompt tokens found in a cache are not processed again, but they are attended to. Every
    generated token counts as processed, the last one too, though nothing reads it any more.

    Args:
        usages: one a sample. A usage with a prompt begins a call (several calls in one usage are
            taken as equal); one without continues the prompt before it.
        card: the model. Without parameters its weights, without layers and attention_width its
            attention count as nothing.
    """
    processed = pairs = prompt = 0.0
    for usage in usages:
        calls = max(1, usage.model_calls)
        fresh = usage.prompt_tokens - usage.cached_prompt_tokens
        if usage.prompt_tokens:
            prompt = usage.prompt_tokens / calls
        processed += fresh + usage.completion_tokens
        pairs += calls * (
            attended(usage.cached_prompt_tokens / calls, fresh / calls)
            + attended(prompt, usage.completion_tokens / calls)
        )
    attention = 4.0 * (card.layers or 0) * (card.attention_width or 0)
    return 2.0 * (card.parameters or 0) * processed + attention * pairs


def attended(before: float, tokens: float) -> float:
    """Pairs of a token and one that it attends to, over `tokens` tokens after `before` others."""
    return tokens * before + tokens * (tokens + 1.0) / 2.0


def charged(card: ModelCard, usages: Sequence[Usage]) -> Usage:
    """The usage of one request, of one usage a sample, with its FLOPs and dollars worked out."""
    usage = sum(usages, Usage())
    return replace(usage, flops=flops(usages, card), dollars=dollars(usage, card))


def prices_of(card: ModelCard) -> tuple[float | None, ...]:
    """Prices of prompt, cached, completion and reasoning tokens, as the card has them."""
    return (
        card.dollars_per_million_prompt_tokens,
        card.dollars_per_million_cached_tokens,
        card.dollars_per_million_completion_tokens,
        card.dollars_per_million_reasoning_tokens,
    )


def is_priced(card: ModelCard) -> bool:
    """Whether the model's price is known; that of a local model is known to be 0."""
    return None not in prices_of(card)[:3]


def dollars(usage: Usage, card: ModelCard) -> float:
    """Price of a usage by the prices on the model's card; 0 where they are not known.

    Cached prompt tokens and tokens of native thinking have prices of their own. Tokens that a
    provider writes into a cache at a surcharge (1.25 times at Anthropic) are not told apart: they
    count as other prompt tokens, since AMP asks for no cache to be written.
    """
    completion = card.dollars_per_million_completion_tokens or 0.0
    reasoning = card.dollars_per_million_reasoning_tokens
    return (
        (usage.prompt_tokens - usage.cached_prompt_tokens)
        * (card.dollars_per_million_prompt_tokens or 0.0)
        + usage.cached_prompt_tokens * (card.dollars_per_million_cached_tokens or 0.0)
        + (usage.completion_tokens - usage.reasoning_tokens) * completion
        + usage.reasoning_tokens * (completion if reasoning is None else reasoning)
    ) / 1e6


def read_cost(name: str) -> Cost:
    """The cost of this name.

    Raises:
        InvalidInputError: if there is none; names the nearest and all.
    """
    for cost in COSTS:
        if cost in (name, _FORMER_NAMES.get(name)):
            return cost
    known: list[str] = list(COSTS)
    raise InvalidInputError(
        f"unknown cost {name!r}{did_you_mean(name, known)} (costs: {', '.join(known)})"
    )


def cost_of(usage: Usage, cost: Cost = "tokens", prices: ModelCard | None = None) -> float:
    """What a usage costs; that of several calls is the sum of theirs.

    Args:
        usage: what was spent, with its FLOPs and dollars, as the ledger works them out.
        cost: in which unit.
        prices: by which dollars are worked out anew from the tokens; None takes those charged.
    """
    match cost:
        case "tokens":
            return float(usage.tokens)
        case "written":
            return float(usage.completion_tokens)
        case "flops":
            return usage.flops
        case "dollars":
            return usage.dollars if prices is None else dollars(usage, prices)
        case "seconds":
            return usage.seconds


@dataclass(frozen=True, slots=True)
class Costing:
    """How whatever is compared is measured: by one cost, and dollars by one list of prices.

    Attributes:
        cost: in which unit.
        prices: card of the model with a reference price, where its own is 0; else None.
        note: which price that is; else empty.
    """

    cost: Cost = "tokens"
    prices: ModelCard | None = None
    note: str = ""

    def of(self, usage: Usage) -> float:
        """What a usage of the model costs."""
        return cost_of(usage, self.cost, self.prices)


BY_TOKENS = Costing()
"""By all tokens."""


def costing(cost: Cost, card: ModelCard) -> Costing:
    """How usages of a model are measured by a cost.

    A model on this machine costs no dollars, but to compare in dollars it has the price of a hosted
    model of its size (`amp.models.registry.reference_price`).

    Raises:
        InvalidInputError: if FLOPs are asked for and the model's size is not known, or dollars and
            neither its price is nor that of a hosted model of its size.
    """
    if cost == "flops" and not card.parameters:
        raise InvalidInputError(
            f"FLOPs of model {card.name} are not known, since its number of parameters is not;"
            " compare by another cost"
        )
    if cost != "dollars":
        return Costing(cost)
    if not is_priced(card):
        raise InvalidInputError(
            f"no price is known for model {card.name}, so it can't be compared in dollars; add it"
            " to a price table (setting prices), or compare by another cost"
        )
    if worst_dollars(1, 1, card) > 0:
        return Costing(cost)
    from amp.models.registry import reference_price  # reads a file, which few comparisons need

    price = reference_price(card)
    prices = replace(
        card,
        dollars_per_million_prompt_tokens=price.prompt,
        dollars_per_million_cached_tokens=price.cached,
        dollars_per_million_completion_tokens=price.completion,
        dollars_per_million_reasoning_tokens=price.reasoning,
    )
    return Costing(cost, prices, f"dollars: {card.name} at the price of {price}")


def worst_dollars(prompt_tokens: int, completion_tokens: int, card: ModelCard) -> float:
    """The most that a call can cost: each token at the dearest price that it may have."""
    cached = Usage(prompt_tokens=prompt_tokens, cached_prompt_tokens=prompt_tokens)
    thought = Usage(completion_tokens=completion_tokens, reasoning_tokens=completion_tokens)
    return max(dollars(Usage(prompt_tokens=prompt_tokens), card), dollars(cached, card)) + max(
        dollars(Usage(completion_tokens=completion_tokens), card), dollars(thought, card)
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for one model call: at most `n` samples of at most `max_tokens` tokens each.

    Attributes:
        timeout_seconds: after this long the call has to be cancelled; None if time is unlimited.
        tokens: reserved for the call until it is charged.
        dollars: likewise.
    """

    n: int
    max_tokens: int
    timeout_seconds: float | None
    tokens: int
    dollars: float


class Ledger:
    """Counts what one episode spends and refuses the call that would break a limit.

    A call is granted for its worst case: the whole prompt uncached and every sample as long as its
    cap. Where that does not fit, fewer samples are granted, then a lower cap, but at least half of
    it (answers usually end well before their cap, and one that is cut off is wasted).

    Attributes:
        usage: spent so far.
        by_model: the part of it that each model took, by the name on its card.
        steps: plan steps begun.
        ended_by: what ended the episode: the limit that refused a call or a step, or another
            ending, such as `MODEL_ERROR`; None while it continues.
    """

    def __init__(self, limits: Limits) -> None:
        for name in ("steps", "tokens", "dollars", "seconds", "environment_seconds"):
            value = getattr(limits, name)
            if value is not None and not value > 0:
                raise InvalidInputError(f"limit {name} is {value}, expected more than 0")
        self.limits = limits
        self.usage = Usage()
        self.by_model: dict[str, Usage] = {}
        self.steps = 0
        self.ended_by: str | None = None
        self._reserved_tokens = 0
        self._reserved_dollars = 0.0

    @property
    def remaining(self) -> Limits:
        """What the limits still allow, less the grants that are not charged yet; at least 0."""
        limits, usage = self.limits, self.usage
        return Limits(
            steps=None if limits.steps is None else max(0, limits.steps - self.steps),
            tokens=None
            if limits.tokens is None
            else max(0, limits.tokens - usage.tokens - self._reserved_tokens),
            dollars=None
            if limits.dollars is None
            else max(0.0, limits.dollars - usage.dollars - self._reserved_dollars),
            seconds=None if limits.seconds is None else max(0.0, limits.seconds - usage.seconds),
        )

    @property
    def ending(self) -> str:
        """`Episode.ended` of an episode that is not done, such as ``limit of tokens``."""
        is_limit = self.ended_by in (None, "steps", "tokens", "dollars", "seconds")
        return f"limit of {self.ended_by}" if is_limit else str(self.ended_by)

    def begin_step(self) -> bool:
        """Counts a plan step and returns True, or notes the limit that forbids one more."""
        if self.ended_by is None:
            left = self.remaining
            for name in ("steps", "tokens", "dollars", "seconds"):
                if getattr(left, name) == 0:
                    self.ended_by = name
                    break
            else:
                self.steps += 1
                return True
        return False

    def grant(self, card: ModelCard, prompt_tokens: int, n: int, max_tokens: int) -> Grant:
        """Reserves what a call to the model of this card may cost at most.

        Raises:
            LimitReachedError: if not even one sample of half the cap fits.
            InvalidInputError: if dollars are limited and no price of the model is known.
        """
        self.check_price(card)
        left = self.remaining
        if left.seconds is not None and left.seconds <= 0:
            raise self.refuse("seconds", "no time is left")
        half_cap = -(-max_tokens // 2)
        room, limit = self._completion_room(card, prompt_tokens, left, n * max_tokens)
        if room < half_cap:
            raise self.refuse(
                limit,
                f"a call of {prompt_tokens} prompt and {half_cap} completion tokens won't fit",
            )
        granted_n = min(n, max(1, room // max_tokens))
        granted_tokens = min(max_tokens, room // granted_n)
        return self.reserve(card, prompt_tokens, granted_n, granted_tokens)

    def check_price(self, card: ModelCard) -> None:
        """Makes sure that a limit of dollars can be kept with a model.

        Raises:
            InvalidInputError: if dollars are limited and no price of the model is known.
        """
        if self.limits.dollars is not None and not is_priced(card):
            raise InvalidInputError(
                f"dollars is limited to {self.limits.dollars}, but no price is known for model"
                f" {card.name!r}; add it to a price table and name that as `prices` in amp.toml or"
                " as AMP_PRICES"
            )

    def reserve(self, card: ModelCard, prompt_tokens: int, n: int, max_tokens: int) -> Grant:
        """Reserves exactly this, whatever the limits say."""
        grant = Grant(
            n,
            max_tokens,
            self.remaining.seconds,
            prompt_tokens + n * max_tokens,
            worst_dollars(prompt_tokens, n * max_tokens, card),
        )
        self._reserved_tokens += grant.tokens
        self._reserved_dollars += grant.dollars
        return grant

    @contextmanager
    def at_most(self, tokens: int | None) -> Iterator[None]:
        """Grants no more than so many further tokens while it is open; None changes nothing.

        A call that does not fit is not made and ends what is in the block; it does not end the
        episode, unless the limit of the episode would not have allowed it either.
        """
        limits, left = self.limits, self.remaining.tokens
        if tokens is None or (left is not None and left <= tokens):
            yield
            return
        self.limits = replace(limits, tokens=self.usage.tokens + tokens)
        try:
            yield
        except LimitReachedError as error:
            if error.limit != "tokens":
                raise
        finally:
            self.limits = limits
            if self.ended_by == "tokens":
                self.ended_by = None

    def release(self, grant: Grant) -> None:
        """Frees what was reserved for a call, whether it was made or not."""
        self._reserved_tokens -= grant.tokens
        self._reserved_dollars -= grant.dollars

    def charge(self, card: ModelCard, usages: Sequence[Usage]) -> Usage:
        """Adds one request, one usage a sample, with its FLOPs and dollars worked out.

        The first usage carries the call and its prompt, as `Completion.usage` does. Where a back
        end makes several calls of one request, each carries its own.

        Returns:
            The usage of the whole request, so completed.
        """
        usage = charged(card, usages)
        self.usage += usage
        self.by_model[card.name] = self.by_model.get(card.name, Usage()) + usage
        return usage

    def charge_tool(self, seconds: float) -> None:
        """Adds one run of a tool."""
        self.usage += Usage(seconds=seconds, tool_calls=1)

    @staticmethod
    def _completion_room(
        card: ModelCard, prompt_tokens: int, left: Limits, requested: int
    ) -> tuple[int, str]:
        """Completion tokens that fit beside the prompt, and the limit that allows the fewest."""
        room, limit = requested, "tokens"
        if left.tokens is not None:
            room = min(room, left.tokens - prompt_tokens)
        if left.dollars is not None:
            price = worst_dollars(0, 1, card)
            spare = left.dollars - worst_dollars(prompt_tokens, 0, card)
            affordable = (
                requested if price == 0 and spare >= 0 else int(spare / price) if price else -1
            )
            if affordable < room:
                room, limit = affordable, "dollars"
        return room, limit

    def refuse(self, limit: str, why: str) -> LimitReachedError:
        """Notes that a limit ended the episode; returns the error for the caller to raise."""
        self.ended_by = limit
        return LimitReachedError(
            limit, f"limit of {getattr(self.limits, limit)} {limit} reached: {why}"
        )
