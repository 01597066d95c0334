"""One run: its manifest, its episodes in parallel, and how they are saved."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from amp.allocate import find_allocator
from amp.benchmarks.base import Benchmark
from amp.environment import AsyncEnvironment, Environment
from amp.errors import EnvironmentFailedError, InvalidInputError, ModelError, RecordingError
from amp.evaluate.assembly import Assembly
from amp.evaluate.config import RunConfig
from amp.evaluate.workers import Here, Workers
from amp.methods import AnyPlanner
from amp.models.base import LanguageModel
from amp.models.recorded import is_replay, replayed
from amp.telemetry import traced
from amp.trace import CONTENTS, EPISODES, SANDBOX, RunDirectory
from amp.types import FAULTS, MODEL_ERROR, Episode, StepRecord, Task, written

_MODEL_ERRORS_TO_GIVE_UP = 3
_PACKAGES = ("adaptive-meta-planning", "xllamacpp", "minigrid", "alfworld", "textworld", "openai")


def manifest(
    config: RunConfig,
    assembly: Assembly,
    model: LanguageModel,
    tasks: Sequence[Task],
    others: Sequence[LanguageModel] = (),
) -> dict[str, Any]:
    """Everything that is needed to repeat a run, for `RunDirectory`.

    Args:
        config: the run's configuration; it goes into ``run.json`` unchanged.
        assembly: of its planner.
        model: the base model.
        tasks: the tasks of the run.
        others: models beside the base model.
    """
    resolved = assembly.resolved(model.card, replayed(model))
    policy = find_allocator(resolved.method.allocator).path
    source = config.planner.source_run
    files = {
        "allocator": policy,
        "assessor": config.planner.assessor,
        "correctness": resolved.correctness(model.card),
        "source_run": source and source / EPISODES,
        "give_up": config.planner.give_up,
    }
    split = config.split or assembly.benchmark.splits[0]
    heads = files["correctness"]
    hashes = {name: _sha256(file) for name, file in files.items() if file is not None}
    contents = {name: _contents_sha256(file) for name, file in files.items() if file is not None}
    return {
        "config": config.replace(split=split).model_dump(mode="json"),
        "model": asdict(model.card),
        **({"other_models": [asdict(other.card) for other in others]} if others else {}),
        "prompts": resolved.prompts,
        "allocator": resolved.method.allocator if policy is None else policy.stem,
        **({} if heads is None else {"correctness": heads.stem}),
        **({} if resolved.profile is None else {"profile": resolved.profile}),
        "fixed": _plain(asdict(assembly.defaults.fixed, dict_factory=written)),
        "space": _plain(asdict(assembly.defaults.space)),
        "sha256": hashes,
        **({CONTENTS: contents} if contents != hashes else {}),
        SANDBOX: assembly.walls(is_replay=is_replay(model)),
        "versions": versions(),
        "tasks": [task.id for task in tasks],
    }


class Worlds(Protocol):
    """Whatever has an environment for each of some tasks, as every benchmark does."""

    def environment(self, task: Task) -> Environment | AsyncEnvironment:
        """Returns a fresh environment for a task."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """What an episode takes.

    Attributes:
        planner: plans it.
        worlds: have its environment.
        on_step: called with each step of each task as soon as it is finished.
    """

    planner: AnyPlanner
    worlds: Worlds
    on_step: Callable[[Task, StepRecord], None] | None = None


async def plan(bench: Bench, task: Task) -> Episode:
    """Plans one task.

    Raises:
        RecordingError: if its answers were not recorded; names the task.
        AmpError: any other error of its episode.
    """
    on_step = bench.on_step
    try:
        return await bench.planner.run(
            task,
            bench.worlds.environment(task),
            on_step=None if on_step is None else lambda step: on_step(task, step),
        )
    except RecordingError as error:
        raise RecordingError(f"task {task.id}: {error}") from None


def run_episodes(
    planner: AnyPlanner,
    benchmark: Worlds,
    tasks: Sequence[Task],
    jobs: int = 1,
    on_step: Callable[[Task, StepRecord], None] | None = None,
) -> AsyncGenerator[Episode, None]:
    """Plans the tasks, at most `jobs` at a time, and yields each episode when it ends.

    Closing the iterator cancels the episodes that are running.

    Raises:
        InvalidInputError: if jobs is less than 1.
        AmpError: the first error of any episode; finished episodes are yielded before it, and
            running ones are cancelled.
    """
    return Here(Bench(traced(planner), benchmark, on_step), jobs).each(plan, tasks)


async def run_tasks(
    planner: AnyPlanner,
    benchmark: Benchmark,
    tasks: list[Task],
    directory: RunDirectory,
    jobs: int = 1,
    on_step: Callable[[Task, StepRecord], None] | None = None,
    on_episode: Callable[[Episode], None] | None = None,
    workers: Workers[Bench] | None = None,
) -> Iterator[Episode]:
    """Plans the tasks that are not in the directory yet.

    An interruption loses only the episodes that are running.

    Args:
        planner: plans them, at most `jobs` at a time.
        benchmark: has their environments.
        tasks: in their order.
        directory: of the run.
        jobs: tasks at a time.
        on_step: called with each step; where others work, when its episode is there.
        on_episode: called with each episode as soon as it is saved.
        workers: plan the tasks elsewhere, in place of the planner and the benchmark.

    Returns:
        All episodes of the run in the order of the tasks, each read from disk when it is asked for.

    Raises:
        ModelError: if the model failed in several episodes in a row, so that it is probably not
            available. They are in the trace, and a resumed run plans them again.
        EnvironmentFailedError: likewise, if it was the environment.
    """
    left = [task for task in tasks if task.id not in directory.done]
    failed = 0
    try:
        if workers is None:
            episodes = run_episodes(planner, benchmark, left, jobs, on_step)
        else:
            episodes = workers.each(plan, left)
        async with aclosing(episodes):
            async for episode in episodes:
                directory.append(episode)
                if workers is not None and on_step is not None:
                    for step in episode.steps:
                        on_step(episode.task, step)
                if on_episode is not None:
                    on_episode(episode)
                failed = failed + 1 if episode.ended in FAULTS else 0
                if failed == min(_MODEL_ERRORS_TO_GIVE_UP, len(left)):
                    raise _gives_up(episode, failed)
    except RecordingError as error:  # a replay of more than was recorded
        done = directory.done
        first = next((n for n, task in enumerate(tasks) if task.id not in done), len(tasks))
        advice = f"; the first {first} are recorded: take --limit {first}" if first else ""
        count = f"{len(done)} of {len(tasks)} tasks are done{advice}"
        raise RecordingError(f"{error} ({count})") from None
    directory.finish([task.id for task in tasks])
    return directory.episodes()


def _gives_up(last: Episode, failed: int) -> ModelError | EnvironmentFailedError:
    kind = ModelError if last.ended == MODEL_ERROR else EnvironmentFailedError
    which, by = f"{failed} episodes in a row", ", the last one by"
    if failed == 1:
        which, by = "1 episode", ""
    return kind(f"{which} ended by a {last.ended}{by}: {last.steps[-1].failure}")


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in fields.items()}


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None


def _contents_sha256(path: Path) -> str:
    """The same for all files that hold the same policy or assessor."""
    if path.suffix != ".safetensors":
        return _sha256(path)
    from amp.mlp import content_hash  # needs numpy

    return content_hash(path)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can influence the result."""
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    known = {name: installed[name] for name in _PACKAGES if name in installed}
    return {"python": platform.python_version()} | known
