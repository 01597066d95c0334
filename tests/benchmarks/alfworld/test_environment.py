"""A game written by hand is played as the real ones are: in a process, in the game's own words."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import alfworld_games

from amp.benchmarks.alfworld import ALFWorld, process
from amp.benchmarks.alfworld.environment import MAX_STEPS, ALFWorldEnvironment, as_listed
from amp.benchmarks.base import Benchmark
from amp.environment import Forkable, Recognisable
from amp.errors import AmpError, InvalidInputError, MissingDependencyError
from amp.types import UNAIDED, Task, Transition

pytest.importorskip("textworld")
pytest.importorskip("alfworld")

WAY = (
    "go to shelf 2",
    "take apple 1 from shelf 1",
    "go to microwave 1",
    "heat apple 1 with microwave 1",
    "go to fridge 1",
    "open fridge 1",
    "move apple 1 to fridge 1",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    alfworld_games.write(data)
    alfworld_games.write(data, alfworld_games.GAME.replace("by_hand", "again"))
    file = alfworld_games.write(data, alfworld_games.GAME.replace("by_hand", "damaged"))
    game = json.loads(file.read_text())
    file.write_text(json.dumps(game | {"pddl_problem": "(define (problem"}))
    return data


@pytest.fixture(scope="module")
def benchmark_(data: Path) -> Iterator[ALFWorld]:
    benchmark = ALFWorld(data)
    yield benchmark
    benchmark.close()


def task_of(benchmark: ALFWorld, trial: str = "by_hand") -> Task:
    return next(task for task in benchmark.tasks("train") if task.id.endswith(trial))


@pytest.fixture
def task(benchmark_: ALFWorld) -> Task:
    return task_of(benchmark_)


def texts(environment: ALFWorldEnvironment, task: Task, plan: tuple[str, ...]) -> list[str]:
    environment.reset(task)
    return [environment.step(action).feedback for action in plan]


def test_it_is_a_benchmark_with_environments_that_fork(benchmark_: ALFWorld, task: Task) -> None:
    plain: Benchmark = benchmark_
    assert plain.name == "alfworld"
    assert isinstance(benchmark_.environment(task), Forkable)
    assert isinstance(benchmark_.environment(task), Recognisable)


def test_a_task_tells_its_type_and_difficulty_before_it_is_tried(task: Task) -> None:
    assert task.goal == "put a hot apple in fridge"
    assert task.data["type"] == "pick_heat_then_place_in_recep"
    assert task.data["expert_steps"] == 1


def test_the_expert_plan_wins_and_distance_falls_to_zero(benchmark_: ALFWorld, task: Task) -> None:
    environment = benchmark_.environment(task)
    distances = [environment.reset(task).distance]
    for action in WAY[:-1]:
        transition = environment.step(action)
        assert (transition.done, transition.success, transition.score) == (False, None, 0.0)
        distances.append(transition.observation.distance)
    last = environment.step(WAY[-1])
    assert (last.done, last.success, last.score) == (True, True, 1.0)
    assert last.feedback == "You move the apple 1 to the fridge 1."
    # The apple is on the shelf beside, which the commands to take things tell.
    assert [*distances, last.observation.distance] == [1.0, 0.75, 0.5, 0.5, 0.25, 0.25, 0.25, 0.0]
    with pytest.raises(InvalidInputError, match="reset"):
        environment.step("look")


def test_a_second_episode_is_like_the_first(benchmark_: ALFWorld, task: Task) -> None:
    environment = benchmark_.environment(task)
    assert texts(environment, task, WAY) == texts(environment, task, WAY)


def test_what_is_not_admissible_does_nothing(benchmark_: ALFWorld, task: Task) -> None:
    environment = benchmark_.environment(task)
    before = environment.reset(task)
    transition = environment.step("fly to the moon")
    assert transition.feedback == "Nothing happens."
    assert transition.observation == before


def test_both_wordings_of_putting_are_taken() -> None:
    assert as_listed("put mug 1 in/on desk 2", ["move mug 1 to desk 2"]) == "move mug 1 to desk 2"
    assert as_listed("move mug 1 to desk 2", ["put mug 1 in/on desk 2"]) == "put mug 1 in/on desk 2"
    assert as_listed("Go to  Desk 2", ["go to desk 2"]) == "go to desk 2"
    assert as_listed("put mug 1 on desk 3", ["move mug 1 to desk 2"]) == "put mug 1 on desk 3"


def test_the_other_wording_puts_things_down(benchmark_: ALFWorld, task: Task) -> None:
    plan = (*WAY[:-1], "put apple 1 in/on fridge 1")
    assert texts(benchmark_.environment(task), task, plan)[-1] == (
        "You move the apple 1 to the fridge 1."
    )


def test_a_place_beside_the_agent_is_offered_for_examination(
    benchmark_: ALFWorld, task: Task
) -> None:
    environment = benchmark_.environment(task)
    first = environment.reset(task)
    assert first.actions is not None
    assert all(action.startswith("go to ") for action in first.actions)
    actions = environment.step("go to shelf 1").observation.actions
    assert actions is not None
    assert [a for a in actions if a.startswith("examine")] == ["examine shelf 2"]
    transition = environment.step("examine shelf 2")
    assert transition.feedback == "On the shelf 2, you see nothing."
    assert transition.observation.actions is not None
    assert not [a for a in transition.observation.actions if a.startswith("examine")]


def test_what_was_done_in_a_state_is_not_offered_there_again(
    benchmark_: ALFWorld, task: Task
) -> None:
    environment = benchmark_.environment(task)
    environment.reset(task)
    environment.step("go to shelf 2")
    there, back = "take apple 1 from shelf 1", "move apple 1 to shelf 1"
    before = environment.fork().step("look").observation.actions or ()
    assert there in before
    environment.step(there)
    again = environment.step(back).observation.actions or ()
    assert there not in again
    assert set(before) - set(again) == {there}
    unaided = environment.step("look").observation.tool_actions[UNAIDED]
    assert set(unaided) == set(before)


def test_states_of_one_fingerprint_go_on_alike_whatever_led_there(
    benchmark_: ALFWorld, task: Task
) -> None:
    ways = [
        ("help", "go to shelf 2", "take apple 1 from shelf 1"),
        ("inventory", "go to shelf 2", "take apple 1 from shelf 1"),
        ("go to fridge 1", "go to shelf 2", "take apple 1 from shelf 1"),
        ("go to shelf 2", "look", "take apple 1 from shelf 1"),
        ("go to shelf 2", "take apple 1 from shelf 1", "look"),
        ("go to shelf 2", "take apple 1 from shelf 1", "inventory"),
        ("go to shelf 2", "take apple 1 from shelf 1", "move apple 1 to shelf 2"),
        ("go to shelf 2", "take apple 1 from shelf 1", "move apple 1 to shelf 1"),
        ("go to microwave 1", "open microwave 1", "close microwave 1"),
        ("go to microwave 1", "open microwave 1", "look"),
        ("go to shelf 2", "look", "take apple 1 from shelf 1", "move apple 1 to shelf 1"),
        ("go to shelf 2", "look", "look", "look"),
        ("go to fridge 1", "look", "look"),
        ("go to fridge 1", "go to fridge 1", "look"),
    ]
    ahead = ("look", "move apple 1 to shelf 1", "go to cabinet 1", "go to shelf 2", *WAY[1:4])
    found: dict[str, list[list[Transition]]] = {}
    for way in ways:
        environment = benchmark_.environment(task)
        texts(environment, task, way)
        assert environment.fingerprint() == environment.fork().fingerprint()
        now = environment.fingerprint()
        found.setdefault(now, []).append([environment.step(action) for action in ahead])
        assert environment.fingerprint() != now
    for of_one, *others in found.values():
        assert all(other == of_one for other in others)
    # Only the first two are one state.
    assert len(found) == len(ways) - 1


def test_a_fingerprint_is_the_same_in_another_process(benchmark_: ALFWorld, data: Path) -> None:
    prints = []
    for benchmark in (benchmark_, ALFWorld(data)):
        task = task_of(benchmark)
        environment = benchmark.environment(task)
        texts(environment, task, (*WAY[:3], "fly to the moon"))
        prints.append(environment.fingerprint())
    benchmark.close()
    assert prints[0] == prints[1]


def test_an_episode_ends_after_fifty_commands(benchmark_: ALFWorld, task: Task) -> None:
    environment = benchmark_.environment(task)
    environment.reset(task)
    transitions = [environment.step("look") for _ in range(MAX_STEPS)]
    assert [t.done for t in transitions] == [False] * (MAX_STEPS - 1) + [True]
    assert transitions[-1].success is False


def test_a_fork_leaves_the_other_as_it_is(benchmark_: ALFWorld, task: Task) -> None:
    one = benchmark_.environment(task)
    texts(one, task, WAY[:2])
    two = one.fork()
    assert two.step("go to fridge 1").feedback == "You arrive at fridge 1. The fridge 1 is closed."
    assert "You are at shelf 2" in one.step("look").observation.state
    three = one.fork()
    assert three.step("move apple 1 to shelf 1").feedback == "You move the apple 1 to the shelf 1."
    three.step("go to countertop 1")
    one.step("go to countertop 1")
    # What lies where is each one's own, in the game's words, too.
    assert "apple 1" in three.step("go to shelf 1").feedback
    assert "apple 1" not in one.step("go to shelf 1").feedback
    rest = [one.step(action).feedback for action in WAY[2:]]
    assert rest == texts(benchmark_.environment(task), task, WAY)[2:]
    assert two.step("open fridge 1").feedback.startswith("You open the fridge 1.")


def test_two_environments_are_played_side_by_side(benchmark_: ALFWorld, task: Task) -> None:
    other = task_of(benchmark_, "again")
    one, two = benchmark_.environment(task), benchmark_.environment(other)
    one.reset(task), two.reset(other)
    for action in WAY:
        assert one.step(action) == two.step(action)


def test_the_judge_knows_mistakes_searches_and_the_end(benchmark_: ALFWorld, task: Task) -> None:
    judge = benchmark_.judge(task)
    assert judge.mistaken("go to shelf 2") is False
    assert judge.mistaken("go to countertop 1") is None  # nobody has seen the apple
    assert judge.mistaken("fly to the moon") is True
    assert judge.mistaken(None) is True
    judge.advance("go to shelf 1")
    judge.advance("examine shelf 2")
    assert judge.mistaken("go to countertop 1") is True  # the apple is here
    assert judge.mistaken("take apple 1 from shelf 1") is False
    for action in WAY[1:]:
        assert judge.mistaken(action) is False
        judge.advance(action)
    assert judge.mistaken("go to shelf 1") is None


def test_the_experts_are_asked(benchmark_: ALFWorld, task: Task) -> None:
    expert = benchmark_.expert(task)
    assert expert.planner == WAY
    assert expert.handcoded_wins
    assert expert == benchmark_.expert(task)
    assert texts(benchmark_.environment(task), task, expert.handcoded)[-1] == (
        "You move the apple 1 to the fridge 1."
    )


def test_a_damaged_game_is_a_clear_error_each_time(benchmark_: ALFWorld) -> None:
    damaged = task_of(benchmark_, "damaged")
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"game train/.*damaged cannot be played"):
            benchmark_.environment(damaged).reset(damaged)


def test_a_task_of_another_benchmark_is_refused(benchmark_: ALFWorld) -> None:
    with pytest.raises(InvalidInputError, match="no ALFWorld task"):
        benchmark_.environment(Task("t", "g")).reset(Task("t", "g"))
    with pytest.raises(InvalidInputError, match=r"did you mean 'look_at_obj_in_light'\?"):
        ALFWorld(level="look_at_obj_in_ligth")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    lacking = replace(ALFWorld.requirements, modules=("no_such_package",))
    monkeypatch.setattr(ALFWorld, "requirements", lacking)
    with pytest.raises(MissingDependencyError, match=r"adaptive-meta-planning\[alfworld\]"):
        ALFWorld(data).tasks("train")


# ---------------------------------------------------------------------- the processes


def workers_of(parent: int) -> set[int]:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    if not path.exists():
        pytest.skip("needs /proc")
    return {int(pid) for pid in path.read_text().split()}


@pytest.mark.parametrize(
    ("limit", "most", "expected"),
    [("GAMES_A_WORKER", 2, "AAB"), ("MAX_MEGABYTES", 1, "AB")],
)
def test_games_end_with_their_environments_and_workers_are_replaced(
    data: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, expected: str
) -> None:
    monkeypatch.setattr(process, limit, most)
    before = workers_of(os.getpid())
    benchmark = ALFWorld(data, "pick_heat_then_place_in_recep")
    one, two = task_of(benchmark), task_of(benchmark, "again")
    benchmark._next.clear()  # nothing is loaded ahead
    seen: list[int] = []
    for task in (one, two, one)[: len(expected)]:
        environment = benchmark.environment(task)
        environment.reset(task)
        (worker,) = workers_of(os.getpid()) - before
        seen.append(worker)
        del environment
        gc.collect()
    names = {pid: name for name, pid in zip("AB", dict.fromkeys(seen), strict=False)}
    assert "".join(names[pid] for pid in seen) == expected
    benchmark.close()
    assert workers_of(os.getpid()) == before


def test_a_step_that_was_done_before_is_not_asked_of_the_game_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = ALFWorld(data, "pick_heat_then_place_in_recep")
    task, asked = task_of(benchmark), list[str]()
    ask = process.Worker.ask

    def noted(worker: process.Worker, **told: str) -> dict[str, Any]:
        asked.append(told["command"])
        return ask(worker, **told)

    monkeypatch.setattr(process.Worker, "ask", noted)
    environment = benchmark.environment(task)
    first = texts(environment, task, WAY)
    assert asked == list(WAY)
    assert texts(environment, task, WAY[:3]) == first[:3]
    assert asked == list(WAY)
    twin = environment.fork()
    assert environment.step("go to fridge 1") != twin.step(WAY[3])
    assert asked == [*WAY, "go to fridge 1"]
    environment.reset(task_of(benchmark, "again"))  # another game begins anew
    environment.step(WAY[0])
    assert asked[-1] == WAY[0]
    benchmark.close()


def test_the_memory_of_the_parent_replaces_no_worker(data: Path) -> None:
    before = workers_of(os.getpid())
    ballast = bytearray(2**20 * (process.MAX_MEGABYTES + 50))
    ballast[::4096] = b"x" * len(ballast[::4096])
    benchmark = ALFWorld(data, "pick_heat_then_place_in_recep")
    task = task_of(benchmark)
    benchmark._next.clear()
    environment = benchmark.environment(task)
    environment.reset(task)
    worker = workers_of(os.getpid()) - before
    assert len(worker) == 1
    del environment
    gc.collect()
    assert workers_of(os.getpid()) - before == worker  # it waits for the next game
    benchmark.close()


def test_a_worker_that_dies_is_a_clear_error_and_the_next_game_goes_on(data: Path) -> None:
    benchmark = ALFWorld(data)
    task = task_of(benchmark)
    environment = benchmark.environment(task)
    environment.reset(task)
    assert environment._session is not None
    environment._session._worker._process.kill()
    with pytest.raises(AmpError, match="ended with status -9"):
        environment.step("look")
    assert environment.reset(task).actions
    benchmark.close()


def test_workers_die_with_their_parent(data: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from amp.benchmarks.alfworld import ALFWorld\n"
        f"benchmark = ALFWorld(Path({str(data)!r}))\n"
        "task = benchmark.tasks('train')[0]\n"
        "environment = benchmark.environment(task)\n"
        "try:\n    environment.reset(task)\nexcept Exception: pass\n"
        "print(open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pids = run.stdout.split()
    assert pids, run.stderr
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
