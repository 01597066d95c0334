"""Lattices of the trail on which policies of long plans are learned, and what one earns there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from tests.fakes.trail import ARMS, Trails
from tests.simulate.lattices import read, record

from amp.allocate.base import Allocator, FixedAllocator
from amp.reward import Reward
from amp.simulate.lattice_recording import Lattice, Survey
from amp.simulate.lattice_replay import replay_best, replay_lattice
from amp.simulate.lattice_states import Arms
from amp.types import Allocation, Episode

REWARD = Reward(500.0)
TRAILS = Trails(5, 6)
NAMES = ("goal_distance", "steps_done", "unchanged", "plan_age")
ASKED = ("goal_distance at most 0.5, or not known: act", "goal_distance above 0.5: think")
"""What is best, at a trade-off of 0.9."""


def lattice_of(
    path: Path, split: str, count: int, arms: Mapping[str, Allocation] = ARMS
) -> Lattice:
    survey, tasks = Survey(TRAILS, Arms(arms)), TRAILS.tasks(split, count)
    record(path, survey, tasks)
    return read(path, survey, tasks)


def earned(episodes: Sequence[Episode], trade_off: float) -> float:
    return fmean(REWARD.of(e.score, float(e.usage.tokens), trade_off) for e in episodes)


def share(lattice: Lattice, allocator: Allocator, trade_off: float) -> float:
    """Of the oracle's gain over the best fixed arm."""
    fixed = max(
        earned(replay_lattice(lattice, FixedAllocator(a)), trade_off) for a in ARMS.values()
    )
    best = earned(replay_best(lattice, REWARD, trade_off, lambda u: u.tokens), trade_off)
    assert best > fixed + 0.01
    return (earned(replay_lattice(lattice, allocator), trade_off) - fixed) / (best - fixed)
