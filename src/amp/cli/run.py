"""Commands that plan: solve, run, and a whole sweep of runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from fnmatch import fnmatch
from functools import partial
from itertools import product
from pathlib import Path
from shlex import quote
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import (
    Data,
    Json,
    Models,
    Records,
    Replays,
    app,
    count_models,
    larger_recording,
    open_model,
    open_models,
    run_async,
    takes,
)
from amp.cli.terminal import new_console, progress, say, say_json, shown_in_line
from amp.cli.workers import Address, On, check_on, cluster_of, workers_on
from amp.errors import InvalidInputError, ModelError
from amp.evaluate.config import PlannerConfig, RunConfig
from amp.files import require_output_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from amp.evaluate.assembly import Assembly
    from amp.evaluate.run import Bench
    from amp.evaluate.sweep import PreparedTrial, Sweep, Trial, TrialResult
    from amp.models.base import LanguageModel
    from amp.types import StepRecord


@app.command()
@takes(PlannerConfig, without=("source_run",))
def solve(
    question: Annotated[str, typer.Argument(help="A question whose answer is a number.")],
    config: PlannerConfig,
    model: Models = None,
    seed: Annotated[int, typer.Option(help="Another seed gives other samples.")] = 0,
    record: Records = None,
    replay: Replays = None,
    as_json: Json = False,
) -> None:
    """Answer one question. Example: amp solve "A box holds 12 eggs. How many in 7 boxes?" """
    from amp.benchmarks import load_benchmark
    from amp.cli import render
    from amp.evaluate.assembly import Assembly
    from amp.telemetry import traced
    from amp.types import MODEL_ERROR, Task

    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"question is not UTF-8 at character {error.start}") from None
    if not question.strip():
        raise InvalidInputError("question is empty, expected some text")
    benchmark = load_benchmark("gsm8k")
    assembly = Assembly.of(config, benchmark, seed)
    assembly.check_models(count_models(model or (), record, replay))
    assembly.walls(is_replay=bool(replay))  # before a model is loaded
    task = Task("question", question, seed=seed)
    table = render.step_table()

    def show(step: StepRecord) -> None:
        render.add_step(table, 1, step)

    async def go() -> None:
        hidden = assembly.needs_hidden_states
        async with open_models(model or (), record, replay, assembly.prompts, hidden) as models:
            planner = traced(assembly.planner(models[0], others=models[1:]))
            episode = await planner.run(task, benchmark.environment(task), on_step=show)
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


@asynccontextmanager
async def _bench(
    config: RunConfig,
    data: Path | None,
    record: Sequence[Path],
    replay: Sequence[Path],
    places: Mapping[Path, Path],
) -> AsyncIterator[Bench]:
    """What the episodes of a run take, opened in a worker elsewhere."""
    from amp.evaluate.assembly import Assembly
    from amp.evaluate.run import Bench
    from amp.telemetry import traced

    benchmark = config.load_benchmark(data)
    assembly = Assembly.of(config.planner, benchmark, config.seed)
    record, replay = ([places.get(path, path) for path in files] for files in (record, replay))
    async with _models(config, assembly, record, replay) as (model, larger, others):
        yield Bench(traced(assembly.planner(model, larger, others)), benchmark)


@asynccontextmanager
async def _models(
    config: RunConfig, assembly: Assembly, record: Sequence[Path], replay: Sequence[Path]
) -> AsyncIterator[tuple[LanguageModel, LanguageModel | None, list[LanguageModel]]]:
    """The base model, the larger one if there is one, and the others."""
    larger = None
    async with AsyncExitStack() as stack:
        named = open_models(
            config.models, record, replay, assembly.prompts, assembly.needs_hidden_states
        )
        model, *others = await stack.enter_async_context(named)
        if (name := config.larger_model) is not None:
            files = larger_recording(record), larger_recording(replay)
            [larger] = await stack.enter_async_context(open_models((name,), *files))
        yield model, larger, others


@app.command()
@takes(RunConfig, arguments=("benchmark",), without=("permuted",))
def run(
    config: RunConfig,
    record: Records = None,
    replay: Replays = None,
    jobs: Annotated[int, typer.Option(min=1, help="Episodes at a time.")] = 1,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run; a new one in runs/ if left out.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    on: On = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run a benchmark. Example: amp run gsm8k --limit 20 --allocator fixed"""
    from amp.cli import render
    from amp.evaluate.assembly import Assembly
    from amp.evaluate.run import manifest, run_tasks
    from amp.evaluate.workers import Opener
    from amp.report.metrics import summarise
    from amp.settings import load_settings, settings_file
    from amp.trace import RunDirectory

    if resume and out is None:
        raise InvalidInputError("--resume needs --out, the directory of the run to go on with")
    check_on(on, address)
    data = data or load_settings().data
    benchmark = config.load_benchmark(data)
    assembly = Assembly.of(config.planner, benchmark, config.seed)
    assembly.check_models(count_models(config.models, record, replay))
    assembly.walls(is_replay=bool(replay))  # before a model is loaded
    tasks = config.load_tasks(benchmark, config.seed)
    called = config.planner.method or Path(config.planner.allocator or "auto").stem
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    path = out or Path("runs") / f"{config.benchmark}-{called}-{stamp}"
    require_output_directory(path)
    console = new_console(stderr=True)

    kept = [*(record or ()), *(replay or ())]
    files = kept if config.larger_model is None else [*kept, *larger_recording(kept)]
    bench = partial(_bench, config, data, record or (), replay or ())
    opener = Opener(bench, tuple(files))

    async def go() -> None:
        try:
            async with (
                _models(config, assembly, record or (), replay or ()) as (model, larger, others),
                workers_on(on, address, jobs, opener) as workers,
            ):
                planner = assembly.planner(model, larger, others)
                settings = manifest(config, assembly, model, tasks, others)
                open_directory = RunDirectory.resume if resume else RunDirectory.create
                title = f"{config.benchmark} {config.planner.method or settings['allocator']}"
                with (
                    open_directory(path, settings) as directory,
                    render.LiveSteps(console, len(tasks), len(directory.done), title) as live,
                ):
                    episodes = await run_tasks(
                        *(planner, benchmark, tasks, directory, jobs),
                        *(live.on_step, live.on_episode, workers),
                    )
        except asyncio.CancelledError:
            console.print(f"interrupted; go on with the same options and --out {path} --resume")
            raise
        summary = summarise(episodes)
        heads = settings.get("correctness")
        if as_json:
            more = {"success_rate": summary.success_rate, "out": path, "settings": settings_file()}
            more |= {} if heads is None else {"correctness": heads}
            say_json(asdict(summary) | more)
        else:
            new_console().print(render.summary_table([(title, summary)]))
            for note in summary.notes:
                say(note)
            if heads is not None:
                say(f"candidates rated by {shown_in_line(heads)}, votes {config.planner.vote}")
            say(f"trace: {path}  (amp trace show {path})")
            if (file := settings_file()) is not None:
                say(f"settings: {file}")

    run_async(go())


