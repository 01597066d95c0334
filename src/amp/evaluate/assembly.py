"""A planner from its configuration: `build_planner` is the only place that builds one.

The command line, sweeps, recordings, training and tests all come here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from amp.allocate import (
    AUTO,
    Allocator,
    AllocatorOptions,
    FailureHead,
    GivingUp,
    OverrideAllocator,
    find_allocator,
    make_allocator,
)
from amp.assess.base import (
    AblatedAssessor,
    Assessor,
    Rater,
    RaterByModel,
    WeightedAssessor,
)
from amp.benchmarks.base import Benchmark, Defaults
from amp.errors import InvalidInputError, did_you_mean
from amp.evaluate.config import NO_CORRECTNESS, PROFILES, PlannerConfig, check_effects
from amp.execute.base import Tool, no_looks
from amp.execute.executor import Executor
from amp.execute.sandbox import Sandbox, ask_walls, load_sandbox
from amp.execute.tools import LargerModelTool, RecordedTool, load_tool, plugin_tools
from amp.latency import CostModel, find_profile
from amp.methods import BASELINES, AnyPlanner, BeamPlanner, Method
from amp.models.base import LanguageModel, ModelCard, by_name
from amp.models.recorded import RecordedModel, is_replay, replayed
from amp.models.recording import Recording
from amp.planner import Planner
from amp.settings import Profile, load_settings
from amp.trace import read_episodes
from amp.types import PLAN, ProbeKind

if TYPE_CHECKING:
    from amp.assess.base import Training

_log = logging.getLogger(__name__)

_MAX_ROUNDS = 64


def build_planner(
    config: PlannerConfig,
    model: LanguageModel,
    benchmark: Benchmark,
    *,
    seed: int = 0,
    larger: LanguageModel | None = None,
    others: Sequence[LanguageModel] = (),
) -> AnyPlanner:
    """Builds a planner.

    Args:
        config: its configuration.
        model: the base model.
        benchmark: has the prompts, tools and defaults.
        seed: of the run; the controls shuffle with it.
        larger: the model behind the tool ``larger_model``; without one there is no such tool.
        others: models that answer beside the base model where an allocation names them.

    Raises:
        InvalidInputError: for an unknown method, allocator, tool or value, or a setting that the
            allocator does not have.
    """
    return Assembly.of(config, benchmark, seed).planner(model, larger, others)


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
        heads: that the user named to rate candidates, and what they were trained on; None if none.
    """

    config: PlannerConfig
    benchmark: Benchmark
    seed: int
    method: Method
    defaults: Defaults
    assessor: Assessor
    trained_on: Training | None
    sandbox: Sandbox
    heads: tuple[Rater, Training] | None = None

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
        heads = _load_heads(config, benchmark.name)
        assembly = cls(
            config, benchmark, seed, method, defaults, assessor, trained_on, sandbox, heads
        )
        if config.give_up is not None:
            _load_head(config.give_up, benchmark.name)  # for its errors
        if method.allocator != AUTO:
            late = find_allocator(method.allocator).takes & {"episodes", "models"}
            if not late:  # one that reads a whole run is made only once, and models are not here
                assembly._allocator()  # for its errors
        return assembly

    @property
    def prompts(self) -> tuple[str, ...]:
        """Versions of all prompts that may be used: the benchmark's, and a method's own."""
        planner = BASELINES.get(self.method.planner)
        own = () if planner is None else (planner.version,)
        plans = (self.benchmark.defaults.plans.version,) if self._may_plan else ()
        return (self.benchmark.prompts.version, *own, *plans)

    @property
    def _may_plan(self) -> bool:
        """Whether an allocation may have the model write plans of several actions."""
        kind = find_allocator(self.method.allocator)
        tools = self.defaults.fixed.tools | self.defaults.space.tools
        if kind.path is not None:
            from amp.allocate.policy_file import load_arms  # needs numpy

            tools = tools.union(*(arm.tools for arm in (load_arms(kind.path) or {}).values()))
        return kind.plans or PLAN in tools

    @property
    def needs_hidden_states(self) -> bool:
        """Whether hidden states are probed; some models have to be loaded with an option then."""
        return "hidden" in self._probes(is_used=self.config.assessor is not None)

    @property
    def profile(self) -> Profile | None:
        """The profile of a trained policy: the configuration's, or else the one in the settings.

        None where another budget is set, and for any other allocator.
        """
        config = self.config
        budgets = (config.trade_off, config.mean_tokens, config.mean_dollars)
        takes = find_allocator(self.method.allocator).takes
        if budgets != (None, None, None) or "trade_off" not in takes:
            return None
        return config.profile or load_settings().profile

    def resolved(self, card: ModelCard, recording: Recording | None = None) -> Assembly:
        """The assembly with ``auto`` replaced by the allocator for this model, or for a replay.

        Raises:
            InvalidInputError: for a setting that this allocator does not have.
        """
        if self.method.allocator != AUTO:
            return self
        policy, why = self._bundled(card, recording)
        name = self.benchmark.defaults.allocator if policy is None else str(policy)
        if policy is None:
            _note(f"allocator {name} stands in for a trained policy: {why}")
        config = self.config.replace(allocator=name)
        check_effects(config)
        return replace(self, config=config, method=config.resolved_method)

    def _bundled(self, card: ModelCard, recording: Recording | None) -> tuple[Path | None, str]:
        """The policy that comes with amp and heeds the settings, or why there is none."""
        from amp.allocate.policy_file import bundled_policy, load_arms  # needs numpy

        path = bundled_policy(self.benchmark.name, card)
        if path is None:
            return None, f"none comes with amp for {self.benchmark.name} and model {card.name}"
        arms = load_arms(path) or {}
        may_plan = any(PLAN in arm.tools for arm in arms.values())
        plans = self.benchmark.defaults.plans if may_plan else None
        decided = ("tools", "beam_width", *(("depth",) if plans else ()))
        if arms and any(getattr(self.config, name) is not None for name in decided):
            own = "tools, samples and plans" if plans else "tools and samples"
            return None, f"the one that ships decides on {own} itself, and some are set"
        if plans and recording and not recording.has_prompts(plans.version):
            return None, "it plans, and the recording has no plans"
        lacks = self._lacks_heads(path, card)
        return None if lacks else path, lacks

    def planner(
        self,
        model: LanguageModel,
        larger: LanguageModel | None = None,
        others: Sequence[LanguageModel] = (),
    ) -> AnyPlanner:
        """Builds the planner for a model, or for several, as `build_planner` does."""
        self.check_models(1 + len(others))
        return self.resolved(model.card, replayed(model))._planner(model, larger, others)

    def check_models(self, count: int) -> None:
        """Makes sure that so many models can be planned with.

        Raises:
            InvalidInputError: if not.
        """
        if "models" in find_allocator(self.method.allocator).takes:
            self._allocator([f"model {number}" for number in range(count)])  # for its errors
        elif count > 1 and self.method.planner != "amp":
            raise InvalidInputError(
                f"{self.config.method} asks one model alone, and there are {count}; leave all but"
                " one out"
            )

    def _planner(
        self, model: LanguageModel, larger: LanguageModel | None, others: Sequence[LanguageModel]
    ) -> AnyPlanner:
        config, limits = self.config, self.config.limits
        asked = [model, *others]
        models = by_name(asked)
        if limits.steps is None:
            limits = replace(limits, steps=self.benchmark.max_steps)
        self.walls(is_replay=is_replay(model))  # for its error
        tools = self._tools()
        if isinstance(model, RecordedModel):
            others_kept = [each.recording for each in others if isinstance(each, RecordedModel)]
            model.recording.share_tools(others_kept)
            tools = {name: RecordedTool(tool, model.recording) for name, tool in tools.items()}
        if larger is not None:
            tools = {**tools, LargerModelTool.name: LargerModelTool(larger)}
        told = self.benchmark.defaults
        executor = Executor(self.benchmark.prompts, tools, told.plausibility, plans=told.plans)
        if self.method.planner in BASELINES:
            return BASELINES[self.method.planner](model, executor, self.defaults.fixed, limits)
        allocator = self._allocator(tuple(models))
        for name in sorted({*allocator.models, *filter(None, (config.answered_by,))}):
            if name not in models:
                raise InvalidInputError(
                    f"no model {name!r} answers here{did_you_mean(name, list(models))} (models:"
                    f" {', '.join(models)}); name it, too: --model"
                )
        assessor, path = self.assessor, config.assessor
        if path is not None and self.trained_on is not None:
            self.trained_on.check_fit(f"assessor {path}", model=model.card)
        probes = self._probes(is_used=allocator.uses_complexity or path is not None)
        profile = None if limits.seconds is None else find_profile(model.card)
        costs = CostModel(model.card, self.defaults.lengths, profile)
        tool_costs = {name: tool.cost for name, tool in executor.tools.items()}
        if config.overrides:
            allocator = allocator.with_overrides(config.overrides)
        if config.answered_by is not None:
            allocator = OverrideAllocator(allocator, {"model": config.answered_by})
        allocator = allocator.with_limits(limits, costs, tool_costs)
        if config.give_up is not None:
            head = _load_head(config.give_up, self.benchmark.name)
            allocator = GivingUp(allocator, head, 0.95 if config.recall is None else config.recall)
        rounds = config.rounds or _MAX_ROUNDS
        if self.method.planner == "beam":
            return BeamPlanner(model, executor, assessor, allocator, limits, rounds, probes=probes)
        weighs = config.method is None and config.vote == "weighted"
        select = None if weighs else self.method.select
        policy = find_allocator(self.method.allocator).path
        if policy is not None and (why := self._lacks_heads(policy, model.card)):
            raise InvalidInputError(why)
        rater = self._rater(model.card)
        rater = self._rater_of(models, rater) if others else rater
        return Planner(asked, executor, assessor, allocator, limits, rounds, select, probes, rater)

    def correctness(self, card: ModelCard) -> Path | None:
        """The file of the heads that rate the candidates of a model; None rates none."""
        named = self.config.correctness or AUTO
        if self.config.names_heads:
            return Path(named)
        is_told = self.defaults.plausibility is not no_looks
        if named == NO_CORRECTNESS or self.config.method is not None or not is_told:
            return None
        from amp.assess.correctness import bundled_correctness  # needs numpy

        return bundled_correctness(self.benchmark.name, card)

    def _rater(self, card: ModelCard) -> Rater | None:
        path = self.correctness(card)
        if path is None:
            return None
        if self.heads is not None:
            rater, trained_on = self.heads
            trained_on.check_fit(f"correctness head {path}", model=card)
            return rater
        from amp.assess.correctness import load_correctness  # needs numpy

        if not card.sha256:  # of a server; the file was found by the model's name
            _note(f"{path} rates candidates by name: model {card.name} has no hash")
        return load_correctness(path, environment=self.benchmark.name)[0]

    def _rater_of(self, models: Mapping[str, LanguageModel], base: Rater | None) -> Rater | None:
        """Rates the candidates of each model by its own heads; named ones are the base model's."""
        first, *others = models
        raters = {first: base}
        if not self.config.names_heads:
            raters |= {name: self._rater(models[name].card) for name in others}
        found = {name: rater for name, rater in raters.items() if rater is not None}
        return RaterByModel(found) if found else None

    def _lacks_heads(self, policy: Path, card: ModelCard) -> str:
        """Why a policy would see other ratings than it was learned with; empty if it would not."""
        from amp.allocate.policy_file import load_origin  # needs numpy
        from amp.mlp import content_hash

        origin, heads = load_origin(policy), self.correctness(card)
        needed = "" if origin is None else origin.correctness
        found = "" if heads is None else content_hash(heads)
        if not needed or found == needed:
            return ""
        rated = "no heads rate candidates" if heads is None else f"{heads} holds {found[:8]}"
        return (
            f"policy {policy} was learned with correctness heads {needed[:8]}, and {rated}; name"
            " those beside the policy that amp train made (--correctness), or leave it out for the"
            " policy that ships"
        )

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

    def _allocator(self, models: Sequence[str] = ()) -> Allocator:
        """The allocator.

        Args:
            models: names of the models that can answer.

        Raises:
            InvalidInputError: if an option does not fit it, or features are excluded that it would
                not use anyway.
        """
        config, source, profile = self.config, self.config.source_run, self.profile
        options = AllocatorOptions(
            space=self.defaults.space,
            fixed=self.defaults.fixed,
            arms=tuple(self.defaults.arms.values()),
            benchmark=self.benchmark.name,
            has_assessor=config.assessor is not None,
            max_samples=config.max_samples,
            trade_off=config.trade_off if profile is None else PROFILES[profile],
            mean_tokens=config.mean_tokens,
            mean_dollars=config.mean_dollars,
            agreement=config.agreement,
            models=models,
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


def _load_head(path: Path, benchmark: str) -> FailureHead:
    from amp.allocate.policy_file import load_head  # needs numpy

    head = load_head(path)
    if head.benchmark not in ("", benchmark):
        raise InvalidInputError(
            f"head {path} was learned on {head.benchmark}, where episodes behave otherwise than on"
            f" {benchmark}; learn one here (amp.learn.giving_up)"
        )
    return head


def _load_assessor(config: PlannerConfig, environment: str) -> tuple[Assessor, Training | None]:
    assessor: Assessor = WeightedAssessor()
    trained_on = None
    if config.assessor is not None:
        from amp.assess.neural import load_assessor  # needs numpy

        assessor, trained_on = load_assessor(config.assessor, environment=environment)
    excluded = config.exclude
    return (AblatedAssessor(assessor, excluded) if excluded else assessor), trained_on


def _load_heads(config: PlannerConfig, environment: str) -> tuple[Rater, Training] | None:
    if not config.names_heads:
        return None
    from amp.assess.correctness import load_correctness  # needs numpy

    named, known = str(config.correctness), (AUTO, NO_CORRECTNESS)
    if not Path(named).exists():
        raise InvalidInputError(
            f"no file {named!r} of correctness heads{did_you_mean(named, known)} (expected "
            f"{', '.join(known)} or a file that amp assess train --of candidates made)"
        )
    return load_correctness(Path(named), environment=environment)


def _defaults(config: PlannerConfig, method: Method, benchmark: Benchmark) -> Defaults:
    """The benchmark's defaults, overridden by the method and then by the user."""
    pinned = dict(method.pinned)
    if method.in_words:
        pinned["tools"] = sorted(benchmark.defaults.fixed.tools & {*benchmark.environment_tools})
    missing = {*pinned.get("tools", ())} - {*benchmark.tools, *benchmark.environment_tools}
    if missing:
        raise InvalidInputError(
            f"method {config.method} needs the tool {', '.join(sorted(missing))}, which "
            f"{benchmark.name} lacks; choose another method"
        )
    return benchmark.defaults.overridden(pinned | config.overrides, benchmark)


@cache
def _note(text: str) -> None:
    """Logs a warning once."""
    _log.warning("%s", text)
