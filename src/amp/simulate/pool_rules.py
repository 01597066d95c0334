"""The rules that a learned router has to beat on a pool, and the oracle that bounds it.

All of them are tuned on training tasks: a family is every setting of a rule, and `envelope` keeps
the settings that no other one, and no mixture of two, beats there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Protocol

import numpy as np

from amp.allocate.router import Known, posterior
from amp.mlp import Floats, Ints, Mask
from amp.pools.pool import NO_ANSWER
from amp.simulate.pool_draws import Draws, Outcome, known_after, leader_right


@dataclass(frozen=True, slots=True, eq=False)
class ArmsAsked:
    """What all rows know after the same arms.

    Attributes:
        believed: shape (rows,), P(right) of the leading answer.
        outcome: of stopping now.
    """

    believed: Floats
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What rules are played on.

    Attributes:
        draws: the samples.
        begun: what is known of each row before anything is asked.
        voices: how votes add up, see `amp.allocate.router.posterior`.
        chances: by name of an estimate, P(right) of a sample of each arm, shape (rows, arms).
        known: what was worked out, by the arms that were asked.
    """

    draws: Draws
    begun: Known
    voices: Floats
    chances: Mapping[str, Floats]
    known: dict[tuple[int, ...], ArmsAsked] = field(default_factory=dict)

    def after(self, arms: tuple[int, ...]) -> ArmsAsked:
        """What is known after these arms, each as often as it is there; in any order."""
        key = tuple(sorted(arms))
        if key not in self.known:
            wanted = np.bincount(np.array(key, np.intp), minlength=self.draws.there.shape[1])
            taken = np.minimum(wanted, self.draws.there.sum(2))
            shares = posterior(known_after(self.draws, taken, self.begun), self.voices)
            right = leader_right(self.draws, shares[:, None])[:, 0]
            believed = np.asarray(shares.max(1, initial=0.0))
            self.known[key] = ArmsAsked(believed, Outcome(right, _cost(self.draws, taken), taken))
        return self.known[key]


class Rule(Protocol):
    """A setting of a rule."""

    @property
    def name(self) -> str:
        """What it does, with the names of arms and all numbers."""
        ...

    def play(self, rows: Rows) -> Outcome:
        """What comes of it."""
        ...


@dataclass(frozen=True, slots=True)
class Vote:
    """So many samples of an arm, and their plurality."""

    arm: int
    label: str
    samples: int

    @property
    def name(self) -> str:
        return f"{self.samples} x {self.label}"

    def play(self, rows: Rows) -> Outcome:
        draws = rows.draws
        taken = np.zeros((len(draws.task), draws.there.shape[1]), np.intp)
        taken[:, self.arm] = np.minimum(self.samples, draws.there[:, self.arm].sum(1))
        return _plurality(draws, taken, taken)


@dataclass(frozen=True, slots=True)
class PoolCascade:
    """Asks arms in turn until so many agree; where they never do, another arm decides alone.

    Attributes:
        first: the arms in turn.
        agree: how many have to.
        then: the arm that decides where they do not.
        votes: its samples.
        labels: names of the arms.
    """

    first: tuple[int, ...]
    agree: int
    then: int
    votes: int
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        asked = ", ".join(
            f"{self.first.count(arm)} x {self.labels[arm]}" for arm in dict.fromkeys(self.first)
        )
        return f"{self.agree} agree of {asked}, else {self.votes} x {self.labels[self.then]}"

    def play(self, rows: Rows) -> Outcome:
        draws = rows.draws
        taken = np.zeros((len(draws.task), draws.there.shape[1]), np.intp)
        settled = np.zeros(len(taken), np.bool_)
        for arm in self.first:
            can = ~settled & (taken[:, arm] < draws.there[:, arm].sum(1))
            taken[can, arm] += 1
            settled |= _votes(draws, taken).max((1, 2), initial=0.0) > self.agree - 0.5
        last = np.zeros_like(taken)
        have = draws.there[:, self.then].sum(1) - taken[:, self.then]
        last[:, self.then] = np.where(settled, 0, np.minimum(self.votes, have))
        # An arm that asks itself again goes on with its next samples.
        own = np.zeros_like(taken)
        own[:, self.then] = np.where(settled, 0, taken[:, self.then])
        alone = ~settled & (last.sum(1) > 0)
        return _plurality(draws, taken + last, np.where(alone[:, None], last + own, taken))


