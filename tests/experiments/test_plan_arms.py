"""The table of arms: every arm on the same missions."""

from __future__ import annotations

import pytest
from experiments.plan_arms import PILOTS, allocator_of, level_of, table

from amp.allocate import FixedAllocator, PlanThenFollow
from amp.benchmarks.alfworld import ALFWorld
from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.webshop import WebShop
from amp.cost import Costing
from amp.errors import InvalidInputError
from amp.types import UNAIDED, Allocation, Episode, Task, Usage


def episode(number: int, success: bool, tokens: int) -> Episode:
    usage = Usage(1, tokens, completion_tokens=10, flops=2e12, dollars=1e-5)
    return Episode(Task(f"t{number}", "go"), (), success, float(success), usage, "done")


def test_only_missions_that_all_arms_played_count() -> None:
    lines = table(
        {
            ("one", "act"): [episode(0, True, 90), episode(1, False, 190), episode(2, True, 5)],
            ("one", "plan 8"): [episode(1, True, 40), episode(0, True, 60)],
            ("two", "act"): [episode(0, False, 90)],
            ("two", "plan 8"): [episode(0, True, 20)],
            ("three", "act"): [episode(0, False, 90)],
        },
        Costing("dollars"),
    )
    assert lines[2:] == [
        "| one | act | 1/2 | 0.50 | 0.0 | 1.0 | 10 | 150 | 2.00 | 0.010 |",
        "| one | plan 8 | 2/2 | 1.00 | 0.0 | 1.0 | 10 | 60 | 2.00 | 0.010 |",
        "| two | act | 0/1 | 0.00 | 0.0 | 1.0 | 10 | 100 | 2.00 | 0.010 |",
        "| two | plan 8 | 1/1 | 1.00 | 0.0 | 1.0 | 10 | 30 | 2.00 | 0.010 |",
        "| all | act | 1/3 | 0.33 | 0.0 | 1.0 | 10 | 133 | 2.00 | 0.010 |",
        "| all | plan 8 | 3/3 | 1.00 | 0.0 | 1.0 | 10 | 50 | 2.00 | 0.010 |",
    ]


def test_a_game_of_alfworld_counts_in_the_row_of_its_type() -> None:
    task = Task("t", "put a hot apple in fridge", data={"type": "pick_heat_then_place_in_recep"})
    assert level_of(ALFWorld(), task) == "pick_heat_then_place_in_recep"


def test_nothing_played_is_an_empty_table() -> None:
    assert len(table({}, Costing("dollars"))) == 2


@pytest.mark.parametrize("benchmark", [BabyAI(), WebShop(), ALFWorld()])
def test_the_arms_of_a_pilot_differ(benchmark: BabyAI | WebShop | ALFWorld) -> None:
    arms = [allocator_of(arm, benchmark) for arm in PILOTS[benchmark.name].arms]
    assert all(one not in arms[:number] for number, one in enumerate(arms))
    assert PlanThenFollow(benchmark.defaults.fixed, depth=8, gives_up=True) in arms


def test_an_arm_may_do_without_help_and_an_unknown_one_is_named() -> None:
    unaided = allocator_of("act unaided", WebShop())
    assert unaided == FixedAllocator(Allocation(tools=frozenset({UNAIDED})))
    with pytest.raises(InvalidInputError, match="unknown arm 'ponder'"):
        allocator_of("ponder", WebShop())


def test_a_task_counts_in_the_row_of_its_level_or_third() -> None:
    far = Task("t", "go", {"level": "BabyAI-GoToLocal-v0"})
    assert level_of(BabyAI(), far) == "GoToLocal"
    for count, level in ((1, "easy"), (6, "middle"), (9, "hard")):
        task = Task("t", "buy", {"attributes": count, "options": 0, "price_limit": None})
        assert level_of(WebShop(), task) == level
