"""Learns `amp.allocate.arm_values.ArmValues` on a lattice: fitted values, by policy iteration.

On a lattice the return of a policy from any state on is known exactly, by dynamic programming, for
every arm that it could take first. So each round evaluates the policy so far, fits what every arm
is then worth to what can be seen of the plan, by a tree that asks what gains most, and goes on with
the policy that takes the arm which looks best (fitted policy iteration, Lagoudakis and Parr 2003;
trees, Ernst et al. 2005). It begins with the oracle.

What a task teaches is not used to decide on that task, or the policy believes itself better than it
is: the values that a policy is evaluated with come of the other folds. So its returns are those on
tasks never seen, and they choose the penalty, when to end, and whether episodes are given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Annotated

import numpy as np
from pydantic import Field

from amp.allocate.arm_values import ArmValues, columns
from amp.learn.value_trees import Binned, Grown, grow, said_by
from amp.learn.walks import Walks, check_learnable
from amp.mlp import Floats, Ints, Mask
from amp.reward import Reward
from amp.simulate.table_env import END, TableEnv
from amp.types import Allocation

Count = Annotated[int, Field(ge=1)]
TradeOff = Annotated[float, Field(ge=0.0, le=1.0)]

_EVERYWHERE = 0.3
"""Weight of all states of a task together, by that of those that its episodes come to."""


@dataclass(frozen=True, slots=True)
class ValueSettings:
    """How values are learned.

    Attributes:
        trade_offs: lambdas to learn at.
        penalties: to choose among: what a question of a tree has to gain, in reward a task.
        rounds: of policy iteration.
        folds: of the cross-fitting, by tasks.
        seed: of the folds.
        may_give_up: whether giving up is tried; the one that returns more is kept.
    """

    trade_offs: Annotated[tuple[TradeOff, ...], Field(min_length=1)] = (
        *(0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99),
    )
    penalties: Annotated[tuple[float, ...], Field(min_length=1)] = (0.001, 0.005, 0.02, 1.0)
    rounds: Count = 4
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 0
    may_give_up: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class LearnedValues:
    """A policy, and what is to be expected of it.

    Attributes:
        policy: learned on all tasks.
        penalties: that were chosen, by trade-off.
        returns: mean reward by trade-off, each task by what was learned on other folds.
    """

    policy: ArmValues
    penalties: tuple[float, ...]
    returns: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Policy:
    """Trees at one trade-off, and the return on each task by what was learned on other folds."""

    returns: Floats
    penalty: float
    gives_up: bool
    grown: Grown
    roots: tuple[int, ...]


def learn_arm_values(
    table: TableEnv,
    arms: Mapping[str, Allocation],
    reward: Reward,
    settings: ValueSettings = ValueSettings(),
) -> LearnedValues:
    """Learns a policy on all tasks of a lattice.

    Args:
        table: of `amp.simulate.lattice_table.lattice_env`, for a policy that chooses by name.
        arms: those of the lattice, in its order.
        reward: what pays; charged always.
        settings: how.

    Raises:
        InvalidInputError: if there are fewer tasks than two, or costs are charged otherwise.
    """
    count = check_learnable(table, reward)
    task = np.searchsorted(table.first, np.arange(len(table.then)), "right") - 1
    order = np.random.default_rng(settings.seed).permutation(count)
    fold = (order % min(settings.folds, count))[task]
    known = columns(table.features, table.shown)
    binned = Binned.of(known, task)
    gives_up = (False, True) if settings.may_give_up else (False,)
    fits = []
    for trade_off in settings.trade_offs:
        walks = Walks.of(table, len(arms), reward, trade_off)
        tried = (
            fit
            for penalty, ends in product(settings.penalties, gives_up)
            for fit in _iterate(walks, binned, known, fold, penalty, ends, settings.rounds)
        )
        fits.append(_simplest(list(tried)))
    whole = Grown()
    roots = [whole.with_trees(fit.grown, fit.roots) for fit in fits]
    policy = ArmValues(
        arms,
        table.features,
        np.array(settings.trade_offs),
        whole.arrays(roots),
        np.array([fit.gives_up for fit in fits], np.intp),
    )
    returns = tuple(float(fit.returns.mean()) for fit in fits)
    return LearnedValues(policy, tuple(fit.penalty for fit in fits), returns)


def _simplest(tried: Sequence[_Policy]) -> _Policy:
    """The policy of the highest penalty that returns as much as the best, but for its chance.

    A difference of returns on tasks left out counts if it is more than its standard error (Breiman
    et al. 1984): with few tasks the luckiest of many policies is not the best one.
    """
    best = max(tried, key=lambda one: round(float(one.returns.mean()), 9))

    def falls_short(one: _Policy) -> bool:
        less = best.returns - one.returns
        return bool(less.mean() > less.std() / np.sqrt(len(less)) + 1e-9)

    return max(
        (one for one in tried if not falls_short(one)),
        key=lambda one: (one.penalty, not one.gives_up, round(float(one.returns.mean()), 9)),
    )


def _iterate(
    walks: Walks,
    binned: Binned,
    known: Floats,
    fold: Ints,
    penalty: float,
    gives_up: bool,
    rounds: int,
) -> Iterator[_Policy]:
    """Policy iteration from the oracle on, each policy with its return on tasks never seen."""
    worth, decided = _best(walks, gives_up)
    for _ in range(rounds):
        mass = _mass(walks, decided, binned.task)
        whole, roots, said = _fit(walks, binned, known, fold, worth, mass, penalty, gives_up)
        decided = _decide(said, gives_up)
        worth = _worth(walks, decided)
        returns = _come(worth, decided)[walks.first]
        yield _Policy(returns, penalty, gives_up, whole, roots)


def _fit(
    walks: Walks,
    binned: Binned,
    known: Floats,
    fold: Ints,
    worth: Floats,
    mass: Floats,
    penalty: float,
    gives_up: bool,
) -> tuple[Grown, tuple[int, ...], Floats]:
    """Fits trees to what decisions are worth.

    Returns:
        Trees of all tasks, where that of each round begins, and what those of other folds say of
        each node.
    """
    said, whole, roots = worth.copy(), Grown(), []
    for done in range(max(1, int(walks.rounds.max()))):
        rows = np.flatnonzero((walks.rounds == done) & _goes_on(walks))
        finite = np.isfinite(worth[rows, :-1])
        y = np.where(finite, worth[rows, :-1], -_NEVER)
        tree = partial(grow, binned=binned, ends=gives_up and not done, penalty=penalty)
        roots.append(tree(whole, rows, y, mass[rows]))
        for each in np.unique(fold):
            out = fold[rows] == each
            if out.any() and not out.all():
                own, kept = Grown(), rows[~out]
                root = tree(own, kept, y[~out], mass[kept])
                told = said_by(own.arrays([[root]]), root, known, rows[out])
                said[rows[out], :-1] = np.where(finite[out], told, -np.inf)
    return whole, tuple(roots), said


_NEVER = 1e6
"""Worth of what cannot be decided, so that no tree takes it."""


def _goes_on(walks: Walks) -> Mask:
    """Where an arm can be asked."""
    return np.asarray((walks.next != END).any((1, 2)))


def _worth(walks: Walks, decided: Ints) -> Floats:
    """What each decision is worth if a policy goes on so, shape (nodes, decisions)."""
    return _backwards(walks, lambda worth, nodes: _come(worth, decided[nodes]))


def _best(walks: Walks, gives_up: bool) -> tuple[Floats, Ints]:
    """What the oracle's decisions are worth, and which they are."""
    last = None if gives_up else -1
    worth = _backwards(walks, lambda worth, nodes: worth[:, :last].max(1))
    return worth, _decide(worth, gives_up)


