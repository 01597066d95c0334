"""Thirds are as even as they can be; what the user sets wins over the defaults."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.alfworld import ALFWorld
from amp.benchmarks.alfworld.games import Games
from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.babyai.minigrid import LEVELS
from amp.benchmarks.base import Benchmark, Defaults, Difficulty, DifficultyScale
from amp.benchmarks.gsm8k import GSM8K
from amp.benchmarks.webshop import WebShop
from amp.errors import InvalidInputError, MissingDependencyError
from amp.trace import episode_from_json, to_json
from amp.types import Episode, Task, Usage

LEFT_OUT = re.compile(r"KeyInBox|Carrying|Synth|Boss")
"""Levels that minigrid's own expert can't do, and those that mix the others' missions."""

SCORES = st.lists(st.integers(0, 12), min_size=3, max_size=60).filter(lambda s: len(set(s)) >= 3)


def even_thirds(scores: Iterable[float]) -> tuple[float, float]:
    """The boundaries that divide scores into thirds as evenly as equal scores permit.

    They minimise the sum of squares of the shares' differences from one third; of equally good
    boundaries the lower ones are returned.

    Raises:
        ValueError: if there are fewer than three different scores.
    """
    counts = sorted(Counter(scores).items())
    if len(counts) < 3:
        raise ValueError(f"{len(counts)} different scores do not make thirds, expected at least 3")
    upto: dict[float, int] = {}
    total = 0
    for score, count in counts:
        upto[score] = total = total + count

    def unevenness(pair: tuple[float, float]) -> float:
        easy, middle = upto[pair[0]], upto[pair[1]] - upto[pair[0]]
        return sum((3 * part - total) ** 2 for part in (easy, middle, total - easy - middle))

    return min(combinations(list(upto)[:-1], 2), key=unevenness)


def shares(scores: Iterable[float], boundaries: tuple[float, float]) -> list[float]:
    scale = DifficultyScale("", boundaries)
    found = Counter(scale.difficulty(score).tercile for score in scores)
    return [round(found[third] / found.total(), 3) for third in (0, 1, 2)]


# --------------------------------------------------------------------------- laws


@given(SCORES, st.data())
def test_no_other_boundaries_part_more_evenly(scores: list[int], data: st.DataObject) -> None:
    def unevenness(boundaries: tuple[float, float]) -> float:
        return sum((share - 1 / 3) ** 2 for share in shares(scores, boundaries))

    other = data.draw(st.lists(st.integers(0, 12), min_size=2, max_size=2, unique=True))
    best = even_thirds(scores)
    assert best[0] < best[1] < max(scores)
    assert unevenness(best) <= unevenness((min(other), max(other))) + 0.01  # shares are rounded


@given(st.permutations([1, 2, 2, 3, 3, 3, 4, 9]))
def test_the_order_of_the_tasks_does_not_matter(scores: list[int]) -> None:
    assert even_thirds(scores) == (2, 3)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
@given(st.integers(0, 300), st.integers(0, 300))
def test_more_is_never_easier(name: str, one: int, other: int) -> None:
    scale = load_benchmark(name).difficulty_scale
    low, high = sorted((one, other))
    assert scale.difficulty(low).tercile <= scale.difficulty(high).tercile


def test_two_different_scores_make_no_thirds() -> None:
    with pytest.raises(ValueError, match="2 different scores"):
        even_thirds([1, 1, 2])


# --------------------------------------------------------------------------- one task


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("gsm8k", {"answer": "3", "steps": 2}, Difficulty(2, 0)),
        ("gsm8k", {"steps": 3}, Difficulty(3, 1)),
        ("gsm8k", {"steps": 4}, Difficulty(4, 2)),
        ("alfworld", {"type": "pick_and_place_simple", "expert_steps": 4}, Difficulty(4, 0)),
        ("alfworld", {"expert_steps": 7}, Difficulty(7, 2)),
        ("webshop", {"attributes": 2, "options": 2, "price_limit": 60.0}, Difficulty(5, 0)),
        ("webshop", {"attributes": 6, "options": 1, "price_limit": None}, Difficulty(7, 1)),
        ("webshop", {"attributes": 6, "options": 1, "price_limit": 60.0}, Difficulty(8, 2)),
    ],
)
def test_the_score_is_a_count(name: str, data: dict[str, object], expected: Difficulty) -> None:
    assert load_benchmark(name).difficulty(Task("id", "goal", data)) == expected


def test_every_benchmark_is_one_and_has_all_that_a_benchmark_has() -> None:
    own: dict[str, Benchmark] = {
        "alfworld": ALFWorld(),
        "babyai": BabyAI(),
        "gsm8k": GSM8K(),
        "webshop": WebShop(),
    }
    members = [member for member in dir(Benchmark) if not member.startswith("_")]
    for name in BENCHMARKS:
        assert type(load_benchmark(name)) is type(own[name])
        assert [member for member in members if not hasattr(own[name], member)] == []
        assert own[name].name == name


