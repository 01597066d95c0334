"""Commands that plan: solve, run, demo.

`amp demo` plans the same tasks twice, with the best fixed allocation and adaptively.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amp.cli.app import (
    Data,
    Json,
    Model,
    Record,
    Replay,
    app,
    larger_recording,
    open_model,
    output_file,
    run_async,
    takes,
)
from amp.cli.terminal import new_console, say, say_json
from amp.errors import InvalidInputError, ModelError
from amp.evaluate.config import PlannerConfig, RunConfig
from amp.files import require_output_directory

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from amp.benchmarks.base import Benchmark
    from amp.models.base import LanguageModel
    from amp.types import Episode, StepRecord, Task

PROBLEMS = 6
MISSIONS = 2
ALLOCATORS = {"fixed": "fixed", "auto": "adaptive"}
"""The two allocators of the demo, with what it calls them."""


@app.command()
@takes(PlannerConfig, without=("source_run",))
def solve(
    question: Annotated[str, typer.Argument(help="A question whose answer is a number.")],
    config: PlannerConfig,
    model: Model = None,
    seed: Annotated[int, typer.Option(help="Another seed gives other samples.")] = 0,
    record: Record = None,
    replay: Replay = None,
    as_json: Json = False,
) -> None:
    """Answer one question. Example: amp solve "A box holds 12 eggs. How many in 7 boxes?" """
    from amp.benchmarks import load_benchmark
    from amp.cli import render
    from amp.evaluate.run import Assembly
    from amp.types import MODEL_ERROR, Task

    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"question is not UTF-8 at character {error.start}") from None
    if not question.strip():
        raise InvalidInputError("question is empty, expected some text")
    benchmark = load_benchmark("gsm8k")
    assembly = Assembly.of(config, benchmark, seed)
    assembly.walls(is_replay=replay is not None)  # before a model is loaded
    task = Task("question", question, seed=seed)
    table = render.step_table()

    def show(step: StepRecord) -> None:
        render.add_step(table, "", 1, step)

    async def go() -> None:
        hidden = assembly.needs_hidden_states
        language_model = open_model(model, record, replay, assembly.prompts, hidden)
        try:
            planner = assembly.planner(language_model)
            episode = await planner.run(task, benchmark.environment(task), on_step=show)
        finally:
            await language_model.close()
        if episode.ended == MODEL_ERROR:
            raise ModelError(episode.steps[-1].failure)
        if as_json:
            say_json(episode)
        else:
            new_console().print(table)
            say(episode.plan[-1] if episode.plan else "no answer")
        if not episode.plan:
            raise typer.Exit(1)

    run_async(go())


@app.command()
@takes(RunConfig, arguments=("benchmark",), without=("permuted",))
def run(
    config: RunConfig,
    record: Record = None,
    replay: Replay = None,
    jobs: Annotated[int, typer.Option(min=1, help="Episodes at a time.")] = 1,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run; a new one in runs/ if left out.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Run a benchmark. Example: amp run gsm8k --limit 20 --allocator fixed"""
    from amp.cli import render
    from amp.evaluate.run import Assembly, manifest, run_tasks
    from amp.report.metrics import summarise
    from amp.settings import load_settings, settings_file
    from amp.trace import RunDirectory

    if resume and out is None:
        raise InvalidInputError("--resume needs --out, the directory of the run to go on with")
    benchmark = config.load_benchmark(data or load_settings().data)
    assembly = Assembly.of(config.planner, benchmark, config.seed)
    assembly.walls(is_replay=replay is not None)  # before a model is loaded
    tasks = config.load_tasks(benchmark, config.seed)
    called = config.planner.method or Path(config.planner.allocator or "auto").stem
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    path = out or Path("runs") / f"{config.benchmark}-{called}-{stamp}"
    require_output_directory(path)
    console = new_console(stderr=True)

    async def go() -> None:
        hidden = assembly.needs_hidden_states
        model = open_model(config.model, record, replay, assembly.prompts, hidden)
        larger = None
        try:
            if (name := config.larger_model) is not None:
                larger = open_model(name, larger_recording(record), larger_recording(replay))
            planner = assembly.planner(model, larger)
            settings = manifest(config, assembly, model, tasks)
            open_directory = RunDirectory.resume if resume else RunDirectory.create
            title = f"{config.benchmark} {config.planner.method or settings['allocator']}"
            with (
                open_directory(path, settings) as directory,
                render.LiveSteps(console, len(tasks), len(directory.done), title) as live,
            ):
                episodes = await run_tasks(
                    planner, benchmark, tasks, directory, jobs, live.on_step, live.on_episode
                )
        except asyncio.CancelledError:
            console.print(f"interrupted; go on with the same options and --out {path} --resume")
            raise
        finally:
            await model.close()
            if larger is not None:
                await larger.close()
        summary = summarise(episodes)
        if as_json:
            more = {"success_rate": summary.success_rate, "out": path, "settings": settings_file()}
            say_json(asdict(summary) | more)
        else:
            new_console().print(render.summary_table([(title, summary)]))
            for note in summary.notes:
                say(note)
            say(f"trace: {path}  (amp trace show {path})")
            if (file := settings_file()) is not None:
                say(f"settings: {file}")

    run_async(go())


