"""One run: a benchmark, a model, an allocator, and a directory that holds what came of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

from amp.allocate import make_allocator
from amp.assess.assessor import WeightedAssessor
from amp.benchmarks.base import Benchmark
from amp.errors import ModelError
from amp.evaluate.presets import preset_for
from amp.execute.base import Tool
from amp.execute.executor import Executor
from amp.execute.tools.recorded import RecordedTool
from amp.models.base import LanguageModel
from amp.models.recorded import RecordedModel
from amp.planner import Planner
from amp.pool import run_episodes
from amp.trace import RunDirectory
from amp.types import MODEL_ERROR, Episode, Limits, StepRecord, Task

_MODEL_ERRORS_TO_GIVE_UP = 3
_PACKAGES = ("adaptive-meta-planning", "xllamacpp", "minigrid", "openai")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is; two runs with equal settings on one recording give equal traces.

    Attributes:
        split: split of the benchmark.
        seed: separates repeated runs.
        allocator: name of the allocator.
        wanted: fields of `Allocation` that the user set, by name; they win over any allocator.
        limits: hard limits of an episode.
        step: what a plan step is, where the benchmark offers several; None for its usual one.
    """

    split: str
    seed: int
    allocator: str
    wanted: Mapping[str, Any]
    limits: Limits
    step: str | None = None


def make_planner(model: LanguageModel, benchmark: Benchmark, settings: RunSettings) -> Planner:
    """Puts the planner of a run together.

    Only an allocator that heeds the complexity gets an assessor that pays for a look at the model.

    Raises:
        InvalidInputError: for an unknown allocator, tool or value.
    """
    preset = preset_for(benchmark, dict(settings.wanted))
    limits = settings.limits
    if limits.steps is None:
        limits = replace(limits, steps=benchmark.max_steps)
    tools: Mapping[str, Tool] = benchmark.tools
    if isinstance(model, RecordedModel):
        tools = {name: RecordedTool(tool, model.recording) for name, tool in tools.items()}
    return Planner(
        model,
        Executor(benchmark.prompts, tools),
        WeightedAssessor(looks=settings.allocator == "heuristic"),
        make_allocator(settings.allocator, preset.space, preset.fixed),
        limits,
    )


def manifest(
    model: LanguageModel, benchmark: Benchmark, settings: RunSettings, tasks: list[Task]
) -> dict[str, Any]:
    """Everything that is needed to repeat a run, for `RunDirectory`."""
    preset = preset_for(benchmark, dict(settings.wanted))
    return {
        "benchmark": benchmark.name,
        "split": settings.split,
        "step": settings.step,
        "seed": settings.seed,
        "prompts": benchmark.prompts.version,
        "model": asdict(model.card),
        "allocator": settings.allocator,
        "fixed": _plain(asdict(preset.fixed)),
        "space": _plain(asdict(preset.space)),
        "limits": asdict(settings.limits),
        "versions": {"python": platform.python_version()} | _versions(),
        "tasks": [task.id for task in tasks],
    }


async def run(
    planner: Planner,
    benchmark: Benchmark,
    tasks: list[Task],
    directory: RunDirectory,
    jobs: int = 1,
    on_step: Callable[[Task, StepRecord], None] | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Plans the tasks that the directory does not hold yet; returns all episodes in their order.

    An interruption loses the episodes under way and nothing else.

    Raises:
        ModelError: if the model failed in so many episodes in a row that it is not there. They are
            in the trace, and a resumed run tries them again.
    """
    done = {episode.task.id for episode in directory.done}
    left = [task for task in tasks if task.id not in done]
    failed = 0
    async for episode in run_episodes(planner, benchmark, left, jobs, on_step):
        directory.append(episode)
        if on_episode is not None:
            on_episode(episode)
        failed = failed + 1 if episode.ended == MODEL_ERROR else 0
        if failed == min(_MODEL_ERRORS_TO_GIVE_UP, len(left)):
            raise ModelError(
                f"{failed} episodes in a row ended by a model error, the last one by: "
                f"{episode.steps[-1].failure}"
            )
    directory.finish([task.id for task in tasks])
    return directory.done


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in fields.items()}


def _versions() -> dict[str, str]:
    """Versions of the packages that bear on the result, as far as they are installed."""
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}