def test_a_task_from_a_trace_is_as_hard_as_before() -> None:
    for task in GSM8K().tasks("demo"):
        episode = Episode(task, (), True, 1.0, Usage(), "done")
        again = episode_from_json(to_json(episode)).task
        assert load_benchmark("gsm8k").difficulty(again) == load_benchmark("gsm8k").difficulty(task)


def test_a_mission_is_as_hard_as_the_plan_of_the_expert_is_long() -> None:
    pytest.importorskip("minigrid")
    for level, tercile in (("BabyAI-GoToObjS4-v0", 0), ("BabyAI-BossLevel-v0", 2)):
        benchmark = BabyAI(level)
        task = benchmark.tasks("train")[0]
        environment = benchmark.environment(task)
        environment.reset(task)
        plan = benchmark.expert(task)
        assert plan is not None
        assert [environment.step(action).done for action in plan].count(True) == 1
        found = load_benchmark("babyai").difficulty(task)
        assert (found.score, found.tercile) == (len(plan), tercile)


def test_a_mission_that_the_expert_misses_is_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BabyAI, "expert", lambda benchmark, task: None)
    task = Task("id", "goal", {"level": "BabyAI-GoToLocal-v0", "seed": 1})
    assert load_benchmark("babyai").difficulty(task) == Difficulty(math.inf, 2)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_task_that_does_not_say_how_hard_it_is_is_named(name: str) -> None:
    with pytest.raises(InvalidInputError, match="'some/task'.*data"):
        load_benchmark(name).difficulty(Task("some/task", "goal", {"steps": "many"}))


# --------------------------------------------------------------------------- the boundaries


@pytest.mark.data
def test_the_boundaries_of_gsm8k_are_those_of_its_training_problems() -> None:
    try:
        tasks = GSM8K().tasks("train")
    except MissingDependencyError as error:
        pytest.skip(str(error))
    scores = [GSM8K().difficulty(task).score for task in tasks]
    assert even_thirds(scores) == GSM8K.difficulty_scale.boundaries
    assert shares(scores, GSM8K.difficulty_scale.boundaries) == [0.262, 0.287, 0.452]


@pytest.mark.data
def test_the_boundaries_of_alfworld_are_those_of_its_training_games() -> None:
    try:
        games = Games("train").read()
        lengths = [float(len(game["walkthrough"])) for _, game in games]
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert even_thirds(lengths) == ALFWorld.difficulty_scale.boundaries
    assert shares(lengths, ALFWorld.difficulty_scale.boundaries) == [0.302, 0.32, 0.378]


@pytest.mark.data
def test_the_boundaries_of_webshop_are_those_of_its_training_goals() -> None:
    try:
        tasks = WebShop().tasks("train")
    except MissingDependencyError as error:
        pytest.skip(str(error))
    scores = [WebShop().difficulty(task).score for task in tasks]
    assert even_thirds(scores) == WebShop.difficulty_scale.boundaries
    assert shares(scores, WebShop.difficulty_scale.boundaries) == [0.249, 0.441, 0.31]


@pytest.mark.slow
@pytest.mark.skipif("AMP_ALL_LEVELS" not in os.environ, reason="takes minutes")
def test_the_boundaries_of_babyai_are_those_of_its_training_missions() -> None:
    pytest.importorskip("minigrid")
    levels = [level for level in LEVELS if not LEFT_OUT.search(level)]
    tasks = [task for level in levels for task in BabyAI(level).tasks("train", 20)]
    scores = [BabyAI().difficulty(task).score for task in tasks]
    assert even_thirds(scores) == BabyAI.difficulty_scale.boundaries
    assert shares(scores, BabyAI.difficulty_scale.boundaries) == [0.329, 0.342, 0.329]


def overridden(benchmark: Benchmark, overrides: dict[str, Any]) -> Defaults:
    return benchmark.defaults.overridden(overrides, benchmark)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_defaults_of_tools_that_it_has(name: str) -> None:
    benchmark = load_benchmark(name)
    exists = {*benchmark.tools, *benchmark.environment_tools}
    defaults = benchmark.defaults
    assert defaults.fixed.tools <= defaults.space.tools <= exists
    assert overridden(benchmark, {"depth": None}) == defaults


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 3), ("temperature", 0.2), ("beam_width", 5), ("verification", 2)]
)
def test_a_wanted_value_is_the_only_one_left(name: str, value: Any) -> None:
    defaults = overridden(load_benchmark("gsm8k"), {name: value})
    assert getattr(defaults.fixed, name) == value
    assert getattr(defaults.space, name) == (value, value)


def test_tools_can_be_pinned_and_pinned_to_none() -> None:
    babyai = load_benchmark("babyai")
    assert overridden(babyai, {"tools": []}).fixed.tools == frozenset()
    assert overridden(babyai, {"tools": ["path_finder"]}).space.tools == {"path_finder"}
    with pytest.raises(InvalidInputError, match=r"unknown tool 'python' \(tools of babyai"):
        overridden(babyai, {"tools": ["python"]})


def test_a_value_out_of_range_is_named() -> None:
    with pytest.raises(InvalidInputError, match="allocation beam_width is 0"):
        overridden(load_benchmark("gsm8k"), {"beam_width": 0})
