"""A table of recorded samples is complete or refused; permuted, cut and merged, it stays true."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.synthetic import CERTAIN_LEVELS, synthetic

from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.simulate.replay import Pull, replay_plans
from amp.simulate.samples import Arm, SampleTable, merged
from amp.types import Allocation

TABLE = synthetic(4, samples=3)
SHORT, LONG = TABLE.with_arms("short"), TABLE.with_arms("long")


@given(st.integers(0, 1000))
def test_a_permutation_keeps_every_sample_and_what_all_of_them_cost(seed: int) -> None:
    other = TABLE.permuted(seed)
    assert other == TABLE.permuted(seed)
    assert other.seed == seed
    for before, after in zip(TABLE.tasks, other.tasks, strict=True):
        for arm, cell in before.by_arm.items():
            texts = [
                Counter(draw.candidate.action for draw in cells.by_arm[arm].samples)
                for cells in (before, after)
            ]
            assert texts[0] == texts[1]
            assert after.by_arm[arm].cached == cell.cached
    whole = [
        replay_plans(table, lambda row: (Pull("short", 3), Pull("long", 3)))
        for table in (TABLE, other)
    ]
    assert [o.usage for o in whole[0]] == [o.usage for o in whole[1]]


def test_every_cell_has_an_order_of_its_own() -> None:
    hopeless = [replace(CERTAIN_LEVELS[2], share=1.0)]  # no two answers of it are equal
    orders = [
        tuple(
            tuple(draw.candidate.action for draw in row.by_arm[arm].samples)
            for arm in ("short", "long")
        )
        for row in synthetic(200, samples=3, levels=hopeless).permuted(7).tasks
    ]
    assert len(set(orders)) == 6 * 6


def test_arms_are_taken_out_and_merged_again() -> None:
    assert merged(SHORT, LONG) == TABLE
    assert TABLE.with_arms("long", "short").samples == {"long": 3, "short": 3}
    with pytest.raises(InvalidInputError, match="unknown arm 'lnog'; did you mean 'long'"):
        TABLE.with_arms("lnog")


def test_tasks_are_taken_out_in_the_order_of_the_table() -> None:
    part = TABLE.with_tasks(["synthetic/2", "synthetic/0"])
    assert [row.task for row in part.tasks] == ["synthetic/0", "synthetic/2"]
    with pytest.raises(InvalidInputError, match="no task synthetic/9"):
        TABLE.with_tasks(["synthetic/9"])
    with pytest.raises(InvalidInputError, match="needs at least 1 task, found none"):
        TABLE.with_tasks([])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(LONG, benchmark="gsm8k"), "different benchmarks: synthetic and gsm8k"),
        (replace(LONG, prompts="synthetic/2"), "different prompts: synthetic/1 and synthetic/2"),
        (
            replace(LONG, card=ModelCard("synthetic", "ab" * 32)),
            r"different models: synthetic and synthetic \(abababab\)",
        ),
        (LONG.permuted(3), "different seeds: 0 and 3"),
        (
            LONG.with_tasks(["synthetic/0"]),
            "different tasks: 3 are in one table alone, such as synthetic/1 in the first",
        ),
        (SHORT, "arm short comes twice"),
    ],
)
def test_tables_that_do_not_belong_together_are_not_merged(other: SampleTable, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        merged(SHORT, other)


def test_empty_and_uneven_cells_are_refused() -> None:
    *others, last = TABLE.tasks
    cell = last.by_arm["long"]
    for cells, found in (
        ({"short": last.by_arm["short"]}, 0),
        ({**last.by_arm, "long": replace(cell, samples=())}, 0),
        ({**last.by_arm, "long": replace(cell, samples=cell.samples[:2])}, 2),
    ):
        with pytest.raises(InvalidInputError, match=f"synthetic/3 has {found} samples of arm long"):
            replace(TABLE, tasks=(*others, replace(last, by_arm=cells)))
    with pytest.raises(InvalidInputError, match="has samples of arm other, which is none"):
        replace(TABLE, tasks=(replace(last, by_arm={**last.by_arm, "other": cell}),))
    with pytest.raises(InvalidInputError, match="has 0 samples of arm short, expected at least 1"):
        replace(TABLE, tasks=(replace(last, by_arm={"long": cell}),))
    with pytest.raises(InvalidInputError, match="task synthetic/3 comes twice"):
        replace(TABLE, tasks=(last, last))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"beam_width": 4}, "arm a: beam_width is 4, expected 1"),
        ({"temperature": 0.0}, "arm a: temperature is 0.0, expected above 0"),
        ({"verification": 2}, "arm a: verification is 2, expected 0 or 1"),
    ],
)
def test_an_arm_is_one_sample_that_makes_no_call_of_its_own(
    changed: dict[str, float], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        Arm("a", replace(Allocation(temperature=0.7), **changed))  # type: ignore[arg-type]
