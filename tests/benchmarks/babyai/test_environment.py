"""Episodes: the same every time, in words, with clear errors; all 96 levels play."""

from __future__ import annotations

import copy
import json
import pickle
import random
import subprocess
import sys
from dataclasses import asdict

import pytest
from tests.fakes.babyai_rule import follow_rules

from amp.benchmarks.babyai import PATH_FINDER, SPLITS, BabyAI
from amp.benchmarks.babyai.environment import Offered
from amp.benchmarks.babyai.minigrid import LEVELS
from amp.benchmarks.babyai.mission import clauses
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError
from amp.types import Task, Transition


def play(task: Task, benchmark: BabyAI, steps: int) -> list[Transition]:
    """Random subgoals and primitive actions by turns."""
    rng = random.Random(task.id)
    environment = benchmark.environment(task)
    observation = environment.reset(task)
    transitions: list[Transition] = []
    for number in range(steps):
        subgoals = observation.tool_actions.get(PATH_FINDER, PRIMITIVES)
        transition = environment.step(rng.choice(PRIMITIVES if number % 2 else subgoals))
        observation = transition.observation
        transitions.append(transition)
        if transition.done:
            break
    return transitions


def test_the_same_task_gives_the_same_episode() -> None:
    benchmark = BabyAI("BabyAI-PickupLoc-v0")
    for task in benchmark.tasks("dev", 3):
        assert play(task, benchmark, 12) == play(task, benchmark, 12)


def test_every_level_can_be_played_without_noise(capfd: pytest.CaptureFixture[str]) -> None:
    for level in LEVELS:
        benchmark = BabyAI(level)
        task = benchmark.tasks("dev", 1)[0]
        assert clauses(task.goal), task.goal
        for transition in play(task, benchmark, 4):
            assert transition.feedback
            assert 0.0 <= (transition.observation.distance or 0.0) <= 1.0
    assert capfd.readouterr() == ("", "")


def test_the_levels_are_those_that_minigrid_registers() -> None:
    import gymnasium
    import minigrid  # noqa: F401

    assert tuple(i for i in gymnasium.registry if i.startswith("BabyAI-")) == LEVELS
    assert len(LEVELS) == 96


