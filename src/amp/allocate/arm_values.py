"""A policy of long plans: estimates what each arm (an allocation) is worth, and takes the best.

What each arm is worth from here to the end of the plan is told by a small tree of questions about
one feature each, learned by `amp.learn.arm_values`. Few numbers, so few tasks are enough, and the
questions can be read. A policy can have a rule as its base: where the tree says so, it does what
that rule does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from amp.allocate.base import Allocator
from amp.allocate.mlp_policy import EXTRAS, observe
from amp.allocate.plan_state import PLAN_STATE, base_rules
from amp.allocate.router import first_loss, nearest
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints
from amp.types import STOP, Allocation, Complexity, Decision, StepContext

ARM_VALUES_VERSION = 1
"""Of what is read, and how; a policy that was learned with another version is refused."""

READ = ("candidates", "tooled", "agreement")
"""What is read of the rounds so far, of `EXTRAS`."""

LEAF = -1
"""In place of a column, where a tree asks nothing more."""

_OF_TREES = ("roots", "column", "above", "sides", "worth")
_GIVE_UP = "nothing that may follow is worth its cost"
_STOP = "stop"


def columns(features: tuple[str, ...], values: Floats) -> Floats:
    """What is read of `observe`'s values, shape (..., features + `READ`)."""
    return values[..., [*range(len(features)), *(len(features) + EXTRAS.index(n) for n in READ)]]


