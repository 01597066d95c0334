"""The reward of an episode, success against cost (spec 2.4), defined here and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from amp.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Charge = Literal["always", "on_success", "log"]
"""What is charged: the cost, the cost in proportion to the success, or log(1 + cost).

A cost on failures, too, may collapse a policy to the cheapest allocation of all; without one,
nothing is gained by giving up early. The logarithm charges the first tokens as `always` does and
each further one less, half as much at the reference budget.
"""

Number = TypeVar("Number", float, "npt.NDArray[np.floating]")


def reward(
    success: float, normalised_cost: float, trade_off: float, charge: Charge = "always"
) -> float:
    """lambda * success - (1 - lambda) * cost (spec 2.4).

    Args:
        success: quality of the plan in [0, 1]; 0 or 1 where success is binary.
        normalised_cost: cost relative to a reference budget, at least 0.
        trade_off: lambda in [0, 1], the weight of success against cost.
        charge: ``always``, ``on_success`` to multiply the cost with the success, or ``log`` to
            take log(1 + cost) for it (see `Charge`).

    Raises:
        InvalidInputError: if a value is out of its range or NaN.
    """
    if not 0.0 <= trade_off <= 1.0:
        raise InvalidInputError(f"trade_off is {trade_off}, expected 0 to 1")
    if not 0.0 <= success <= 1.0:
        raise InvalidInputError(f"success is {success}, expected 0 to 1")
    if not normalised_cost >= 0.0:
        raise InvalidInputError(f"normalised_cost is {normalised_cost}, expected at least 0")
    return _reward(success, normalised_cost, trade_off, charge)


def _reward(success: Number, cost: Number, trade_off: Number, charge: Charge) -> Number:
    match charge:
        case "always":
            charged = cost
        case "on_success":
            charged = success * cost
        case "log":
            charged = _log1p(cost)
    return trade_off * success - (1.0 - trade_off) * charged


def _log1p(cost: Number) -> Number:
    """log(1 + cost); an array knows its own library, so that none is imported here."""
    if isinstance(cost, float | int):
        return math.log1p(cost)
    logarithms: npt.NDArray[np.floating] = cost.__array_namespace__().log1p(cost)
    return logarithms


@dataclass(frozen=True, slots=True)
class Reward:
    """How a learner is rewarded, for one episode or for arrays of them.

    Attributes:
        reference_cost: the reference budget of a benchmark: the cost that counts as 1, in whatever
            unit costs are.
        charge: what is charged (see `Charge`).
        binary: whether only a whole success counts; else its share does, as WebShop's score.

    Raises:
        InvalidInputError: if the budget is not a finite number above 0, or there is no such charge.
    """

    reference_cost: float
    charge: Charge = "always"
    binary: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.reference_cost < float("inf"):
            raise InvalidInputError(
                f"reference_cost is {self.reference_cost}, expected a number above 0"
            )
        if self.charge not in get_args(Charge):
            raise InvalidInputError(
                f"charge is {self.charge!r}, expected one of {', '.join(get_args(Charge))}"
            )

    def of(self, success: Number, cost: Number, trade_off: Number) -> Number:
        """`reward` of values that are known to be in their ranges."""
        counted = (success >= 1.0) * 1.0 if self.binary else success
        return _reward(counted, cost / self.reference_cost, trade_off, self.charge)


def dual_step(trade_off: float, normalised_cost: float, rate: float) -> float:
    """The trade-off after a step of dual ascent, which holds the mean cost at the reference budget.

    The Lagrangian success - m * (cost - 1) is (spec 2.4's reward) / lambda but for a constant, with
    m = (1 - lambda) / lambda. Its multiplier goes up by rate * (cost - 1), not below 0.

    Args:
        trade_off: lambda so far, above 0.
        normalised_cost: mean cost of late, relative to the reference budget.
        rate: step of the multiplier for a cost of twice the budget.
    """
    multiplier = (1.0 - trade_off) / trade_off + rate * (normalised_cost - 1.0)
    return 1.0 / (1.0 + max(0.0, multiplier))
