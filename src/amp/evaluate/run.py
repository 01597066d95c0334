"""One run: build a planner from its configuration, run episodes in parallel, save them.

`build_planner` is the only place that builds a planner, for the command line, sweeps, recordings
and tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from amp.allocate import (
    AUTO,
    Allocator,
    AllocatorOptions,
    find_allocator,
    make_allocator,
    resolve_auto,
)
from amp.assess.base import AblatedAssessor, Assessor, WeightedAssessor
from amp.benchmarks.base import Benchmark, Defaults
from amp.environment import AsyncEnvironment, Environment
from amp.errors import EnvironmentFailedError, InvalidInputError, ModelError, RecordingError
from amp.evaluate.config import PlannerConfig, RunConfig, check_effects
from amp.execute.base import Tool
from amp.execute.executor import Executor
from amp.execute.sandbox import Sandbox, ask_walls, load_sandbox
from amp.execute.tools import LargerModelTool, RecordedTool, load_tool, plugin_tools
from amp.latency import CostModel, find_profile
from amp.methods import BASELINES, AnyPlanner, BeamPlanner, Method
from amp.models.base import LanguageModel, ModelCard
from amp.models.recorded import RecordedModel
from amp.planner import Planner
from amp.settings import load_settings
from amp.trace import CONTENTS, EPISODES, SANDBOX, RunDirectory, read_episodes
from amp.types import FAULTS, MODEL_ERROR, Episode, ProbeKind, StepRecord, Task

if TYPE_CHECKING:
    from amp.assess.neural import Training

_MAX_ROUNDS = 64
_MODEL_ERRORS_TO_GIVE_UP = 3
_PACKAGES = ("adaptive-meta-planning", "xllamacpp", "minigrid", "alfworld", "textworld", "openai")


def build_planner(
    config: PlannerConfig,
    model: LanguageModel,
    benchmark: Benchmark,
    *,
    seed: int = 0,
    larger: LanguageModel | None = None,
) -> AnyPlanner:
    """Builds a planner.

    Args:
        config: its configuration.
        model: the base model.
        benchmark: has the prompts, tools and defaults.
        seed: of the run; the controls shuffle with it.
        larger: the model behind the tool ``larger_model``; without one there is no such tool.

    Raises:
        InvalidInputError: for an unknown method, allocator, tool or value, or a setting that the
            allocator does not have.
    """
    return Assembly.of(config, benchmark, seed).planner(model, larger)


@dataclass(frozen=True, slots=True)
class Assembly:
    """A planner's configuration, checked and with its files loaded, before a model is opened.

    Attributes:
        config: the planner's configuration.
        benchmark: the benchmark that it plans.
        seed: of the run.
        method: the method; for an allocator, a method that consists of it.
        defaults: the benchmark's, overridden by the method and then by the user.
        assessor: without the excluded features.
        trained_on: what the assessor was trained on; None for the default weighted sum.
        sandbox: what stands around the programs that its tools run.
    """

    config: PlannerConfig
    benchmark: Benchmark
    seed: int
    method: Method
    defaults: Defaults
    assessor: Assessor
    trained_on: Training | None
    sandbox: Sandbox

    @classmethod
    def of(cls, config: PlannerConfig, benchmark: Benchmark, seed: int = 0) -> Assembly:
        """Checks a configuration as far as that is possible without a model.

        Raises:
            InvalidInputError: as `build_planner`.
        """
        check_effects(config)
        method = config.resolved_method
        assessor, trained_on = _load_assessor(config, benchmark.name)
        defaults = _defaults(config, method, benchmark)
        sandbox = load_sandbox(config.sandbox or load_settings().sandbox)
        assembly = cls(config, benchmark, seed, method, defaults, assessor, trained_on, sandbox)
        if method.allocator != AUTO and "episodes" not in find_allocator(method.allocator).takes:
            assembly._allocator()  # for its errors; one that reads a whole run is made only once
        return assembly

    @property
    def prompts(self) -> tuple[str, ...]:
        """Versions of all prompts that may be used: the benchmark's, and a method's own."""
        planner = BASELINES.get(self.method.planner)
        own = () if planner is None else (planner.version,)
        return (self.benchmark.prompts.version, *own)

    @property
    def needs_hidden_states(self) -> bool:
        """Whether hidden states are probed; some models have to be loaded with an option then."""
        return "hidden" in self._probes(is_used=self.config.assessor is not None)

    def resolved(self, card: ModelCard) -> Assembly:
        """The assembly with ``auto`` replaced by the allocator for this model.

        Raises:
            InvalidInputError: for a setting that this allocator does not have.
        """
        if self.config.method is not None:
            return self
        default = self.benchmark.defaults.allocator
        name = resolve_auto(self.method.allocator, self.benchmark.name, card, default)
        config = self.config.replace(allocator=name)
        check_effects(config)
        return replace(self, config=config, method=config.resolved_method)

    def planner(self, model: LanguageModel, larger: LanguageModel | None = None) -> AnyPlanner:
        """Builds the planner for a model, as `build_planner` does."""
        return self.resolved(model.card)._planner(model, larger)

    def _planner(self, model: LanguageModel, larger: LanguageModel | None) -> AnyPlanner:
        config, limits = self.config, self.config.limits
        if limits.steps is None:
            limits = replace(limits, steps=self.benchmark.max_steps)
        self.walls(is_replay=_is_replay(model))  # for its error
        tools = self._tools()
        if isinstance(model, RecordedModel):
            tools = {name: RecordedTool(tool, model.recording) for name, tool in tools.items()}
        if larger is not None:
            tools = {**tools, LargerModelTool.name: LargerModelTool(larger)}
        executor = Executor(self.benchmark.prompts, tools, self.benchmark.defaults.plausibility)
        if self.method.planner in BASELINES:
            baseline = BASELINES[self.method.planner]
            return baseline(model, executor, self.defaults.fixed, limits)
        allocator = self._allocator()
        assessor, path = self.assessor, config.assessor
        if path is not None and self.trained_on is not None:
            from amp.assess.neural import check_fit  # needs numpy

            check_fit(path, self.trained_on, model=model.card)
        probes = self._probes(is_used=allocator.uses_complexity or path is not None)
        profile = find_profile(model.card) if limits.seconds is not None else None
        costs = CostModel(model.card, self.defaults.lengths, profile)
        tool_costs = {name: tool.cost for name, tool in executor.tools.items()}
        if config.overrides:
            allocator = allocator.with_overrides(config.overrides)
        allocator = allocator.with_limits(limits, costs, tool_costs)
        rounds = config.rounds or _MAX_ROUNDS
        if self.method.planner == "beam":
            return BeamPlanner(model, executor, assessor, allocator, limits, rounds, probes=probes)
        select = self.method.select
        return Planner(model, executor, assessor, allocator, limits, rounds, select, probes)

    def walls(self, *, is_replay: bool) -> str:
        """Which walls stand around the programs that its tools run; empty where none will be run.

        Args:
            is_replay: whether all answers come from a recording, so that nothing is run.

        Raises:
            MissingDependencyError: if walls are missing, so that no program could be run.
        """
        if is_replay:
            return ""
        used = self.defaults.space.tools | self.defaults.fixed.tools
        runs = any(tool.sandbox is not None for name, tool in self._tools().items() if name in used)
        return ask_walls(self.sandbox) if runs else ""

    def _tools(self) -> dict[str, Tool]:
        """The benchmark's tools, and those of other packages that allocations may have."""
        own = {*self.benchmark.tools, *self.benchmark.environment_tools}
        brought = self.defaults.space.tools.intersection(plugin_tools()) - own
        tools = {name: load_tool(name) for name in sorted(brought)} | dict(self.benchmark.tools)
        return {name: tool.within(self.sandbox) for name, tool in tools.items()}

    def _probes(self, *, is_used: bool) -> frozenset[ProbeKind]:
        """The probes of each step: the user's, and the assessor's if its score is used."""
        return self.config.probes | (self.assessor.probes if is_used else frozenset())

    def _allocator(self) -> Allocator:
        """The allocator.

        Raises:
            InvalidInputError: if an option does not fit it, or features are excluded that it would
                not use anyway.
        """
        config = self.config
        source = config.source_run
        options = AllocatorOptions(
            space=self.defaults.space,
            fixed=self.defaults.fixed,
            benchmark=self.benchmark.name,
            has_assessor=config.assessor is not None,
            max_samples=config.max_samples,
            trade_off=config.trade_off,
            mean_tokens=config.mean_tokens,
            episodes=None if source is None else list(read_episodes(source)),
            seed=self.seed,
        )
        allocator = make_allocator(self.method.allocator, options)
        if config.exclude and config.assessor is None and not allocator.uses_complexity:
            raise InvalidInputError(
                "exclude is for allocators that use the complexity, not for "
                f"{config.method or self.method.allocator}; leave it out"
            )
        return allocator