@pytest.mark.parametrize(
    "level",
    [
        "BabyAI-GoToLocal-v0",
        "BabyAI-PickupLoc-v0",
        "BabyAI-PutNextLocal-v0",
        "BabyAI-UnlockLocal-v0",
        "BabyAI-OpenDoor-v0",
        "BabyAI-GoToSeqS5R2-v0",
    ],
)
def test_subgoals_suffice(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("dev", 4):
        assert follow_rules(task, benchmark.environment(task), benchmark.max_steps), task


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_a_primitive_in_words_is_what_minigrid_does(primitive: str) -> None:
    benchmark = BabyAI()
    task = benchmark.tasks("dev", 1)[0]
    environment = benchmark.environment(task)
    environment.reset(task)
    codes: list[int] = []
    step = environment._level.step

    def watched(code: int) -> object:
        codes.append(code)
        return step(code)

    environment._level.step = watched
    environment.step(primitive)
    names = ("left", "right", "forward", "pickup", "drop", "toggle")
    action = environment._level.actions[names[PRIMITIVES.index(primitive)]]
    assert codes == [action]
    assert environment.primitives == [primitive]


def test_an_episode_ends_in_failure_when_minigrid_runs_out_of_steps() -> None:
    benchmark = BabyAI()
    task = benchmark.tasks("dev", 1)[0]
    environment = benchmark.environment(task)
    environment.reset(task)
    transition = environment.step("drop")
    for _ in range(63):
        assert not transition.done
        assert transition.success is None
        transition = environment.step("drop")
    assert transition.done
    assert transition.success is False
    assert transition.score == 0.0
    with pytest.raises(InvalidInputError, match="is over"):
        environment.step("drop")


def test_the_distance_falls_on_the_way_to_the_target() -> None:
    benchmark = BabyAI()
    for task in benchmark.tasks("dev", 5):
        environment = benchmark.environment(task)
        far = environment.reset(task).distance
        named = [s for s in environment.subgoals if task.goal.endswith(s.name.split(" the ")[-1])]
        if named:
            near = environment.step(named[0].name).observation.distance
            assert far is not None
            assert near is not None
            assert near <= far


@pytest.mark.parametrize("level", ["BabyAI-GoToLocal-v0", "BabyAI-UnlockPickup-v0"])
def test_a_fork_goes_its_own_way_from_the_same_state(level: str) -> None:
    benchmark = BabyAI(level)
    for task in benchmark.tasks("dev", 3):
        environment, alone = benchmark.environment(task), benchmark.environment(task)
        environment.reset(task)
        alone.reset(task)
        for primitive in ("turn left", "go forward", "turn right", "go forward"):
            fork = environment.fork()
            for _ in range(3):
                fork.step("turn right")
            again = environment.fork()
            expected = alone.step(primitive)
            assert again.step(primitive) == expected
            assert environment.step(primitive) == expected
            assert environment.primitives == alone.primitives == again.primitives


def test_what_is_not_admissible_is_refused_and_changes_nothing() -> None:
    benchmark = BabyAI()
    task = benchmark.tasks("dev", 1)[0]
    environment = benchmark.environment(task)
    with pytest.raises(InvalidInputError, match="is over"):
        environment.step("turn left")
    environment.reset(task)
    with pytest.raises(InvalidInputError, match="inadmissible BabyAI action 'fly'; expected one"):
        environment.step("fly")
    assert environment.primitives == []
    with pytest.raises(InvalidInputError, match="is no BabyAI task"):
        environment.reset(Task("x", "y"))


def test_the_splits_share_no_seed_and_leave_a_million_and_up_free() -> None:
    seeds = [seed for split in SPLITS.values() for seed in split]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 1_000_000


def test_tasks_are_named_by_their_seed_and_limited() -> None:
    benchmark: Benchmark = BabyAI()
    assert len(benchmark.tasks("test")) == 1000
    tasks = benchmark.tasks("seeds:1000000-1000099", limit=2, seed=7)
    assert [task.id for task in tasks] == [
        "BabyAI-GoToLocal-v0/1000000",
        "BabyAI-GoToLocal-v0/1000001",
    ]
    assert tasks[1].data == {"level": "BabyAI-GoToLocal-v0", "seed": 1000001}
    assert tasks[1].seed == 7
    assert tasks[1:][0] == tasks[1]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("tset", "unknown BabyAI split 'tset'; did you mean 'test'"),
        ("seeds:9-3", "expected FIRST <= LAST"),
        ("seeds:1", "unknown BabyAI split"),
    ],
)
def test_an_unknown_split_is_refused(split: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        BabyAI().tasks(split)


def test_an_unknown_level_is_refused_with_a_hint() -> None:
    with pytest.raises(InvalidInputError) as caught:
        BabyAI("BabyAI-GoToLocl-v0")
    assert str(caught.value) == (
        "unknown BabyAI level 'BabyAI-GoToLocl-v0'; did you mean 'BabyAI-GoToLocal-v0'? "
        "(all levels: amp benchmarks babyai)"
    )
    with pytest.raises(InvalidInputError, match="max_steps is 0"):
        BabyAI(max_steps=0)


def test_importing_it_loads_no_simulator_and_a_missing_one_is_named() -> None:
    code = """
import sys
from amp.benchmarks.babyai import BabyAI
from amp.errors import MissingDependencyError
assert not {"minigrid", "gymnasium", "numpy"} & set(sys.modules), "heavy import"
sys.modules["minigrid"] = None
try:
    BabyAI().tasks("test")
except MissingDependencyError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'adaptive-meta-planning[babyai]'" in run.stdout


def test_the_actions_are_found_once_and_only_when_somebody_looks() -> None:
    calls: list[int] = []

    def find() -> tuple[str, ...]:
        calls.append(1)
        return ("explore",)

    offered = Offered("guide", find)
    assert not calls
    assert "guide" in offered
    assert offered == {"guide": ("explore",)}
    assert len(calls) == 1


def test_a_tool_that_offers_nothing_is_not_there() -> None:
    assert Offered("guide", tuple) == {}


def test_copies_and_pickles_are_plain_dictionaries() -> None:
    offered = Offered("guide", lambda: ("explore",))
    for copied in (copy.deepcopy(offered), pickle.loads(pickle.dumps(offered))):
        assert type(copied) is dict
        assert copied == offered


def test_an_observation_offers_what_it_did_when_it_was_made_and_can_be_written() -> None:
    benchmark = BabyAI()
    task = benchmark.tasks("dev", 1)[0]
    environment, other = benchmark.environment(task), benchmark.environment(task)
    early, late = environment.reset(task), other.reset(task)
    at_once = dict(early.tool_actions)
    for action in ("turn left", "go forward", "turn left", "go forward"):
        other.step(action)
    assert late.tool_actions == at_once
    assert json.loads(json.dumps(asdict(late)))["tool_actions"][PATH_FINDER] == list(
        at_once[PATH_FINDER]
    )