@app.command()
def demo(
    model: Model = None,
    svg: Annotated[
        Path | None, typer.Option(callback=output_file, help="Save what is shown as a picture.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch a local model plan, once fixed and once adaptively. Example: amp demo --svg demo.svg"""
    from amp.benchmarks import load_benchmark
    from amp.cli import render
    from amp.evaluate.run import Assembly
    from amp.models import catalog
    from amp.settings import load_settings

    Assembly.of(PlannerConfig(), load_benchmark("gsm8k")).walls(is_replay=False)  # before a fetch
    name = model or load_settings().model
    if name in catalog.MODELS and name not in {m.name for m in catalog.installed()}:
        catalog.pull(name)
    console = new_console(stderr=as_json, record=svg is not None)
    outcome = run_async(run_demo(lambda: open_model(name), console))
    if svg is not None:
        render.save_picture(console, svg, "amp demo")
    if as_json:
        say_json(outcome)


async def run_demo(open_model: Callable[[], LanguageModel], console: Console) -> dict[str, Any]:
    """Plans six word problems and two missions, twice; prints a comparison.

    Args:
        open_model: opens the model; called once an allocator, so that neither profits from what the
            other left in the prefix cache.
        console: where people watch.

    Returns:
        Success, tokens and seconds of both, for machines.
    """
    from amp.benchmarks import load_benchmark
    from amp.cli.render import summary_table
    from amp.report.metrics import summarise

    gsm8k, babyai = load_benchmark("gsm8k"), load_benchmark("babyai")
    work: list[tuple[Benchmark, list[Task]]] = [
        (gsm8k, list(gsm8k.tasks("demo", PROBLEMS))),
        (babyai, list(babyai.tasks("test", MISSIONS))),
    ]
    summaries = {}
    episodes: list[Episode] = []
    for allocator, title in ALLOCATORS.items():
        console.print()
        console.print(f"{title}: {PROBLEMS} word problems, {MISSIONS} missions", style="bold")
        model = open_model()
        try:
            episodes = await _plan(model, allocator, work, console)
        finally:
            await model.close()
        summaries[title] = summarise(episodes)
    console.print("\nwhat the adaptive run gave to each step, round by round")
    console.print(_steps(episodes))
    fixed, adaptive = summaries["fixed"], summaries["adaptive"]
    console.print()
    console.print(summary_table(list(summaries.items()), title="mean of an episode"))
    saved = {
        name: 1 - getattr(adaptive.usage, name) / getattr(fixed.usage, name)
        for name in ("tokens", "completion_tokens", "seconds")
    }
    console.print(
        f"\nadaptive allocation spent {_change(saved['tokens'])} tokens, "
        f"{_change(saved['completion_tokens'])} completion tokens and "
        f"{_change(saved['seconds'])} seconds, with {adaptive.successes} successes "
        f"against {fixed.successes} of {fixed.episodes}."
    )
    return {"saved": saved} | {
        title: {
            "success": f"{s.successes}/{s.episodes}",
            "tokens": s.usage.tokens,
            "completion_tokens": s.usage.completion_tokens,
            "seconds": s.usage.seconds,
        }
        for title, s in summaries.items()
    }


async def _plan(
    model: LanguageModel,
    allocator: str,
    work: list[tuple[Benchmark, list[Task]]],
    console: Console,
) -> list[Episode]:
    from amp.cli.render import LiveSteps, episode_line
    from amp.evaluate.run import build_planner, run_episodes

    episodes: list[Episode] = []
    with LiveSteps(console, PROBLEMS + MISSIONS) as live:
        for benchmark, tasks in work:
            planner = build_planner(PlannerConfig(allocator=allocator), model, benchmark)
            async for episode in run_episodes(planner, benchmark, tasks, on_step=live.on_step):
                episodes.append(episode)
                live.on_episode(episode)
                console.print(episode_line(episode), no_wrap=True, overflow="ellipsis")
    return episodes


def _steps(episodes: list[Episode]) -> Table:
    from amp.cli.render import add_step, step_table

    table = step_table()
    for episode in episodes:
        for number, step in enumerate(episode.steps, start=1):
            add_step(table, episode.task.id.removeprefix("BabyAI-"), number, step)
    return table


def _change(saved: float) -> str:
    return f"{abs(saved):.0%} {'fewer' if saved >= 0 else 'more'}"
