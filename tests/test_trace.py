"""Episodes come back as they were, and a run survives being killed at any byte."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.tokens import TokenFigures
from amp.trace import (
    EPISODES,
    RunDirectory,
    episode_from_json,
    read_episodes,
    read_manifest,
    settings_of,
    to_json,
)
from amp.types import (
    MODEL_ERROR,
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Observation,
    Round,
    StepRecord,
    Task,
    ToolUse,
    Usage,
)

MANIFEST: dict[str, Any] = {
    "config": {"seed": 0, "planner": {"allocator": "auto", "rounds": None}},
    "model": {"name": "m"},
    "space": (1, 2),
    "tasks": ["a", "b"],
}
OLD = Path(__file__).parent / "data" / "run-0.1"

real = st.floats(0, 1e6, allow_nan=False)
usages = st.builds(Usage, *[st.integers(0, 9)] * 4, real, real, real, st.integers(0, 9))
uses = st.builds(ToolUse, st.text(), st.text(), st.text(), st.none() | st.text(), real)
some_candidates = st.builds(
    Candidate,
    st.text(),
    st.none() | st.text(),
    log_prob=st.none() | real,
    tool_uses=st.tuples(uses),
)
allocations = st.builds(
    Allocation,
    tools=st.frozensets(st.sampled_from(["b", "a", "c"])),
    model=st.none() | st.text(min_size=1),
)
complexities = st.builds(Complexity, real, st.dictionaries(st.text(max_size=3), real, max_size=3))
rounds = st.builds(
    Round, complexities, allocations, real, st.lists(some_candidates, max_size=2).map(tuple), usages
)
observations = st.builds(
    Observation,
    st.text(),
    st.none() | st.just(("x", "y")),
    st.just({"tool": ("z",)}),
    st.none() | real,
)
steps = st.builds(
    StepRecord,
    observations,
    st.lists(rounds, max_size=2).map(tuple),
    complexities,
    st.none() | st.text(),
    usages,
)
episodes = st.builds(
    Episode,
    st.builds(Task, st.text(), st.text(), st.just({"answer": "1"}), st.integers(0, 9)),
    st.lists(steps, max_size=2).map(tuple),
    st.sampled_from([True, False, None]),
    real,
    usages,
    st.text(),
    st.dictionaries(st.sampled_from(["small", "big"]), usages),
)


class Logged(logging.Handler):
    """Collects the messages of a logger inside a ``with`` block."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.logger = logging.getLogger(name)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> Logged:
        self.logger.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.logger.removeHandler(self)


def episode(task: str) -> Episode:
    return Episode(Task(task, "goal"), (), True, 1.0, Usage(), "done")


def test_with_one_model_a_trace_says_nothing_of_models() -> None:
    made = Round(Complexity(0.5), Allocation(), 0.0, (Candidate("8", "8"),), Usage())
    step = StepRecord(Observation("s"), (made,), Complexity(0.5), "8", Usage())
    assert "model" not in to_json(replace(episode("t"), steps=(step,))).replace("model_calls", "")


@given(episodes)
def test_an_episode_reads_back_equal_and_writes_equal_bytes(original: Episode) -> None:
    line = to_json(original)
    again = episode_from_json(line)
    assert again == original
    assert to_json(again) == line
    assert "\n" not in line


def test_what_is_known_of_candidates_comes_back_and_old_traces_do_without() -> None:
    figures = TokenFigures(least=-2.0, window=-1.0, tail=-0.5, first=-0.1, doubtful=3, highest=1.5)
    rated = Candidate("a", "a", tokens=figures, looks={"negative": 1.0}, p_right=0.25)
    executed = Round(Complexity(0.2), Allocation(), 0.0, (rated,), Usage())
    step = StepRecord(Observation(), (executed,), Complexity(0.2), "a", Usage())
    line = to_json(replace(episode("t"), steps=(step,)))
    assert episode_from_json(line).steps[0].rounds[0].candidates == (rated,)
    told = json.loads(line)
    for name in ("tokens", "looks", "p_right"):
        del told["steps"][0]["rounds"][0]["candidates"][0][name]
    old = episode_from_json(json.dumps(told)).steps[0].rounds[0].candidates
    assert old == (Candidate("a", "a"),)


