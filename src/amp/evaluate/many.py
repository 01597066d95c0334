"""Runs without a benchmark: many tasks in an environment of one's own, saved and reported.

What is written is what `amp run` writes, so `amp trace show` and `amp report` read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amp.environment import AsyncEnvironment, Environment
from amp.errors import AmpError, EnvironmentFailedError, InvalidInputError
from amp.evaluate.run import run_episodes, versions
from amp.execute.boundary import task_of
from amp.files import replace_file, require_output_file
from amp.planner import Planner
from amp.trace import MANIFEST, RunDirectory, to_json
from amp.types import Episode, Task

if TYPE_CHECKING:
    from amp.report.report import RunReport


@dataclass(frozen=True, slots=True)
class _Own:
    make: Callable[[], Environment | AsyncEnvironment]

    def environment(self, task: Task) -> Environment | AsyncEnvironment:
        try:
            return self.make()
        except AmpError:
            raise
        except (Exception, SystemExit) as error:  # other people's code
            raise EnvironmentFailedError(
                f"no environment for task {task.id!r}: {type(error).__name__}: {error}"
            ) from error


async def run_many(
    planner: Planner,
    tasks: Iterable[Task | str],
    environment: Callable[[], Environment | AsyncEnvironment],
    *,
    jobs: int = 1,
    out: Path | str | None = None,
    name: str = "own",
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Plans many tasks, each in an environment of its own.

    Args:
        planner: plans them.
        tasks: with different ids; a goal in words is its own id, numbered where it is repeated.
        environment: makes a fresh environment, such as its class.
        jobs: tasks that are planned at the same time.
        out: directory to save the run in; each episode is on disk as soon as it ends.
        name: what the run calls the environment; runs of different names are not compared.
        on_episode: called with each episode as soon as it ends.

    Returns:
        The episodes, in the order of the tasks.

    Raises:
        InvalidInputError: if ids are repeated, jobs is less than 1, the directory has a run
            already, or an environment cannot be reset. What has ended by then is saved.
    """
    if not callable(environment):
        raise InvalidInputError(
            f"environment is {environment!r}, expected its class or a function that makes one"
        )
    planned = _distinct(tasks)
    done: dict[str, Episode] = {}
    if out is not None:
        _require_savable(planned)
    with _opened(planner, planned, out, name) as directory:
        async for episode in run_episodes(planner, _Own(environment), planned, jobs):
            done[episode.task.id] = episode
            if directory is not None:
                directory.append(episode)
            if on_episode is not None:
                on_episode(episode)
        if directory is not None:
            directory.finish([task.id for task in planned])
    return [done[task.id] for task in planned]


def save_run(
    episodes: Sequence[Episode], out: Path | str, planner: Planner, *, name: str = "own"
) -> None:
    """Saves episodes of a planner as a run.

    Args:
        episodes: of different tasks.
        out: directory to save them in.
        planner: made them.
        name: as of `run_many`.

    Raises:
        InvalidInputError: if a task is repeated, or the directory has a run already or cannot be
            written.
    """
    tasks = _distinct(episode.task for episode in episodes)
    _require_savable(tasks)
    with _created(planner, tasks, out, name) as directory:
        for episode in episodes:
            directory.append(episode)


def report_runs(
    runs: Iterable[Path | str], html: Path | str | None = None, *, common: bool = False
) -> RunReport:
    """Measures and compares saved runs on the same tasks, as `amp report` does.

    Args:
        runs: run directories, each with or without a name in front: ``NAME=DIRECTORY``.
        html: file to write as a page with figures, tables and the steps of failures.
        common: compare on the tasks that all of them did, where they did not do the same.

    Raises:
        InvalidInputError: if there are none, or they cannot be compared; says why.
        MissingDependencyError: if a package of the extra ``report`` is not installed.
    """
    from amp.report import comparable, make_report, read_runs, run_page

    if html is not None:
        require_output_file(Path(html))
    read = comparable(read_runs([str(run) for run in runs]), common)
    report = make_report(read)
    if html is not None:
        replace_file(Path(html), run_page(report, read).encode())
    return report


def _distinct(tasks: Iterable[Task | str]) -> list[Task]:
    """The tasks; goals in words that are repeated have a number in their id."""
    if isinstance(tasks, str):
        raise InvalidInputError(f"tasks is {tasks!r}, expected a list of tasks or goals")
    known: dict[str, Task] = {}
    for given in tasks:
        task = task_of(given)
        repeats = 1
        while isinstance(given, str) and task.id in known:
            repeats += 1
            task = Task(f"{given} #{repeats}", given)
        if task.id in known:
            raise InvalidInputError(f"two tasks have the id {task.id!r}; give each its own")
        known[task.id] = task
    return list(known.values())


def _require_savable(tasks: Sequence[Task]) -> None:
    """Makes sure that tasks can be written, before anything is spent on them."""
    for task in tasks:
        try:
            to_json(task).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"task {task.id!r} cannot be saved ({error}); its data have to be strings, numbers,"
                " lists and mappings"
            ) from None


def _opened(
    planner: Planner, tasks: Sequence[Task], out: Path | str | None, name: str
) -> AbstractContextManager[RunDirectory | None]:
    if out is None:
        return nullcontext()
    return _created(planner, tasks, out, name)


def _created(planner: Planner, tasks: Sequence[Task], out: Path | str, name: str) -> RunDirectory:
    if (Path(out) / MANIFEST).exists():
        raise InvalidInputError(
            f"{out} has a run already; name another directory as out, or delete this one"
        )
    return RunDirectory.create(Path(out), _manifest(planner, tasks, name))


def _manifest(planner: Planner, tasks: Sequence[Task], name: str) -> dict[str, Any]:
    """What a run says of itself, as far as a planner knows it."""
    allocator = type(planner.allocator).__name__.removesuffix("Allocator").lower()
    limits = asdict(planner.limits)
    return {
        "config": {
            "benchmark": name,
            "planner": {
                "allocator": allocator,
                "max_steps": limits["steps"],
                "budget_tokens": limits["tokens"],
                "max_seconds": limits["seconds"],
                "max_dollars": limits["dollars"],
            },
        },
        "model": asdict(planner.model.card),
        "prompts": [planner.executor.prompts.version],
        "allocator": allocator,
        "sha256": {},
        "versions": versions(),
        "tasks": [task.id for task in tasks],
    }
