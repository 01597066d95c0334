"""An allocator that knows what the hardware and the prices allow (spec 4.3, hardware-aware)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from amp.allocate.base import Allocator
from amp.models.base import ModelCard
from amp.profile import Lengths, Profile, expected_cost
from amp.types import Allocation, Complexity, Decision, Limits, StepContext, Usage


@dataclass(frozen=True, slots=True)
class AffordableAllocator:
    """Narrows what another allocator grants until its expected cost fits what the limits allow.

    Beams go first, then verification, then depth: fewer candidates still act, and a step without
    thought is the last resort. What fits is left as it is. If nothing fits, the narrowest goes on,
    and the ledger refuses the call. A decision keeps the log-probability and the latents of what
    the other allocator drew: the narrowing is a part of the world that its policy acts in.

    Attributes:
        inner: the allocator that decides.
        card: the model, for dollars.
        lengths: typical lengths of this kind of task. After the first step, the prompts of the last
            step that called a model stand for their `prompt_tokens`.
        profile: the model on this machine; without one, a limit of seconds narrows nothing.
    """

    inner: Allocator
    card: ModelCard
    lengths: Lengths
    profile: Profile | None = None

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        decision = self.inner.allocate(context, complexity)
        if decision.allocation is None:
            return decision
        lengths = replace(self.lengths, prompt_tokens=self._prompt_tokens(context))
        narrowed = decision.allocation
        for narrowed in _narrower(decision.allocation):
            choice = context.actions(narrowed.tools) is not None
            cost = expected_cost(narrowed, lengths, self.card, self.profile, choice=choice)
            if _fits(cost, context.remaining):
                break
        return (
            decision if narrowed == decision.allocation else replace(decision, allocation=narrowed)
        )

    def _prompt_tokens(self, context: StepContext) -> int:
        for step in reversed(context.steps):
            if step.usage.model_calls:
                return round(step.usage.prompt_tokens / step.usage.model_calls)
        return self.lengths.prompt_tokens


def _narrower(allocation: Allocation) -> Iterator[Allocation]:
    """The allocation, then ever narrower ones, down to one beam, no verification, no depth."""
    yield allocation
    for name, least in (("beam_width", 1), ("verification", 0), ("depth", 0)):
        while getattr(allocation, name) > least:
            smaller = {name: getattr(allocation, name) - 1}
            allocation = replace(allocation, **smaller)
            yield allocation


def _fits(cost: Usage, remaining: Limits) -> bool:
    return (
        (remaining.tokens is None or cost.tokens <= remaining.tokens)
        and (remaining.seconds is None or cost.seconds <= remaining.seconds)
        and (remaining.dollars is None or cost.dollars <= remaining.dollars)
    )