def test_a_run_from_before_votes_were_weighed_can_be_gone_on_with(tmp_path: Path) -> None:
    config = {"benchmark": "b", "planner": {"allocator": "fixed"}}
    RunDirectory.create(tmp_path / "run", {"config": config}).close()
    now = {"benchmark": "b", "planner": {"allocator": "fixed", "vote": "weighted"}}
    RunDirectory.resume(tmp_path / "run", {"config": now}).close()
    plain = {"benchmark": "b", "planner": {"allocator": "fixed", "vote": "plain"}}
    with pytest.raises(InvalidInputError, match="with vote 'weighted', not 'plain'"):
        RunDirectory.resume(tmp_path / "run", {"config": plain})


def test_a_trace_without_final_complexities_tells_what_decided() -> None:
    before, after = Complexity(0.2, {"plan_length": 1.0}), Complexity(0.9, {"agreement": 0.5})
    executed = Round(before, Allocation(), 0.0, (Candidate("a", "a"),), Usage())
    step = StepRecord(Observation(), (executed,), before, "a", Usage(), final_complexity=after)
    bare = StepRecord(Observation(), (), before, None, Usage(), "nothing fits")
    episode = Episode(Task("t", "g"), (step, bare), True, 1.0, Usage(), "done")
    old = json.loads(to_json(episode))
    for one in old["steps"]:
        one["complexity"] = one.pop("final_complexity") or one["complexity"]
    assert episode_from_json(json.dumps(old)) == episode


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("run")
    with RunDirectory.create(path, MANIFEST) as run:
        run.append(episode("a"))
        run.append(episode("b"))
    return path, (path / EPISODES).read_bytes()


@given(cut=st.integers(0, 400))
def test_a_run_cut_at_any_byte_keeps_its_whole_lines(
    cut: int, whole_run: tuple[Path, bytes]
) -> None:
    path, whole = whole_run
    (path / EPISODES).write_bytes(whole[:cut])
    kept = [e.task.id for e in read_episodes(path)]
    assert kept == ["a", "b"][: whole[:cut].count(b"\n")]
    with RunDirectory.resume(path, MANIFEST) as resumed:
        for task in ["a", "b"][len(kept) :]:
            resumed.append(episode(task))
    assert (path / EPISODES).read_bytes() == whole


