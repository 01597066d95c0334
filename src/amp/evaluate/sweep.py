"""Sweeps: benchmarks x models x allocators x seeds as runs, each in a directory of its own.

A `Sweep` is read from a TOML file. Its trials run one after another, several episodes at a time,
which is what a server or a local model can use; trials at a time would only share it. An error in
one trial is kept, and the others go on.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from amp.benchmarks.base import Benchmark
from amp.cost import Cost
from amp.errors import AmpError, InvalidInputError, RecordingError, did_you_mean
from amp.evaluate.assembly import Assembly
from amp.evaluate.config import Count, PlannerConfig, RunConfig, TaskConfig
from amp.evaluate.run import Bench, manifest, run_tasks
from amp.evaluate.workers import Opener, Places, Workers
from amp.models.base import LanguageModel
from amp.models.recorded import RecordedModel
from amp.models.registry import is_called
from amp.report.metrics import Summary, summarise
from amp.report.stats import clustered_rate_interval, optional
from amp.settings import Config, FilePath, load_toml
from amp.telemetry import traced
from amp.trace import EPISODES, RunDirectory, read_episodes
from amp.types import MODEL_ERROR, Episode, Task

_OWN: Places = {}
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")

OpenModel = Callable[[str, Path | None, tuple[str, ...], bool], LanguageModel]
"""Opens a model by name, behind a recording to keep its answers in if there is one, for prompts of
these versions, with hidden states or without."""

Elsewhere = Callable[[Opener[Bench]], AbstractAsyncContextManager[Workers[Bench] | None]]
"""Gives the workers of a trial; None where it is run in this process."""


def slug(model: str) -> str:
    """A model's name as that of a directory."""
    return re.sub(r"[^\w.+-]+", "-", model)


# --------------------------------------------------------------------------- what is to be run


def _named(tables: dict[str, Any]) -> dict[str, Any]:
    for name in tables:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} names a directory: expected letters, digits, . _ + or -")
    return tables


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"duplicate {twice[0]!r}")
    return values


class BenchmarkTable(TaskConfig):
    """Tasks, and where answers come from."""

    benchmark: str = ""
    """Its name; that of the table if left out."""
    recording: FilePath | None = None
    """Recording to replay; the model is never called. ``{model}`` in the path is replaced by the
    model's name."""
    record: FilePath | None = None
    """Recording to use and extend: the model answers only what it lacks. Without a recording the
    model answers everything."""
    permute: bool = True
    """Whether the seeds of a replay are permutations of the samples of seed 0; else the recording
    has to have samples of every seed."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.recording is not None and self.record is not None:
            raise ValueError("recording and record exclude each other; leave one out")
        return self


class AllocatorTable(PlannerConfig):
    """A way to plan: everything that `amp run` can set of it."""

    source: str | None = None
    """For histogram and shuffled: another table here, whose run of the same benchmark, model and
    seed is the `source_run`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep, by the names that it has there."""

    benchmark: str
    model: str
    allocator: str
    seed: int

    @property
    def name(self) -> str:
        """Its directory in that of the sweep."""
        return f"{self.benchmark}/{slug(self.model)}/{self.allocator}/seed-{self.seed}"


Seed = Annotated[int, Field(ge=0)]


class Sweep(Config):
    """All of it."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)] = (0,)
    """Of the runs."""
    models: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)]
    """Names as for ``amp run --model``."""
    jobs: Count = 1
    """Episodes at a time within a run."""
    cost: Cost = "tokens"
    """What its reports compare: tokens, written, flops, dollars or seconds."""
    benchmarks: Annotated[dict[str, BenchmarkTable], Field(min_length=1), AfterValidator(_named)]
    """By the name of the table."""
    allocators: Annotated[dict[str, AllocatorTable], Field(min_length=1), AfterValidator(_named)]
    """By the name of the table, which is what reports call them."""

    @model_validator(mode="after")
    def _sources_have_none(self) -> Self:
        own = [name for name, table in self.allocators.items() if table.source is None]
        for name, table in self.allocators.items():
            if table.source is not None and table.source not in own:
                raise ValueError(
                    f"allocators.{name}.source is {table.source!r}"
                    f"{did_you_mean(table.source, own)} (sources: {', '.join(own)})"
                )
        return self

    def trials(self) -> list[Trial]:
        """Every run, by benchmark and model; those that have another as source come last."""
        last = sorted(self.allocators, key=lambda name: self.allocators[name].source is not None)
        return [
            Trial(benchmark, model, allocator, seed)
            for benchmark in self.benchmarks
            for model in self.models
            for allocator in last
            for seed in self.seeds
        ]

    def recording(self, trial: Trial) -> Path | None:
        """Where the answers of a trial are kept or come from; None if they are not recorded."""
        table = self.benchmarks[trial.benchmark]
        path = table.recording or table.record
        return path and Path(str(path).replace("{model}", slug(trial.model)))

    def config(self, trial: Trial, out: Path) -> RunConfig:
        """The configuration of a trial; `out` is the directory of the sweep."""
        table, planner = self.benchmarks[trial.benchmark], self.allocators[trial.allocator]
        tasks = {name: getattr(table, name) for name in TaskConfig.model_fields}
        values = {name: getattr(planner, name) for name in PlannerConfig.model_fields}
        if planner.source is not None:
            values["source_run"] = out / replace(trial, allocator=planner.source).name
        return RunConfig(
            **tasks | {"benchmark": table.benchmark or trial.benchmark},
            seed=trial.seed,
            model=trial.model,
            permuted=table.recording is not None and table.permute,
            planner=PlannerConfig(**values),
        )


