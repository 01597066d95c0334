"""One run: a benchmark, a model, an allocator, and a directory that holds what came of it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amp.allocate import make_allocator
from amp.allocate.affordable import AffordableAllocator
from amp.allocate.base import Allocator
from amp.allocate.constraints import Surroundings
from amp.allocate.policy import Policy
from amp.assess.weighted import WeightedAssessor
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, ModelError
from amp.evaluate.baselines import Method, find_method
from amp.evaluate.presets import PRESETS, Preset, preset_for
from amp.execute.base import Tool
from amp.execute.executor import Executor
from amp.execute.tools.larger import LargerModelTool
from amp.execute.tools.recorded import RecordedTool
from amp.models.base import LanguageModel, ModelCard
from amp.models.recorded import RecordedModel
from amp.planner import Planner
from amp.planners import BASELINES, AnyPlanner, BeamPlanner
from amp.pool import run_episodes
from amp.profile import expected_cost
from amp.profile import find as find_profile
from amp.trace import RunDirectory
from amp.types import MODEL_ERROR, Allocation, Episode, Limits, LookKind, StepRecord, Task

if TYPE_CHECKING:
    from amp.assess.neural import NeuralAssessor

_HEED_COMPLEXITY = frozenset({"heuristic", "sigmoid"})
_MOST_ROUNDS = 64
_MODEL_ERRORS_TO_GIVE_UP = 3
_PACKAGES = ("adaptive-meta-planning", "xllamacpp", "minigrid", "alfworld", "textworld", "openai")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is; two runs with equal settings on one recording give equal traces.

    Attributes:
        split: split of the benchmark.
        seed: separates repeated runs.
        allocator: name of the allocator; a method brings its own.
        wanted: fields of `Allocation` that the user set, by name; they win over any allocator.
        limits: hard limits of an episode.
        step: what a plan step is, where the benchmark offers several; None for its usual one.
        method: name of a published method to plan by (`amp.evaluate.baselines`); None for AMP.
        assessor: file of a trained assessor; None for the weighted sum with its initial weights.
        looks: what is looked at before the first round of a step besides what the assessor wants.
    """

    split: str
    seed: int
    allocator: str
    wanted: Mapping[str, Any]
    limits: Limits
    step: str | None = None
    method: str | None = None
    assessor: Path | None = None
    looks: frozenset[LookKind] = frozenset()


def make_planner(
    model: LanguageModel,
    benchmark: Benchmark,
    settings: RunSettings,
    larger: LanguageModel | None = None,
) -> AnyPlanner:
    """Puts the planner of a run together.

    Only an allocator that heeds the complexity gets an assessor that pays for a look at the model.

    Args:
        model: the base model.
        benchmark: brings prompts and tools.
        settings: what the run is.
        larger: the model behind the tool ``larger_model``; without one there is no such tool.

    Raises:
        InvalidInputError: for an unknown method, allocator, tool or value.
    """
    method = _method(settings)
    preset = _preset(benchmark, settings, method)
    limits = settings.limits
    if limits.steps is None:
        limits = replace(limits, steps=benchmark.max_steps)
    tools: Mapping[str, Tool] = benchmark.tools
    if isinstance(model, RecordedModel):
        tools = {name: RecordedTool(tool, model.recording) for name, tool in tools.items()}
    if larger is not None:
        tools = {**tools, LargerModelTool.name: LargerModelTool(larger)}
    executor = Executor(benchmark.prompts, tools)
    if method.planner in BASELINES:
        return BASELINES[method.planner](model, executor, preset.fixed, limits)
    assessor = _assessor(settings, method, model.card, benchmark.name)
    allocator = make_allocator(method.allocator, preset.space, preset.fixed)
    if method.allocator in _HEED_COMPLEXITY:
        allocator = _within_limits(allocator, preset, executor, model.card, limits)
    if method.planner == "beam":
        return BeamPlanner(model, executor, assessor, allocator, limits, _MOST_ROUNDS)
    return Planner(model, executor, assessor, allocator, limits, _MOST_ROUNDS, method.select)


