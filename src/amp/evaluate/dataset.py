"""Episodes to train and to validate an assessor on: those of a run, or those of a recording."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from amp.benchmarks import benchmark_names
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, RecordingError
from amp.evaluate.config import PlannerConfig, RunConfig
from amp.evaluate.run import build_planner
from amp.methods import AnyPlanner
from amp.models.base import ModelCard
from amp.models.recorded import RecordedModel
from amp.models.recording_store import Store
from amp.settings import checked
from amp.trace import MANIFEST, read_episodes, read_manifest
from amp.types import Episode, ProbeKind, Task

_FOLDS = 3


@dataclass(frozen=True, slots=True)
class EpisodeDataset:
    """Episodes of one benchmark and one model.

    Attributes:
        episodes: in the order of their tasks.
        benchmark: whose tasks they are, for its judge.
        card: the base model.
    """

    episodes: tuple[Episode, ...]
    benchmark: Benchmark
    card: ModelCard

    @classmethod
    def from_run(cls, path: Path, data: Path | None = None) -> Self:
        """The episodes of a run directory.

        Raises:
            InvalidInputError: if there is no run, or it has no episodes.
        """
        manifest = read_manifest(path)
        try:
            values, card = manifest["config"], ModelCard(**manifest["model"])
        except (KeyError, TypeError) as error:
            raise InvalidInputError(f"{path} does not say what was run: {error}") from None
        config = checked(RunConfig, values, str(path / MANIFEST))
        episodes = tuple(read_episodes(path))
        if not episodes:
            raise InvalidInputError(f"{path} has no episodes")
        return cls(episodes, config.load_benchmark(data), card)

    @classmethod
    def from_recording(
        cls,
        path: Path,
        benchmark: Benchmark,
        tasks: Iterable[Task],
        probes: frozenset[ProbeKind] = frozenset(),
        max_steps: int | None = None,
    ) -> Self:
        """The episodes of the benchmark's fixed allocation, as far as a recording has them.

        Args:
            path: the recording.
            benchmark: whose tasks they are.
            tasks: those to look for in it.
            probes: what the model was asked before each step; has to be in the recording.
            max_steps: plan steps of an episode, as when it was recorded; None for the benchmark's.

        Raises:
            RecordingError: if it is no recording, or has the answers to none of the tasks.
        """
        config = PlannerConfig(allocator="fixed", probes=probes, max_steps=max_steps)
        model = RecordedModel(None, path, mode="replay", prompts=(benchmark.prompts.version,))
        planner = build_planner(config, model, benchmark)
        episodes = asyncio.run(_replayed(planner, benchmark, tasks, model))
        if not episodes:
            raise RecordingError(
                f"recording {path} has the answers to none of these tasks of {benchmark.name}; "
                "choose its split and level, or fewer probes"
            )
        return cls(tuple(episodes), benchmark, model.card)

    @classmethod
    def merge(cls, datasets: Sequence[EpisodeDataset]) -> Self:
        """Several as one, in their order.

        Raises:
            InvalidInputError: if they are of different benchmarks or models, or share a task.
        """
        first = datasets[0]
        episodes: dict[str, Episode] = {}
        for other in datasets:
            if other.benchmark.name != first.benchmark.name:
                raise InvalidInputError(
                    f"runs of {first.benchmark.name} and of {other.benchmark.name}; take one "
                    "benchmark"
                )
            if (other.card.name, other.card.sha256) != (first.card.name, first.card.sha256):
                raise InvalidInputError(
                    f"runs with model {first.card.name} and with {other.card.name}; take one model"
                )
            for episode in other.episodes:
                if episode.task.id in episodes:
                    raise InvalidInputError(
                        f"task {episode.task.id} comes twice; leave one run out"
                    )
                episodes[episode.task.id] = episode
        return cls(tuple(episodes.values()), first.benchmark, first.card)

    def train_test_split(self) -> tuple[Self, Self]:
        """Two thirds of the tasks to learn from, and a third that is held out.

        Which is which depends on the tasks' ids alone, so that it is the same for every run.

        Raises:
            InvalidInputError: if there are fewer than three tasks.
        """
        episodes = self.episodes
        if len(episodes) < _FOLDS:
            raise InvalidInputError(
                f"{len(episodes)} tasks, expected at least {_FOLDS} to hold some out; run more"
            )
        order = sorted(episodes, key=lambda e: hashlib.sha256(e.task.id.encode()).digest())
        test = {episode.task.id for episode in order[: len(episodes) // _FOLDS]}
        return (
            replace(self, episodes=tuple(e for e in episodes if e.task.id not in test)),
            replace(self, episodes=tuple(e for e in episodes if e.task.id in test)),
        )


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
