"""What the gateway remembers of episodes and models: warm caches, and how long answers are.

All of it is in memory, bounded, and figures alone. Other processes, and this one after a restart,
begin anew: then nothing counts as warm, and answers are as long as a guess says.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from amp.serve.decide.base import Arm
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
    last: Arm | None = None
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

    def last(self, episode: str) -> Arm | None:
        """What the last call of an episode got; None where that is not known."""
        found = self._episodes.get(episode)
        return found.last if found else None

    def warm(self, episode: str, arm: Arm, prompt_tokens: int) -> int:
        """Tokens of a prompt that an arm finds in its cache."""
        found = self._episodes.get(episode)
        tokens, at = found.warm.get(cache_name(arm), (0, 0.0)) if found else (0, 0.0)
        tokens = min(tokens, prompt_tokens)
        is_warm = tokens >= LEAST_CACHED and self._clock() - at <= CACHE_SECONDS
        return tokens if is_warm else 0

    def thinking(self, arm: Arm) -> int:
        """Tokens of thinking that an answer of an arm is expected to have.

        The mean of those that were seen, and of `_PRIOR` answers as `THINKING` has them.
        """
        count, total = self._thought.get((arm.model, arm.effort), (0.0, 0.0))
        return round((total + _PRIOR * THINKING[arm.effort]) / (count + _PRIOR))

    def note(self, episode: str, arm: Arm, usage: Usage) -> None:
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
