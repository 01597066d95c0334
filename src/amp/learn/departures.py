"""Learns on a lattice where to depart from a rule, by search; gives `ArmValues` with a base.

On a lattice the return of any policy is known exactly, task by task, by dynamic programming. So a
policy is found by search: it begins with a rule, and in each round takes the one question and arm
("where the plan's least likely token is below so much: plan anew") that gains most over all tasks,
less a standard error, since with few tasks the luckiest of many questions is not the best one. Each
departure is judged by whole plans, with all departures before it, so none has to be guessed.

What a task teaches is not used to decide on that task, or the policy believes itself better than it
is: the returns that choose the number of questions are those of what was learned on other folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from amp.allocate.arm_values import LEAF, ArmValues, Trees, columns
from amp.learn.walks import Walks, check_learnable
from amp.mlp import Floats, Ints, Mask
from amp.reward import Reward
from amp.simulate.table_env import TableEnv
from amp.types import Allocation

Count = Annotated[int, Field(ge=1)]
TradeOff = Annotated[float, Field(ge=0.0, le=1.0)]

_VALUES = 8
"""Of a column that are asked about, at most."""

_AT_ONCE = 128
"""Policies that are evaluated together."""

_NEVER = -1e6
"""Worth of what a leaf does not choose."""

_ALIKE = 1e-9
"""Rewards that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How departures are searched.

    Attributes:
        trade_offs: lambdas to learn at.
        questions: of a policy at most.
        folds: of the cross-fitting, by tasks.
        seed: of the folds.
        sure: standard errors, over tasks, that the gain of a departure is taken to be below its
            mean.
    """

    trade_offs: Annotated[tuple[TradeOff, ...], Field(min_length=1)] = (
        *(0.5, 0.7, 0.8, 0.9, 0.95, 0.99),
    )
    questions: Annotated[int, Field(ge=0)] = 4
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 0
    sure: Annotated[float, Field(ge=0.0)] = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Departures:
    """A policy, and what is to be expected of it.

    Attributes:
        policy: learned on all tasks.
        questions: how many it asks, by trade-off.
        returns: mean reward by trade-off, each task by what was learned on other folds.
    """

    policy: ArmValues
    questions: tuple[int, ...]
    returns: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Departure:
    """What is decided in some states, whatever is decided in the others.

    Attributes:
        column: that is asked about; `LEAF` for all states.
        value: that it is compared with.
        above: whether the states are those above the value, or the others.
        decision: there; `_BASE` for that of the base rule.
    """

    column: int
    value: float
    above: bool
    decision: int

    def at(self, known: Floats) -> Mask:
        """In which states, of what is read of them."""
        if self.column == LEAF:
            return np.ones(len(known), np.bool_)
        high = known[:, self.column] > self.value  # what is missing is above nothing
        return np.asarray(high == self.above)


_BASE = -1


def search_departures(
    table: TableEnv,
    arms: Mapping[str, Allocation],
    reward: Reward,
    settings: SearchSettings = SearchSettings(),
    base: str = "",
) -> Departures:
    """Learns a policy on all tasks of a lattice; it decides once a step, unless its base goes on.

    Args:
        table: of `amp.simulate.lattice_table.lattice_env`, for a policy that chooses by name.
        arms: those of the lattice, in its order.
        reward: what pays; charged always.
        settings: how.
        base: name of the rule of `base_rules` whose decisions the table has, to begin with. Empty
            for a table without: then the best of the arms in every step is.

    Raises:
        InvalidInputError: if there are fewer tasks than two, or costs are charged otherwise.
    """
    assert bool(base) == (table.base is not None)
    count = check_learnable(table, reward)
    order = np.random.default_rng(settings.seed).permutation(count)
    folds = order % min(settings.folds, count)
    found = []
    for trade_off in settings.trade_offs:
        search = _Search(_Known.of(table, len(arms), reward, trade_off), settings)
        found.append(_chosen(search, folds))
    trees = _Grown(len(arms) + 1 + bool(base))
    roots = [[trees.add(search, list(found_there))] for search, found_there, _ in found]
    policy = ArmValues(
        arms,
        table.features,
        np.array(settings.trade_offs),
        trees.arrays(roots),
        np.array([search.gives_up in {d.decision for d in all_} for search, all_, _ in found], int),
        base=base,
    )
    asked = tuple(len(departures) - 1 for _, departures, _ in found)
    return Departures(policy, asked, tuple(expected for *_, expected in found))


_Found = tuple["_Search", Sequence[_Departure], float]
"""What was searched, the departures, the first one for all states, and the expected return."""


def _chosen(search: _Search, folds: Ints) -> _Found:
    """As many questions as are within a standard error of the best number (Breiman et al. 1984).

    By the returns on tasks that were left out.
    """
    most = search.settings.questions + 1
    returns = np.zeros((most, len(folds)))
    for fold in np.unique(folds):
        for number, came in enumerate(search.returns(folds != fold, most)):
            returns[number, folds == fold] = came[folds == fold]
    best = returns[returns.mean(1).round(9).argmax()]
    less = best - returns
    near = less.mean(1) <= less.std(1) / np.sqrt(len(folds)) + _ALIKE
    number = int(near.argmax())
    everyone = np.ones(len(folds), np.bool_)
    return search, search.departures(everyone, number + 1), float(returns[number].mean())


class _Search:
    """Departures that gain most, one after the other.

    Args:
        known: all ways through the lattice, and what is asked about.
        settings: how it is learned.
    """

    def __init__(self, known: _Known, settings: SearchSettings) -> None:
        self.known, self.settings = known, settings
        arms = known.walks.next.shape[1]
        self.gives_up = arms + 1
        rule = [] if known.base is None else [_BASE]
        self._begin = [_Departure(LEAF, 0.0, True, d) for d in (*rule, *range(1, arms + 2))]
        self._asked = [
            _Departure(column, float(value), above, one.decision)
            for column in range(known.read.shape[1])
            for value in _values(known.read[known.walks.fresh, column])
            for above in (False, True)
            for one in self._begin
        ]
        self._tried: dict[tuple[_Departure, ...], Floats] = {}

    def departures(self, tasks: Mask, most: int) -> tuple[_Departure, ...]:
        """What is learned on some tasks."""
        taken: tuple[_Departure, ...] = ()
        while len(taken) < most and (further := self._best(taken, tasks)) is not None:
            taken = *taken, further
        return taken

    def returns(self, tasks: Mask, most: int) -> Iterator[Floats]:
        """The return of every task by what is learned on some, with more and more departures."""
        taken = self.departures(tasks, most)
        for number in range(1, most + 1):
            part = taken[: min(number, len(taken))]
            yield self._all(part[:-1])[self._of(part[:-1]).index(part[-1])]

    def _of(self, taken: tuple[_Departure, ...]) -> list[_Departure]:
        return self._asked if taken else self._begin

    def _all(self, taken: tuple[_Departure, ...]) -> Floats:
        """The return of every task with each further departure."""
        if taken not in self._tried:
            decided = self.known.decided(taken)
            self._tried[taken] = self.known.returns(decided, self._of(taken))
        return self._tried[taken]

    def _best(self, taken: tuple[_Departure, ...], tasks: Mask) -> _Departure | None:
        """The further departure that surely gains most on some tasks; the first one always."""
        tried = self._all(taken)[:, tasks]
        if not taken:
            return self._begin[int(tried.mean(1).round(9).argmax())]
        now = self._all(taken[:-1])[self._of(taken[:-1]).index(taken[-1])]
        gains = tried - now[tasks]
        surely = gains.mean(1) - self.settings.sure * gains.std(1) / np.sqrt(int(tasks.sum()))
        at = int(surely.round(9).argmax())
        return self._asked[at] if surely[at] > _ALIKE else None


def _values(known: Floats) -> Floats:
    """Of a column, those that states are asked about: between what is known, and below it all."""
    there = np.unique(known[~np.isnan(known)])
    if len(there) > _VALUES:
        there = np.unique(np.quantile(there, np.linspace(0.0, 1.0, _VALUES)))
    lowest = there[:1] - 1.0 if np.isnan(known).any() else there[:0]
    return np.concatenate([lowest, (there[1:] + there[:-1]) / 2.0])


class _Grown:
    """Trees that departures make: the last one is asked about first.

    Args:
        options: what a leaf tells the worth of.
    """

    def __init__(self, options: int) -> None:
        self._options = options
        self._column, self._above = list[int](), list[float]()
        self._sides, self._worth = list[list[int]](), list[Floats]()

    def add(self, search: _Search, left: list[_Departure]) -> int:
        """Adds a tree; says where it begins."""
        walks, decided = search.known.walks, search.known.decided(left)
        here = np.flatnonzero(walks.fresh)
        come = walks.come(decided[None])[0]
        return self._grow(search, left, here, come, walks.visits(decided))

    def _grow(
        self, search: _Search, left: list[_Departure], here: Ints, come: Floats, mass: Floats
    ) -> int:
        last, weights = left[-1], mass[here] + 1e-9
        worth = float((come[here] * weights).sum() / max(weights.sum(), 1e-9)) if len(here) else 0.0
        node = self._leaf(search, last.decision, worth)
        if last.column != LEAF:
            there = last.at(search.known.read[here])
            self._column[node], self._above[node] = last.column, last.value
            inside = [_Departure(LEAF, 0.0, True, last.decision)]
            sides = (
                self._grow(search, inside, here[there], come, mass),
                self._grow(search, left[:-1], here[~there], come, mass),
            )
            self._sides[node] = list(reversed(sides) if last.above else sides)
        return node

    def _leaf(self, search: _Search, decision: int, worth: float) -> int:
        told = np.full(self._options, _NEVER)
        if decision != search.gives_up:
            told[decision + (self._options - search.gives_up)] = max(worth, 0.0)
        self._column.append(LEAF)
        self._above.append(0.0)
        self._sides.append([0, 0])
        self._worth.append(told)
        return len(self._column) - 1

    def arrays(self, roots: list[list[int]]) -> Trees:
        """The same as arrays; the trees begin at these nodes, by trade-off and round."""
        return Trees(
            np.array(roots), np.array(self._column), np.array(self._above), np.array(self._sides),
            np.array(self._worth),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """All ways through a lattice, with what a departure asks about.

    Attributes:
        walks: the ways.
        read: what is read of each node.
        base: decisions of the base rule, by node; None without one.
    """

    walks: Walks
    read: Floats
    base: Ints | None

    @classmethod
    def of(cls, table: TableEnv, arms: int, reward: Reward, trade_off: float) -> _Known:
        """Those of a table, as `Walks.of`."""
        return cls(
            Walks.of(table, arms, reward, trade_off),
            columns(table.features, table.shown),
            None if table.base is None else np.where(table.base < 0, arms + 1, table.base),
        )

    def decided(self, departures: Sequence[_Departure]) -> Ints:
        """What is decided in each node: after a round what the base does, or to stop."""
        rule = np.zeros(len(self.read), np.intp) if self.base is None else self.base
        found, fresh = rule.copy(), self.walks.fresh
        for one in departures:
            there = one.at(self.read) & fresh
            found[there] = rule[there] if one.decision == _BASE else one.decision
        return found

    def returns(self, decided: Ints, further: Sequence[_Departure]) -> Floats:
        """The return of every task with each of some further departures alone, shape (n, tasks)."""
        rule, fresh, found = self.base, self.walks.fresh, []
        for begin in range(0, len(further), _AT_ONCE):
            some = np.repeat(decided[None], len(further[begin : begin + _AT_ONCE]), 0)
            for row, one in zip(some, further[begin : begin + _AT_ONCE], strict=True):
                there = one.at(self.read) & fresh
                row[there] = one.decision if rule is None or one.decision != _BASE else rule[there]
            found.append(self.walks.come(some)[:, self.walks.first])
        return np.concatenate(found) if found else np.zeros((0, len(self.walks.first)))
