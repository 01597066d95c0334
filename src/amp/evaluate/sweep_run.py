"""Runs the cells of a study, one after another, each in a directory of its own.

Within a cell several episodes go on at a time, which is what a server or a local model can use;
cells at a time would only share it. An error in one cell is kept, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path

from amp.benchmarks.base import Benchmark
from amp.errors import AmpError, InvalidInputError, RecordingError
from amp.evaluate import run
from amp.evaluate.sweep import Cell, Study
from amp.models.base import LanguageModel
from amp.models.recorded import RecordedModel
from amp.report.metrics import Summary, summarise
from amp.report.stats import clustered_rate_interval, optional
from amp.trace import EPISODES, RunDirectory, read_episodes
from amp.types import MODEL_ERROR, Episode, Task

OpenModel = Callable[[str, Path | None, tuple[str, ...], bool], LanguageModel]
"""Opens a model by name, behind a recording to keep its answers in if there is one, for prompts of
these versions, with hidden states or without."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cell that can begin.

    Attributes:
        cell: which.
        path: its directory.
        benchmark: its benchmark.
        tasks: its tasks.
        settings: what the run is.
    """

    cell: Cell
    path: Path
    benchmark: Benchmark
    tasks: list[Task]
    settings: run.RunSettings


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a cell.

    Attributes:
        cell: which.
        path: its directory.
        episodes: all of them; empty if it failed.
        failure: why it did; None if it is finished.
    """

    cell: Cell
    path: Path
    episodes: tuple[Episode, ...] = ()
    failure: str | None = None


def prepare(
    study: Study,
    cells: Iterable[Cell],
    out: Path,
    data: Path | None = None,
    limit: int | None = None,
) -> tuple[list[Prepared], list[Result]]:
    """Looks for mistakes in all cells before any begins.

    Args:
        study: whose cells they are.
        cells: which to run.
        out: directory of the study.
        data: directory of the benchmarks' data; None to look in the usual places.
        limit: tasks a benchmark at most, besides what the study says.

    Returns:
        The cells that can begin, and those whose data or packages are missing.

    Raises:
        InvalidInputError: if the study asks for what does not exist; names the tables.
        MissingDependencyError: if it has several seeds, and scipy is not installed.
    """
    if len(study.seeds) > 1:  # their summary at the end has intervals over tasks
        optional("scipy.stats", "a summary of several seeds")

    @cache  # cells share them, and some levels take a while to generate
    def benchmark_of(name: str) -> Benchmark:
        return study.benchmark(name, data)

    @cache
    def tasks_of(name: str, split: str, seed: int) -> list[Task]:
        limits = (study.benchmarks[name].limit, limit)
        most = min((n for n in limits if n is not None), default=None)
        return list(benchmark_of(name).tasks(split, most, seed))

    ready, failed = [], []
    for cell in cells:
        path = out / cell.name
        try:
            benchmark = benchmark_of(cell.benchmark)
            settings = study.settings(cell, benchmark.splits[0], out)
            run.check(benchmark, settings)
            tasks = tasks_of(cell.benchmark, settings.split, cell.seed)
            if not tasks:
                raise InvalidInputError(f"split {settings.split!r} holds no tasks")
        except InvalidInputError as error:
            where = f"benchmarks.{cell.benchmark} with allocators.{cell.allocator}"
            raise InvalidInputError(f"{where}: {error}") from None
        except AmpError as error:
            failed.append(Result(cell, path, failure=str(error)))
            continue
        ready.append(Prepared(cell, path, benchmark, tasks, settings))
    return ready, failed


