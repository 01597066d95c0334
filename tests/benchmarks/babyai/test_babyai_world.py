"""Laws of the belief: only what was seen, in the right place."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigrid.core import constants

from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.babyai.world import (
    COLORS,
    DOOR_STATES,
    HEADINGS,
    KINDS,
    PRIMITIVES,
    Cell,
    Pose,
)

poses = st.builds(Pose, st.tuples(st.integers(-9, 9), st.integers(-9, 9)), st.integers(0, 3))
steps = st.integers(-9, 9)


@given(poses, steps, steps)
def test_offset_undoes_place(pose: Pose, forward: int, right: int) -> None:
    assert pose.offset(pose.place(forward, right)) == (forward, right)


@given(poses)
def test_four_quarter_turns_are_none_and_the_front_is_one_step_ahead(pose: Pose) -> None:
    assert pose.turned(1).turned(1).turned(1).turned(1) == pose
    assert pose.turned(-1).turned(1) == pose
    assert pose.place(1, 0) == pose.front


def test_the_codes_are_those_of_minigrid() -> None:
    assert {kind: code for code, kind in enumerate(KINDS)} == constants.OBJECT_TO_IDX
    assert {color: code for code, color in enumerate(COLORS)} == constants.COLOR_TO_IDX
    assert {state: code for code, state in enumerate(DOOR_STATES)} == constants.STATE_TO_IDX


@pytest.mark.parametrize(
    "level", ["BabyAI-GoToLocal-v0", "BabyAI-UnlockPickup-v0", "BabyAI-BossLevel-v0"]
)
def test_the_belief_holds_what_was_seen_where_it_is_and_nothing_else(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("dev", 3):
        rng = random.Random(task.id)
        environment = benchmark.environment(task)
        environment.reset(task)
        hidden = environment._level  # the simulator, here as the judge
        start, turn = tuple(int(x) for x in hidden.agent_pos), (int(hidden.agent_dir) + 1) % 4
        ever_seen: set[Cell] = set()

        def in_world(cell: Cell, start: tuple[int, ...] = start, turn: int = turn) -> Cell:
            (fx, fy), (rx, ry) = HEADINGS[turn], HEADINGS[(turn + 1) % 4]
            forward, right = -cell[1], cell[0]
            return start[0] + forward * fx + right * rx, start[1] + forward * fy + right * ry

        for _ in range(60):
            belief = environment.belief
            ever_seen |= belief.visible
            assert set(belief.cells) == ever_seen
            assert in_world(belief.pose.cell) == tuple(hidden.agent_pos)
            assert len(belief.visible) == int((hidden.gen_obs()["image"][:, :, 0] != 0).sum())
            for cell, thing in belief.cells.items():
                real = hidden.grid.get(*in_world(cell))
                if real is None:
                    assert thing.kind == "empty"
                else:
                    assert thing.kind == real.type
                    assert not thing.notable or thing.color == real.color
            carried = belief.carrying
            assert (carried and carried.name) == (
                hidden.carrying and f"{hidden.carrying.color} {hidden.carrying.type}"
            )
            if environment.step(rng.choice(PRIMITIVES)).done:
                break
