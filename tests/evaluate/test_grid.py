"""The arrays say of every state what stepping there says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.evaluate.grid import canonical, grid
from amp.evaluate.synthetic import synthetic
from amp.simulate.replay import Ask, State

TABLE = synthetic(20, seed=5, samples=3)
GRID = grid(TABLE)


def test_arms_take_turns_in_the_canonical_order() -> None:
    row = TABLE.tasks[0]
    short, long = (row.cells[arm].draws for arm in ("short", "long"))
    assert canonical(row, GRID.arms, (1, 3)) == [short[0], long[0], long[1], long[2]]
    assert canonical(row, GRID.arms, (2, 2)) == [short[0], long[0], short[1], long[1]]
    assert canonical(row, GRID.arms, (0, 0)) == []


@given(st.integers(0, 19), st.integers(0, 3), st.integers(0, 3))
def test_a_state_is_that_of_stepping_through_it_in_canonical_order(
    task: int, short: int, long: int
) -> None:
    state = State(TABLE, TABLE.tasks[task])
    for index in range(3):
        for arm, count in (("short", short), ("long", long)):
            if index < count:
                state = state.after(Ask(arm))
    at = (task, short, long)
    assert GRID.right[at] == state.right
    votes = sorted(state.evidence.votes.values(), reverse=True)
    assert [GRID.leading[at], GRID.second[at]] == [*votes, 0, 0][:2]
    assert GRID.completion_tokens[at] == state.usage.completion_tokens
    prompts = GRID.prompt_tokens[task] @ np.array([short, long])
    assert GRID.completion_tokens[at] + prompts == state.usage.tokens


@given(st.integers(0, 19), st.integers(0, 3), st.integers(0, 3))
def test_the_cheapest_way_to_a_state_is_one_call_an_arm(task: int, short: int, long: int) -> None:
    state = State(TABLE, TABLE.tasks[task])
    for ask in (Ask("short", short), Ask("long", long)):
        if ask.samples:
            state = state.after(ask)
    assert GRID.tokens[task, short, long] == state.usage.tokens


def test_a_grid_has_an_axis_for_each_arm() -> None:
    assert GRID.tasks == tuple(row.task for row in TABLE.tasks)
    assert GRID.right.shape == (20, 4, 4)
    alone = grid(TABLE.with_arms("long"))
    assert np.array_equal(alone.right, GRID.right[:, 0])
    assert np.array_equal(alone.tokens, GRID.tokens[:, 0])


def test_prompts_that_are_read_for_every_sample_make_no_grid() -> None:
    with pytest.raises(InvalidInputError, match="synthetic do not share the prompt of a call"):
        grid(replace(TABLE, shared_prompt=False))