def _load_assessor(config: PlannerConfig, environment: str) -> tuple[Assessor, Training | None]:
    assessor: Assessor = WeightedAssessor()
    trained_on = None
    if config.assessor is not None:
        from amp.assess.neural import load_assessor  # needs numpy

        assessor, trained_on = load_assessor(config.assessor, environment=environment)
    excluded = config.exclude
    return (AblatedAssessor(assessor, excluded) if excluded else assessor), trained_on


def _defaults(config: PlannerConfig, method: Method, benchmark: Benchmark) -> Defaults:
    """The benchmark's defaults, overridden by the method and then by the user."""
    pinned = dict(method.pinned)
    if method.in_words:
        default_tools = benchmark.defaults.fixed.tools
        pinned["tools"] = sorted(default_tools & set(benchmark.environment_tools))
    missing = {*pinned.get("tools", ())} - {*benchmark.tools, *benchmark.environment_tools}
    if missing:
        raise InvalidInputError(
            f"method {config.method} needs the tool {', '.join(sorted(missing))}, which "
            f"{benchmark.name} lacks; choose another method"
        )
    return benchmark.defaults.overridden(pinned | config.overrides, benchmark)


def manifest(
    config: RunConfig, assembly: Assembly, model: LanguageModel, tasks: Sequence[Task]
) -> dict[str, Any]:
    """Everything that is needed to repeat a run, for `RunDirectory`.

    Args:
        config: the run's configuration; it goes into ``run.json`` unchanged.
        assembly: of its planner.
        model: the base model.
        tasks: the tasks of the run.
    """
    resolved = assembly.resolved(model.card)
    policy = find_allocator(resolved.method.allocator).path
    source = config.planner.source_run
    files = {
        "allocator": policy,
        "assessor": config.planner.assessor,
        "source_run": source and source / EPISODES,
    }
    split = config.split or assembly.benchmark.splits[0]
    hashes = {name: _sha256(file) for name, file in files.items() if file is not None}
    contents = {name: _contents_sha256(file) for name, file in files.items() if file is not None}
    return {
        "config": config.replace(split=split).model_dump(mode="json"),
        "model": asdict(model.card),
        "prompts": assembly.prompts,
        "allocator": resolved.method.allocator if policy is None else policy.stem,
        "fixed": _plain(asdict(assembly.defaults.fixed)),
        "space": _plain(asdict(assembly.defaults.space)),
        "sha256": hashes,
        **({CONTENTS: contents} if contents != hashes else {}),
        SANDBOX: assembly.walls(is_replay=_is_replay(model)),
        "versions": versions(),
        "tasks": [task.id for task in tasks],
    }


