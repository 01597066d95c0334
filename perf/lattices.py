"""Measures how fast policies play whole plans on a visited lattice, and how fast that is read.

Run as a module: python -m perf.lattices
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.fakes.trail import ARMS, Trails
from tests.simulate.lattices import read, record
from tests.simulate.test_lattice_table import FEATURES, SILENT, SPACE, policy

from amp.learn.rollout import roll_out
from amp.reward import Reward
from amp.simulate.lattice_recording import Lattice, Survey
from amp.simulate.lattice_states import Arms
from amp.simulate.lattice_table import lattice_env
from amp.simulate.table_env import TableEnv
from amp.simulate.table_oracle import oracle

PROMISED = 5_000.0
TASKS, JUNCTIONS = 140, 51
EPISODES = 1_000


def recorded(tasks: int, junctions: int) -> Lattice:
    """Tasks of twice as many states as junctions, by a scripted model."""
    trails = Trails(junctions, junctions + 2)
    survey = Survey(trails, Arms(ARMS), cap=100)
    with tempfile.TemporaryDirectory() as folder:
        path, several = Path(folder, "lattice.sqlite"), trails.tasks("train", tasks)
        record(path, survey, several)
        return read(path, survey, several)


def table(lattice: Lattice) -> TableEnv:
    return lattice_env(lattice, SPACE, FEATURES, SILENT)


def speed(on: TableEnv) -> float:
    """Decisions a CPU-second of whole episodes of a policy of chance, which uses one core."""
    one = replace(policy(0, SPACE, 1), deterministic=False)
    tasks = np.resize(np.arange(len(on.tasks)), EPISODES)
    begin = time.process_time()
    came = roll_out(one, on, Reward(500.0), tasks, np.full(EPISODES, 0.8), np.random.default_rng(0))
    return len(came.latents) / (time.process_time() - begin)


def lattices() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    on = table(recorded(10, 10))
    return [("decisions on a lattice a CPU-second", speed(on), ">", PROMISED)]


def main() -> int:
    begin = time.process_time()
    lattice = recorded(TASKS, JUNCTIONS)
    states = sum(len(task.states) for task in lattice.tasks)
    print(f"{states:,} states visited and read: {time.process_time() - begin:,.1f} s of CPU")
    begin = time.process_time()
    on = table(lattice)
    print(f"a table of {len(on.then):,} nodes: {time.process_time() - begin:,.1f} s of CPU")
    begin = time.process_time()
    oracle(on, Reward(500.0), 0.9)
    print(f"its oracle: {time.process_time() - begin:,.1f} s of CPU")
    print(f"{speed(on):,.0f} decisions a second on one core; {PROMISED:,.0f} on two are promised")
    return 0


if __name__ == "__main__":
    sys.exit(main())