_FAILURE_CHARACTERS = 400
"""Of one failure in the terminal: what differs from an earlier run may be a list of all tasks."""


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="A TOML file as those in configs/.")],
    out: Annotated[
        Path | None, typer.Option(help="Directory of the sweep; runs/NAME if left out.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Trials whose name matches, such as '*/heuristic/*'; repeat for several."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Tasks a benchmark at most.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the trials and run none.")] = False,
    on: On = None,
    address: Address = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run benchmarks x models x allocators x seeds. Example: amp sweep configs/gsm8k.toml

    Each trial is a run of its own in the directory of the sweep. The same command goes on where it
    was interrupted, and runs again what failed.
    """
    from amp.evaluate.sweep import load_sweep, prepare, run_trials, summaries
    from amp.settings import load_settings

    check_on(on, address)
    chosen = load_sweep(config)
    trials = _matching(chosen.trials(), only)
    folder = out or Path("runs") / config.stem
    if show:
        names = [trial.name for trial in trials]
        if as_json:
            say_json(names)
        else:
            say("\n".join(names))
        return
    require_output_directory(folder)
    console = new_console(stderr=True)
    ready, results = prepare(chosen, trials, folder, data or load_settings().data, limit)

    async def go() -> list[TrialResult]:
        with cluster_of(on, address), _Progress(console, ready) as progress:
            try:
                return await run_trials(
                    chosen,
                    ready,
                    _live,
                    progress.on_trial,
                    lambda episode: progress.advance(1),
                    partial(workers_on, on, address, chosen.jobs),
                )
            except asyncio.CancelledError:
                console.print("interrupted; the same command goes on")
                raise

    results += run_async(go())
    rows_by_key = summaries(results)
    failed = [result for result in results if result.failure is not None]
    if as_json:
        rows = [
            dict(zip(("benchmark", "model", "allocator"), key, strict=True))
            | {"success_rate": summary.success_rate, "summary": summary}
            for key, summary in rows_by_key.items()
        ]
        failures = [{"trial": r.trial.name, "failure": r.failure} for r in failed]
        say_json({"out": str(folder), "rows": rows, "failures": failures})
    else:
        _show(chosen, results, folder)
        for result in failed:
            failure = shorten(str(result.failure), _FAILURE_CHARACTERS)
            console.print(f"failed: {result.trial.name}: {failure}")
    if failed:
        raise typer.Exit(1)


def _live(name: str, record: Path | None, prompts: tuple[str, ...], hidden: bool) -> LanguageModel:
    return open_model(name, record, None, prompts, hidden)


def _matching(trials: list[Trial], patterns: Sequence[str] | None) -> list[Trial]:
    for pattern in patterns or ():
        if not any(fnmatch(trial.name, pattern) for trial in trials):
            raise InvalidInputError(
                f"--only {pattern!r} matches no trial; they are called as {trials[0].name} "
                "(all: --list)"
            )
    if not patterns:
        return trials
    return [trial for trial in trials if any(fnmatch(trial.name, pattern) for pattern in patterns)]


class _Progress:
    """Episodes of all trials in one bar, with the trial at hand; a context manager."""

    def __init__(self, console: Console, trials: Sequence[PreparedTrial]) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn

        self._bars = progress(
            *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._bars.add_task("", total=sum(len(trial.tasks) for trial in trials))

    def __enter__(self) -> _Progress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def on_trial(self, prepared: PreparedTrial, done: int) -> None:
        self._bars.update(self._bar, description=prepared.trial.name)
        self.advance(done)

    def advance(self, episodes: int) -> None:
        self._bars.advance(self._bar, episodes)


def _show(chosen: Sweep, results: Sequence[TrialResult], folder: Path) -> None:
    """A table for each benchmark and model, and the command that reports its runs."""
    from amp.cli import render
    from amp.evaluate.sweep import slug, summaries

    console = new_console()
    for benchmark, model in product(chosen.benchmarks, chosen.models):
        here = [r for r in results if (r.trial.benchmark, r.trial.model) == (benchmark, model)]
        found = {key[-1]: summary for key, summary in summaries(here).items()}
        rows = [(name, found[name]) for name in chosen.allocators if name in found]
        if not rows:
            continue
        console.print(render.summary_table(rows, title=f"{benchmark}, {model}"))
        for name, summary in rows:
            for note in summary.notes:
                say(f"{name}: {note}")
        runs = [f"{name}={_seeds(here, name)}" for name, _ in rows]
        page = quote(str(folder / f"{benchmark}-{slug(model)}.html"))
        cost = "" if chosen.cost == "tokens" else f" --cost {chosen.cost}"
        say(f"\namp report {' '.join(runs)}{cost} --html {page}\n")


def _seeds(results: Sequence[TrialResult], allocator: str) -> str:
    """The finished runs of an allocator, as a shell takes them."""
    paths = [r.path for r in results if r.trial.allocator == allocator and r.failure is None]
    names = [path.name for path in paths]
    last = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
    return f"{quote(str(paths[0].parent))}/{last}"
