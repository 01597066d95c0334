"""A sweep says what it wants and where it is wrong; its trials run, go on and fail alone."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.files import DATA, ROOT
from tests.fakes.recorded import ARMS, CARD, PROGRAM, SILENT, answer, record

from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, MissingDependencyError, ModelError
from amp.evaluate import PlannerConfig, build_planner
from amp.evaluate.sweep import (
    OpenModel,
    Sweep,
    Trial,
    TrialResult,
    load_sweep,
    prepare,
    run_trials,
    slug,
    summaries,
)
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

SMALL = """
seeds = [0, 1]
models = ["openai:small", "large.gguf"]

[benchmarks.gsm8k]
recording = "pool-{model}.sqlite"

[benchmarks.doors]
benchmark = "babyai"
level = "BabyAI-OpenTwoDoors-v0"
split = "dev"
record = "doors.sqlite"

[allocators.again]
allocator = "shuffled"
source = "mine"

[allocators.mine]
allocator = "heuristic"
depth = 2
tools = ["python"]
exclude = ["indicators", "distance"]
probes = ["next_token"]
rounds = 3
budget_tokens = 900

[allocators.learned]
allocator = "policies/best.safetensors"
trade_off = 0.9
assessor = "cam.safetensors"
exclude = ["hidden", "structure"]
"""


def small(folder: Path, text: str = SMALL) -> Sweep:
    path = folder / "small.toml"
    path.write_text(text)
    return load_sweep(path)


def test_there_is_a_trial_for_every_combination_and_those_that_deal_come_last(
    tmp_path: Path,
) -> None:
    trials = small(tmp_path).trials()
    assert len(trials) == len(set(trials)) == 2 * 2 * 3 * 2
    first = [trial.allocator for trial in trials[:6]]
    assert first == ["mine", "mine", "learned", "learned", "again", "again"]
    assert trials[0].name == "gsm8k/openai-small/mine/seed-0"


def test_a_trial_has_the_settings_of_its_tables(tmp_path: Path) -> None:
    made, out = small(tmp_path), tmp_path / "out"
    mine = made.config(Trial("gsm8k", "large.gguf", "mine", 1), out)
    planner = mine.planner
    assert (mine.split, mine.seed, mine.model) == (None, 1, "large.gguf")
    assert (planner.allocator, planner.rounds) == ("heuristic", 3)
    assert planner.overrides == {"depth": 2, "tools": frozenset({"python"})}
    assert planner.limits == Limits(tokens=900)
    assert planner.exclude == {"indicators", "distance"}
    assert planner.probes == {"next_token"}
    assert mine.permuted
    again = made.config(Trial("doors", "large.gguf", "again", 1), out)
    assert again.planner.source_run == out / "doors/large.gguf/mine/seed-1"
    assert (again.benchmark, again.split, again.permuted) == ("babyai", "dev", False)


def test_paths_are_meant_from_the_folder_of_the_file(tmp_path: Path) -> None:
    made = small(tmp_path)
    learned = made.config(Trial("gsm8k", "large.gguf", "learned", 0), tmp_path).planner
    assert learned.allocator == str(tmp_path / "policies/best.safetensors")
    assert learned.assessor == tmp_path / "cam.safetensors"
    assert learned.exclude == {"hidden", "structure"}
    trial = Trial("gsm8k", "openai:small", "mine", 0)
    assert made.recording(trial) == tmp_path / "pool-openai-small.sqlite"


def test_a_model_of_any_name_has_a_directory() -> None:
    assert slug("openai:org/name") == "openai-org-name"
    assert slug("qwen2.5-coder-1.5b") == "qwen2.5-coder-1.5b"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("depth = 2", "dept = 2", r"unknown key 'allocators\.mine\.dept'; did you mean 'depth'\?"),
        ("level =", "levle =", r"unknown key 'benchmarks\.doors\.levle'; did you mean 'level'\?"),
        ("seeds =", "seed =", r"small\.toml: unknown key 'seed'; did you mean 'seeds'\? .*jobs"),
        ("depth = 2", 'depth = "2"', r"allocators\.mine\.depth is '2', expected a whole number"),
        ("rounds = 3", "rounds = 0", r"allocators\.mine\.rounds is 0, expected at least 1"),
        ("0.9", "1.9", r"allocators\.learned\.trade_off is 1\.9, expected at most 1"),
        (
            '["indicators", "distance"]',
            '["distanse"]',
            r"allocators\.mine\.exclude\.0 is 'distanse', .*'hidden'.*; did you mean 'distance'",
        ),
        (
            'source = "mine"',
            'source = "mien"',
            r"allocators\.again\.source is 'mien'; did you mean 'mine'\?",
        ),
        (
            '"shuffled"\nsource = "mine"',
            '"fixed"\nsource = "again"',
            r"allocators\.again\.source is 'again'",
        ),
        ('models = ["openai:small", "large.gguf"]', "", "models is missing"),
        ("[0, 1]", "[0, 0]", "seeds: duplicate 0"),
        ("[0, 1]", "[0, -1]", r"seeds\.1 is -1, expected at least 0"),
        ("[allocators.mine]", '[allocators."a/b"]', "'a/b' names a directory"),
        ('record = "', 'recording = "x"\nrecord = "', r"benchmarks\.doors: .*exclude each other"),
        (
            '"heuristic"',
            '"heuristic"\nmethod = "react"',
            r"allocators\.mine: allocator and method exclude each other",
        ),
        ("seeds", "seeds seeds", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in SMALL
    with pytest.raises(InvalidInputError, match=message) as caught:
        small(tmp_path, SMALL.replace(before, after))
    assert str(tmp_path / "small.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.toml cannot be read: No such file"):
        load_sweep(tmp_path / "none.toml")


# --------------------------------------------------------------------------- running it

SWEEP = """
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
max_samples = 4