@dataclass(frozen=True, slots=True)
class RouteByChance:
    """Asks one arm once: the one whose chance less its price is best for this task.

    Attributes:
        estimate: name of the chances.
        trade_off: lambda in (0, 1), the weight of success against cost.
    """

    estimate: str
    trade_off: float

    @property
    def name(self) -> str:
        return f"route by {self.estimate}, trade-off {self.trade_off:g}"

    def play(self, rows: Rows) -> Outcome:
        draws = rows.draws
        worth = self.trade_off * rows.chances[self.estimate]
        worth = worth - (1.0 - self.trade_off) * rows.begun.prices
        arm = np.where(draws.there.any(2), worth, -np.inf).argmax(1)
        taken = np.eye(worth.shape[1], dtype=np.intp)[arm]
        return _plurality(draws, taken, taken)


@dataclass(frozen=True, slots=True)
class Chain:
    """Asks arms in turn until the leading answer is believed so much; all that was said counts.

    With different arms this is the chain of FrugalGPT (arXiv 2305.05176) with a scorer learned
    from votes and descriptors, with samples of one arm an optimal stop by a learned prior
    (arXiv 2602.05395).
    """

    arms: tuple[int, ...]
    believed: float
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        asked = " > ".join(
            f"{self.arms.count(arm)} x {self.labels[arm]}" for arm in dict.fromkeys(self.arms)
        )
        return f"{asked} until believed {self.believed:g}"

    def play(self, rows: Rows) -> Outcome:
        count = len(rows.draws.task)
        right, cost = np.zeros(count, np.bool_), np.zeros(count)
        taken = np.zeros((count, rows.draws.there.shape[1]), np.intp)
        going = np.ones(count, np.bool_)
        for asked in range(1, len(self.arms) + 1):
            after = rows.after(self.arms[:asked])
            ends = going & ((after.believed >= self.believed) | (asked == len(self.arms)))
            right[ends], cost[ends] = after.outcome.right[ends], after.outcome.cost[ends]
            taken[ends] = after.outcome.taken[ends]
            going &= ~ends
        return Outcome(right, cost, taken)


def _votes(draws: Draws, taken: Ints) -> Floats:
    """Votes of all arms together, shape (rows, 1, answers); refused answers have none."""
    seen = draws.there & (np.arange(draws.there.shape[2]) < taken[:, :, None])
    seen = seen & (draws.verdict >= 0)
    answers = max(1, int(draws.answer.max(initial=0)) + 1)
    votes = np.zeros((len(taken), 1, answers))
    row, arm, sample = np.nonzero(seen & (draws.answer != NO_ANSWER))
    # Of answers with equally many votes the one that was given first leads.
    early = 1.0 + 1e-6 * (draws.there.shape[2] - sample)
    np.add.at(votes[:, 0], (row, draws.answer[row, arm, sample]), early)
    # What an exact check approved needs nobody to agree.
    row, arm, sample = np.nonzero(seen & (draws.verdict > 0))
    votes[row, 0, draws.answer[row, arm, sample]] = 1e3
    return votes


def _cost(draws: Draws, taken: Ints) -> Floats:
    seen = np.arange(draws.there.shape[2]) < taken[:, :, None]
    return np.asarray(np.where(seen, draws.cost, 0.0).sum((1, 2)))


def _plurality(draws: Draws, taken: Ints, voting: Ints) -> Outcome:
    """The result where so many of each arm were taken, and so many of these vote."""
    votes = _votes(draws, voting)
    shares = votes / np.maximum(1.0, votes.sum(2, keepdims=True))
    right = leader_right(draws, shares)[:, 0]
    return Outcome(right, _cost(draws, taken), taken)


def cascades(labels: Sequence[str], samples: Sequence[int], prices: Floats) -> list[PoolCascade]:
    """Up to five samples of one arm, or one each of two or three, and a dearer arm behind them."""
    names, found = tuple(labels), []
    arms = range(len(names))
    firsts = [(arm,) * count for arm in arms for count in range(1, min(8, samples[arm]) + 1)]
    for count in (2, 3):
        firsts += list(combinations(np.argsort(prices).tolist(), count))
    for first in firsts:
        lowest = 1 if len(first) == 1 else len(first) // 2 + 1
        for agree in range(lowest, len(first) + 1):
            for then in arms:
                if prices[then] <= max(prices[arm] for arm in first):
                    continue
                found += [
                    PoolCascade(first, agree, then, votes, names)
                    for votes in sorted({1, min(3, samples[then])})
                ]
    return found


