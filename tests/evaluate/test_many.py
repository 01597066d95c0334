"""Many tasks in an environment of one's own: planned, saved, reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.worlds import CORRIDOR, Corridor, Riddle

import amp
from amp.errors import InvalidInputError
from amp.models.scripted import ScriptedModel
from amp.trace import read_episodes, read_manifest
from amp.types import Observation, Task, Transition


class Door:
    """Opens when it is pushed."""

    async def reset(self, task: Task) -> Observation:
        return Observation("a closed door", ("push", "pull"))

    async def step(self, action: str) -> Transition:
        return Transition(Observation("open"), True, action == "push", float(action == "push"))


class Evil:
    """Can neither be copied nor written."""

    def __reduce__(self) -> str:
        raise TypeError("cannot be copied")


def planner(allocator: str = "escalating") -> amp.Planner:
    model = ScriptedModel([""], next_tokens=lambda prompt: {"1": 0.6, "2": 0.4})
    return amp.Planner(model, allocator=allocator, limits={"steps": 3})


GOALS = ["open the front door", "open the back door", "open the front door"]


async def test_goals_are_planned_each_in_a_world_of_its_own_and_in_order(tmp_path: Path) -> None:
    seen: list[str] = []
    episodes = await amp.run_many(
        planner(),
        GOALS,
        Door,
        jobs=3,
        out=tmp_path / "run",
        on_episode=lambda e: seen.append(e.ended),
    )
    assert [e.task.id for e in episodes] == [*GOALS[:2], "open the front door #2"]
    assert [e.task.goal for e in episodes] == GOALS
    assert all(e.success for e in episodes)
    assert seen == ["done"] * 3
    assert list(read_episodes(tmp_path / "run")) == episodes
    manifest = read_manifest(tmp_path / "run")
    assert (manifest["allocator"], manifest["prompts"]) == ("escalating", ["plain/1"])
    assert manifest["config"]["planner"]["max_steps"] == 3


@pytest.mark.slow  # it draws figures
async def test_saved_runs_are_compared_and_shown(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    for name in ("fixed", "escalating"):
        episodes = await amp.run_many(planner(name), GOALS, Door)
        amp.save_run(episodes, tmp_path / name, planner(name))
    page = tmp_path / "report.html"
    report = amp.report_runs([tmp_path / "fixed", f"careful={tmp_path / 'escalating'}"], page)
    assert [(line.name, line.kind) for line in report.lines] == [
        ("fixed", "fixed"),
        ("careful", "adaptive"),
    ]
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.slow  # it resamples
async def test_runs_of_other_tasks_are_compared_on_what_all_did_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    for name, goals in (("fixed", GOALS), ("escalating", GOALS[:2])):
        await amp.run_many(planner(name), goals, Door, out=tmp_path / name)
    runs = [tmp_path / "fixed", tmp_path / "escalating"]
    with pytest.raises(InvalidInputError, match="did not do the same tasks.*common=True in Python"):
        amp.report_runs(runs)
    assert [line.tasks for line in amp.report_runs(runs, common=True).lines] == [2, 2]


async def test_what_cannot_be_run_or_saved_is_refused(tmp_path: Path) -> None:
    async def refused(tasks: Any, environment: Any, said: str, **options: Any) -> None:
        with pytest.raises(InvalidInputError, match=said):
            await amp.run_many(planner(), tasks, environment, **options)

    await refused("open the door", Door, "tasks is 'open the door', expected a list")
    await refused(GOALS, Door(), "expected its class or a function that makes one")
    await refused([CORRIDOR, CORRIDOR], Corridor, "two tasks have the id 'corridor'")
    await refused(GOALS, Door, "jobs is 0", jobs=0)
    await refused(GOALS, lambda: 1 / 0, "no environment for task 'open the front door': ZeroDiv")
    unsavable = Task("odd", "open", {"lock": Evil()})
    await refused([unsavable], Door, "task 'odd' cannot be saved", out=tmp_path / "odd")
    assert not (tmp_path / "odd").exists()
    await refused([" "], Door, "the task is ' ', expected an amp.Task or a goal")
    await amp.run_many(planner(), GOALS, Door, out=tmp_path / "run")
    said = "has a run already; name another directory as out, or delete this one"
    await refused(GOALS, Door, said, out=tmp_path / "run")


async def test_what_has_ended_is_saved_when_a_world_cannot_be_reset(tmp_path: Path) -> None:
    tasks = [Task("one", "answer", {"answer": ""}), Task("two", "answer", {})]
    with pytest.raises(InvalidInputError, match="Riddle.reset failed: KeyError: 'answer'"):
        await amp.run_many(planner(), tasks, Riddle, out=tmp_path / "run")
    (saved,) = read_episodes(tmp_path / "run")
    assert saved.task.id == "one"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tasks"] == ["one", "two"]
