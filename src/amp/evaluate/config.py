"""What a run is: which tasks, and how they are planned.

Declared once. The options of `amp run`, the tables of a sweep and what ``run.json`` says of a run
are views of `RunConfig`; a Python caller writes ``PlannerConfig(allocator="fixed", beam_width=4)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, ValidationInfo, model_validator

from amp.allocate import ALLOCATORS, AUTO, find_allocator, is_policy_path
from amp.assess.base import TERMS, Group
from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError
from amp.methods import BASELINES, Method, find_method
from amp.settings import Config, FilePath, Profile
from amp.types import Limits, ProbeKind, Task

OVERRIDES = ("depth", "temperature", "top_p", "beam_width", "tools", "verification")
"""Fields of `Allocation` that a user can set in place of the allocator."""

LIMITS = ("max_steps", "budget_tokens", "max_seconds", "max_dollars")
"""Fields that become `Limits` of an episode."""

PROFILES: Mapping[Profile, float] = {"speed": 0.7, "balanced": 0.85, "quality": 0.95}
"""The trade-off of each profile."""

NO_CORRECTNESS = "none"
"""Value of `PlannerConfig.correctness` that leaves candidates unrated."""

_FORMER_NAMES = {"amp": AUTO}
_SORTED = PlainSerializer(lambda names: sorted(names), when_used="json-unless-none")


def _policy_of_the_file(allocator: str | None, info: ValidationInfo) -> str | None:
    """The path of a policy is relative to the file that names it, as every other path."""
    allocator = _FORMER_NAMES.get(allocator or "", allocator)
    if allocator is None or allocator in (*ALLOCATORS, AUTO) or info.context is None:
        return allocator
    path = Path(info.context) / Path(allocator).expanduser()
    return str(path) if is_policy_path(path) else allocator


def _correctness_of_the_file(correctness: str | None, info: ValidationInfo) -> str | None:
    """A path is relative to the file that names it."""
    if correctness is None or correctness in (AUTO, NO_CORRECTNESS) or info.context is None:
        return correctness
    return str(Path(info.context) / Path(correctness).expanduser())


def _one_or_distinct(model: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
    """One name alone is no list."""
    if not isinstance(model, tuple):
        return model
    if not model:
        raise ValueError("names no model, expected at least 1")
    if twice := next((name for name in model if model.count(name) > 1), None):
        raise ValueError(f"names {twice!r} twice; name each model once")
    return model if len(model) > 1 else model[0]


Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0.0)]


class PlannerConfig(Config):
    """How tasks are planned; what is left out is as the benchmark has it.

    `amp.evaluate.assembly.build_planner` makes a planner of it.
    """

    allocator: Annotated[str | None, AfterValidator(_policy_of_the_file)] = None
    """auto (the default: a bundled policy that fits, else the benchmark's default), fixed,
    escalating, heuristic, random, adaptive_consistency, early_stopping, until_agreement, ... or the
    file of a trained policy."""
    method: str | None = None
    """A published method in place of an allocator: amp benchmarks --methods."""
    assessor: FilePath | None = None
    """File of a trained assessor (amp assess train); a weighted sum if left out."""
    correctness: Annotated[str | None, AfterValidator(_correctness_of_the_file)] = None
    """What says how probably each candidate is right: auto (the default: bundled heads that fit,
    else nothing), none, or the file of trained heads (amp assess train --of candidates)."""
    vote: Literal["weighted", "plain"] = "weighted"
    """Whether a vote weighs what is said of its candidate, or all votes weigh alike."""
    probes: Annotated[frozenset[ProbeKind], _SORTED] = frozenset()
    """What to ask the model before each step: options, next_token, hidden or perplexity."""
    exclude: Annotated[frozenset[Group], _SORTED] = frozenset()
    """Features that the assessor does without: uncertainty, indicators, structure, distance,
    evidence or hidden."""
    trade_off: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Weight of success against cost (lambda), of a trained policy; 0.85 if left out,
    of a router 0.9."""
    mean_tokens: Annotated[float, Field(ge=1.0)] | None = None
    """Tokens that a task may take on average, of a trained policy; in place of trade_off."""
    mean_dollars: Positive | None = None
    """Dollars likewise; of a model on this machine, at the price of a hosted one of its size."""
    profile: Profile | None = None
    """Trade-off of a trained policy, in a word: speed is 0.7, balanced 0.85, quality 0.95."""
    max_samples: Count | None = None
    """Samples a step at most, of the rules that sample until a step is settled."""
    agreement: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Share of a model's samples that have to agree in a cascade; 0.75 if left out."""
    source_run: FilePath | None = None
    """Finished run whose allocations histogram and shuffled hand out."""
    rounds: Count | None = None
    """Rounds a step at most."""
    give_up: FilePath | None = None
    """File of a trained head (amp.learn.giving_up): episodes that look hopeless are given up."""
    recall: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Share of the successes that giving up is to keep; 0.95 if left out."""

    depth: int | None = None
    """Reasoning steps at most."""
    temperature: float | None = None
    """Temperature of the samples."""
    top_p: float | None = None
    """Probability mass that samples are drawn from."""
    beam_width: int | None = None
    """Samples a round."""
    tools: Annotated[frozenset[str], _SORTED] | None = None
    """Tools to use."""
    verification: int | None = None
    """How answers are checked: 0 to 3."""

    answered_by: str | None = None
    """Which of several models answers; the first if left out."""

    sandbox: str | None = None
    """What stands around programs that the model wrote: local (the kernel's walls), bwrap, docker,
    docker:IMAGE, or unsafe to run them even where walls are missing; local if left out."""

    max_steps: Count | None = None
    """Plan steps."""
    budget_tokens: Count | None = None
    """Tokens, prompts included."""
    max_seconds: Positive | None = None
    """Seconds inside models and tools."""
    max_dollars: Positive | None = None
    """Dollars."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        budgets = ("profile", "trade_off", "mean_tokens", "mean_dollars")
        for one, other in (("allocator", "method"), *combinations(budgets, 2)):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} exclude each other; leave one out")
        return self

    @property
    def names_heads(self) -> bool:
        """Whether `correctness` is a file."""
        return self.correctness not in (None, AUTO, NO_CORRECTNESS)

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields of `Allocation` that the user set, by name."""
        values = {name: getattr(self, name) for name in OVERRIDES}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def limits(self) -> Limits:
        """Hard limits of an episode."""
        return Limits(self.max_steps, self.budget_tokens, self.max_dollars, self.max_seconds)

    @property
    def resolved_method(self) -> Method:
        """The method; for an allocator, a method that consists of it.

        Raises:
            InvalidInputError: if there is no such method.
        """
        if self.method is None:
            return Method("an allocator alone", allocator=self.allocator or AUTO)
        return find_method(self.method)


class TaskConfig(Config):
    """Which tasks of a benchmark."""

    benchmark: str
    """gsm8k, babyai, webshop, alfworld, or one of another package."""
    split: str | None = None
    """Split; the test split if left out."""
    limit: Count | None = None
    """Tasks at most."""
    level: str | None = None
    """Level of a benchmark that has levels."""
    step: str | None = None
    """What a plan step is, where there is a choice: solution or reasoning in gsm8k."""

    def load_benchmark(self, data: Path | None = None) -> Benchmark:
        """The benchmark, at its level; as `amp.benchmarks.load_benchmark`."""
        return load_benchmark(self.benchmark, data=data, level=self.level, step=self.step)

    def load_tasks(self, benchmark: Benchmark, seed: int = 0) -> list[Task]:
        """The tasks.

        Raises:
            InvalidInputError: if there is no such split, or it has none.
            MissingDependencyError: if its data is missing.
        """
        split = self.split or benchmark.splits[0]
        tasks = list(benchmark.tasks(split, self.limit, seed))
        if not tasks:
            raise InvalidInputError(f"split {split!r} of {self.benchmark} has no tasks")
        return tasks


class RunConfig(TaskConfig):
    """A whole run: two runs with equal configurations on one recording give equal traces."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Separates repeated runs."""
    model: Annotated[tuple[str, ...] | str | None, AfterValidator(_one_or_distinct)] = None
    """Catalog name, gguf file, openai:NAME, anthropic:NAME, transformers:NAME, or random; the first
    is the base model."""
    larger_model: str | None = None
    """Model behind the tool larger_model, as model."""
    permuted: bool = False
    """A note for who reads the run: whether a replay has the samples of seed 0 in an order that
    depends on the seed (`amp.models.recorded`)."""
    planner: PlannerConfig = PlannerConfig()
    """How they are planned."""

    @property
    def models(self) -> tuple[str, ...]:
        """The models as they were named, the base model first; none for that of the settings."""
        if self.model is None:
            return ()
        return (self.model,) if isinstance(self.model, str) else self.model


def check_effects(config: PlannerConfig) -> None:
    """Refuses what would have no effect: a setting that this allocator or planner does not have.

    Raises:
        InvalidInputError: if there is one, which says what it is for, or no such allocator.
    """
    method = config.resolved_method
    takes = find_allocator(method.allocator).takes
    one_at_most = method.planner != "amp" or "models" in takes
    for name, fits, owner in (
        ("rounds", method.planner not in BASELINES, "planners that have rounds"),
        ("profile", "trade_off" in takes, "trained policies"),
        ("trade_off", "trade_off" in takes, "trained policies"),
        ("mean_tokens", "mean_tokens" in takes, "trained policies"),
        ("mean_dollars", "mean_dollars" in takes, "trained policies"),
        ("max_samples", "max_samples" in takes, _names_that_take("max_samples")),
        ("agreement", "agreement" in takes, "cascade"),
        ("answered_by", not one_at_most, "allocators that leave the model to you"),
        ("source_run", "episodes" in takes, _names_that_take("episodes")),
        ("give_up", method.planner not in BASELINES, "planners that have an allocator"),
    ):
        if getattr(config, name) is not None and not fits:
            raise InvalidInputError(
                f"{name} is for {owner}, not for {config.method or method.allocator}; leave it out"
            )
    if config.recall is not None and config.give_up is None:
        raise InvalidInputError("recall is for giving up; name a head as give_up, or leave it out")
    for name, given in (("correctness", config.names_heads), ("vote", config.vote == "plain")):
        if given and config.method is not None:
            raise InvalidInputError(
                f"{name} is for allocators, not for {config.method}, which chooses among its "
                "candidates in its own way; leave it out"
            )
    if "episodes" in takes and config.source_run is None:
        raise InvalidInputError(
            f"allocator {method.allocator} needs source_run, the finished run whose allocations "
            "it hands out"
        )
    if config.assessor is None and "trade_off" not in takes:  # trained policies read all features
        excluded = config.exclude
        if excluded and excluded.isdisjoint(TERMS):
            raise InvalidInputError(
                f"exclude is {', '.join(sorted(excluded))}, but the weighted sum reads "
                f"{', '.join(TERMS)} alone; name one of these, or a trained assessor"
            )
        if excluded >= set(TERMS):
            raise InvalidInputError(
                f"exclude names all terms of the weighted sum; leave it one of {', '.join(TERMS)}"
            )


def _names_that_take(option: str) -> str:
    *names, last = sorted(name for name, kind in ALLOCATORS.items() if option in kind.takes)
    return f"{', '.join(names)} and {last}"