def chains(labels: Sequence[str], samples: Sequence[int], prices: Floats) -> list[Chain]:
    """Arms from the cheapest to the dearest, each once or up to three times."""
    names = tuple(labels)
    order = np.argsort(prices).tolist()
    sequences = {
        tuple(arm for arm in some for _ in range(min(times, samples[arm])))
        for count in range(1, min(4, len(order)) + 1)
        for some in combinations(order, count)
        for times in (1, 2, 3)
    }
    levels = (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
    return [Chain(each, level, names) for each in sorted(sequences) for level in levels]


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A rule with what it reaches on training tasks."""

    rule: Rule
    success: float
    cost: float


def envelope(rules: Iterable[Rule], rows: Rows) -> list[Setting]:
    """The settings on the upper concave envelope of success over cost, the cheapest first."""
    played = []
    for rule in rules:
        outcome = rule.play(rows)
        played.append(Setting(rule, float(outcome.right.mean()), float(outcome.cost.mean())))
    best: list[Setting] = []
    for one in sorted(played, key=lambda each: (each.cost, -each.success)):
        if best and one.success <= best[-1].success:
            continue
        while len(best) > 1 and _below(best[-2], best[-1], one):
            best.pop()
        best.append(one)
    return best


def _below(left: Setting, middle: Setting, right: Setting) -> bool:
    """Whether the middle lies on or below the line that joins the others."""
    slope = (right.success - left.success) / max(right.cost - left.cost, 1e-30)
    return middle.success <= left.success + slope * (middle.cost - left.cost)


_NEIGHBOURS = 20
"""Training tasks that are looked at for one to tell of."""
_DOUBT = 5.0
"""How many tasks of a kind weigh as much as the mean of all kinds."""


def neighbours(known: Floats, rates: Floats, there: Mask, asked: Floats) -> Floats:
    """P(right) of a sample of each arm, from the training tasks that are described most alike.

    Args:
        known: descriptors of training tasks.
        rates: shape (training tasks, arms), share of right samples.
        there: likewise, whether there are any.
        asked: descriptors of the tasks to tell it of.
    """
    found = np.zeros((len(asked), rates.shape[1]))
    for at in range(0, len(asked), 500):
        some = asked[at : at + 500]
        far = (known**2).sum(1) - 2.0 * some @ known.T  # but for what all neighbours share
        for arm in range(rates.shape[1]):
            have = np.flatnonzero(there[:, arm])
            near = np.argsort(far[:, have], 1, kind="stable")[:, :_NEIGHBOURS]
            found[at : at + 500, arm] = rates[have, arm][near].mean(1)
    return np.clip(found, 0.01, 0.99)


def rates_by_kind(known: Sequence[str], rates: Floats, there: Mask, asked: Sequence[str]) -> Floats:
    """P(right) of a sample of each arm, from the training tasks of the same kind.

    Args:
        known: kinds of training tasks.
        rates: shape (training tasks, arms), share of right samples.
        there: likewise, whether there are any.
        asked: kinds of the tasks to tell it of.
    """
    every = (rates * there).sum(0) / np.maximum(1, there.sum(0))
    found = {}
    for kind in set(asked):
        of_kind = there & np.array([one == kind for one in known])[:, None]
        found[kind] = ((rates * of_kind).sum(0) + _DOUBT * every) / (of_kind.sum(0) + _DOUBT)
    return np.asarray(np.clip(np.array([found[kind] for kind in asked]), 0.01, 0.99))


def oracle(draws: Draws) -> Outcome:
    """The cheapest single sample that is right, or the cheapest of all where none is.

    It knows the samples that are to come, so no policy can reach it.
    """
    rows, arms, samples = draws.right.shape
    cost = np.where(draws.there, draws.cost, np.inf).reshape(rows, -1)
    right = (draws.right & draws.there).reshape(rows, -1)
    best = np.where(right, cost, cost + 1e9 * (1 - right)).argmin(1)
    each = np.arange(rows)
    taken = np.zeros((rows, arms), np.intp)
    taken[each, best // samples] = 1
    return Outcome(right[each, best], cost[each, best], taken)


def split_half(draws: Draws, trade_off: float, reference: float) -> Outcome:
    """The arm that is best on half of a task's samples, scored on the other half.

    What knowing each task's best arm is worth; arms of one sample cannot tell.
    """
    half = draws.there.shape[2] // 2
    rates, costs, there = [], [], []
    for part in (slice(0, half), slice(half, 2 * half)):
        exists = draws.there[:, :, part]
        count = np.maximum(1, exists.sum(2))
        rates.append((draws.right[:, :, part] & exists).sum(2) / count)
        costs.append(np.where(exists, draws.cost[:, :, part], 0.0).sum(2) / count)
        there.append(exists.any(2))
    worth = trade_off * rates[0] - (1.0 - trade_off) * costs[0] / reference
    arm = np.where(there[0] & there[1], worth, -np.inf).argmax(1)
    each = np.arange(len(arm))
    taken = np.eye(rates[0].shape[1], dtype=np.intp)[arm]
    return Outcome(rates[1][each, arm], costs[1][each, arm], taken)
