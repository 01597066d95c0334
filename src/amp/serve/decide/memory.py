"""What the gateway remembers of calls: warm caches, how long answers are, and what calls cost.

All of it is in memory, bounded, and figures alone. Other processes, and this one after a restart,
begin anew: then nothing counts as warm, and answers are as long as a guess says.

Beside what calls cost stands what other arms would have cost. That is the price of the same tokens,
cached ones too: an estimate, since another model would have written more or fewer, and could not
have used that cache. Less effort of the same model saves nothing by this count; what it saves is
measured by shadows (`amp.serve.traffic.shadow`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from amp.cost import dollars, is_priced
from amp.models.base import ModelCard
from amp.serve.decide.base import CallArm, CallDecision
from amp.serve.dialects.efforts import cache_name
from amp.usage import Usage

CACHE_SECONDS = 300.0
"""How long a provider keeps the cache of a prompt."""

LEAST_CACHED = 1_024
"""Tokens below which no prompt is cached."""

THINKING = {
    **{"none": 0, "minimal": 50, "low": 300, "": 600},
    **{"medium": 1_000, "high": 3_000, "xhigh": 6_000},
}
"""Tokens of thinking that an answer is taken to have before any was seen, by effort."""

_MOST_EPISODES, _MOST_ARMS = 10_000, 1_000
_PRIOR = 3.0


@dataclass(slots=True)
class _Episode:
    last: CallArm | None = None
    warm: dict[str, tuple[int, float]] = field(default_factory=dict)


class Memory:
    """Remembers what became of decisions.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._episodes: OrderedDict[str, _Episode] = OrderedDict()
        self._thought: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def last(self, episode: str) -> CallArm | None:
        """What the last call of an episode got; None where that is not known."""
        found = self._episodes.get(episode)
        return found.last if found else None

    def warm(self, episode: str, arm: CallArm, prompt_tokens: int) -> int:
        """Tokens of a prompt that an arm finds in its cache."""
        found = self._episodes.get(episode)
        tokens, at = found.warm.get(cache_name(arm), (0, 0.0)) if found else (0, 0.0)
        tokens = min(tokens, prompt_tokens)
        is_warm = tokens >= LEAST_CACHED and self._clock() - at <= CACHE_SECONDS
        return tokens if is_warm else 0

    def thinking(self, arm: CallArm) -> int:
        """Tokens of thinking that an answer of an arm is expected to have.

        The mean of those that were seen, and of `_PRIOR` answers as `THINKING` has them.
        """
        count, total = self._thought.get((arm.model, arm.effort), (0.0, 0.0))
        return round((total + _PRIOR * THINKING[arm.effort]) / (count + _PRIOR))

    def note(self, episode: str, arm: CallArm, usage: Usage) -> None:
        """Notes what came of a call."""
        calls = max(1, usage.model_calls)
        found = self._episodes.setdefault(episode, _Episode())
        self._episodes.move_to_end(episode)
        found.last = arm
        found.warm[cache_name(arm)] = (usage.prompt_tokens // calls, self._clock())
        if len(self._episodes) > _MOST_EPISODES:
            self._episodes.popitem(last=False)
        if arm.samples > 1:  # one call may have had the thoughts of several answers
            return
        key = (arm.model, arm.effort)
        count, total = self._thought.pop(key, (0.0, 0.0))
        self._thought[key] = (count + calls, total + usage.reasoning_tokens)
        if len(self._thought) > _MOST_ARMS:
            self._thought.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Against:
    """What calls cost beside what they would have.

    Attributes:
        calls: of which both are known.
        paid: dollars that they cost.
        other: dollars that they would have cost.
    """

    calls: int = 0
    paid: float = 0.0
    other: float = 0.0

    @property
    def saved(self) -> float:
        """Dollars; less than 0 where more was spent."""
        return self.other - self.paid

    def __add__(self, more: Against) -> Against:
        return Against(self.calls + more.calls, self.paid + more.paid, self.other + more.other)


@dataclass(frozen=True, slots=True)
class Sums:
    """What some calls cost.

    Attributes:
        usage: of all of them.
        asked: against the model that the client named; of calls that named one of ours (``amp/``)
            nothing is known.
        dearest: against the dearest arm that could have been chosen.
    """

    usage: Usage = field(default_factory=Usage)
    asked: Against = field(default_factory=Against)
    dearest: Against = field(default_factory=Against)

    def __add__(self, more: Sums) -> Sums:
        return Sums(self.usage + more.usage, self.asked + more.asked, self.dearest + more.dearest)


class Spending:
    """Sums by key and route, in memory; there are as many as keys and routes."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Sums] = {}

    def note(
        self,
        key: str,
        route: str,
        asked_model: str,
        decision: CallDecision,
        cards: Mapping[str, ModelCard],
        usage: Usage,
    ) -> None:
        """Adds what a call cost.

        Args:
            key: name of the key that paid; empty without one.
            route: that it went by.
            asked_model: that the client named.
            decision: what it got.
            cards: prices by model, of the arms of the decision.
            usage: what it cost.
        """
        sums = Sums(usage, *_against(asked_model, decision, cards, usage))
        self._sums[key, route] = self._sums.get((key, route), Sums()) + sums

    def by_key(self, key: str | None = None) -> dict[str, Sums]:
        """Sums by the name of the key, of one alone or of all."""
        return _added((name, sums) for (name, _), sums in self._of(key))

    def by_route(self, key: str | None = None) -> dict[str, Sums]:
        """Sums by route, of one key or of all."""
        return _added((route, sums) for (_, route), sums in self._of(key))

    def _of(self, key: str | None) -> list[tuple[tuple[str, str], Sums]]:
        return [each for each in self._sums.items() if key is None or each[0][0] == key]


def _added(rows: Iterable[tuple[str, Sums]]) -> dict[str, Sums]:
    found: dict[str, Sums] = {}
    for name, sums in rows:
        found[name] = found.get(name, Sums()) + sums
    return dict(sorted(found.items(), key=lambda each: -each[1].usage.dollars))


def _against(
    asked_model: str, decision: CallDecision, cards: Mapping[str, ModelCard], usage: Usage
) -> tuple[Against, Against]:
    """A call against what was asked for, and against the dearest arm."""
    known = {model: dollars(usage, card) for model, card in cards.items() if is_priced(card)}
    arm, paid = decision.arm, usage.dollars
    if arm.model not in known:
        return Against(), Against()
    # What was paid has surcharges in it, of caches that are written; the other arm's gets them too.
    more = paid - known[arm.model]
    # By arm that could have been chosen, the one that the client asked for first.
    others = {
        each.arm: known[each.arm.model] * each.arm.samples / arm.samples
        for each in decision.forecasts
        if not each.masked and each.arm.model in known
    }
    asked = next((price for other, price in others.items() if other.model == asked_model), None)
    dearest = max((known[arm.model], *others.values()))
    return (
        Against() if asked is None else Against(usage.model_calls, paid, asked + more),
        Against(usage.model_calls, paid, dearest + more),
    )
