"""Trains a router among the ways to ask one model on a recording, and says what it is worth.

What it is worth is what routers reach on tasks that they have not learned from: of each fold of the
tasks, by one that was learned on the others. From this comes the trade-off from
which on nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.policy_file import CurvePoint, Origin, save_router
from amp.allocate.router import Router
from amp.assess.base import Training
from amp.assess.correctness import save_correctness
from amp.benchmarks.base import Benchmark
from amp.cost import Cost, costing
from amp.errors import InvalidInputError
from amp.learn.config import CORRECTNESS, POLICY, TrainConfig
from amp.learn.dataset import load_samples
from amp.learn.routing import CURVE_ORDERS, CURVE_UNITS, RoutingSettings, begun, folds, learn_from
from amp.mlp import Floats, content_hash
from amp.simulate.pool_draws import CountLattice, Draws, follow, known_at, leader_right, recorded
from amp.types import Allocation

TRADE_OFFS = (
    *(0.3, 0.5, 0.65, 0.75, 0.8, 0.85, 0.88, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97),
    *(0.98, 0.985, 0.99, 0.995),
)
"""Lambdas that a router among the ways to ask one model is learned at."""


def train_router(config: TrainConfig, benchmark: Benchmark, directory: Path) -> Router:
    """Learns the router of a config on a recording, and keeps it with its heads in a directory.

    Args:
        config: how; its `learner` is ``router``.
        benchmark: that of the config.
        directory: where ``policy.safetensors`` and ``correctness.safetensors`` are written.

    Raises:
        InvalidInputError: if the config rates no samples, and as `load_samples` and `learn_from`.
        RecordingError: if the recording is none or lacks samples.
    """
    if config.correctness is None:
        raise InvalidInputError(
            "correctness is missing, expected logistic or network: a router of one model learns"
            " from votes that heads weigh"
        )
    found = load_samples(config, benchmark)
    table, card = found.table, found.table.card
    settings = RoutingSettings(
        reference_cost=config.ppo.reference_cost,
        depth=len(table.arms) * config.samples,
        samples=config.samples,
        orders=config.orders,
        ridge=config.ridge,
        seed=config.ppo.seed,
        trade_offs=TRADE_OFFS,
    )
    cost = config.ppo.cost
    draws = recorded(table, found.contexts, settings.orders, settings.seed, cost)
    arms = {arm.name: arm.allocation for arm in table.arms}
    router = learn_from(draws, arms, settings)
    heads = directory / CORRECTNESS
    tasks = tuple(row.task for row in table.tasks)
    assert found.correctness is not None  # as the config rates
    save_correctness(
        found.correctness, Training(card.name, config.benchmark, card.sha256, tasks), heads
    )
    price, by_unit = "", {}
    for unit in dict.fromkeys((*CURVE_UNITS, cost)):
        with suppress(InvalidInputError):  # not known of this model
            by_unit[unit] = recorded(table, found.contexts, CURVE_ORDERS, 1, unit)
    with suppress(InvalidInputError):  # no price is known
        price = costing("dollars", card).note
    held_out = play_held_out(
        draws, by_unit, arms, replace(settings, reference_cost=router.reference)
    )
    origin = Origin(
        config.benchmark,
        card.name,
        card.sha256,
        tasks,
        held_out.curve,
        correctness=content_hash(heads),
        cost=cost,
        price=price,
        trade_off=held_out.cheapest(cost),
    )
    save_router(router, directory / POLICY, origin)
    return router


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What routers reach on training tasks that they have not learned from.

    Attributes:
        trade_offs: ascending.
        success: by trade-off.
        costs: by unit and trade-off, a task.
        fixed: success of the best fixed number of samples of each arm, by plain vote.
    """

    trade_offs: Floats
    success: Floats
    costs: Mapping[Cost, Floats]
    fixed: float

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """By trade-off, in tokens and, where they are known, in dollars."""
        none = (None,) * len(self.trade_offs)
        dollars = self.costs["dollars"].tolist() if "dollars" in self.costs else none
        columns = (self.trade_offs, self.costs["tokens"], self.success)
        rows = zip(*(column.tolist() for column in columns), dollars, strict=True)
        return tuple(CurvePoint(*row) for row in rows)

    def cheapest(self, unit: Cost) -> float:
        """The cheapest trade-off that is right as often as the best fixed allocation.

        Where none is, the one that is right most often.
        """
        enough = np.flatnonzero(self.success >= self.fixed)
        if not len(enough):
            return float(self.trade_offs[self.success.argmax()])
        return float(self.trade_offs[enough[self.costs[unit][enough].argmin()]])


def play_held_out(
    draws: Draws,
    by_unit: Mapping[Cost, Draws],
    arms: Mapping[str, Allocation],
    settings: RoutingSettings,
) -> HeldOut:
    """Plays each fold of the tasks by a router that was learned on the others.

    Args:
        draws: to learn from.
        by_unit: the same samples to play, in equal orders, by the unit of their costs.
        arms: what a sample of each arm is allocated, by its name.
        settings: how it is learned.

    Raises:
        InvalidInputError: as `learn_from`.
    """
    fold = folds(draws.pool, settings.folds)
    lattice = CountLattice.of(draws.samples, sum(draws.samples))
    right = np.zeros(len(settings.trade_offs))
    spent: dict[Cost, Floats] = {unit: np.zeros(len(right)) for unit in by_unit}
    fixed, rows = np.zeros(len(lattice.taken)), 0
    for each in range(settings.folds):
        other = learn_from(draws.of_tasks(np.flatnonzero(fold != each)), arms, settings)
        left = np.flatnonzero(fold == each)
        parts = {unit: part.of_tasks(left) for unit, part in by_unit.items()}
        for unit, part in parts.items():
            start = begun(other, part.pool, part)
            came = [follow(other.with_trade_off(at), part, start) for at in settings.trade_offs]
            spent[unit] += [float(outcome.cost.sum()) for outcome in came]
        # Orders and decisions are the same in all units, so the last one tells for all.
        right += [float(outcome.right.sum()) for outcome in came]
        votes = known_at(part, lattice.taken, start).votes.sum(-2)
        fixed += leader_right(part, votes).sum(0)
        rows += len(part.task)
    costs = {unit: total / rows for unit, total in spent.items()}
    return HeldOut(np.array(settings.trade_offs), right / rows, costs, float(fixed.max()) / rows)
