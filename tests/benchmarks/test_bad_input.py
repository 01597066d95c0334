"""What all four benchmarks promise alike: mistakes are one clear line, episodes don't mix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from tests.fakes import alfworld_games
from tests.fakes.shop_catalogue import write_data

from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.base import Benchmark
from amp.environment import Environment
from amp.errors import InvalidInputError
from amp.types import Task, Transition

PACKAGES = {"alfworld": ("alfworld", "textworld"), "babyai": ("minigrid",)}
SPLITS = {"alfworld": "train", "gsm8k": "demo"}
PLANS = {
    "alfworld": (
        "go to shelf 2",
        "take apple 1 from shelf 1",
        "go to microwave 1",
        "heat apple 1 with microwave 1",
        "go to fridge 1",
        "open fridge 1",
        "move apple 1 to fridge 1",
    ),
    "babyai": ("turn left",) * 64,
    "gsm8k": ("1",),
    "webshop": ("search[paper]", "click[b000000002]", "click[buy now]"),
}
FAR = Task("elsewhere/1", "Do something.", {"level": "nowhere", "seed": "none"})


@dataclass(frozen=True)
class Played:
    """A benchmark on small data, a task of it, and a plan that ends an episode on it."""

    name: str
    benchmark: Benchmark
    task: Task
    plan: tuple[str, ...]

    def texts(self, environment: Environment) -> Iterator[str]:
        for action in self.plan:
            yield told(environment.step(action))


def told(transition: Transition) -> str:
    return f"{transition.feedback} {transition.observation} {transition.done} {transition.score}"


@pytest.fixture(scope="module", params=sorted(BENCHMARKS))
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    name: str = request.param
    for package in PACKAGES.get(name, ()):
        pytest.importorskip(package)
    data = tmp_path_factory.mktemp("data")
    write_data(data)
    if name == "alfworld":
        alfworld_games.write(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        benchmark = load_benchmark(name, data=data)
        split = SPLITS.get(name, benchmark.splits[0])
        yield Played(name, benchmark, benchmark.tasks(split)[0], PLANS[name])
    close: Callable[[], None] = getattr(benchmark, "close", lambda: None)
    close()


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidInputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_split_is_named_and_the_known_ones_too(played: Played) -> None:
    wrong = f"{played.benchmark.splits[0]}x"
    message = refused(lambda: played.benchmark.tasks(wrong))
    assert repr(wrong) in message
    assert played.benchmark.splits[-1] in message


def test_an_unknown_level_is_named(played: Played) -> None:
    assert "'nolevel'" in refused(lambda: load_benchmark(played.name, level="nolevel"))


def test_a_negative_limit_is_refused(played: Played) -> None:
    split = SPLITS.get(played.name, played.benchmark.splits[0])
    assert "-1" in refused(lambda: list(played.benchmark.tasks(split, -1)))


def test_a_task_of_another_benchmark_is_named(played: Played) -> None:
    if played.name == "gsm8k":
        pytest.skip("a problem may be anything that has words")
    environment = played.benchmark.environment
    assert "elsewhere/1" in refused(lambda: environment(FAR).reset(FAR))


def test_no_episode_is_stepped_before_its_reset_or_after_its_end(played: Played) -> None:
    environment = played.benchmark.environment(played.task)
    assert "reset" in refused(lambda: environment.step(played.plan[0]))
    environment.reset(played.task)
    done = [environment.step(action).done for action in played.plan]
    assert done == [False] * (len(played.plan) - 1) + [True]
    assert "reset" in refused(lambda: environment.step(played.plan[0]))


def test_a_reset_in_the_middle_begins_anew(played: Played) -> None:
    environment = played.benchmark.environment(played.task)
    start = environment.reset(played.task)
    first = [*played.texts(environment)]
    assert environment.reset(played.task) == start
    environment.step(played.plan[0])
    assert environment.reset(played.task) == start
    assert [*played.texts(environment)] == first


def test_two_environments_side_by_side_do_not_mix(played: Played) -> None:
    alone = played.benchmark.environment(played.task)
    alone.reset(played.task)
    expected = [*played.texts(alone)]
    one, two = (played.benchmark.environment(played.task) for _ in range(2))
    one.reset(played.task)
    two.reset(played.task)
    side_by_side = [*zip(played.texts(one), played.texts(two), strict=True)]
    assert side_by_side == [(text, text) for text in expected]