async def run_cells(
    study: Study,
    cells: Sequence[Prepared],
    open_model: OpenModel,
    on_cell: Callable[[Prepared, int], None] = lambda cell, done: None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> list[Result]:
    """Runs what is left of each cell, in their order; finished ones are only read.

    A live model is opened once for all cells of a benchmark that follow one another.

    Args:
        study: whose cells they are.
        cells: as `prepare` returns them.
        open_model: opens live models.
        on_cell: called when a cell begins, with the number of its episodes that are there already.
        on_episode: called with every new episode.
    """
    results: list[Result] = []
    for _, group in groupby(cells, key=lambda each: (each.cell.benchmark, each.cell.model)):
        alike = list(group)
        if study.benchmarks[alike[0].cell.benchmark].recording is None:
            live = partial(_live, study, alike, open_model)
            results += await _serve(study, alike, live, on_cell, on_episode)
            continue
        for each in alike:  # as a seed has an order of its own
            replay = partial(_replay, study, each)
            results += await _serve(study, [each], replay, on_cell, on_episode)
    return results


async def _serve(
    study: Study,
    cells: Sequence[Prepared],
    opened: Callable[[], LanguageModel],
    on_cell: Callable[[Prepared, int], None],
    on_episode: Callable[[Episode], None],
) -> list[Result]:
    """Runs cells on one model."""
    try:
        model = opened()
    except AmpError as error:
        return [Result(each.cell, each.path, failure=str(error)) for each in cells]
    results = []
    try:
        for each in cells:
            try:
                episodes = await _run(study, each, model, on_cell, on_episode)
            except AmpError as error:
                results.append(Result(each.cell, each.path, failure=str(error)))
            else:
                results.append(Result(each.cell, each.path, tuple(episodes)))
    finally:
        await model.close()
    return results


async def _run(
    study: Study,
    prepared: Prepared,
    model: LanguageModel,
    on_cell: Callable[[Prepared, int], None],
    on_episode: Callable[[Episode], None],
) -> list[Episode]:
    benchmark, settings, tasks = prepared.benchmark, prepared.settings, prepared.tasks
    if settings.of is not None:
        _check_finished(settings.of, tasks)
    planner = run.make_planner(model, benchmark, settings)
    manifest = run.manifest(model, benchmark, settings, tasks)
    directory = RunDirectory.resume(prepared.path, manifest)
    on_cell(prepared, len(directory.done))
    return await run.run(planner, benchmark, tasks, directory, study.jobs, on_episode=on_episode)


def _replay(study: Study, prepared: Prepared) -> RecordedModel:
    """The recorded answers of a cell, in the order of its seed."""
    cell, path = prepared.cell, study.recording(prepared.cell)
    assert path is not None  # or it would be no replay
    versions = run.prompt_versions(prepared.benchmark, prepared.settings)
    order = cell.seed if study.benchmarks[cell.benchmark].orders else None
    model = RecordedModel(None, path, mode="replay", prompts=versions, order=order)
    if model.card.name not in (cell.model, cell.model.partition(":")[2], Path(cell.model).stem):
        model.recording.close()
        raise RecordingError(
            f"recording {path} was made with model {model.card.name}, the study says {cell.model}"
        )
    return model


def _live(study: Study, cells: Sequence[Prepared], open_model: OpenModel) -> LanguageModel:
    versions = [run.prompt_versions(each.benchmark, each.settings) for each in cells]
    return open_model(
        cells[0].cell.model,
        study.recording(cells[0].cell),
        tuple(dict.fromkeys(version for of_one in versions for version in of_one)),
        any(run.needs_hidden_states(each.settings) for each in cells),
    )


def _check_finished(path: Path, tasks: Sequence[Task]) -> None:
    episodes = read_episodes(path) if (path / EPISODES).exists() else ()
    done = {episode.task.id for episode in episodes if episode.ended != MODEL_ERROR}
    if left := [task.id for task in tasks if task.id not in done]:
        raise InvalidInputError(
            f"the run to deal from is not finished: {path} lacks {len(left)} of {len(tasks)} tasks"
        )


def summaries(results: Sequence[Result]) -> dict[tuple[str, str, str], Summary]:
    """The figures of each benchmark, model and allocator, over all seeds that are finished.

    Intervals of success are over tasks: their runs are no independent trials.
    """
    grouped: dict[tuple[str, str, str], list[Episode]] = {}
    for result in results:
        if result.failure is None:
            cell = result.cell
            key = (cell.benchmark, cell.model, cell.allocator)
            grouped.setdefault(key, []).extend(result.episodes)
    return {key: _summary(episodes) for key, episodes in grouped.items()}


def _summary(episodes: Sequence[Episode]) -> Summary:
    summary, tasks = summarise(episodes), [episode.task.id for episode in episodes]
    if len(set(tasks)) in (1, len(tasks)):
        return summary
    succeeded = [episode.success is True for episode in episodes]
    return replace(summary, success_interval=clustered_rate_interval(tasks, succeeded))
