"""Trees that ask what gains most: of what arms are worth, by what can be seen of a plan.

A question parts the states of the tasks in two, and gains what taking the best decision in each
part brings over taking one in both. `amp.learn.arm_values` learns with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from amp.allocate.arm_values import LEAF, Trees
from amp.mlp import Floats, Ints

_BINS, _DEPTH, _TASKS = 12, 5, 2
"""Of a tree: values of a column that it asks about, questions in a row, and tasks on both sides of
each, at most and at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """What is read of nodes, as bins of each column; bin 0 is where one is missing.

    Attributes:
        bins: shape (nodes, columns).
        above: by column, the value that bins from 2 on are above, by bin.
        task: of each node.
    """

    bins: Ints
    above: Sequence[Floats]
    task: Ints

    @classmethod
    def of(cls, known: Floats, task: Ints) -> Binned:
        """Those of nodes.

        Args:
            known: shape (nodes, columns), NaN where one is missing.
            task: of each node.
        """
        bins, above = np.zeros(known.shape, np.intp), []
        for column in range(known.shape[1]):
            there = ~np.isnan(known[:, column])
            values = np.unique(known[there, column])
            if len(values) > _BINS:
                values = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _BINS)))
            edges = (values[1:] + values[:-1]) / 2.0
            bins[there, column] = 1 + np.searchsorted(edges, known[there, column], "left")
            # What is missing is above nothing: the first question tells it from the rest.
            low = values[0] - 1.0 if len(values) else 0.0
            above.append(np.concatenate([[low], edges]))
        return cls(bins, above, task)


@dataclass(slots=True)
class Grown:
    """Trees that grow: lists of what `Trees` has arrays of."""

    column: list[int] = field(default_factory=list)
    above: list[float] = field(default_factory=list)
    sides: list[list[int]] = field(default_factory=list)
    worth: list[Floats] = field(default_factory=list)

    def leaf(self, worth: Floats) -> int:
        """Adds a leaf; says which node it is."""
        self.column.append(LEAF)
        self.above.append(0.0)
        self.sides.append([0, 0])
        self.worth.append(worth)
        return len(self.column) - 1

    def with_trees(self, other: Grown, roots: Sequence[int]) -> list[int]:
        """Adds the trees of another one; says where they begin."""
        base = len(self.column)
        self.column += other.column
        self.above += other.above
        self.sides += [[base + side for side in sides] for sides in other.sides]
        self.worth += other.worth
        return [base + root for root in roots]

    def arrays(self, roots: Sequence[Sequence[int]]) -> Trees:
        """The same as arrays; the trees begin at these nodes, by trade-off and round."""
        return Trees(
            np.array(roots), np.array(self.column), np.array(self.above), np.array(self.sides),
            np.array(self.worth),
        )  # fmt: skip


def grow(
    grown: Grown,
    rows: Ints,
    worth: Floats,
    mass: Floats,
    *,
    binned: Binned,
    ends: bool,
    penalty: float,
) -> int:
    """Grows a tree by what taking the best decision in each part gains; says where it begins.

    Args:
        grown: is added to.
        rows: nodes to learn from.
        worth: of each of them, what every decision is worth; shape (rows, decisions).
        mass: of each of them.
        binned: what can be asked about.
        ends: whether giving up, for 0, is a decision, too.
        penalty: gain that a question has to bring, in reward a task.
    """
    tasks = len(np.unique(binned.task[rows]))

    def value(sums: Floats) -> Floats:
        best = sums.max(-1)
        return np.asarray(np.maximum(best, 0.0) if ends else best)

    def split(part: Ints, depth: int) -> int:
        weighed = worth[part] * mass[part, None]
        total = weighed.sum(0)
        node = grown.leaf(total / max(float(mass[part].sum()), 1e-12))
        found = None if depth == _DEPTH else _best_question(binned, rows[part], weighed, value)
        if found is None or found[0] < penalty * tasks:
            return node
        _, column, at = found
        high = binned.bins[rows[part], column] > at
        sides = [split(part[~high], depth + 1), split(part[high], depth + 1)]
        grown.column[node], grown.sides[node] = column, sides
        grown.above[node] = float(binned.above[column][at])
        return node

    return split(np.arange(len(rows)), 0)


def _best_question(
    binned: Binned, rows: Ints, weighed: Floats, value: Callable[[Floats], Floats]
) -> tuple[float, int, int] | None:
    """Gain, column and bin of the question that gains most; None if none parts enough tasks."""
    best: tuple[float, int, int] | None = None
    before = float(value(weighed.sum(0)))
    for column, above in enumerate(binned.above):
        bins = binned.bins[rows, column]
        count = len(above) + 1
        if bins.min() == bins.max():
            continue
        sums = np.stack([np.bincount(bins, each, count) for each in weighed.T], 1).cumsum(0)
        gains = value(sums[:-1]) + value(sums[-1] - sums[:-1]) - before
        for at in np.argsort(-gains):
            if best is not None and gains[at] <= best[0] + 1e-12:
                break
            low = bins <= at
            sides = (len(np.unique(binned.task[rows[side]])) for side in (low, ~low))
            if min(sides) >= _TASKS:
                best = float(gains[at]), column, int(at)
                break
    return best


def said_by(trees: Trees, root: int, known: Floats, rows: Ints) -> Floats:
    """What a tree says of nodes."""
    at = np.full(len(rows), root)
    for _ in range(_DEPTH):
        column = trees.column[at]
        asks = column != LEAF
        high = known[rows, np.maximum(column, 0)] > trees.above[at]
        at = np.where(asks, trees.sides[at, high.astype(np.intp)], at)
    return np.asarray(trees.worth[at])
