"""Parts of pools and their halves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.pools import rows, write_prices, write_rows
from tests.pools.test_pool_file import assert_same

from amp.errors import InvalidInputError
from amp.pools import Pool, read_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    return read_pool(write_rows(folder, rows()), prices=write_prices(folder))


@given(st.data())
@settings(max_examples=30)
def test_parts_of_tasks_and_of_arms_commute(pool: Pool, data: st.DataObject) -> None:
    tasks = np.array(data.draw(st.lists(st.integers(0, 3), unique=True)), dtype=np.intp)
    names = data.draw(st.lists(st.sampled_from([arm.name for arm in pool.arms]), unique=True))
    assert_same(pool.part(tasks).with_arms(names), pool.with_arms(names).part(tasks))


@given(st.lists(st.integers(0, 3), unique=True))
def test_a_task_is_on_the_same_side_in_every_part(pool: Pool, tasks: list[int]) -> None:
    sides = {pool.tasks[task].id: side for side in (0, 1) for task in pool.halves()[side]}
    part = pool.part(np.array(tasks, dtype=np.intp))
    for side, of_side in enumerate(part.halves()):
        assert all(sides[part.tasks[task].id] == side for task in of_side)
    assert sides["choices/1"] == sides["choices/2"]


def test_an_unknown_arm_is_named(pool: Pool) -> None:
    with pytest.raises(InvalidInputError, match=r"no arm 'smal\|long'; did you mean 'small\|long'"):
        pool.with_arms(["smal|long"])
