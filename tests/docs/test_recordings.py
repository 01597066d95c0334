"""The figures of the documents, from the shipped recordings and without a model."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import pytest
from tests.fakes.files import DATA, ROOT

from amp import cli
from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.benchmarks.webshop.prompts import situation_of
from amp.evaluate import EpisodeDataset, PlannerConfig, build_planner
from amp.methods import METHODS
from amp.models.recorded import RecordedModel
from amp.types import Complexity, Episode, StepContext, StepRecord, Usage

README, RESULTS = "README.md", "docs/results.md"
METHODS_PAGE, BENCHMARKS_PAGE = "docs/methods.md", "docs/benchmarks.md"
NOT_ON_GSM8K = {"beam_search", "cascade", "llm_dp", "llm_dp_random"}
"""Methods without a recorded row there."""

BABYAI = ("babyai", "--limit", "20", "--level", "BabyAI-GoToLocal-v0")
GSM8K = ("gsm8k", "--limit", "20", "--data", str(DATA))
GSM8K_300 = ("gsm8k", "--limit", "300", "--data", str(DATA))
PRIMITIVES = (*BABYAI, "--no-tools", "--max-steps", "24")
DATA_HERE = ("--data", str(DATA))
SMALL = ROOT / "recordings" / "gsm8k-0.5b.sqlite"
TWO_MODELS = ("gsm8k", "--limit", "20", *DATA_HERE, "--replay", str(SMALL))
_VOTE = ("--method", "self_consistency", "--answered-by")
PAIRED = {
    "0.5B alone": (*_VOTE, "qwen2.5-coder-0.5b"),
    "1.5B alone": (*_VOTE, "qwen2.5-coder-1.5b"),
    "cascade": ("--method", "cascade"),
    "cascade, agreement 1": ("--method", "cascade", "--agreement", "1"),
    "cascade, agreement 0.5": ("--method", "cascade", "--agreement", "0.5"),
}
WEBSHOP = ("webshop", "--split", "dev", "--limit", "20", "--allocator", "fixed", *DATA_HERE)
GAMES = ("alfworld", "--limit", "10", *DATA_HERE)
ALFWORLD = (*GAMES, "--allocator", "fixed")
PLANNED = (*ALFWORLD, "--tool", "symbolic_planner")
LLM_DP = (*GAMES, "--method", "llm_dp")
FIXED, HEURISTIC = ("--allocator", "fixed"), ("--allocator", "heuristic")
GSM8K_HERE, WEBSHOP_HERE = (pytest.mark.data(name) for name in ("gsm8k", "webshop"))
ALFWORLD_HERE = (
    pytest.mark.data("alfworld"),
    pytest.mark.skipif(
        not (find_spec("alfworld") and find_spec("textworld")), reason="needs the extra alfworld"
    ),
)
RUNS = [
    (RESULTS, "BabyAI GoToLocal, 20 test seeds, subgoals | fixed", "babyai", (*BABYAI, *FIXED)),
    (
        RESULTS,
        "BabyAI GoToLocal, 20 test seeds, primitives | fixed",
        "babyai",
        (*PRIMITIVES, *FIXED),
    ),
    *(
        pytest.param(*row, marks=GSM8K_HERE)
        for row in (
            *(
                (RESULTS, name, "gsm8k-300", (*GSM8K_300, *options))
                for name, options in (
                    ("| fixed: plain vote of four programs |", (*FIXED, "--correctness", "none")),
                    ("| fixed: weighted vote of four programs |", FIXED),
                    ("| heuristic: one or two programs", HEURISTIC),
                    ("| learned: asks and stops by value |", ("--allocator", "auto")),
                )
            ),
            *(
                (METHODS_PAGE, f"two models | {row} |", "gsm8k", (*TWO_MODELS, *options))
                for row, options in PAIRED.items()
            ),
            *(
                (
                    METHODS_PAGE,
                    f"GSM8K | {name} |",
                    "gsm8k",
                    (*GSM8K, "--method", name),
                )
                for name in METHODS
                if name not in NOT_ON_GSM8K
            ),
        )
    ),
    pytest.param(
        *(RESULTS, "WebShop, goals 500 to 519 | fixed", "webshop", WEBSHOP), marks=WEBSHOP_HERE
    ),
    *(
        pytest.param(*row, marks=ALFWORLD_HERE)
        for row in (
            (RESULTS, "ALFWorld, first 10 games of valid_seen | fixed", "alfworld", ALFWORLD),
            (BENCHMARKS_PAGE, "a symbolic planner's plan", "alfworld", PLANNED),
            (BENCHMARKS_PAGE, "LLM-DP, beliefs of the model |", "alfworld", LLM_DP),
        )
    ),
]


@pytest.mark.parametrize(("page", "row", "recording", "arguments"), RUNS)
def test_a_row_is_what_the_recording_gives(
    page: str,
    row: str,
    recording: str,
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(ROOT / "recordings" / f"{recording}.sqlite", tmp_path)
    monkeypatch.chdir(tmp_path)
    command = ["amp", "run", *arguments, "--json"]
    command += ["--replay", f"{recording}.sqlite", "--out", "run"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
        raise SystemExit(0)
    assert not exit_info.value.code, capsys.readouterr().err
    summary = json.loads(capsys.readouterr().out)
    n, interval = summary["episodes"], summary["success_interval"]
    tokens = summary["usage"]["prompt_tokens"] + summary["usage"]["completion_tokens"]
    written = f"{summary['usage']['completion_tokens'] / n:,.0f}"
    cells = [
        f"{summary['successes']}/{n} ({interval['low']:.2f}-{interval['high']:.2f})",
        written,
        f"{tokens / n:,.0f}",
    ]
    lines = (ROOT / page).read_text().splitlines()
    (line,) = (line for line in lines if row in line)
    told = [cell.strip() for cell in line.strip("|").split("|")[2:]]
    assert [told[0].partition(", score")[0], *told[1:3]] == cells


@GSM8K_HERE
def test_the_small_model_of_two_agrees_with_itself_as_seldom_as_the_page_says(
    tmp_path: Path,
) -> None:
    benchmark = load_benchmark("gsm8k", data=DATA)
    tasks = benchmark.tasks("test", 20)
    files = (SMALL, ROOT / "recordings" / "gsm8k.sqlite")
    models = [RecordedModel(None, shutil.copy(file, tmp_path), mode="replay") for file in files]
    config = PlannerConfig(method="cascade")
    planner = build_planner(config, models[0], benchmark, others=models[1:])

    async def planned() -> list[Episode]:
        return [await planner.run(task, benchmark.environment(task)) for task in tasks]

    small, large = (model.card.name for model in models)
    episodes = asyncio.run(planned())
    assert sum(large in episode.by_model for episode in episodes) == 17
    alone = [episode.success for episode in episodes if set(episode.by_model) == {small}]
    assert sorted(map(bool, alone)) == [False, True, True]


def test_the_readme_says_what_the_results_say() -> None:
    rows = {page: rows_of_runs(page) for page in (README, RESULTS)}
    assert len(rows[README]) == 6
    assert all(row in rows[RESULTS] for row in rows[README])


def rows_of_runs(page: str) -> list[tuple[str, ...]]:
    """The rows of a page's table of runs: tasks, which may stand in a row above, and the rest."""
    text = (ROOT / page).read_text().split("| tasks | allocation |", 1)[1].partition("\n\n")[0]
    rows: list[tuple[str, ...]] = []
    for line in text.splitlines()[2:]:
        tasks, *rest = (cell.strip() for cell in line.split("|")[1:-1])
        rows.append((tasks or rows[-1][0], *rest))
    return rows