def bids(trade_offs: Floats, gains: Floats) -> Floats:
    """The price of success, in success per unit of cost, up to which a gain is more than nothing.

    Args:
        trade_offs: lambdas, rising, above 0.
        gains: shape (trade-offs, ...), reward of going on beside that of not.
    """
    weights = trade_offs.reshape(-1, *(1,) * (gains.ndim - 1))
    prices = (1.0 - trade_offs) / trade_offs
    return first_loss(prices[::-1], (gains / weights)[::-1])


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Questions whether a column is above a value; one that is missing is not.

    Attributes:
        roots: shape (trade-offs, rounds), where the tree begins.
        column: by node, which column is asked about, or `LEAF`.
        above: by node, the value.
        sides: shape (nodes, 2), the node that goes on where it is not above, and where it is.
        worth: shape (nodes, arms + 1), what stopping and each arm are worth; with a base one column
            more, the first one, for what it does.
    """

    roots: Ints
    column: Ints
    above: Floats
    sides: Ints
    worth: Floats

    def leaf(self, root: int, known: Floats) -> int:
        """The node that the answers lead to."""
        node = root
        while self.column[node] != LEAF:
            node = int(self.sides[node, int(known[self.column[node]] > self.above[node])])
        return node


@dataclass(frozen=True, slots=True, eq=False)
class ArmValues(Allocator):
    """Allocates the arm that is worth most, stops where that is worth more, or gives up.

    Attributes:
        arms: allocations by name.
        features: that are read, all of `PLAN_STATE`; with `READ` they are the columns of the trees.
        trade_offs: lambdas that it was learned at; shape (t,).
        trees: one for each lambda and number of rounds so far.
        gives_up: shape (t,), whether an episode is given up where no arm is worth more than
            nothing.
        trade_off: lambda in [0, 1]; that of `trade_offs` nearest to it decides.
        base: the rule, of `base_rules`, by its name; empty for none.

    Raises:
        InvalidInputError: if shapes do not fit, a feature or the base is none, or a number is not
            finite.
    """

    arms: Mapping[str, Allocation]
    features: tuple[str, ...]
    trade_offs: Floats
    trees: Trees
    gives_up: Ints
    trade_off: float = 0.9
    base: str = ""

    uses_complexity = False

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.features) - set(PLAN_STATE)):
            raise InvalidInputError(
                f"feature {unknown[0]!r} is none of a plan ({', '.join(PLAN_STATE)})"
            )
        if not self.arms or not 0.0 <= self.trade_off <= 1.0:
            raise InvalidInputError(
                f"arms are {', '.join(self.arms) or 'none'} and trade_off is {self.trade_off},"
                " expected at least one and 0 to 1"
            )
        if self.base and self.base not in base_rules(self.arms):
            raise InvalidInputError(
                f"the policy begins with the rule {self.base!r}, which is none of its arms"
                f" {', '.join(self.arms)}; train it again"
            )
        trees, count = self.trees, len(self.trees.column)
        lambdas, rounds = len(self.trade_offs), trees.roots.shape[-1]
        shapes: list[tuple[str, Floats | Ints, tuple[int, ...]]] = [
            ("roots", trees.roots, (lambdas, rounds)),
            ("above", trees.above, (count,)),
            ("sides", trees.sides, (count, 2)),
            ("worth", trees.worth, (count, len(self.options))),
            ("gives_up", self.gives_up, (lambdas,)),
        ]
        for name, array, shape in shapes:
            if array.shape != shape or not shape[0] or not np.isfinite(array).all():
                raise InvalidInputError(
                    f"{name} of the policy has the shape {array.shape}, expected {shape} and finite"
                    " numbers"
                )
        leaves = trees.column == LEAF
        forward = (trees.sides > np.arange(count)[:, None]).all(1) & (trees.sides < count).all(1)
        named = (trees.column >= 0) & (trees.column < len(self.features) + len(READ))
        if not (leaves | (forward & named)).all() or not (trees.roots < count).all():
            raise InvalidInputError("a tree of the policy asks about what is not there")

    @property
    def options(self) -> tuple[str, ...]:
        """What trees tell the worth of, in their order."""
        return (*filter(None, [self.base]), _STOP, *self.arms)

    @property
    def max_rounds(self) -> int:
        """Rounds of a step at most; a base decides that alone, after the first one."""
        return int(self.trees.roots.shape[1])

    def worth(self, context: StepContext) -> dict[str, float]:
        """What the base and each arm are worth here and, after a round, what it is to ``stop``."""
        root, known = int(self._roots(context)[self._nearest]), self._known(context)
        leaf = self.trees.leaf(root, known)
        told = dict(zip(self.options, self.trees.worth[leaf].tolist(), strict=True))
        if not context.evidence.rounds:
            del told[_STOP]
        return told

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        rounds = context.evidence.rounds
        rule = base_rules(self.arms)[self.base] if self.base else None
        if rule is not None and rounds:
            return rule.allocate(context, complexity)
        if rounds >= self.max_rounds:
            return STOP
        worth = self.worth(context)
        best = max(worth, key=worth.__getitem__)
        if self.gives_up[self._nearest] and not rounds and worth[best] < 0.0:
            return Decision(None, give_up=_GIVE_UP)
        if rule is not None and best == self.base:
            return rule.allocate(context, complexity)
        return Decision(self.arms[best]) if best in self.arms else STOP

    def bid(self, context: StepContext, complexity: Complexity) -> float:
        """What it is worth to go on, as `Router.bids`, by the reference cost of the training."""
        known = self._known(context)
        worth = self.worth_at(self._roots(context), known[None])[:, 0]
        at = self.options.index(_STOP)
        stops = context.evidence.rounds > 0 and not self.base
        stop = worth[:, at] if stops else np.zeros(len(worth))
        return float(bids(self.trade_offs, np.delete(worth, at, 1).max(1) - stop))

    def worth_at(self, roots: Ints, known: Floats) -> Floats:
        """What stopping and each arm are worth, shape (trees, rows, decisions).

        Args:
            roots: where the trees begin.
            known: shape (rows, columns), as `columns` gives them.
        """
        leaves = [[self.trees.leaf(int(root), row) for row in known] for root in roots]
        return np.asarray(self.trees.worth[np.array(leaves, np.intp)])

    def _roots(self, context: StepContext) -> Ints:
        """Of the trees for this round, by trade-off."""
        return self.trees.roots[:, min(context.evidence.rounds, self.max_rounds - 1)]

    def _known(self, context: StepContext) -> Floats:
        values = np.array(observe(self.features, context, Complexity(0.0), 0.0, 1.0), float)
        return columns(self.features, values)

    @property
    def _nearest(self) -> int:
        return nearest(self.trade_offs, self.trade_off)

    def questions(self) -> Iterator[str]:
        """The tree of the first round as lines, each indented by its depth."""
        names, trees = (*self.features, *READ), self.trees
        waiting = [(int(trees.roots[self._nearest, 0]), "", "")]
        while waiting:
            node, indent, asked = waiting.pop()
            name, above = names[trees.column[node]], f"{trees.above[node]:.3g}"
            if trees.column[node] != LEAF:
                low, high = map(int, trees.sides[node])
                if asked:
                    yield f"{indent}{asked}"
                    indent += "  "
                waiting.append((high, indent, f"{name} above {above}:"))
                waiting.append((low, indent, f"{name} at most {above}, or not known:"))
                continue
            worth = dict(zip(self.options, trees.worth[node].tolist(), strict=True))
            del worth[_STOP]
            best = max(worth, key=worth.__getitem__)
            ends = self.gives_up[self._nearest] and worth[best] < 0.0
            told = "give up" if ends else f"{best} (worth {worth[best]:+.3f})"
            yield f"{indent}{asked} {told}".rstrip() if asked else told

    def to_tensors(self) -> dict[str, Floats]:
        """The arrays by name, for `amp.allocate.policy_file`."""
        arrays = {"trade_offs": self.trade_offs, "gives_up": self.gives_up}
        arrays |= {name: getattr(self.trees, name) for name in _OF_TREES}
        return {name: array.astype(np.float64) for name, array in arrays.items()}

    @classmethod
    def from_tensors(
        cls,
        arms: Mapping[str, Allocation],
        features: tuple[str, ...],
        tensors: Mapping[str, Floats],
        base: str = "",
    ) -> ArmValues:
        """The policy of arrays that `to_tensors` gave.

        Raises:
            KeyError: if one is missing.
            InvalidInputError: as the class.
        """
        whole = ("roots", "column", "sides")
        parts = {n: tensors[n].astype(np.intp if n in whole else float) for n in _OF_TREES}
        trade_offs, gives_up = tensors["trade_offs"], tensors["gives_up"].astype(np.intp)
        return cls(arms, features, trade_offs, Trees(**parts), gives_up, base=base)

    def with_trade_off(self, trade_off: float) -> ArmValues:
        """The policy at another trade-off.

        Raises:
            InvalidInputError: if it is not in [0, 1].
        """
        return replace(self, trade_off=trade_off)

    def with_overrides(self, fields: Mapping[str, Any]) -> ArmValues:
        """Ignores depth, beam width, model and tools, which the arms themselves are."""
        own = ("depth", "beam_width", "model", "tools")
        kept = {name: value for name, value in fields.items() if name not in own}
        return replace(self, arms={n: replace(arm, **kept) for n, arm in self.arms.items()})
