"""The table of arms: every arm on the same missions."""

from __future__ import annotations

from experiments.plan_arms import ARMS, table

from amp.types import Episode, Task, Usage


def episode(number: int, success: bool, tokens: int) -> Episode:
    usage = Usage(1, tokens, completion_tokens=10, flops=2e12)
    return Episode(Task(f"t{number}", "go"), (), success, float(success), usage, "done")


def test_only_missions_that_all_arms_played_count() -> None:
    act, plan = ARMS["act"], ARMS["plan 8"]
    assert act != plan
    lines = table(
        {
            ("one", "act"): [episode(0, True, 90), episode(1, False, 190), episode(2, True, 5)],
            ("one", "plan 8"): [episode(1, True, 40), episode(0, True, 60)],
            ("two", "act"): [episode(0, False, 90)],
            ("two", "plan 8"): [episode(0, True, 20)],
            ("three", "act"): [episode(0, False, 90)],
        }
    )
    assert lines[2:] == [
        "| one | act | 1/2 | 0.0 | 1.0 | 10 | 150 | 2.00 |",
        "| one | plan 8 | 2/2 | 0.0 | 1.0 | 10 | 60 | 2.00 |",
        "| two | act | 0/1 | 0.0 | 1.0 | 10 | 100 | 2.00 |",
        "| two | plan 8 | 1/1 | 0.0 | 1.0 | 10 | 30 | 2.00 |",
        "| all | act | 1/3 | 0.0 | 1.0 | 10 | 133 | 2.00 |",
        "| all | plan 8 | 3/3 | 0.0 | 1.0 | 10 | 50 | 2.00 |",
    ]


def test_nothing_played_is_an_empty_table() -> None:
    assert len(table({})) == 2