class Worlds(Protocol):
    """Whatever has an environment for each of some tasks, as every benchmark does."""

    def environment(self, task: Task) -> Environment | AsyncEnvironment:
        """Returns a fresh environment for a task."""
        ...


async def run_episodes(
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
    if jobs < 1:
        raise InvalidInputError(f"jobs is {jobs}, expected at least 1")
    waiting = iter(tasks)
    running: list[asyncio.Task[Episode]] = []

    async def plan(task: Task) -> Episode:
        try:
            return await planner.run(
                task,
                benchmark.environment(task),
                on_step=None if on_step is None else lambda step: on_step(task, step),
            )
        except RecordingError as error:
            raise RecordingError(f"task {task.id}: {error}") from None

    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)) is not None:
                running.append(asyncio.create_task(plan(task)))
            if not running:
                return
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            while ended := [episode for episode in running if episode.done()]:
                finished = min(ended, key=_has_failed)  # an error loses no episode that has ended
                running.remove(finished)
                yield finished.result()
    finally:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _has_failed(episode: asyncio.Task[Episode]) -> bool:
    return episode.cancelled() or episode.exception() is not None


async def run_tasks(
    planner: AnyPlanner,
    benchmark: Benchmark,
    tasks: list[Task],
    directory: RunDirectory,
    jobs: int = 1,
    on_step: Callable[[Task, StepRecord], None] | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Plans the tasks that are not in the directory yet; returns all episodes in task order.

    An interruption loses only the episodes that are running.

    Raises:
        ModelError: if the model failed in several episodes in a row, so that it is probably not
            available. They are in the trace, and a resumed run plans them again.
        EnvironmentFailedError: likewise, if it was the environment.
    """
    done = {episode.task.id for episode in directory.done}
    left = [task for task in tasks if task.id not in done]
    failed = 0
    try:
        async for episode in run_episodes(planner, benchmark, left, jobs, on_step):
            directory.append(episode)
            if on_episode is not None:
                on_episode(episode)
            failed = failed + 1 if episode.ended in FAULTS else 0
            if failed == min(_MODEL_ERRORS_TO_GIVE_UP, len(left)):
                kind = ModelError if episode.ended == MODEL_ERROR else EnvironmentFailedError
                which, last = f"{failed} episodes in a row", ", the last one by"
                if failed == 1:
                    which, last = "1 episode", ""
                raise kind(f"{which} ended by a {episode.ended}{last}: {episode.steps[-1].failure}")
    except RecordingError as error:  # a replay of more than was recorded
        done = {episode.task.id for episode in directory.done}
        first = next((n for n, task in enumerate(tasks) if task.id not in done), len(tasks))
        advice = f"; the first {first} are recorded: take --limit {first}" if first else ""
        count = f"{len(done)} of {len(tasks)} tasks are done{advice}"
        raise RecordingError(f"{error} ({count})") from None
    directory.finish([task.id for task in tasks])
    return directory.done


def _is_replay(model: LanguageModel) -> bool:
    return isinstance(model, RecordedModel) and model.recording.replaying


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
