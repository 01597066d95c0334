"""Success by group of tasks, beside fixed runs of equal cost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks import load_benchmark
from amp.report.frontier import Point, success_at
from amp.report.groups import GroupGain, gains_by_group, groups_table, mixture_at, task_groups
from amp.report.runs import Kind, Run
from amp.types import Episode, Task, Usage

shares = st.floats(0.0, 1.0)


@given(st.lists(st.tuples(st.floats(1.0, 9.0), shares), min_size=1, max_size=5), st.floats(1, 12))
def test_a_mixture_costs_no_more_and_is_the_front(
    pairs: list[tuple[float, float]], cost: float
) -> None:
    points = {str(at): Point(*pair) for at, pair in enumerate(pairs)}
    mixed = mixture_at(points, cost)
    assert sum(share for share, _ in mixed) == pytest.approx(1.0)
    success = sum(share * points[name].success for share, name in mixed)
    front = success_at(list(points.values()), cost)
    if front is None:  # cheaper than all
        assert [points[name].cost for _, name in mixed] == [min(p.cost for p in points.values())]
    else:
        assert success == pytest.approx(front)
        assert sum(share * points[name].cost for share, name in mixed) <= cost * (1 + 1e-9)


def run(name: str, kind: Kind, came: dict[str, tuple[bool, int]]) -> Run:
    episodes = tuple(
        Episode(Task(task, ""), (), won, float(won), Usage(completion_tokens=tokens), "done")
        for task, (won, tokens) in came.items()
    )
    return Run(name=name, episodes=episodes, kind=kind, benchmark="trails", model="walker")


def written(usage: Usage) -> float:
    return float(usage.completion_tokens)


def test_each_group_has_its_own_mixture() -> None:
    tasks = {"a": "easy", "b": "easy", "c": "hard", "d": "hard"}
    fixed = run("act", "fixed", {t: (t in "ab", 10) for t in tasks})
    dear = run("think", "fixed", {t: (t != "d", 30) for t in tasks})
    mine = run("mine", "adaptive", {t: (True, 10 if t in "ab" else 20) for t in tasks})
    gains = {(g.group, g.run): g for g in gains_by_group([fixed, dear, mine], tasks, written)}
    assert list(dict.fromkeys(group for group, _ in gains)) == ["easy", "hard"]
    easy, hard = gains["easy", "mine"], gains["hard", "mine"]
    assert (easy.tasks, easy.success, easy.cost, easy.fixed, easy.gain) == (2, 1.0, 10.0, 1.0, 0.0)
    assert (hard.fixed, hard.gain) == (0.25, 0.75)  # half act, half think, of c alone
    assert hard.interval is not None
    assert hard.interval.low < 0.75 < hard.interval.high
    assert gains["hard", "think"].gain is None
    rows = list(groups_table(list(gains.values()), "tokens").texts())
    assert rows[-1][:7] == ["hard", "2", "adaptive", "mine", "1.000", "20", "0.250"]
    assert rows[-1][7].startswith("+0.750 (")


def test_one_task_has_no_interval_and_a_cheaper_policy_the_cheapest_fixed_one() -> None:
    fixed = run("act", "fixed", {"a": (True, 10)})
    mine = run("mine", "rule", {"a": (False, 4)})
    (_, gain) = gains_by_group([fixed, mine], {"a": "all", "z": "all"}, written)
    assert gain == GroupGain("all", "rule", "mine", 1, 0.0, 4.0, 1.0, -1.0, None)


def test_thirds_by_difficulty_are_as_large_as_they_can_be() -> None:
    level = "BabyAI-GoToLocal-v0"
    tasks = [Task(f"{level}/{seed}", "", data={"level": level, "seed": seed}) for seed in range(10)]
    episodes = tuple(Episode(task, (), True, 1.0, Usage(), "done") for task in tasks)
    one = Run(name="act", episodes=episodes, kind="fixed", benchmark="babyai", model="walker")
    groups = task_groups([one])
    assert Counter(groups.values()) == {"easiest": 4, "middle": 3, "hardest": 3}
    score = {task.id: load_benchmark("babyai").difficulty(task).score for task in tasks}
    assert [score[task] for task in groups] == sorted(score.values())


def test_tasks_of_fewer_than_three_difficulties_are_grouped_by_level() -> None:
    def of(level: str, seed: int) -> Task:
        return Task(f"{level}/{seed}", "", data={"level": level, "seed": seed})

    easy, hard = of("BabyAI-GoToLocal-v0", 0), of("BabyAI-GoToSeqS5R2-v0", 0)
    episodes = tuple(Episode(task, (), True, 1.0, Usage(), "done") for task in (easy, hard))
    one = Run(name="act", episodes=episodes, kind="fixed", benchmark="babyai", model="walker")
    groups = task_groups([one])
    assert groups == {easy.id: "BabyAI-GoToLocal-v0", hard.id: "BabyAI-GoToSeqS5R2-v0"}
    assert task_groups([run("act", "fixed", {"a": (True, 1)})]) == {}