def _assessor(
    settings: RunSettings, method: Method, card: ModelCard, environment: str
) -> WeightedAssessor | NeuralAssessor:
    """The assessor of a run; it looks only where somebody heeds it or asked for it."""
    if settings.assessor is not None:
        from amp.assess.weights import load_assessor  # needs numpy

        assessor, _ = load_assessor(settings.assessor, model=card, environment=environment)
    else:
        assessor = WeightedAssessor()
    heeded = method.allocator in _HEED_COMPLEXITY or settings.assessor is not None
    return replace(assessor, looks=settings.looks | (assessor.looks if heeded else frozenset()))


def _within_limits(
    allocator: Allocator, preset: Preset, executor: Executor, card: ModelCard, limits: Limits
) -> Allocator:
    """The allocator, told what things cost here, so that it asks for no more than will fit."""
    profile = find_profile(card) if limits.seconds is not None else None
    if isinstance(allocator, Policy):
        one = expected_cost(Allocation(), preset.lengths, card, profile)
        costs = {name: tool.cost for name, tool in executor.tools.items()}
        surroundings = Surroundings(one, costs, limits)
        return replace(allocator, surroundings=surroundings, deterministic=True)
    if limits == Limits(steps=limits.steps):
        return allocator
    return AffordableAllocator(allocator, card, preset.lengths, profile)


def _method(settings: RunSettings) -> Method:
    if settings.method is None:
        return Method("as set", allocator=settings.allocator)
    return find_method(settings.method)


def _preset(benchmark: Benchmark, settings: RunSettings, method: Method) -> Preset:
    """The benchmark's preset with what the method pins, and with what the user set on top."""
    wanted = dict(method.pinned)
    if method.in_words:
        usual = PRESETS[benchmark.name].fixed.tools
        wanted["tools"] = sorted(usual & set(benchmark.environment_tools))
    lacking = {*wanted.get("tools", ())} - {*benchmark.tools, *benchmark.environment_tools}
    if lacking:
        raise InvalidInputError(
            f"method {settings.method} needs the tool {', '.join(sorted(lacking))}, which "
            f"{benchmark.name} lacks; choose another method"
        )
    wanted |= {name: value for name, value in settings.wanted.items() if value is not None}
    return preset_for(benchmark, wanted)


def needs_hidden_states(settings: RunSettings) -> bool:
    """Whether a run looks at hidden states, which some models have to be loaded for."""
    if settings.assessor is None:
        return "hidden" in settings.looks
    from amp.assess.weights import load_assessor

    return "hidden" in settings.looks | load_assessor(settings.assessor)[0].looks


def prompt_versions(benchmark: Benchmark, settings: RunSettings) -> tuple[str, ...]:
    """Versions of all prompts that a run may use: the benchmark's, and a method's own."""
    planner = BASELINES.get(_method(settings).planner)
    return (benchmark.prompts.version, *(() if planner is None else (planner.version,)))


def manifest(
    model: LanguageModel, benchmark: Benchmark, settings: RunSettings, tasks: list[Task]
) -> dict[str, Any]:
    """Everything that is needed to repeat a run, for `RunDirectory`."""
    method = _method(settings)
    preset = _preset(benchmark, settings, method)
    return {
        "benchmark": benchmark.name,
        "split": settings.split,
        "step": settings.step,
        "seed": settings.seed,
        "prompts": prompt_versions(benchmark, settings),
        "model": asdict(model.card),
        "method": settings.method,
        "allocator": method.allocator,
        "assessor": None if settings.assessor is None else _sha256(settings.assessor),
        "looks": sorted(settings.looks),
        "fixed": _plain(asdict(preset.fixed)),
        "space": _plain(asdict(preset.space)),
        "limits": asdict(settings.limits),
        "versions": {"python": platform.python_version()} | _versions(),
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
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    """Versions of the packages that bear on the result, as far as they are installed."""
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}