@pytest.mark.data("webshop")
def test_the_shops_suggestions_alone_earn_what_the_model_earns(tmp_path: Path) -> None:
    shutil.copy(ROOT / "recordings" / "webshop.sqlite", tmp_path)
    benchmark = load_benchmark("webshop", data=DATA)
    source = EpisodeDataset.from_recording(
        tmp_path / "webshop.sqlite", benchmark, benchmark.tasks("dev", 20)
    )
    alone = [follow_suggestions(benchmark, episode) for episode in source.episodes]
    model = [episode.score for episode in source.episodes]
    for page, row in ((RESULTS, "WebShop, goals 500 to 519"), (BENCHMARKS_PAGE, "| the model |")):
        (line,) = (x for x in (ROOT / page).read_text().splitlines() if row in x and "0.87" in x)
        assert "14/20" in line
    for scores in (alone, model):
        assert (len(scores), scores.count(1.0), f"{fmean(scores):.2f}") == (20, 14, "0.87")


def follow_suggestions(benchmark: Benchmark, episode: Episode) -> float:
    """The score of the episode's first search and then, blindly, of `Situation.next`."""
    search = next(step.action for step in episode.steps if step.action is not None)
    environment = benchmark.environment(episode.task)
    observation = environment.reset(episode.task)
    steps: tuple[StepRecord, ...] = ()
    for _ in range(benchmark.max_steps):
        action = search
        if observation.actions is not None:
            at = StepContext(episode.task, observation, steps)
            situation = situation_of(at, observation.actions)
            named = (click.startswith(situation.next) for click in situation.clicks)
            index = next((i for i, found in enumerate(named) if found), 0)
            action = observation.actions[index] if situation.next else "click[buy now]"
        steps = (*steps, StepRecord(observation, (), Complexity(0.0), action, Usage()))
        transition = environment.step(action)
        if transition.done:
            return transition.score
        observation = transition.observation
    return 0.0
