"""What a run is, and which of its settings would do nothing.

The allocator of a run: by name or file, told what a run says, what fits, and what is pinned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from amp.allocate import ALLOCATORS, make_allocator
from amp.allocate.base import DEALS, Allocator
from amp.allocate.budget import AffordableAllocator, Surroundings
from amp.allocate.consistency import AdaptiveConsistency, EarlyStopping
from amp.allocate.policy import Policy, SigmoidPolicy
from amp.allocate.space import Space
from amp.assess.base import Group
from amp.assess.weighted import TERMS
from amp.benchmarks.presets import Preset
from amp.errors import InvalidInputError, did_you_mean
from amp.execute.executor import Executor
from amp.latency import expected_cost
from amp.latency import find as find_profile
from amp.methods import BASELINES
from amp.methods.registry import Method, find_method
from amp.models.base import ModelCard
from amp.types import Allocation, Complexity, Decision, Limits, ProbeKind, StepContext

SAMPLERS = frozenset({"adaptive_consistency", "early_stopping"})
"""Rules that sample until the votes are safe; how many samples at most is a matter of choice."""

BEST = "amp"
"""The name for the best that we have: a policy that comes along for this model and benchmark, or
else the heuristic."""

_HEED_COMPLEXITY = frozenset({"heuristic", "sigmoid"})
_POLICIES = Path(__file__).parents[1] / "data" / "policies"


@dataclass(frozen=True, slots=True)
class Pinned:
    """An allocator whose allocations have what the user set in place of its own.

    Attributes:
        inner: decides the rest, and when to stop.
        fields: of `Allocation`, by name.
    """

    inner: Allocator
    fields: Mapping[str, Any]

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        decision = self.inner.allocate(context, complexity)
        if decision.allocation is None:
            return decision
        return replace(decision, allocation=replace(decision.allocation, **self.fields))


def best(benchmark: str, card: ModelCard) -> str:
    """What `BEST` stands for here, as a name or file for `choose`."""
    from amp.allocate.policy_file import load_origin  # needs numpy

    for path in sorted(_POLICIES.rglob("*.safetensors")):
        origin = load_origin(path)
        if origin is None or origin.benchmark != benchmark:
            continue
        same = origin.sha256 == card.sha256 if card.sha256 else origin.model == card.name
        if same:
            return str(path)
    return "heuristic"


def is_policy_file(allocator: str) -> bool:
    """Whether an allocator is the file of a trained policy: the names of others have no dots."""
    return allocator not in ALLOCATORS and Path(allocator).suffix != ""


def heeds_complexity(allocator: str) -> bool:
    """Whether an allocator looks at what the assessor says."""
    return allocator in _HEED_COMPLEXITY or is_policy_file(allocator) or allocator == BEST


def choose(name: str, preset: Preset, settings: RunSettings, benchmark: str) -> Allocator:
    """The allocator of a name or file, as a run sets it.

    Args:
        name: of `amp.allocate.ALLOCATORS`, or the path of a policy's file.
        preset: the fixed allocation and the space; a policy brings its own space.
        settings: samples a step at most, of `SAMPLERS` (windows are half of them, as usual), and
            the trade-off of a policy that takes it, or what a task may cost on average.
        benchmark: where it is to allocate. A policy that was learned elsewhere is `moved`.

    Raises:
        InvalidInputError: for an unknown name, no such file, or a policy that has no trade-off.
    """
    if is_policy_file(name):
        return _policy(Path(name), preset, settings, benchmark)
    most = settings.most
    if most is not None and name == "adaptive_consistency":
        return AdaptiveConsistency(preset.fixed, most=most)
    if most is not None and name == "early_stopping":
        return EarlyStopping(preset.fixed, window=max(1, most // 2), most=most)
    return make_allocator(name, preset.space, preset.fixed)


def _policy(path: Path, preset: Preset, settings: RunSettings, benchmark: str) -> Policy:
    from amp.allocate.policy_file import (
        load_origin,
        load_policy,  # needs numpy
    )

    policy, origin = load_policy(path), load_origin(path)
    if origin is not None and origin.benchmark != benchmark:
        policy = moved(policy, preset.space)
    if origin is not None and origin.assessor and settings.assessor is None:
        raise InvalidInputError(
            f"policy {path} was learned with an assessor of its own; name it with --assessor (it"
            " lies beside the policy that amp train made)"
        )
    trade_off = settings.trade_off
    if settings.mean_tokens is not None:
        if origin is None or not origin.curve:
            raise InvalidInputError(
                f"policy {path} does not say what it costs; set trade_off in place of mean_tokens"
            )
        trade_off = origin.trade_off_for(settings.mean_tokens)
    if trade_off is None:
        return policy
    if isinstance(policy, SigmoidPolicy):
        raise InvalidInputError(f"policy {path} takes no trade_off; leave it out")
    return replace(policy, trade_off=trade_off)


AnyPolicy = TypeVar("AnyPolicy", bound=Policy)


def moved(policy: AnyPolicy, space: Space) -> AnyPolicy:
    """A policy on a benchmark that it was not trained on.

    What it draws is mapped to the bounds there, and its tools stand for those there. So it can move
    only to where there are as many tools.

    Raises:
        InvalidInputError: if there are more or fewer.
    """
    mine, there = policy.space.tool_names, space.tool_names
    if len(mine) != len(there):
        raise InvalidInputError(
            f"the policy has learned to use {len(mine)} tools ({', '.join(mine) or 'none'}), here"
            f" are {len(there)} ({', '.join(there) or 'none'}); it can move only to as many"
        )
    return replace(policy, space=space)


def within_limits(
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


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is; two runs with equal settings on one recording give equal traces.

    Attributes:
        split: split of the benchmark.
        seed: separates repeated runs.
        allocator: name of the allocator, or path of a trained policy's file; ``amp`` for the best
            there is for the model (`amp.evaluate.config.best`). A method brings its own.
            ``histogram`` and ``shuffled`` deal out what another run was allocated.
        wanted: fields of `Allocation` that the user set, by name; they win over any allocator.
        limits: hard limits of an episode.
        step: what a plan step is, where the benchmark offers several; None for its usual one.
        method: name of a published method to plan by (`amp.methods.registry`); None for AMP.
        assessor: file of a trained assessor; None for the weighted sum with its initial weights.
        probes: what is looked at before the first round of a step besides what the assessor wants.
        left_out: groups of features that the assessor has to do without.
        rounds: rounds a step at most, whatever the allocator says; None leaves it to it.
        trade_off: lambda of a trained policy that takes it; None for the policy's own.
        mean_tokens: a task on average, which finds the trade-off on the curve of a trained policy;
            None for the trade-off that is set.
        most: samples a step at most, of the rules that sample until the votes are safe; None for
            the usual number.
        of: directory of the finished run that ``histogram`` and ``shuffled`` deal from.
        orders: whether a replay has the samples of seed 0, in another order with every seed, as in
            `amp.models.recorded`; nothing but a note for who reads the run.
    """

    split: str
    seed: int
    allocator: str
    wanted: Mapping[str, Any]
    limits: Limits
    step: str | None = None
    method: str | None = None
    assessor: Path | None = None
    probes: frozenset[ProbeKind] = frozenset()
    left_out: frozenset[Group] = frozenset()
    rounds: int | None = None
    trade_off: float | None = None
    mean_tokens: float | None = None
    most: int | None = None
    of: Path | None = None
    orders: bool = False

    @property
    def resolved_method(self) -> Method:
        """The method, or AMP with the allocator as one.

        Raises:
            InvalidInputError: if there is no such method.
        """
        if self.method is None:
            return Method("as set", allocator=self.allocator)
        return find_method(self.method)

    @property
    def pins(self) -> dict[str, Any]:
        """The fields of `Allocation` that the user set, as these are."""
        given = {name: value for name, value in self.wanted.items() if value is not None}
        return given | ({"tools": frozenset(given["tools"])} if "tools" in given else {})


