"""Figures of a set of episodes: success with its interval, and what it cost (spec 2.6)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from amp.errors import InvalidInputError
from amp.types import GIVEN_UP, MODEL_ERROR, WITHHELD, Episode, Usage

_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of 95 %."""

    low: float
    high: float


def wilson(successes: float, n: float) -> Interval:
    """Wilson's score interval of a proportion at 95 % (Wilson 1927).

    Written out, since `amp run` prints it where scipy, of the extra ``report``, is not installed,
    and since scipy takes no effective numbers.

    Args:
        successes: how many, or an effective number.
        n: of how many independent ones; of dependent ones, what they are worth.

    Raises:
        InvalidInputError: if not 0 <= successes <= n or n is 0.
    """
    if not 0 <= successes <= n or not 0 < n < math.inf:
        raise InvalidInputError(f"{successes} of {n} is no proportion")
    p, z2 = successes / n, _Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # Exactly 0 and 1 at the ends, where rounding would leave 5e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if successes == n else min(1.0, centre + half))


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of one run.

    Attributes:
        episodes: how many.
        successes: how many reached their goal.
        success_interval: of the success rate.
        usage: the sum over all episodes.
        candidates: samples and choices made.
        cut_off_rate: share of the written candidates that their cap ended; None if there are none.
        unread_rate: share of the candidates from which no action could be read; None if none.
        failed_steps: plan steps without an action.
        limited: episodes that ended before they were done.
        model_errors: those of them that a model error ended.
        given_up: those of them that the allocator gave up.
        withheld: candidates whose answer the provider's filter kept back.
        by_model: what of the usage each model took, where there were several.
    """

    episodes: int
    successes: int
    success_interval: Interval
    usage: Usage
    candidates: int
    cut_off_rate: float | None
    unread_rate: float | None
    failed_steps: int
    limited: int
    model_errors: int
    withheld: int = 0
    given_up: int = 0
    by_model: Mapping[str, Usage] = field(default_factory=dict)

    @property
    def success_rate(self) -> float:
        return self.successes / self.episodes

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures has to know, one sentence each."""
        usage, notes = self.usage, []
        if self.model_errors:
            notes.append(
                f"{_episodes(self.model_errors)} ended by a model error, which counts as a failure;"
                " amp run --resume tries again"
            )
        if self.given_up:
            notes.append(
                f"{self.given_up} of {_episodes(self.episodes)}"
                f" ({self.given_up / self.episodes:.0%}) were given up as hopeless, which counts as"
                " a failure"
            )
        if self.withheld:
            notes.append(
                f"{self.withheld} of {self.candidates} answers were withheld by the provider's"
                " filter, or refused by the model; they count as unread"
            )
        if usage.estimated_calls:
            notes.append(
                f"{usage.estimated_calls} of {usage.model_calls} model calls are charged by an"
                " estimate: they were cut off, or the model told no usage that can be true"
            )
        for name, part in self.by_model.items():
            notes.append(
                f"model {name}: {part.model_calls:,} calls, {part.tokens:,} tokens"
                f" ({part.completion_tokens:,} written), {part.seconds:,.1f} s,"
                f" {part.dollars:.4g} dollars"
            )
        return notes


def summarise(episodes: Iterable[Episode]) -> Summary:
    """Adds the episodes of one run up, and keeps none.

    Raises:
        InvalidInputError: if there are none.
    """
    usage, by_model = Usage(), dict[str, Usage]()
    count: Counter[str] = Counter()
    for episode in episodes:
        usage += episode.usage
        for name, part in episode.by_model.items():
            by_model[name] = by_model.get(name, Usage()) + part
        count["episodes"] += 1
        count["successes"] += episode.success is True
        count["limited"] += episode.ended != "done"
        count["model_errors"] += episode.ended == MODEL_ERROR
        count["given_up"] += episode.ended == GIVEN_UP
        for step in episode.steps:
            count["failed_steps"] += step.action is None
            for candidate in (c for executed in step.rounds for c in executed.candidates):
                count["candidates"] += 1
                count["unread"] += candidate.action is None
                count["withheld"] += candidate.failure == WITHHELD
                count["written"] += candidate.completion_tokens > 0
                count["cut_off"] += candidate.completion_tokens > 0 and candidate.cut_off
    if not count["episodes"]:
        raise InvalidInputError("no episodes to summarise")
    return Summary(
        episodes=count["episodes"],
        successes=count["successes"],
        success_interval=wilson(count["successes"], count["episodes"]),
        usage=usage,
        candidates=count["candidates"],
        cut_off_rate=_share(count["cut_off"], count["written"]),
        unread_rate=_share(count["unread"], count["candidates"]),
        failed_steps=count["failed_steps"],
        limited=count["limited"],
        model_errors=count["model_errors"],
        given_up=count["given_up"],
        withheld=count["withheld"],
        by_model=by_model,
    )


def _episodes(count: int) -> str:
    return "1 episode" if count == 1 else f"{count} episodes"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
