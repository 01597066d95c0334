"""Which tasks a training plays, and at which trade-offs (spec 3.4.3).

From easy tasks to all of them, and from success to efficiency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amp.learn.config import PPOConfig
from amp.learn.rollout import Rollout
from amp.mlp import Floats, Ints
from amp.reward import dual_step

TERCILES = 3


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Where the training stands.

    Attributes:
        opened: how many terciles of the tasks are played, the easiest first.
        waited: updates since the last one opened.
        trade_off: lambda of the next update, where dual ascent finds it; else unused.
    """

    opened: int
    waited: int
    trade_off: float

    @classmethod
    def beginning(cls, settings: PPOConfig) -> Curriculum:
        return cls(1 if settings.curriculum else TERCILES, 0, settings.max_trade_off)

    def tasks(self, terciles: Ints) -> Ints:
        """Indices of the open tasks."""
        return np.flatnonzero(terciles < self.opened)

    def trade_offs(self, settings: PPOConfig, progress: float) -> tuple[float, float]:
        """Between which two lambda is drawn, after this share of the training."""
        if settings.dual_rate:
            return self.trade_off, self.trade_off
        low, high = settings.min_trade_off, settings.max_trade_off
        reached = progress / settings.efficiency_from if settings.efficiency_from else 1.0
        return high - (high - low) * min(1.0, reached), high

    def after(self, rollout: Rollout, terciles: Ints, settings: PPOConfig) -> Curriculum:
        """Where it stands after an update: the next tercile opens by success, or by patience."""
        trade_off = self.trade_off
        if settings.dual_rate:
            cost = float(rollout.cost.mean()) / settings.reference_cost
            trade_off = dual_step(trade_off, cost, settings.dual_rate)
        hardest = success_by_tercile(rollout, terciles)[self.opened - 1]
        waited = self.waited + 1
        good = hardest is not None and hardest >= settings.opens_at
        if self.opened < TERCILES and (good or waited >= settings.patience):
            return Curriculum(self.opened + 1, 0, trade_off)
        return Curriculum(self.opened, waited, trade_off)


def terciles_of(difficulties: Floats) -> Ints:
    """0, 1 or 2 for each task: three parts of the same size, but for one task, the easiest first.

    Equally difficult tasks are parted in their order.
    """
    ranks = np.empty(len(difficulties), np.intp)
    ranks[np.argsort(difficulties, kind="stable")] = np.arange(len(difficulties))
    return ranks * TERCILES // max(1, len(difficulties))


def success_by_tercile(rollout: Rollout, terciles: Ints) -> list[float | None]:
    """Mean success of the episodes of each; None where there was none."""
    played = terciles[rollout.tasks]
    parts = [rollout.success[played == tercile] for tercile in range(TERCILES)]
    return [float(part.mean()) if len(part) else None for part in parts]
