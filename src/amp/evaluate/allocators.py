"""The allocator of a run: by name or file, told what a run says, what fits, and what is pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from amp.allocate import ALLOCATORS, make_allocator
from amp.allocate.affordable import AffordableAllocator
from amp.allocate.base import Allocator
from amp.allocate.consistency import AdaptiveConsistency, EarlyStopping
from amp.allocate.constraints import Surroundings
from amp.allocate.policy import Policy, SigmoidPolicy
from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.evaluate.presets import Preset
from amp.execute.executor import Executor
from amp.models.base import ModelCard
from amp.profile import expected_cost
from amp.profile import find as find_profile
from amp.types import Allocation, Complexity, Decision, Limits, StepContext

if TYPE_CHECKING:
    from amp.evaluate.runsettings import RunSettings

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
    from amp.allocate.weights import load_origin  # needs numpy

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
    from amp.allocate.weights import load_origin, load_policy  # needs numpy

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
