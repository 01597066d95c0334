"""From usage to FLOPs and dollars, the ledger that holds an episode's limits, and the reward.

The reward stands here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from amp.errors import InvalidInputError, LimitReachedError
from amp.models.base import ModelCard
from amp.types import Limits, Usage


def flops(usage: Usage, card: ModelCard) -> float:
    """Floating point operations of a decoder: 2 per parameter and processed token.

    Tokens found in a prefix cache are not processed again. Attention's share, which grows with the
    context, is left out; it is a few per cent at the context lengths used here.
    Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
    """
    processed = usage.prompt_tokens - usage.cached_prompt_tokens + usage.completion_tokens
    return 2.0 * (card.parameters or 0) * processed


def dollars(usage: Usage, card: ModelCard) -> float:
    """Price of a usage by the prices on the model's card, cached prompt tokens apart."""
    fresh = usage.prompt_tokens - usage.cached_prompt_tokens
    return (
        fresh * card.dollars_per_million_prompt_tokens
        + usage.cached_prompt_tokens * card.dollars_per_million_cached_tokens
        + usage.completion_tokens * card.dollars_per_million_completion_tokens
    ) / 1e6


def reward(success: float, normalised_cost: float, trade_off: float) -> float:
    """lambda * success - (1 - lambda) * cost (spec 2.4).

    Args:
        success: quality of the plan in [0, 1]; 0 or 1 where success is binary.
        normalised_cost: cost relative to a reference budget, at least 0.
        trade_off: lambda in [0, 1], the weight of success against cost.

    Raises:
        InvalidInputError: if a value is out of its range or NaN.
    """
    if not 0.0 <= trade_off <= 1.0:
        raise InvalidInputError(f"trade_off is {trade_off}, expected 0 to 1")
    if not 0.0 <= success <= 1.0:
        raise InvalidInputError(f"success is {success}, expected 0 to 1")
    if not normalised_cost >= 0.0:
        raise InvalidInputError(f"normalised_cost is {normalised_cost}, expected at least 0")
    return trade_off * success - (1.0 - trade_off) * normalised_cost


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave for one model call: at most `n` samples of at most `max_tokens` tokens each.

    Attributes:
        timeout_seconds: after this long the call has to be cancelled; None if time is unlimited.
        tokens: what the ledger holds back for the call until it is charged.
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
    cap. Where that does not fit, the samples become fewer, then the cap shrinks, but not below half
    (answers usually end well before their cap, cut-off ones are money lost).

    Attributes:
        usage: spent so far.
        steps: plan steps begun.
        exhausted: the limit that refused a call or a step, or None.
    """

    def __init__(self, limits: Limits) -> None:
        for name in ("steps", "tokens", "dollars", "seconds"):
            value = getattr(limits, name)
            if value is not None and not value > 0:
                raise InvalidInputError(f"limit {name} is {value}, expected more than 0")
        self.limits = limits
        self.usage = Usage()
        self.steps = 0
        self.exhausted: str | None = None
        self._held_tokens = 0
        self._held_dollars = 0.0

    @property
    def remaining(self) -> Limits:
        """What the limits still allow, grants under way taken off, cut to zero."""
        limits, usage = self.limits, self.usage
        return Limits(
            steps=None if limits.steps is None else max(0, limits.steps - self.steps),
            tokens=None
            if limits.tokens is None
            else max(0, limits.tokens - usage.tokens - self._held_tokens),
            dollars=None
            if limits.dollars is None
            else max(0.0, limits.dollars - usage.dollars - self._held_dollars),
            seconds=None if limits.seconds is None else max(0.0, limits.seconds - usage.seconds),
        )

    def begin_step(self) -> bool:
        """Counts a plan step if one more may begin; else notes the limit and returns False."""
        if self.exhausted is None:
            left = self.remaining
            for name in ("steps", "tokens", "dollars", "seconds"):
                if getattr(left, name) == 0:
                    self.exhausted = name
                    break
            else:
                self.steps += 1
                return True
        return False

    def grant(self, card: ModelCard, prompt_tokens: int, n: int, max_tokens: int) -> Grant:
        """Holds back what a call to the model of this card may cost at most.

        Raises:
            LimitReachedError: if not even one sample of half the cap fits.
        """
        left = self.remaining
        if left.seconds is not None and left.seconds <= 0:
            raise self.refuse("seconds", "no time is left")
        least = -(-max_tokens // 2)
        room, limit = self._completion_room(card, prompt_tokens, left, n * max_tokens)
        if room < least:
            raise self.refuse(
                limit, f"a call of {prompt_tokens} prompt and {least} completion tokens won't fit"
            )
        granted_n = min(n, max(1, room // max_tokens))
        granted_tokens = min(max_tokens, room // granted_n)
        worst = Usage(prompt_tokens=prompt_tokens, completion_tokens=granted_n * granted_tokens)
        grant = Grant(
            granted_n, granted_tokens, left.seconds, worst.tokens, dollars(worst, card)
        )
        self._held_tokens += grant.tokens
        self._held_dollars += grant.dollars
        return grant

    def release(self, grant: Grant) -> None:
        """Gives back what was held for a call, whether it was made or not."""
        self._held_tokens -= grant.tokens
        self._held_dollars -= grant.dollars

    def charge(self, card: ModelCard, usages: Sequence[Usage]) -> Usage:
        """Adds one model call, one usage a sample, with its FLOPs and dollars worked out.

        The first usage carries the call and its prompt, as `Completion.usage` does.

        Returns:
            The usage of the whole call, so completed.
        """
        usage = sum(usages, Usage())
        priced = replace(usage, flops=flops(usage, card), dollars=dollars(usage, card))
        self.usage += priced
        return priced

    def charge_tool(self, seconds: float) -> None:
        """Adds one run of a tool."""
        self.usage += Usage(seconds=seconds, tool_calls=1)

    @staticmethod
    def _completion_room(
        card: ModelCard, prompt_tokens: int, left: Limits, wanted: int
    ) -> tuple[int, str]:
        """Completion tokens that fit beside the prompt, and the limit that allows the fewest."""
        room, limit = wanted, "tokens"
        if left.tokens is not None:
            room = min(room, left.tokens - prompt_tokens)
        price = card.dollars_per_million_completion_tokens / 1e6
        if left.dollars is not None:
            spare = left.dollars - dollars(Usage(prompt_tokens=prompt_tokens), card)
            affordable = (
                wanted if price == 0 and spare >= 0 else int(spare / price) if price else -1
            )
            if affordable < room:
                room, limit = affordable, "dollars"
        return room, limit

    def refuse(self, limit: str, why: str) -> LimitReachedError:
        """Notes that a limit is exhausted; returns the error for the caller to raise."""
        self.exhausted = limit
        return LimitReachedError(
            limit, f"limit of {getattr(self.limits, limit)} {limit} reached: {why}"
        )
