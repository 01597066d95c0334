"""One run: a benchmark, a model, an allocator, and a directory that holds what came of it.

Runs many episodes at once on one event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from amp.allocate import (
    AUTO,
    Allocator,
    AllocatorOptions,
    find_allocator,
    make_allocator,
    resolve_auto,
)
from amp.assess.base import AblatedAssessor, Assessor
from amp.assess.weighted import WeightedAssessor
from amp.benchmarks.base import Benchmark, Defaults
from amp.errors import InvalidInputError, ModelError
from amp.evaluate.config import RunSettings, check_effects
from amp.execute.base import Tool
from amp.execute.executor import Executor
from amp.execute.tools import LargerModelTool, load_tool, plugin_tools
from amp.execute.tools.recorded import RecordedTool
from amp.latency import CostModel
from amp.latency import find as find_profile
from amp.methods import BASELINES, AnyPlanner, BeamPlanner, Method
from amp.models.base import LanguageModel, ModelCard
from amp.models.recorded import RecordedModel
from amp.planner import Planner
from amp.trace import EPISODES, RunDirectory, read_episodes
from amp.types import MODEL_ERROR, Episode, StepRecord, Task


async def run_episodes(
    planner: AnyPlanner,
    benchmark: Benchmark,
    tasks: Sequence[Task],
    jobs: int = 1,
    on_step: Callable[[Task, StepRecord], None] | None = None,
) -> AsyncIterator[Episode]:
    """Plans the tasks, at most `jobs` at a time, and yields each episode when it ends.

    Closing the iterator cancels what is under way.

    Raises:
        InvalidInputError: if jobs is less than 1.
        AmpError: the first error of any episode, after every episode that has ended; those under
            way are cancelled.
    """
    if jobs < 1:
        raise InvalidInputError(f"jobs is {jobs}, expected at least 1")
    waiting = iter(tasks)
    running: list[asyncio.Task[Episode]] = []

    async def plan(task: Task) -> Episode:
        return await planner.run(
            task,
            benchmark.environment(task),
            on_step=None if on_step is None else lambda step: on_step(task, step),
        )

    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)) is not None:
                running.append(asyncio.create_task(plan(task)))
            if not running:
                return
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            while ended := [episode for episode in running if episode.done()]:
                finished = min(ended, key=_failed)  # an error loses no episode that has ended
                running.remove(finished)
                yield finished.result()
    finally:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _failed(episode: asyncio.Task[Episode]) -> bool:
    return episode.cancelled() or episode.exception() is not None


__all__ = [
    "RunSettings",
    "check",
    "defaults_of",
    "make_planner",
    "manifest",
    "needs_hidden_states",
    "prompt_versions",
    "run",
    "settled",
]

_MAX_ROUNDS = 64
_MODEL_ERRORS_TO_GIVE_UP = 3
_PACKAGES = ("adaptive-meta-planning", "xllamacpp", "minigrid", "alfworld", "textworld", "openai")


def make_planner(
    model: LanguageModel,
    benchmark: Benchmark,
    settings: RunSettings,
    larger: LanguageModel | None = None,
) -> AnyPlanner:
    """Puts the planner of a run together.

    Only an allocator that uses the complexity gets an assessor that pays to probe the model. The
    allocator ``auto`` is what `settled` makes of it.

    Args:
        model: the base model.
        benchmark: brings prompts and tools.
        settings: what the run is.
        larger: the model behind the tool ``larger_model``; without one there is no such tool.

    Raises:
        InvalidInputError: for an unknown method, allocator, tool or value, or a setting that the
            allocator does not have.
    """
    settings = settled(settings, benchmark, model.card)
    method = settings.resolved_method
    defaults = defaults_of(benchmark, settings)
    limits = settings.limits
    if limits.steps is None:
        limits = replace(limits, steps=benchmark.max_steps)
    tools: Mapping[str, Tool] = {
        **{name: load_tool(name) for name in plugin_tools() if name in defaults.space.tools},
        **benchmark.tools,
    }
    if isinstance(model, RecordedModel):
        tools = {name: RecordedTool(tool, model.recording) for name, tool in tools.items()}
    if larger is not None:
        tools = {**tools, LargerModelTool.name: LargerModelTool(larger)}
    executor = Executor(benchmark.prompts, tools)
    if method.planner in BASELINES:
        return BASELINES[method.planner](model, executor, defaults.fixed, limits)
    allocator = _allocator(settings, method, defaults, benchmark.name)
    assessor = _assessor(settings, model.card, benchmark.name)
    is_used = allocator.uses_complexity or settings.assessor is not None
    probes = settings.probes | (assessor.probes if is_used else frozenset())
    profile = find_profile(model.card) if limits.seconds is not None else None
    costs = CostModel(model.card, defaults.lengths, profile)
    uses = {name: tool.cost for name, tool in executor.tools.items()}
    if settings.pins:
        allocator = allocator.with_overrides(settings.pins)
    allocator = allocator.with_limits(limits, costs, uses)
    max_rounds = settings.rounds or _MAX_ROUNDS
    if method.planner == "beam":
        return BeamPlanner(model, executor, assessor, allocator, limits, max_rounds, probes=probes)
    return Planner(model, executor, assessor, allocator, limits, max_rounds, method.select, probes)


def settled(settings: RunSettings, benchmark: Benchmark, card: ModelCard) -> RunSettings:
    """The settings with the allocator ``auto`` replaced by what it stands for here."""
    if settings.method is not None:
        return settings
    return replace(settings, allocator=resolve_auto(settings.allocator, benchmark.name, card))


def _allocator(
    settings: RunSettings, method: Method, defaults: Defaults, benchmark: str
) -> Allocator:
    """The allocator of a run.

    Raises:
        InvalidInputError: if an option does not fit it, or features are left out that it ignores.
    """
    options = AllocatorOptions(
        space=defaults.space,
        fixed=defaults.fixed,
        benchmark=benchmark,
        has_assessor=settings.assessor is not None,
        max_samples=settings.most,
        trade_off=settings.trade_off,
        mean_tokens=settings.mean_tokens,
        episodes=None if settings.of is None else list(read_episodes(settings.of)),
        seed=settings.seed,
    )
    allocator = make_allocator(method.allocator, options)
    if settings.left_out and settings.assessor is None and not allocator.uses_complexity:
        raise InvalidInputError(
            "left_out is for allocators that use the complexity, not for"
            f" {settings.method or settings.allocator}; leave it out"
        )
    return allocator


def _assessor(settings: RunSettings, card: ModelCard | None, benchmark: str | None) -> Assessor:
    """The assessor of a run, checked against its model and benchmark as far as they are known."""
    assessor: Assessor = WeightedAssessor()
    if settings.assessor is not None:
        from amp.assess.assessor_file import load_assessor  # needs numpy

        assessor, _ = load_assessor(settings.assessor, model=card, environment=benchmark)
    return AblatedAssessor(assessor, settings.left_out) if settings.left_out else assessor


def defaults_of(benchmark: Benchmark, settings: RunSettings) -> Defaults:
    """The benchmark's defaults with what the method pins, and with what the user set on top.

    Raises:
        InvalidInputError: as `make_planner`.
    """
    method = settings.resolved_method
    check_effects(settings)
    wanted = dict(method.pinned)
    if method.in_words:
        usual = benchmark.defaults.fixed.tools
        wanted["tools"] = sorted(usual & set(benchmark.environment_tools))
    lacking = {*wanted.get("tools", ())} - {*benchmark.tools, *benchmark.environment_tools}
    if lacking:
        raise InvalidInputError(
            f"method {settings.method} needs the tool {', '.join(sorted(lacking))}, which "
            f"{benchmark.name} lacks; choose another method"
        )
    wanted |= {name: value for name, value in settings.wanted.items() if value is not None}
    return benchmark.defaults.overridden(wanted, benchmark)


def check(benchmark: Benchmark, settings: RunSettings) -> None:
    """Finds what is wrong with settings before a model is opened.

    Raises:
        InvalidInputError: as `make_planner`, as far as that can be told without model and data.
    """
    defaults, method = defaults_of(benchmark, settings), settings.resolved_method
    name = method.allocator
    is_known_yet = name != AUTO and "episodes" not in find_allocator(name).takes
    if is_known_yet:
        _allocator(settings, method, defaults, benchmark.name)
    needs_hidden_states(settings)


def needs_hidden_states(settings: RunSettings) -> bool:
    """Whether a run looks at hidden states, which some models have to be loaded for."""
    probes = _assessor(settings, None, None).probes if settings.assessor else frozenset()
    return "hidden" in settings.probes | probes


def prompt_versions(benchmark: Benchmark, settings: RunSettings) -> tuple[str, ...]:
    """Versions of all prompts that a run may use: the benchmark's, and a method's own."""
    planner = BASELINES.get(settings.resolved_method.planner)
    return (benchmark.prompts.version, *(() if planner is None else (planner.version,)))


def manifest(
    model: LanguageModel, benchmark: Benchmark, settings: RunSettings, tasks: list[Task]
) -> dict[str, Any]:
    """Everything that is needed to repeat a run, for `RunDirectory`."""
    settings = settled(settings, benchmark, model.card)
    method = settings.resolved_method
    defaults = defaults_of(benchmark, settings)
    policy = find_allocator(method.allocator).path
    return {
        "benchmark": benchmark.name,
        "split": settings.split,
        "step": settings.step,
        "seed": settings.seed,
        "prompts": prompt_versions(benchmark, settings),
        "model": asdict(model.card),
        "method": settings.method,
        "allocator": method.allocator if policy is None else policy.stem,
        "assessor": None if settings.assessor is None else _sha256(settings.assessor),
        "probes": sorted(settings.probes),
        "fixed": _plain(asdict(defaults.fixed)),
        "space": _plain(asdict(defaults.space)),
        "limits": asdict(settings.limits),
        "policy": None if policy is None else _sha256(policy),
        "pinned": _plain(settings.pins) or None,
        "left_out": sorted(settings.left_out) or None,
        "rounds": settings.rounds,
        "trade_off": settings.trade_off,
        "mean_tokens": settings.mean_tokens,
        "most": settings.most,
        "orders": settings.orders or None,
        "versions": {"python": platform.python_version()} | _versions() | _dealt_from(settings),
        "tasks": [task.id for task in tasks],
    }


async def run(
    planner: AnyPlanner,
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


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None


def _dealt_from(settings: RunSettings) -> dict[str, str]:
    """Which episodes another run was dealt out of; each seed has its own, as with versions."""
    return {} if settings.of is None else {EPISODES: _sha256(settings.of / EPISODES)}


@cache
def _versions() -> dict[str, str]:
    """Versions of the packages that bear on the result, as far as they are installed."""
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}