[allocators.shuffled]
allocator = "shuffled"
source = "rules"
"""


def never(name: str, path: Path | None, prompts: tuple[str, ...], hidden: bool) -> LanguageModel:
    raise AssertionError("a replay opens no model")


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here, and a busy disk takes its time over every episode."""
    monkeypatch.setattr("amp.files.os.fsync", lambda file: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path / "pool.sqlite", [PROGRAM])
    return tmp_path


def read(folder: Path, text: str = SWEEP) -> Sweep:
    (folder / "sweep.toml").write_text(text)
    return load_sweep(folder / "sweep.toml")


def run_all(folder: Path, text: str = SWEEP, open_model: OpenModel = never) -> list[TrialResult]:
    sweep = read(folder, text)
    ready, failed = prepare(sweep, sweep.trials(), folder / "out")
    assert not failed
    return asyncio.run(run_trials(sweep, ready, open_model))


def test_every_trial_is_a_run_that_says_what_it_was(folder: Path) -> None:
    results = run_all(folder)
    assert len(results) == 9
    assert {result.failure for result in results} == {None}
    for result in results:
        assert list(read_episodes(result.path)) == list(result.episodes)
        manifest = read_manifest(result.path)
        config = manifest["config"]
        assert (config["seed"], config["permuted"]) == (result.trial.seed, True)
        assert {episode.task.seed for episode in result.episodes} == {result.trial.seed}


def test_a_control_spends_what_it_deals_out(folder: Path) -> None:
    def asked(allocator: str, seed: int) -> Counter[tuple[Allocation, ...]]:
        (result,) = (r for r in results if (r.trial.allocator, r.trial.seed) == (allocator, seed))
        return Counter(
            tuple(executed.allocation for executed in step.rounds)
            for episode in result.episodes
            for step in episode.steps
        )

    results = run_all(folder)
    for seed in range(3):
        assert asked("shuffled", seed) == asked("rules", seed)


def test_seeds_of_a_replay_are_orders_of_its_samples(folder: Path) -> None:
    texts = {
        result.trial.seed: [
            candidate.text
            for episode in result.episodes
            for executed in episode.steps[0].rounds
            for candidate in executed.candidates
        ]
        for result in run_all(folder)
        if result.trial.allocator == "one"
    }
    assert len({tuple(texts[seed]) for seed in texts}) > 1


def test_a_finished_sweep_is_only_read_and_an_interrupted_one_goes_on(folder: Path) -> None:
    first = run_all(folder)
    path = first[-1].path / "episodes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.splitlines(keepends=True)[0] + b'{"half')
    new: list[Episode] = []
    sweep = read(folder)
    ready, _ = prepare(sweep, sweep.trials(), folder / "out")
    again = asyncio.run(run_trials(sweep, ready, never, on_episode=new.append))
    assert again == first
    assert len(new) == 2
    assert path.read_bytes() == whole


def test_a_trial_that_the_sweep_now_says_otherwise_is_refused_alone(folder: Path) -> None:
    run_all(folder)
    changed = run_all(folder, SWEEP.replace("max_samples = 4", "max_samples = 3"))
    failures = {result.trial.allocator: result.failure for result in changed}
    assert failures["one"] is failures["shuffled"] is None
    assert "was run with max_samples 4, not 3" in str(failures["rules"])


def test_what_a_recording_lacks_fails_its_trial_alone_and_whoever_deals_from_it(
    folder: Path,
) -> None:
    results = run_all(
        folder, SWEEP.replace("max_samples = 4", "max_samples = 9").replace("[0, 1, 2]", "[0]")
    )
    failures = {result.trial.allocator: result.failure for result in results}
    assert failures["one"] is None
    assert "has no sample 4" in str(failures["rules"])
    assert "the source run is not finished" in str(failures["shuffled"])


def test_mistakes_are_found_before_anything_begins(folder: Path) -> None:
    sweep = read(folder, SWEEP.replace('"adaptive_consistency"', '"adaptive_consistancy"'))
    with pytest.raises(InvalidInputError, match=r"allocators\.rules: unknown allocator .*mean"):
        prepare(sweep, sweep.trials(), folder / "out")
    assert not (folder / "out").exists()


def test_missing_data_fails_its_benchmark_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SWEEP + '\n[benchmarks.other]\nbenchmark = "gsm8k"\nsplit = "demo"\nlevel = "none"\n'

    def load(name: str, *, level: str | None, **rest: object) -> object:
        if level == "none":
            raise MissingDependencyError("get it by amp data get")
        return load_benchmark(name)

    monkeypatch.setattr("amp.evaluate.config.load_benchmark", load)
    sweep = read(folder, text)
    ready, failed = prepare(sweep, sweep.trials(), folder / "out")
    assert {each.trial.benchmark for each in ready} == {"gsm8k"}
    assert {each.failure for each in failed} == {"get it by amp data get"}


def test_a_recording_of_another_model_is_refused(folder: Path) -> None:
    results = run_all(folder, SWEEP.replace('["scripted"]', '["other"]'))
    assert "was made with model scripted, the sweep says other" in str(results[0].failure)


LIVE = SWEEP.replace('recording = "pool.sqlite"', 'record = "new.sqlite"').replace(
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


def test_a_model_that_cannot_be_opened_fails_its_trials(folder: Path) -> None:
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


@pytest.mark.slow
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
            model = RecordedModel(None, path, order=order)
            planner = build_planner(
                PlannerConfig(allocator=name, correctness="none"), model, benchmark
            )
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