def load_sweep(path: Path) -> Sweep:
    """Reads a sweep from a TOML file; as `amp.settings.load_toml`."""
    return load_toml(Sweep, path)


# --------------------------------------------------------------------------- running it


@dataclass(frozen=True, slots=True)
class PreparedTrial:
    """A trial that can begin.

    Attributes:
        trial: which.
        path: its directory.
        config: what the run is.
        assembly: of its planner.
        tasks: its tasks.
        data: directory of the benchmarks' data; None for the usual places.
    """

    trial: Trial
    path: Path
    config: RunConfig
    assembly: Assembly
    tasks: list[Task]
    data: Path | None = None


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        trial: which.
        path: its directory.
        episodes: all of them; empty if it failed.
        failure: why it did; None if it is finished.
    """

    trial: Trial
    path: Path
    episodes: tuple[Episode, ...] = ()
    failure: str | None = None


def prepare(
    sweep: Sweep,
    trials: Iterable[Trial],
    out: Path,
    data: Path | None = None,
    limit: int | None = None,
) -> tuple[list[PreparedTrial], list[TrialResult]]:
    """Looks for mistakes in all trials before any begins.

    Args:
        sweep: whose trials they are.
        trials: which to run.
        out: directory of the sweep.
        data: directory of the benchmarks' data; None to look in the usual places.
        limit: tasks a benchmark at most, besides what the sweep says.

    Returns:
        The trials that can begin, and those whose data or packages are missing.

    Raises:
        InvalidInputError: if the sweep names something that does not exist; names the tables.
        MissingDependencyError: if it has several seeds, and scipy is not installed.
    """
    if len(sweep.seeds) > 1:  # their summary at the end has intervals over tasks
        optional("scipy.stats", "a summary of several seeds")

    @cache  # trials share them, and some levels take a while to generate
    def benchmark_of(tasks: TaskConfig) -> Benchmark:
        return tasks.load_benchmark(data)

    @cache
    def tasks_of(tasks: TaskConfig, seed: int) -> list[Task]:
        return tasks.load_tasks(benchmark_of(tasks), seed)

    ready, failed = [], []
    for trial in trials:
        path, config = out / trial.name, sweep.config(trial, out)
        limits = [most for most in (config.limit, limit) if most is not None]
        config = config.replace(limit=min(limits) if limits else None)
        wanted = TaskConfig(**{name: getattr(config, name) for name in TaskConfig.model_fields})
        try:
            assembly = Assembly.of(config.planner, benchmark_of(wanted), trial.seed)
            tasks = tasks_of(wanted, trial.seed)
        except InvalidInputError as error:
            where = f"benchmarks.{trial.benchmark} with allocators.{trial.allocator}"
            raise InvalidInputError(f"{where}: {error}") from None
        except AmpError as error:
            failed.append(TrialResult(trial, path, failure=str(error)))
            continue
        ready.append(PreparedTrial(trial, path, config, assembly, tasks, data))
    return ready, failed


async def run_trials(
    sweep: Sweep,
    trials: Sequence[PreparedTrial],
    open_model: OpenModel,
    on_trial: Callable[[PreparedTrial, int], None] = lambda trial, done: None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    elsewhere: Elsewhere = lambda opener: nullcontext(),
) -> list[TrialResult]:
    """Runs what is left of each trial, in their order; finished ones are only read.

    A live model is opened once for all trials of a benchmark that follow one another.

    Args:
        sweep: whose trials they are.
        trials: as `prepare` returns them.
        open_model: opens live models.
        on_trial: called when a trial begins, with the number of its episodes that are there
            already.
        on_episode: called with every new episode.
        elsewhere: gives the workers of each trial, which open its model for themselves.
    """

    async def run(prepared: PreparedTrial, model: LanguageModel) -> list[Episode]:
        at_work = partial(elsewhere, _opener(sweep, prepared, open_model))
        return await _run(sweep, prepared, model, on_trial, on_episode, at_work)

    results: list[TrialResult] = []
    for _, group in groupby(trials, key=lambda each: (each.trial.benchmark, each.trial.model)):
        alike = list(group)
        if sweep.benchmarks[alike[0].trial.benchmark].recording is None:
            live = partial(_live, sweep, alike, open_model)
            results += await _serve(alike, live, run)
            continue
        for each in alike:  # as a seed has a permutation of its own
            replay = partial(_replay, sweep, each)
            results += await _serve([each], replay, run)
    return results


async def _serve(
    trials: Sequence[PreparedTrial],
    opened: Callable[[], LanguageModel],
    run: Callable[[PreparedTrial, LanguageModel], Awaitable[list[Episode]]],
) -> list[TrialResult]:
    """Runs trials on one model."""
    try:
        model = opened()
    except AmpError as error:
        return [TrialResult(each.trial, each.path, failure=str(error)) for each in trials]
    results = []
    try:
        for each in trials:
            try:
                episodes = await run(each, model)
            except AmpError as error:
                results.append(TrialResult(each.trial, each.path, failure=str(error)))
            else:
                results.append(TrialResult(each.trial, each.path, tuple(episodes)))
    finally:
        await model.close()
    return results


async def _run(
    sweep: Sweep,
    prepared: PreparedTrial,
    model: LanguageModel,
    on_trial: Callable[[PreparedTrial, int], None],
    on_episode: Callable[[Episode], None],
    at_work: Callable[[], AbstractAsyncContextManager[Workers[Bench] | None]],
) -> list[Episode]:
    assembly, tasks = prepared.assembly, prepared.tasks
    if (source := prepared.config.planner.source_run) is not None:
        _check_finished(source, tasks)
    planner = assembly.planner(model)
    told = manifest(prepared.config, assembly, model, tasks)
    with RunDirectory.resume(prepared.path, told) as directory:
        on_trial(prepared, len(directory.done))
        is_done = len(directory.done) == len(tasks)
        async with nullcontext() if is_done else at_work() as workers:
            episodes = await run_tasks(
                *(planner, assembly.benchmark, tasks, directory, sweep.jobs),
                on_episode=on_episode,
                workers=workers,
            )
        return list(episodes)


def _opener(sweep: Sweep, prepared: PreparedTrial, open_model: OpenModel) -> Opener[Bench]:
    trial, path = prepared.trial, sweep.recording(prepared.trial)
    told = trial, prepared.config, prepared.data
    return Opener(partial(_bench, sweep, told, open_model), () if path is None else (path,))


@asynccontextmanager
async def _bench(
    sweep: Sweep,
    told: tuple[Trial, RunConfig, Path | None],
    open_model: OpenModel,
    places: Places,
) -> AsyncIterator[Bench]:
    """What the episodes of a trial take, opened in a worker elsewhere."""
    trial, config, data = told
    benchmark = config.load_benchmark(data)
    assembly = Assembly.of(config.planner, benchmark, trial.seed)
    alone = PreparedTrial(trial, Path(), config, assembly, [])
    model: LanguageModel
    if sweep.benchmarks[trial.benchmark].recording is None:
        model = _live(sweep, [alone], open_model, places)
    else:
        model = _replay(sweep, alone, places)
    try:
        yield Bench(traced(assembly.planner(model)), benchmark)
    finally:
        await model.close()


def _replay(sweep: Sweep, prepared: PreparedTrial, places: Places = _OWN) -> RecordedModel:
    """The recorded answers of a trial, permuted by its seed."""
    trial, path = prepared.trial, sweep.recording(prepared.trial)
    assert path is not None  # or it would be no replay
    order = trial.seed if prepared.config.permuted else None
    prompts, at = prepared.assembly.prompts, places.get(path, path)
    model = RecordedModel(None, at, mode="replay", prompts=prompts, order=order)
    if not is_called(model.card, trial.model):
        model.recording.close()
        raise RecordingError(
            f"recording {path} was made with model {model.card.name}, the sweep says {trial.model}"
        )
    return model


def _live(
    sweep: Sweep, trials: Sequence[PreparedTrial], open_model: OpenModel, places: Places = _OWN
) -> LanguageModel:
    path = sweep.recording(trials[0].trial)
    versions = dict.fromkeys(version for each in trials for version in each.assembly.prompts)
    return open_model(
        trials[0].trial.model,
        path and places.get(path, path),
        tuple(versions),
        any(each.assembly.needs_hidden_states for each in trials),
    )


def _check_finished(path: Path, tasks: Sequence[Task]) -> None:
    episodes = read_episodes(path) if (path / EPISODES).exists() else ()
    done = {episode.task.id for episode in episodes if episode.ended != MODEL_ERROR}
    if left := [task.id for task in tasks if task.id not in done]:
        raise InvalidInputError(
            f"the source run is not finished: {path} lacks {len(left)} of {len(tasks)} tasks"
        )


def summaries(results: Sequence[TrialResult]) -> dict[tuple[str, str, str], Summary]:
    """The figures of each benchmark, model and allocator, over all seeds that are finished.

    Intervals of success are over tasks: their runs are no independent trials.
    """
    grouped: dict[tuple[str, str, str], list[Episode]] = {}
    for result in results:
        if result.failure is None:
            key = result.trial.benchmark, result.trial.model, result.trial.allocator
            grouped.setdefault(key, []).extend(result.episodes)
    return {key: _summary(episodes) for key, episodes in grouped.items()}


def _summary(episodes: Sequence[Episode]) -> Summary:
    summary, tasks = summarise(episodes), [episode.task.id for episode in episodes]
    if len(set(tasks)) in (1, len(tasks)):
        return summary
    succeeded = [episode.success is True for episode in episodes]
    return replace(summary, success_interval=clustered_rate_interval(tasks, succeeded))
