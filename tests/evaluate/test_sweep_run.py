"""Cells run, go on, fail alone, and see of a recording what a table of its draws holds."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.recorded import ARMS, CARD, PROGRAM, SILENT, answer, record

from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, MissingDependencyError, ModelError
from amp.evaluate import run
from amp.evaluate.sweep import Study, read_study
from amp.evaluate.sweep_run import OpenModel, Result, prepare, run_cells, summaries
from amp.models.base import LanguageModel
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.simulate import build
from amp.simulate.build import opening_contexts, table_from_recording
from amp.simulate.replay import replay_allocator
from amp.simulate.samples import Arm, SampleTable
from amp.trace import read_episodes, read_manifest
from amp.types import Allocation, Episode, Limits

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("AMP_DATA") or ROOT.parent / "shared" / "data")

STUDY = """
seeds = [0, 1, 2]
models = ["scripted"]
jobs = 2

[benchmarks.gsm8k]
split = "demo"
limit = 3
recording = "pool.sqlite"

[allocators.one]
allocator = "fixed"
beam_width = 1

[allocators.rules]
allocator = "adaptive_consistency"
most = 4

[allocators.dealt]
allocator = "shuffled"
of = "rules"
"""


def never(name: str, path: Path | None, prompts: tuple[str, ...], hidden: bool) -> LanguageModel:
    raise AssertionError("a replay opens no model")


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here, and a busy disk takes its time over every episode."""
    monkeypatch.setattr("amp.trace.os.fsync", lambda file: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path / "pool.sqlite", [PROGRAM])
    return tmp_path


def read(folder: Path, text: str = STUDY) -> Study:
    (folder / "study.toml").write_text(text)
    return read_study(folder / "study.toml")


def run_all(folder: Path, text: str = STUDY, open_model: OpenModel = never) -> list[Result]:
    study = read(folder, text)
    ready, failed = prepare(study, study.cells(), folder / "out")
    assert not failed
    return asyncio.run(run_cells(study, ready, open_model))


def test_every_cell_is_a_run_that_says_what_it_was(folder: Path) -> None:
    results = run_all(folder)
    assert len(results) == 9
    assert {result.failure for result in results} == {None}
    for result in results:
        assert list(read_episodes(result.path)) == list(result.episodes)
        manifest = read_manifest(result.path)
        assert (manifest["seed"], manifest["orders"]) == (result.cell.seed, True)
        assert {episode.task.seed for episode in result.episodes} == {result.cell.seed}


def test_a_control_spends_what_it_deals_out(folder: Path) -> None:
    def asked(allocator: str, seed: int) -> Counter[tuple[Allocation, ...]]:
        (result,) = (r for r in results if (r.cell.allocator, r.cell.seed) == (allocator, seed))
        return Counter(
            tuple(executed.allocation for executed in step.rounds)
            for episode in result.episodes
            for step in episode.steps
        )

    results = run_all(folder)
    for seed in range(3):
        assert asked("dealt", seed) == asked("rules", seed)


def test_seeds_of_a_replay_are_orders_of_its_samples(folder: Path) -> None:
    texts = {
        result.cell.seed: [
            candidate.text
            for episode in result.episodes
            for executed in episode.steps[0].rounds
            for candidate in executed.candidates
        ]
        for result in run_all(folder)
        if result.cell.allocator == "one"
    }
    assert len({tuple(texts[seed]) for seed in texts}) > 1


def test_a_finished_study_is_only_read_and_an_interrupted_one_goes_on(folder: Path) -> None:
    first = run_all(folder)
    path = first[-1].path / "episodes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.splitlines(keepends=True)[0] + b'{"half')
    new: list[Episode] = []
    study = read(folder)
    ready, _ = prepare(study, study.cells(), folder / "out")
    again = asyncio.run(run_cells(study, ready, never, on_episode=new.append))
    assert again == first
    assert len(new) == 2
    assert path.read_bytes() == whole


def test_a_cell_that_the_study_now_says_otherwise_is_refused_alone(folder: Path) -> None:
    run_all(folder)
    changed = run_all(folder, STUDY.replace("most = 4", "most = 3"))
    failures = {result.cell.allocator: result.failure for result in changed}
    assert failures["one"] is failures["dealt"] is None
    assert "was run with most 4, not 3" in str(failures["rules"])


def test_what_a_recording_lacks_fails_its_cell_alone_and_whoever_deals_from_it(
    folder: Path,
) -> None:
    results = run_all(folder, STUDY.replace("most = 4", "most = 9").replace("[0, 1, 2]", "[0]"))
    failures = {result.cell.allocator: result.failure for result in results}
    assert failures["one"] is None
    assert "has no sample 4" in str(failures["rules"])
    assert "the run to deal from is not finished" in str(failures["dealt"])