@given(written=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=8))
def test_a_task_that_is_there_twice_counts_once_and_is_told(
    written: list[tuple[str, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("run") / EPISODES
    lines = [
        replace(episode(task), ended="done" if good else MODEL_ERROR) for task, good in written
    ]
    file.write_text("".join(to_json(line) + "\n" for line in lines))
    with Logged("amp.trace") as log:
        read = list(read_episodes(file))
    first = list(dict.fromkeys(task for task, _ in written))
    assert [e.task.id for e in read] == first
    good = {task for task, good in written if good}
    assert {e.task.id for e in read if e.ended == "done"} == good
    told = [
        f"{file} has {len(written)} episodes of {len(first)} tasks; what repeats a task is left out"
    ]
    assert log.messages == (told if len(written) > len(first) else [])


def test_a_run_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path, MANIFEST) as run:
        run.append(episode("a"))
        for begin in (RunDirectory.create, RunDirectory.resume):
            with pytest.raises(
                InvalidInputError,
                match=rf"{tmp_path} is in use by process {os.getpid()} on .* \(begun \d+ s ago\)",
            ):
                begin(tmp_path, MANIFEST)
    resumed = RunDirectory.resume(tmp_path, MANIFEST)
    resumed.close()
    assert list(resumed.done) == ["a"]
    assert [episode.task.id for episode in resumed.episodes()] == ["a"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [EPISODES, "run.json"]


def test_a_run_keeps_no_episode_in_memory_and_none_out_of_order(tmp_path: Path) -> None:
    ids = [f"task {number}" for number in range(40)]
    with RunDirectory.create(tmp_path, MANIFEST) as run:
        for task_id in random.Random(0).sample(ids, len(ids)):
            one = episode(task_id)
            holders = sys.getrefcount(one)
            run.append(one)
            assert sys.getrefcount(one) == holders
        lines = sorted((tmp_path / EPISODES).read_bytes().splitlines())
        run.finish(ids)
        run.append(episode("one more"))
        run.finish([*ids, "one more"])
        assert [each.task.id for each in run.episodes()] == [*ids, "one more"]
    assert sorted((tmp_path / EPISODES).read_bytes().splitlines()[:-1]) == lines
    assert [each.task.id for each in read_episodes(tmp_path)] == [*ids, "one more"]


def test_resuming_drops_what_is_doubled_for_good(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path, MANIFEST) as run:
        run.append(episode("a"))
        run.append(episode("b"))
        run.append(episode("a"))
    with RunDirectory.resume(tmp_path, MANIFEST) as run:
        assert list(run.done) == ["a", "b"]
    assert (tmp_path / EPISODES).read_bytes().count(b"\n") == 2


def test_a_directory_that_vanishes_is_an_error_of_one_line(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", MANIFEST) as run:
        shutil.rmtree(run.path)
        with pytest.raises(InvalidInputError, match=r"run was removed or replaced while"):
            run.append(episode("a"))
        with RunDirectory.create(run.path, MANIFEST) as other:
            other.append(episode("b"))
            with pytest.raises(InvalidInputError, match=r"run was removed or replaced while"):
                run.append(episode("b"))
            with pytest.raises(InvalidInputError, match=r"run was removed or replaced while"):
                run.finish(["a", "b"])
            run.close()
            assert [e.task.id for e in read_episodes(run.path)] == ["b"]
            with pytest.raises(InvalidInputError, match="in use"):
                RunDirectory.resume(run.path, MANIFEST)


def test_finishing_puts_episodes_in_the_order_of_their_tasks(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, MANIFEST)
    run.append(episode("b"))
    run.append(episode("a"))
    run.finish(["a", "b"])
    assert [e.task.id for e in read_episodes(tmp_path)] == ["a", "b"]


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, MANIFEST)
    with pytest.raises(InvalidInputError, match="has a run already; resume it"):
        RunDirectory.create(tmp_path, MANIFEST)


def test_resuming_with_something_else_names_the_difference(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, MANIFEST)
    RunDirectory.resume(tmp_path, MANIFEST)
    with pytest.raises(
        InvalidInputError, match=r"was run with model \{'name': 'm'\}, not \{'name'"
    ):
        RunDirectory.resume(tmp_path, MANIFEST | {"model": {"name": "n"}})
    other = {"seed": 0, "planner": {"allocator": "fixed", "rounds": 3}}
    with pytest.raises(InvalidInputError, match="was run with rounds None, not 3"):
        RunDirectory.resume(tmp_path, MANIFEST | {"config": other})


def test_resuming_nothing_starts_a_run(tmp_path: Path) -> None:
    assert not RunDirectory.resume(tmp_path / "new", MANIFEST).done


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"{}\n", "line 1 is no episode: task"), (b"no json\n", "line 1"), (b"\xff\n", "not UTF-8")],
)
def test_a_broken_trace_is_named(tmp_path: Path, content: bytes, named: str) -> None:
    (tmp_path / EPISODES).write_bytes(content)
    with pytest.raises(InvalidInputError, match=named):
        list(read_episodes(tmp_path))


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no trace at"):
        list(read_episodes(tmp_path / "nowhere"))


def test_the_manifest_is_readable_json(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, MANIFEST)
    assert json.loads((tmp_path / "run.json").read_text())["space"] == [1, 2]


def test_a_run_of_version_0_1_is_read_in_the_form_of_today() -> None:
    made = read_manifest(OLD)
    config = made["config"]
    assert (config["benchmark"], config["split"], config["seed"]) == ("gsm8k", "test", 0)
    assert config["planner"]["probes"] == ["hidden"]
    assert (made["model"]["name"], made["allocator"]) == ("qwen2.5-coder-1.5b", "heuristic")
    assert made["sha256"].keys() == {"assessor"}
    episodes = list(read_episodes(OLD))
    assert [e.task.id for e in episodes] == made["tasks"]
    probes = [step.probe for episode in episodes for step in episode.steps]
    assert all(probe is not None and len(probe.hidden or ()) == 16 for probe in probes)


def test_a_run_of_version_0_1_is_not_resumed(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    with pytest.raises(InvalidInputError, match=r"by version 0\.1, .* choose another directory"):
        RunDirectory.resume(tmp_path / "run", MANIFEST)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"config": 3}', "config is 3"),
        ('{"config": null}', "config is None"),
        ('{"config": {"planner": [4]}}', r"config.planner is \[4\]"),
        ('{"limits": 3}', "limits is 3"),
        ('{"versions": "old"}', "versions is 'old'"),
    ],
)
def test_what_a_run_says_of_itself_is_checked(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InvalidInputError, match=rf"run.json: {fault}, expected an object"):
        settings_of(read_manifest(tmp_path))
