"""Which source to draw from next, until an answer passes an exact check.

Sources are different ways to come by an answer: samples of an arm, call by call, or a search, step
by step. As long as nothing has passed, what is known is how much of each has failed, and what a
search has shown of itself (the value of the thought that it would go on from). `learn_orders` finds
by backward induction what to draw next, or when to stop, from how the sources did on other tasks:
what a draw is worth depends on what has failed, since tasks on which samples fail are harder than
others and are the ones that are left. What was shown before, and is no longer, is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Mask

STOP = 0
"""In `Order.choice`; other numbers are 1 + the index of a source."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A way to come by an answer, in draws that have to be made in turn.

    Attributes:
        name: what it is.
        cost: shape (tasks, draws).
        failing: shape (tasks, draws + 1), the probability that nothing has passed after so many
            draws. 1 after none, and never rising.
        shown: shape (tasks, draws + 1), what can be seen after so many, in classes from 0.
    """

    name: str
    cost: Floats
    failing: Floats
    shown: Ints

    def part(self, rows: Ints) -> Source:
        """The source on some tasks."""
        return Source(self.name, self.cost[rows], self.failing[rows], self.shown[rows])


def samples_of(name: str, right: Mask, cost: Floats, call: int) -> Source:
    """Samples of an arm, so many a call, in any order.

    The probability is exact over all orders of the recorded samples, not that of one of them.

    Args:
        name: of the arm.
        right: shape (tasks, samples), which pass.
        cost: shape (tasks,), of a call.
        call: samples a call.
    """
    samples = right.shape[1]
    calls = samples // call
    failing = np.array(
        [
            [
                math.comb(samples - int(passing), call * done) / math.comb(samples, call * done)
                for done in range(calls + 1)
            ]
            for passing in right.sum(1)
        ]
    )
    shown = np.zeros(failing.shape, np.intp)
    return Source(name, np.repeat(cost[:, None], calls, 1), failing, shown)


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What to draw next.

    Attributes:
        choice: by draws made of each source and by what is shown, 1 + the source, or `STOP`.
        classes: by source, how many different things it shows.
        worth: P(solved) less the trade-off times the cost, as far as it was learned.
    """

    choice: Ints
    classes: tuple[int, ...]
    worth: float


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What came of each task, on average over the orders of samples.

    Attributes:
        solved: shape (tasks,), probability that an answer passed.
        cost: shape (tasks,).
    """

    solved: Floats
    cost: Floats


def learn_orders(
    sources: Sequence[Source], trade_offs: Sequence[float], prior: float = 2.0
) -> tuple[Order, ...]:
    """The orders that are best on these tasks, one for each trade-off.

    Args:
        sources: all on the same tasks.
        trade_offs: what a unit of cost is worth, in P(solved).
        prior: above 0, how many tasks the mean over everything shown counts for, since few may have
            shown the same.

    Raises:
        InvalidInputError: if sources are of different tasks, or there are none.
    """
    sizes = {len(source.cost) for source in sources}
    if len(sizes) != 1 or sizes == {0}:
        found = ", ".join(f"{source.name} has {len(source.cost)}" for source in sources) or "none"
        raise InvalidInputError(
            f"tasks of sources: {found}; expected the same number of each, from 1"
        )
    shape = tuple(source.failing.shape[1] for source in sources)
    classes = tuple(int(source.shown.max()) + 1 for source in sources)
    prices = np.array(trade_offs, float)
    worth = np.zeros((*shape, math.prod(classes), len(prices)))
    choice = np.zeros(worth.shape, np.intp)
    for node in reversed(list(np.ndindex(*shape))):
        alive = _alive(sources, node)
        if not alive.any():
            continue
        seen = _shown(sources, node, classes)
        groups = (seen == np.arange(worth.shape[-2])[:, None]).astype(float)
        mass = (groups @ alive)[:, None]
        gains = np.zeros((1 + len(sources), *worth.shape[-2:]))
        for index, source in enumerate(sources):
            after = _after(node, index)
            if after[index] == shape[index]:
                gains[1 + index] = -np.inf
                continue
            left = _alive(sources, after)
            paid = (alive * source.cost[:, node[index]])[:, None] * prices
            going_on = left[:, None] * worth[after][_shown(sources, after, classes)]
            sums = groups @ ((alive - left)[:, None] + going_on - paid)
            gains[1 + index] = (sums + prior * sums.sum(0) / mass.sum()) / (mass + prior)
        choice[node], worth[node] = gains.argmax(0), gains.max(0)
    start = worth[(0,) * len(shape)]
    first = int(_shown(sources, (0,) * len(shape), classes)[0])
    return tuple(
        Order(choice[..., at], classes, float(start[first, at])) for at in range(len(prices))
    )


def play(sources: Sequence[Source], order: Order) -> Played:
    """Plays an order on every task, draw by draw."""
    tasks = len(sources[0].cost)
    solved, cost = np.zeros(tasks), np.zeros(tasks)
    for task in range(tasks):
        one = [source.part(np.array([task])) for source in sources]
        node, alive = (0,) * len(sources), 1.0
        while alive > 0.0:
            index = int(order.choice[node][_shown(one, node, order.classes)[0]]) - 1
            if index + 1 == STOP:
                break
            cost[task] += alive * one[index].cost[0, node[index]]
            node = _after(node, index)
            alive = float(_alive(one, node)[0])
        solved[task] = 1.0 - alive
    return Played(solved, cost)


def _after(node: tuple[int, ...], index: int) -> tuple[int, ...]:
    return (*node[:index], node[index] + 1, *node[index + 1 :])


def _alive(sources: Sequence[Source], node: tuple[int, ...]) -> Floats:
    """Probability that nothing has passed, shape (tasks,)."""
    each = [source.failing[:, done] for source, done in zip(sources, node, strict=True)]
    return np.asarray(np.prod(each, 0))


def _shown(sources: Sequence[Source], node: tuple[int, ...], classes: tuple[int, ...]) -> Ints:
    """What is shown as one number, shape (tasks,); the highest class stands for higher ones."""
    shown = [
        np.minimum(source.shown[:, done], most - 1)
        for source, done, most in zip(sources, node, classes, strict=True)
    ]
    return np.asarray(np.ravel_multi_index(tuple(shown), classes), np.intp)
