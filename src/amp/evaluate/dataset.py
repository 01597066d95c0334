"""Episodes to learn from and to validate on: those of a run, or those that a recording can give."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from amp.benchmarks import benchmark_names, load_benchmark
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, RecordingError
from amp.evaluate.run import RunSettings, make_planner
from amp.methods import AnyPlanner
from amp.models.base import ModelCard
from amp.models.recorded import RecordedModel
from amp.models.recording_store import Store
from amp.trace import read_episodes, read_manifest
from amp.types import Episode, Limits, ProbeKind, Task

_PARTS = 3


@dataclass(frozen=True, slots=True)
class Source:
    """Where episodes are from.

    Attributes:
        episodes: in the order of their tasks.
        benchmark: whose tasks they are, for its judge.
        card: the base model.
    """

    episodes: tuple[Episode, ...]
    benchmark: Benchmark
    card: ModelCard


def of_run(path: Path, data: Path | None = None) -> Source:
    """The episodes of a run directory.

    Raises:
        InvalidInputError: if there is no run, or it has no episodes.
    """
    manifest = read_manifest(path)
    try:
        name, card = manifest["benchmark"], ModelCard(**manifest["model"])
    except (KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} does not say what was run: {error}") from None
    episodes = tuple(read_episodes(path))
    if not episodes:
        raise InvalidInputError(f"{path} holds no episodes")
    return Source(episodes, load_benchmark(name, data=data), card)


def of_recording(
    path: Path,
    benchmark: Benchmark,
    tasks: Iterable[Task],
    probes: frozenset[ProbeKind] = frozenset(),
    max_steps: int | None = None,
) -> Source:
    """The episodes of the benchmark's fixed allocation, as far as a recording has their answers.

    Args:
        path: the recording.
        benchmark: whose tasks they are.
        tasks: those to look for in it.
        probes: what is looked at before each step; has to be in the recording.
        max_steps: plan steps of an episode, as when it was recorded; None for the benchmark's.

    Raises:
        RecordingError: if it is no recording, or has the answers to none of the tasks.
    """
    settings = RunSettings("", 0, "fixed", {}, Limits(steps=max_steps), probes=probes)
    model = RecordedModel(None, path, mode="replay", prompts=(benchmark.prompts.version,))
    planner = make_planner(model, benchmark, settings)
    episodes = asyncio.run(_replayed(planner, benchmark, tasks, model))
    if not episodes:
        raise RecordingError(
            f"recording {path} has the answers to none of these tasks of {benchmark.name}; choose "
            "its split and level, or look at less"
        )
    return Source(tuple(episodes), benchmark, model.card)


async def _replayed(
    planner: AnyPlanner, benchmark: Benchmark, tasks: Iterable[Task], model: RecordedModel
) -> list[Episode]:
    episodes = []
    try:
        for task in tasks:
            with suppress(RecordingError):  # its answers were not recorded
                episodes.append(await planner.run(task, benchmark.environment(task)))
    finally:
        await model.close()
    return episodes


def benchmark_of(path: Path) -> str:
    """The benchmark whose prompts a recording was made with.

    Raises:
        InvalidInputError: if there are none or several.
        RecordingError: if it is no recording.
    """
    store = Store(path, write=False)
    try:
        found = sorted(set(store.versions()) & set(benchmark_names()))
    finally:
        store.close()
    if len(found) != 1:
        raise InvalidInputError(
            f"recording {path} is of {', '.join(found) or 'no benchmark'}; say which: --benchmark"
        )
    return found[0]


def joined(sources: Iterable[Source]) -> Source:
    """Several sources as one.

    Raises:
        InvalidInputError: if they are of different benchmarks or models, or share a task.
    """
    first, *others = sources
    episodes = [*first.episodes]
    for other in others:
        if other.benchmark.name != first.benchmark.name:
            raise InvalidInputError(
                f"runs of {first.benchmark.name} and of {other.benchmark.name}; take one benchmark"
            )
        if (other.card.name, other.card.sha256) != (first.card.name, first.card.sha256):
            raise InvalidInputError(
                f"runs with model {first.card.name} and with {other.card.name}; take one model"
            )
        episodes += other.episodes
    seen: set[str] = set()
    for episode in episodes:
        if episode.task.id in seen:
            raise InvalidInputError(f"task {episode.task.id} comes twice; leave one run out")
        seen.add(episode.task.id)
    return Source(tuple(episodes), first.benchmark, first.card)


def parted(source: Source) -> tuple[Source, Source]:
    """Two thirds of the tasks to learn from, and a third that is held out.

    Which is which depends on the tasks' ids alone, so that it is the same for every run of them.

    Raises:
        InvalidInputError: if there are fewer than three tasks.
    """
    episodes = source.episodes
    if len(episodes) < _PARTS:
        raise InvalidInputError(
            f"{len(episodes)} tasks, expected at least {_PARTS} to hold some out; run more"
        )
    order = sorted(episodes, key=lambda e: hashlib.sha256(e.task.id.encode()).digest())
    held_out = {episode.task.id for episode in order[: len(episodes) // _PARTS]}
    return (
        replace(source, episodes=tuple(e for e in episodes if e.task.id not in held_out)),
        replace(source, episodes=tuple(e for e in episodes if e.task.id in held_out)),
    )
