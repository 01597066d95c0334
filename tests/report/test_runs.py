"""Runs that are reported together: what is joined, what is refused, and what the refusal says."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.recorded import CHAIN, GSM8K, PROGRAM, TASKS, record, replayed
from tests.fakes.runs import episode, run

from amp.allocate.base import FixedAllocator
from amp.errors import InvalidInputError
from amp.report.metrics import summarise
from amp.report.report import OF_SAMPLES, make_report
from amp.report.runs import Run, comparable, measure_run, oracle_of, read_runs
from amp.report.tables import tables_of
from amp.simulate.build import opening_contexts, table_from_recording
from amp.simulate.compare import simulated_run
from amp.simulate.policies import fixed, fixed_plans, oracle
from amp.simulate.replay import Pull
from amp.trace import RunDirectory
from amp.types import GIVEN_UP, Episode, Usage


def manifest(**changed: Any) -> dict[str, Any]:
    whole = {
        "benchmark": "gsm8k",
        "prompts": ["gsm8k/1"],
        "model": {"name": "small", "sha256": "ab"},
        "allocator": "fixed",
        "seed": 0,
        "tasks": ["t0", "t1"],
    }
    return whole | changed


def saved(path: Path, seed: int = 0, **changed: Any) -> Path:
    directory = RunDirectory.create(path, manifest(seed=seed, **changed))
    for task in ("t0", "t1"):
        directory.append(episode(task, True, 100, seed))
    return path


def test_a_run_is_called_as_its_directory_or_as_it_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "one")
    plain, named = read_runs([str(path)]) + read_runs([f"mine={path}/episodes.jsonl"])
    assert (plain.name, named.name) == ("one", "mine")
    assert plain.episodes == named.episodes
    assert plain.kind == "fixed"
    assert plain.planned == 2


def test_a_fixed_allocation_that_gives_up_is_adaptive(tmp_path: Path) -> None:
    config = {"benchmark": "gsm8k", "planner": {"give_up": "head.safetensors"}}
    (given,) = read_runs([str(saved(tmp_path / "given", config=config))])
    assert given.kind == "adaptive"


def test_runs_of_one_name_are_seeds_of_one_policy(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"s{seed}", seed) for seed in range(3)]
    (joined,) = read_runs([f"mine={path}" for path in paths])
    assert joined.seeds == (0, 1, 2)
    assert len(joined.episodes) == joined.planned == 6


def test_other_settings_are_no_other_seed(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a"), saved(tmp_path / "b", 1, allocator="heuristic")
    with pytest.raises(InvalidInputError, match="allocator is 'heuristic', not 'fixed'"):
        read_runs([f"mine={one}", f"mine={two}"])
    with pytest.raises(InvalidInputError, match="the same seed"):
        read_runs([f"mine={one}", f"mine={saved(tmp_path / 'c')}"])


def test_directories_of_one_name_have_to_be_named(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "x" / "run"), saved(tmp_path / "y" / "run")
    with pytest.raises(InvalidInputError, match="two runs are called 'run'; name them: NAME="):
        read_runs([str(one), str(two)])


def test_a_run_given_twice_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    path = str(saved(tmp_path / "one"))
    for other in (path, f"{path}/", f"mine={path}/episodes.jsonl"):
        with pytest.raises(InvalidInputError, match="are the same run; name it once"):
            read_runs([path, other])


def test_a_directory_of_runs_is_refused_with_one_of_them(tmp_path: Path) -> None:
    saved(tmp_path / "study" / "fixed")
    saved(tmp_path / "study" / "heuristic")
    with pytest.raises(
        InvalidInputError, match=r"study is no run, but contains 2, such as .*fixed;"
    ):
        read_runs([str(tmp_path / "study")])


def test_a_line_cut_in_half_is_left_out_at_the_end_and_refused_elsewhere(tmp_path: Path) -> None:
    path = saved(tmp_path / "one")
    trace = path / "episodes.jsonl"
    first, second = trace.read_text().splitlines()
    trace.write_text(f"{first}\n{second[: len(second) // 2]}")
    (killed,) = read_runs([str(path)])
    assert [episode.task.id for episode in killed.episodes] == ["t0"]
    assert killed.planned == 2  # so that the report calls it unfinished
    trace.write_text(f"{first[: len(first) // 2]}\n{second}\n")
    with pytest.raises(InvalidInputError, match=r"episodes\.jsonl line 1 is no episode"):
        read_runs([str(path)])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"run\.json is missing"):
        read_runs([str(tmp_path)])
    (tmp_path / "run.json").write_text('{"benchmark": "gsm8k"}')
    with pytest.raises(InvalidInputError, match="does not say what was run"):
        read_runs([str(tmp_path)])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"benchmark": "babyai"}, "benchmark gsm8k and babyai"),
        ({"model": "large"}, "model small and large"),
        ({"checksum": "cd"}, "SHA-256 of the model ab and cd"),
        ({"prompts": ("gsm8k/2",)}, "prompts gsm8k/1 and gsm8k/2"),
    ],
)
def test_runs_of_other_origin_are_refused_with_what_differs(
    changed: dict[str, Any], said: str
) -> None:
    origin: dict[str, Any] = {
        "benchmark": "gsm8k", "model": "small", "checksum": "ab", "prompts": ("gsm8k/1",)
    }  # fmt: skip
    one = replace(run("one", [True], 10), **origin)
    two = replace(run("two", [True], 10), **(origin | changed))
    with pytest.raises(InvalidInputError, match=f"one and two cannot be compared: {said}[;,]"):
        comparable([one, two])
    # Prompts that a method has on top are no other version.
    more = replace(one, name="more", prompts=("gsm8k/1", "react/4"))
    assert comparable([one, more]) == (one, more)


def test_other_tasks_are_refused_or_left_out_when_asked() -> None:
    whole, half = run("whole", [True] * 4, 10), replace(run("half", [True] * 2, 10), planned=4)
    with pytest.raises(InvalidInputError) as refused:
        comparable([whole, half])
    assert "2 in whole alone, such as t2 (seed 0)" in str(refused.value)
    assert "half is unfinished (2 of 4)" in str(refused.value)
    cut, same = comparable([whole, half], common=True)
    assert [e.task.id for e in cut.episodes] == [e.task.id for e in same.episodes] == ["t0", "t1"]
    apart = replace(whole, name="apart", episodes=(episode("other", True, 10),))
    with pytest.raises(InvalidInputError, match="no task was done by all"):
        comparable([whole, apart], common=True)


def test_empty_runs_and_tasks_done_twice_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="run none has no episodes"):
        comparable([run("none", [], 10)])
    twice = run("twice", [True], 10)
    with pytest.raises(InvalidInputError, match=r"did t0 \(seed 0\) twice"):
        comparable([replace(twice, episodes=twice.episodes * 2)])
    with pytest.raises(InvalidInputError, match="no runs to report"):
        comparable([])


def tokens_of(episode: Episode) -> float:
    return float(episode.usage.tokens)


def test_a_simulated_run_and_the_planners_own_give_the_same_rows(tmp_path: Path) -> None:
    recording = tmp_path / "r.sqlite"
    record(recording, (PROGRAM, CHAIN))
    table = table_from_recording(recording, GSM8K, TASKS, [PROGRAM, CHAIN], 4)
    contexts = opening_contexts(GSM8K, TASKS)
    simulated, planned = [], []
    for arm in (PROGRAM, CHAIN):
        for width in (1, 4):
            name = f"{width} {arm.name}"
            outcomes = fixed(table, (Pull(arm.name, width),))
            simulated.append(simulated_run(name, "fixed", outcomes, table, contexts))
            allocator = FixedAllocator(replace(arm.allocation, beam_width=width))
            episodes = tuple(replayed(recording, allocator))
            planned.append(replace(simulated[-1], episodes=episodes))
    # A simulated run has no steps, so what is read from steps is empty there.
    steps = ("parts", "unread", "failures")
    for analysis in (OF_SAMPLES, replace(OF_SAMPLES, front="redrawn", success_interval="wilson")):
        rows = [
            {
                one.name: list(one.texts())
                for one in tables_of(make_report(runs, analysis=analysis))
                if one.name not in steps
            }
            for runs in (simulated, planned)
        ]
        assert rows[0] == rows[1]
        assert {"runs", "comparisons", "savings", "gains", "spent", "thirds"} <= rows[0].keys()
    for one, two in zip(simulated, planned, strict=True):
        assert [e.task for e in one.episodes] == [e.task for e in two.episodes]


def test_a_frame_has_a_row_an_episode_and_adds_up_to_the_summary() -> None:
    mixed = Run(
        "mine",
        tuple(
            episode(f"t{task}", won, 10 * task + seed, seed)
            for task, won in enumerate((True, False, None))
            for seed in range(2)
        ),
    )
    frame = mixed.to_frame()
    assert list(frame["task"]) == ["t0", "t0", "t1", "t1", "t2", "t2"]
    assert list(frame["seed"]) == [0, 1] * 3
    assert list(frame["success"]) == [True, True, False, False, None, None]
    assert set(frame["run"]) == {"mine"}
    assert set(frame["kind"]) == {"adaptive"}
    summary = summarise(mixed.episodes)
    for cost in ("tokens", *(one.name for one in fields(Usage))):
        assert frame[cost].sum() == getattr(summary.usage, cost), cost
    assert (frame["success"] == True).sum() == summary.successes  # noqa: E712
    assert frame["tokens"].mean() == measure_run(mixed, tokens_of).cost


def test_over_the_runs_of_all_fixed_plans_the_oracle_is_that_of_the_table(tmp_path: Path) -> None:
    record(tmp_path / "r.sqlite", (PROGRAM, CHAIN))
    table = table_from_recording(tmp_path / "r.sqlite", GSM8K, TASKS, [PROGRAM, CHAIN], 4)
    runs = [
        simulated_run(str(number), "fixed", fixed(table, plan), table, {})
        for number, plan in enumerate(fixed_plans(table))
    ]
    best = oracle_of(runs, tokens_of)
    assert best is not None
    assert best.kind == "oracle"
    assert [(e.task.id, e.success, e.usage.tokens) for e in best.episodes] == [
        (one.task.id, one.success, one.usage.tokens) for one in oracle(table)
    ]


def test_the_endings_of_a_run_are_counted_and_shared() -> None:
    done = [episode(f"t{task}", True, 10) for task in range(3)]
    line = measure_run(Run("mine", tuple(done)), tokens_of)
    assert line.endings == "done 3"
    lost = replace(episode("t3", False, 10), ended=GIVEN_UP)
    line = measure_run(Run("mine", (*done, lost)), tokens_of)
    assert line.endings == "done 3 (75%), given up 1 (25%)"
    assert line.summary.given_up == 1
