"""Drawing steps for a study: even over strata, by chance, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.annotations.collect import AnnotationItem, reordered, sample_items
from amp.errors import InvalidInputError


def items_of(sizes: list[int]) -> tuple[list[AnnotationItem], dict[str, str]]:
    items = [
        AnnotationItem(f"t{n}", i, "goal") for n, size in enumerate(sizes) for i in range(size)
    ]
    return items, {f"t{n}": f"s{n}" for n in range(len(sizes))}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.data(), st.integers())
def test_strata_are_as_even_as_they_can_be(
    sizes: list[int], data: st.DataObject, seed: int
) -> None:
    items, strata = items_of(sizes)
    count = data.draw(st.integers(0, len(items)))
    drawn = sample_items(items, strata, count, seed)
    assert drawn == sample_items(items, strata, count, seed)
    assert len(set(drawn)) == count
    assert drawn == [item for item in items if item in set(drawn)]  # in order
    found = Counter(strata[item.task] for item in drawn)
    most = max((found[f"s{n}"] for n in range(len(sizes))), default=0)
    for number, size in enumerate(sizes):  # who has fewer than the most has no more to give
        assert found[f"s{number}"] in (most, most - 1) or found[f"s{number}"] == size


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data(), st.integers())
def test_tasks_of_a_stratum_are_as_even_as_they_can_be(
    sizes: list[int], data: st.DataObject, seed: int
) -> None:
    items, _ = items_of(sizes)
    count = data.draw(st.integers(0, len(items)))
    found = Counter(item.task for item in sample_items(items, {}, count, seed))
    most = max(found.values(), default=0)
    for number, size in enumerate(sizes):
        assert found[f"t{number}"] in (most, most - 1) or found[f"t{number}"] == size


def test_every_step_and_stratum_has_its_chance() -> None:
    items, strata = items_of([4, 4])
    drawn = [sample_items(items, strata, 3, seed) for seed in range(300)]
    counts = Counter(item for each in drawn for item in each)
    assert all(
        80 < counts[item] < 145 for item in items
    )  # 112.5 expected, over 3 deviations each way


def test_more_steps_than_there_are_cannot_be_drawn() -> None:
    items, strata = items_of([2])
    with pytest.raises(InvalidInputError, match="cannot draw 3 steps: the runs have 2"):
        sample_items(items, strata, 3)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.text())
def test_another_order_has_the_same_steps_and_keeps_those_of_a_task_in_turn(
    sizes: list[int], seed: str
) -> None:
    items, _ = items_of(sizes)
    found = reordered(items, seed)
    assert found == reordered(items, seed)
    for number in range(len(sizes)):
        own = [item for item in found if item.task == f"t{number}"]
        assert own == [item for item in items if item.task == f"t{number}"]
    assert len(found) == len(items)


def test_each_person_has_an_order_of_its_own() -> None:
    items, _ = items_of([3] * 8)
    assert len({tuple(reordered(items, f"0 {name}")) for name in ("ann", "ben", "cleo")}) == 3
