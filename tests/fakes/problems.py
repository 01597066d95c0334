"""Problems to train on whose best policy is known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from amp.allocate.mlp_policy import EXTRAS, allocations
from amp.allocate.space import Space
from amp.mlp import Floats, Ints
from amp.simulate.table_env import BatchObservation, StepResult, VectorEpisodes

FIXED = {"depth": (1, 1), "temperature": (0.7, 0.7), "top_p": (1.0, 1.0), "verification": (0, 0)}
TOKENS = 100.0
"""What a sample costs."""


def space(max_beams: int) -> Space:
    return Space(**FIXED, beam_width=(1, max_beams), tools=frozenset({"python"}))  # type: ignore[arg-type]


@dataclass
class TwoArmed:
    """One decision: with the tool or without. Each arm has its probability of success."""

    with_tool: float = 0.8
    without: float = 0.3
    tasks: int = 30
    space: Space = field(default_factory=lambda: space(1))
    max_rounds: int = 1
    max_samples: int | None = None
    features: tuple[str, ...] = ()

    @property
    def difficulties(self) -> Floats:
        return np.zeros(self.tasks)

    def reset(self, tasks: Ints, rng: np.random.Generator) -> VectorEpisodes:
        return _TwoArmedEpisodes(self, rng)


@dataclass
class _TwoArmedEpisodes:
    problem: TwoArmed
    rng: np.random.Generator

    def observe(self, rows: Ints) -> BatchObservation:
        values = np.full((len(rows), len(EXTRAS)), np.nan)
        free = np.array([name == "tool python" for name in self.problem.space.dims])
        return BatchObservation(values, np.tile(free, (len(rows), 1)))

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        tool = allocations(self.problem.space, latents).tools[:, 0]
        chance = np.where(tool, self.problem.with_tool, self.problem.without)
        success = (self.rng.random(len(rows)) < chance).astype(float)
        return StepResult(np.full(len(rows), TOKENS), success, np.ones(len(rows), np.bool_))


@dataclass(frozen=True)
class Level:
    """Tasks of one difficulty: how likely a sample is right, without the tool and with it."""

    without: float
    with_tool: float


LEVELS = (Level(0.9, 0.4), Level(0.1, 0.5), Level(0.02, 0.0))


@dataclass
class UntilRight:
    """Samples are bought until one is right, which is seen, or it does not pay.

    Which level a task has is hidden. One feature tells it, another one tells nothing, and which
    arm is the better one depends on the level.

    Attributes:
        most: samples of a task at most.
    """

    levels: tuple[Level, ...] = LEVELS
    tasks: int = 60
    most: int = 8
    space: Space = field(default_factory=lambda: space(4))
    max_samples: int | None = None
    features: tuple[str, ...] = ("hint", "noise")

    @property
    def max_rounds(self) -> int:
        return self.most

    @property
    def level(self) -> Ints:
        return np.arange(self.tasks) % len(self.levels)

    @property
    def difficulties(self) -> Floats:
        return self.level / len(self.levels)

    def reset(self, tasks: Ints, rng: np.random.Generator) -> VectorEpisodes:
        return _UntilRightEpisodes(self, self.level[tasks], rng)

    def oracle(self, trade_off: float, reference_tokens: float) -> float:
        """Mean reward of whoever knows the levels: one sample after the other, while it pays.

        A sample that is right with probability p is worth g = lambda * p - (1 - lambda) * cost, the
        first one has to be bought, and the k-th is reached with probability (1 - p)^(k - 1).
        """
        cost = (1.0 - trade_off) * TOKENS / reference_tokens
        rewards = []
        for level in self.levels:
            p = max(level.without, level.with_tool)
            gain = trade_off * p - cost
            samples = self.most if gain > 0.0 else 1
            rewards.append(gain * (1.0 - (1.0 - p) ** samples) / p)
        return math.fsum(rewards) / len(rewards)

    def best_fixed(self, trade_off: float, reference_tokens: float) -> float:
        """Mean reward of the best number of samples in one round, with the tool or without."""
        cost = (1.0 - trade_off) * TOKENS / reference_tokens
        return max(
            math.fsum(trade_off * (1.0 - (1.0 - p) ** n) - n * cost for p in arm) / len(arm)
            for arm in (
                [level.without for level in self.levels],
                [level.with_tool for level in self.levels],
            )
            for n in range(1, self.most + 1)
        )


class _UntilRightEpisodes:
    def __init__(self, problem: UntilRight, levels: Ints, rng: np.random.Generator) -> None:
        self.problem, self.rng = problem, rng
        self.levels = levels
        chances = np.array([[level.without, level.with_tool] for level in problem.levels])
        self.chances = chances[levels]
        self.noise = rng.normal(size=len(levels))
        self.samples = np.zeros(len(levels), np.intp)
        self.rounds = np.zeros(len(levels))
        self.right = np.zeros(len(levels), np.bool_)

    def observe(self, rows: Ints) -> BatchObservation:
        known = self.rounds[rows] > 0
        agreement = np.where(known, self.right[rows], np.nan)
        hint = self.levels[rows] / len(self.problem.levels)
        values = np.stack(
            (
                hint,
                self.noise[rows],
                hint,  # the score
                np.full(len(rows), np.nan),  # the trade-off
                np.ones(len(rows)),
                np.log1p(self.rounds[rows]),
                np.log1p(self.samples[rows]),
                np.zeros(len(rows)),  # of no use here: how many samples had the tool
                agreement,
                agreement,
            ),
            axis=1,
        )
        free = np.zeros((len(rows), len(self.problem.space.dims)), np.bool_)
        free[:, 0] = known
        free[:, [self.problem.space.dims.index(name) for name in ("beam_width", "tool python")]] = (
            True
        )
        return BatchObservation(values, free)

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        stopped = latents[:, 0] > 0
        left = self.problem.most - self.samples[rows]
        asked = allocations(self.problem.space, latents, left)
        beams = np.where(stopped, 0, asked.beam_width)
        chance = self.chances[rows, asked.tools[:, 0].astype(np.intp)]
        self.right[rows] |= self.rng.random(len(rows)) < 1.0 - (1.0 - chance) ** beams
        self.samples[rows] += beams
        self.rounds[rows] += ~stopped
        done = stopped | (self.samples[rows] >= self.problem.most)
        return StepResult(TOKENS * beams, np.where(done, self.right[rows], 0.0), done)