def test_mistakes_are_found_before_anything_begins(folder: Path) -> None:
    study = read(folder, STUDY.replace('"adaptive_consistency"', '"adaptive_consistancy"'))
    with pytest.raises(InvalidInputError, match=r"allocators\.rules: unknown allocator .*mean"):
        prepare(study, study.cells(), folder / "out")
    assert not (folder / "out").exists()


def test_missing_data_fails_its_benchmark_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = STUDY + '\n[benchmarks.other]\nbenchmark = "gsm8k"\nsplit = "demo"\nlevel = "none"\n'

    def load(name: str, *, level: str | None, **rest: object) -> object:
        if level == "none":
            raise MissingDependencyError("get it by amp data get")
        return load_benchmark(name)

    monkeypatch.setattr("amp.evaluate.sweep.load_benchmark", load)
    study = read(folder, text)
    ready, failed = prepare(study, study.cells(), folder / "out")
    assert {each.cell.benchmark for each in ready} == {"gsm8k"}
    assert {each.failure for each in failed} == {"get it by amp data get"}


def test_a_recording_of_another_model_is_refused(folder: Path) -> None:
    results = run_all(folder, STUDY.replace('["scripted"]', '["other"]'))
    assert "was made with model scripted, the study says other" in str(results[0].failure)


LIVE = STUDY.replace('recording = "pool.sqlite"', 'record = "new.sqlite"').replace(
    "[0, 1, 2]", "[0]"
)


def test_a_live_model_is_opened_once_and_closed_and_its_recording_replays(folder: Path) -> None:
    opened: list[RecordedModel] = []

    def open_model(
        name: str, path: Path | None, prompts: tuple[str, ...], hidden: bool
    ) -> LanguageModel:
        assert (name, prompts, hidden, path) == (
            "scripted",
            ("gsm8k/1",),
            False,
            folder / "new.sqlite",
        )
        opened.append(RecordedModel(ScriptedModel(answer, card=CARD), str(path), "record"))
        return opened[-1]

    live = run_all(folder, LIVE, open_model)
    assert {result.failure for result in live} == {None}
    assert len(opened) == 1
    shutil.rmtree(folder / "out")
    replay = run_all(folder, LIVE.replace("record =", "recording ="))
    assert [r.episodes for r in replay] == [r.episodes for r in live]


def test_a_model_that_cannot_be_opened_fails_its_cells(folder: Path) -> None:
    def open_model(
        name: str, path: Path | None, prompts: tuple[str, ...], hidden: bool
    ) -> LanguageModel:
        raise ModelError("no server there")

    assert {result.failure for result in run_all(folder, LIVE, open_model)} == {"no server there"}


def test_intervals_are_over_tasks_not_over_seeds(folder: Path) -> None:
    found = summaries(run_all(folder))["gsm8k", "scripted", "one"]
    assert found.episodes == 9
    width = found.success_interval.high - found.success_interval.low
    alone = summaries(run_all(folder)[:1])["gsm8k", "scripted", "one"].success_interval
    assert width > 0.5 * (alone.high - alone.low)


# --------------------------------------------------------------------------- the table of samples


def table(path: Path, order: int, monkeypatch: pytest.MonkeyPatch) -> SampleTable:
    """The draws of a recording in another order."""
    with monkeypatch.context() as patched:
        patched.setattr(build, "RecordedModel", partial(RecordedModel, order=order))
        benchmark = load_benchmark("gsm8k", data=DATA)
        tasks = benchmark.tasks("test", 75)
        return table_from_recording(path, benchmark, tasks, [Arm("program", ARMS["program"])], 4)


@pytest.mark.data("gsm8k")
def test_the_planner_plays_an_order_as_the_table_of_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gsm8k.sqlite"
    shutil.copy(ROOT / "recordings" / "gsm8k.sqlite", path)
    benchmark = load_benchmark("gsm8k", data=DATA)
    for order in (0, 1):
        tasks = benchmark.tasks("test", 75, seed=order)
        draws, contexts = table(path, order, monkeypatch), opening_contexts(benchmark, tasks)
        for name in ("heuristic", "until_agreement"):
            settings = run.RunSettings("test", order, name, {}, Limits())
            model = RecordedModel(None, path, order=order)
            planner = run.make_planner(model, benchmark, settings)
            assert isinstance(planner, Planner)
            outcomes = replay_allocator(draws, planner.allocator, SILENT, contexts)
            for task, outcome in zip(tasks, outcomes, strict=True):
                episode = asyncio.run(planner.run(task, benchmark.environment(task)))
                assert (outcome.task.id, outcome.success) == (task.id, episode.success)
                assert [len(executed.candidates) for executed in outcome.steps[0].rounds] == [
                    len(executed.candidates) for executed in episode.steps[0].rounds
                ]
                whole = [
                    replace(usage, seconds=0.0, flops=0.0)
                    for usage in (outcome.usage, episode.usage)
                ]
                assert whole[0] == whole[1]
            asyncio.run(model.close())
