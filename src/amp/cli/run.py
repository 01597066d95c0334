"""Commands that plan: solve and run."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    run_async,
    takes,
)
from amp.cli.terminal import new_console, say, say_json
from amp.errors import InvalidInputError, ModelError
from amp.evaluate.config import PlannerConfig, RunConfig
from amp.files import require_output_directory

if TYPE_CHECKING:
    from amp.types import StepRecord


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
        render.add_step(table, 1, step)

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
            new_console().print(table, render.ALLOCATION_LEGEND)
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