def check_effects(settings: RunSettings) -> None:
    """Refuses what would have no effect: a setting that this allocator or planner does not have.

    Raises:
        InvalidInputError: if there is one, which says what it is for, or no such allocator.
    """
    method = settings.resolved_method
    name = method.allocator
    is_file = is_policy_file(name) or name == BEST
    known = sorted((*ALLOCATORS, *DEALS, BEST))
    if not is_file and name not in known:
        raise InvalidInputError(
            f"unknown allocator {name!r}{did_you_mean(name, known)} "
            f"(allocators: {', '.join(known)}, or the file of a trained policy)"
        )
    heeded = settings.assessor is not None or heeds_complexity(name)
    for what, given, fits, owner in (
        ("rounds", settings.rounds, method.planner not in BASELINES, "planners that have rounds"),
        ("trade_off", settings.trade_off, is_file, "trained policies"),
        ("mean_tokens", settings.mean_tokens, is_file, "trained policies"),
        ("most", settings.most, name in SAMPLERS, " and ".join(sorted(SAMPLERS))),
        ("of", settings.of, name in DEALS, " and ".join(DEALS)),
        ("left_out", settings.left_out or None, heeded, "allocators that heed the complexity"),
    ):
        if given is not None and not fits:
            raise InvalidInputError(
                f"{what} is for {owner}, not for {settings.method or name}; leave it out"
            )
    if settings.trade_off is not None and settings.mean_tokens is not None:
        raise InvalidInputError("trade_off and mean_tokens exclude each other; leave one out")
    if name in DEALS and settings.of is None:
        raise InvalidInputError(f"allocator {name} needs another run to deal from: of in amp eval")
    if settings.assessor is None and not is_file:
        if settings.left_out and settings.left_out.isdisjoint(TERMS):
            raise InvalidInputError(
                f"the weighted sum reads {', '.join(TERMS)} alone, so to leave out "
                f"{', '.join(sorted(settings.left_out))} changes nothing; name one of these, or a "
                "trained assessor"
            )
        if settings.left_out >= set(TERMS):
            raise InvalidInputError("all terms of the weighted sum are left out; leave it one")