def _come(worth: Floats, decided: Ints) -> Floats:
    """The return from each node on."""
    return np.take_along_axis(worth, decided[:, None], 1)[:, 0]


def _decide(worth: Floats, gives_up: bool) -> Ints:
    """The decision that is worth most."""
    return np.asarray(worth[:, : None if gives_up else -1].argmax(1))


def _mass(walks: Walks, decided: Ints, task: Ints) -> Floats:
    """How much each node counts: how often a policy comes there, and a little in any case."""
    visits, goes_on = walks.visits(decided), _goes_on(walks)
    played = np.bincount(task, visits * goes_on)
    places = np.bincount(task, goes_on)
    return visits + _EVERYWHERE * (played / np.maximum(1, places))[task]


def _backwards(walks: Walks, come_of: Callable[[Floats, Ints], Floats]) -> Floats:
    """Works out `_worth` level by level, where the return of a node is `come_of` its worth."""
    worth = np.full((len(walks.then), walks.next.shape[1] + 2), -np.inf)
    come = np.zeros(len(walks.then))
    for nodes in walks.levels:
        then, fresh = walks.then[nodes], walks.fresh[nodes]
        after = np.where(then == END, walks.end[nodes], come[then])
        worth[nodes, 0] = np.where(fresh, -np.inf, after)
        to = walks.next[nodes]
        there = to != END
        got = np.where(there, come[to] - walks.cost[nodes], 0.0).sum(2)
        known = there.sum(2)
        worth[nodes, 1:-1] = np.where(known > 0, got / np.maximum(1, known), -np.inf)
        worth[nodes, -1] = np.where(fresh, 0.0, -np.inf)
        come[nodes] = come_of(worth[nodes], nodes)
    return worth
