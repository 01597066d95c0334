"""The allocators, and the one place that finds them: by name, by file, or of another package.

`base` has the protocol, and what a budget allows; `space` has the bounds of allocations and the
distribution over them. Rules: `rules`, `stopping` (by votes), `confidence` (by how sure candidates
make us), `plan_state` (of long plans), `giving_up`. Learned policies: `policy`, `mlp_policy`,
`arm_values`, `router`; `policy_file` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from amp.allocate.base import (
    CONTROLS,
    Allocator,
    BudgetedAllocator,
    FixedAllocator,
    OverrideAllocator,
    RandomAllocator,
    ShuffledAllocator,
    shuffled_control,
)
from amp.allocate.confidence import ByGain, ConfidenceStop, ReliabilityStop, UntilSure, Way
from amp.allocate.giving_up import FailureHead, GivingUp
from amp.allocate.policy import ByArm, Policy, SigmoidPolicy, arm_space
from amp.allocate.rules import (
    EntropyThreshold,
    EscalatingAllocator,
    HeuristicAllocator,
    PlanThenFollow,
    plan_arms,
)
from amp.allocate.space import Line, Space
from amp.allocate.stopping import (
    AdaptiveConsistency,
    BayesianStop,
    Cascade,
    EarlyStopping,
    InOrder,
    UntilAgreement,
)
from amp.errors import InvalidInputError, did_you_mean
from amp.plugins import exported_later, make_plugin, note_shadowed, plugin_names
from amp.types import Allocation, Episode

if TYPE_CHECKING:
    from amp.allocate.mlp_policy import MlpPolicy
    from amp.allocate.policy_file import Origin, load_head, load_policy, save_head, save_policy
    from amp.allocate.router import Router

__all__ = [
    "ALLOCATORS",
    "AUTO",
    "CONTROLS",
    "AdaptiveConsistency",
    "Allocator",
    "AllocatorKind",
    "AllocatorOptions",
    "BayesianStop",
    "BudgetedAllocator",
    "ByArm",
    "ByGain",
    "Cascade",
    "ConfidenceStop",
    "EarlyStopping",
    "EntropyThreshold",
    "EscalatingAllocator",
    "FailureHead",
    "FixedAllocator",
    "GivingUp",
    "HeuristicAllocator",
    "Line",
    "MlpPolicy",
    "OverrideAllocator",
    "PlanThenFollow",
    "Policy",
    "RandomAllocator",
    "ReliabilityStop",
    "Router",
    "ShuffledAllocator",
    "SigmoidPolicy",
    "Space",
    "UntilAgreement",
    "UntilSure",
    "Way",
    "arm_space",
    "find_allocator",
    "is_policy_path",
    "load_head",
    "load_policy",
    "make_allocator",
    "plan_arms",
    "save_head",
    "save_policy",
]

AUTO = "auto"
"""Stands for the bundled policy for a benchmark and model, or else for the benchmark's default."""

_FORMER_NAMES = {"amp": AUTO}
_MAX_SAMPLES = 8
"""Twice the usual vote. The papers go up to 40, which recordings on a laptop can hardly reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorOptions:
    """What an allocator is made from; each kind takes some of it (`AllocatorKind.takes`).

    Attributes:
        space: bounds of adaptive allocations; a trained policy has its own.
        fixed: what the fixed allocator grants, and the rules that sample until the votes agree.
        arms: the benchmark's ways to ask for one sample; rules that mix ways take the first one
            without tools.
        benchmark: where it is to allocate; a policy that was trained elsewhere is transferred.
        has_assessor: whether the user names a trained assessor, which some policies need.
        max_samples: most samples of a step for the rules on votes; a window is half of it.
        trade_off: lambda of a trained policy that takes it; None for its own.
        mean_tokens: what a task may cost on average, which finds lambda on a policy's curve.
        mean_dollars: likewise.
        agreement: share of a model's samples that ends a cascade; None for its own.
        models: names of the models that can answer, the base model first.
        episodes: of the run whose allocations a shuffled control hands out.
        seed: of the control.
    """

    space: Space = Space()
    fixed: Allocation = Allocation()
    arms: Sequence[Allocation] = ()
    benchmark: str = ""
    has_assessor: bool = False
    max_samples: int | None = None
    trade_off: float | None = None
    mean_tokens: float | None = None
    mean_dollars: float | None = None
    agreement: float | None = None
    models: Sequence[str] = ()
    episodes: Sequence[Episode] | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AllocatorKind:
    """A kind of allocator, as `find_allocator` finds it.

    Attributes:
        make: makes one.
        takes: which of ``max_samples``, ``trade_off``, ``mean_tokens``, ``mean_dollars``,
            ``agreement``, ``models`` and ``episodes`` it takes.
        path: the file of a trained policy; None for any other allocator.
        plans: whether it allocates plans of several actions, whatever the options.
    """

    make: Callable[[AllocatorOptions], Allocator]
    takes: frozenset[str] = frozenset()
    path: Path | None = None
    plans: bool = False


def _adaptive_consistency(options: AllocatorOptions) -> Allocator:
    return AdaptiveConsistency(options.fixed, max_samples=options.max_samples or _MAX_SAMPLES)


def _early_stopping(options: AllocatorOptions) -> Allocator:
    samples = options.max_samples or _MAX_SAMPLES
    return EarlyStopping(options.fixed, window=max(1, samples // 2), max_samples=samples)


def _in_order(
    rule: Callable[[tuple[Allocation, ...]], InOrder], pattern: str
) -> Callable[[AllocatorOptions], Allocator]:
    """A rule on rounds of the fixed allocation (t), and of a way to ask without tools (n).

    Args:
        rule: takes the sequence of rounds.
        pattern: that of the sequence; where the rule takes a number of samples, it is repeated.
    """

    def make(options: AllocatorOptions) -> Allocator:
        most, ways = options.max_samples, _ways(options)
        letters = pattern if most is None else islice(cycle(pattern), most)
        return rule(tuple(ways[0 if letter == "t" else -1] for letter in letters))

    return make


def _by_gain(options: AllocatorOptions) -> Allocator:
    most = options.max_samples or _MAX_SAMPLES
    return ByGain(tuple(Way(one, most) for one in _ways(options)), max_samples=most)


def _cascade(options: AllocatorOptions) -> Allocator:
    if len(options.models) < 2:
        raise InvalidInputError(
            f"a cascade asks one model after another, and there is {len(options.models)}; name"
            " several, the cheapest first: --model SMALL --model LARGE"
        )
    sequence = tuple(replace(options.fixed, model=name) for name in options.models)
    return Cascade(sequence) if options.agreement is None else Cascade(sequence, options.agreement)


def _entropy_threshold(options: AllocatorOptions) -> Allocator:
    at_once = replace(options.fixed, depth=0)
    return EntropyThreshold(at_once, options.fixed.depth or 1)


def _plan_then_follow(options: AllocatorOptions) -> Allocator:
    at_once = replace(options.fixed, depth=0)
    depth = options.fixed.depth  # where the user or the benchmark sets one, it is that of a plan
    return PlanThenFollow(at_once, depth) if depth else PlanThenFollow(at_once)


def _ways(options: AllocatorOptions) -> tuple[Allocation, ...]:
    """One sample of the fixed allocation, and if that has tools, of the first arm without."""
    fixed = replace(options.fixed, beam_width=1)
    if not fixed.tools:
        return (fixed,)
    others = (arm for arm in options.arms if not arm.tools)
    return fixed, next(others, replace(fixed, tools=frozenset()))


def _control(how: str) -> Callable[[AllocatorOptions], Allocator]:
    def make(options: AllocatorOptions) -> Allocator:
        if options.episodes is None:
            raise InvalidInputError(f"allocator {how} needs another run, whose rounds it hands out")
        return shuffled_control(how, options.episodes, options.seed)

    return make


_ONE_WAY, _MIXED = "t" * _MAX_SAMPLES, "ttntntnn"
_SAMPLES = frozenset({"max_samples"})
_POLICY = frozenset({"trade_off", "mean_tokens", "mean_dollars"})

ALLOCATORS: dict[str, AllocatorKind] = {
    "fixed": AllocatorKind(lambda options: FixedAllocator(options.fixed)),
    "escalating": AllocatorKind(
        lambda options: EscalatingAllocator(at_once=Allocation(tools=options.fixed.tools))
    ),
    "heuristic": AllocatorKind(lambda options: HeuristicAllocator(options.space)),
    "random": AllocatorKind(lambda options: RandomAllocator(options.space)),
    "adaptive_consistency": AllocatorKind(_adaptive_consistency, _SAMPLES),
    "early_stopping": AllocatorKind(_early_stopping, _SAMPLES),
    "until_agreement": AllocatorKind(_in_order(UntilAgreement, "tttt")),
    "until_agreement_mixed": AllocatorKind(_in_order(UntilAgreement, _MIXED)),
    "bayesian_stop": AllocatorKind(_in_order(BayesianStop, _ONE_WAY), _SAMPLES),
    "until_sure": AllocatorKind(_in_order(UntilSure, _ONE_WAY), _SAMPLES),
    "until_sure_mixed": AllocatorKind(_in_order(UntilSure, _MIXED), _SAMPLES),
    "cges": AllocatorKind(_in_order(ConfidenceStop, _ONE_WAY), _SAMPLES),
    "reasc": AllocatorKind(_in_order(ReliabilityStop, _ONE_WAY), _SAMPLES),
    "by_gain": AllocatorKind(_by_gain, _SAMPLES),
    "cascade": AllocatorKind(_cascade, frozenset({"models", "agreement"})),
    "entropy_threshold": AllocatorKind(_entropy_threshold),
    "plan_then_follow": AllocatorKind(_plan_then_follow, plans=True),
    "sigmoid": AllocatorKind(lambda options: SigmoidPolicy.initial(options.space)),
    **{how: AllocatorKind(_control(how), frozenset({"episodes"})) for how in CONTROLS},
}
"""Our own, by name. `auto`, files of trained policies and other packages' come on top."""


def find_allocator(name: str) -> AllocatorKind:
    """Finds a kind of allocator.

    Args:
        name: a key of `ALLOCATORS`, `AUTO`, a name of the entry points "amp.allocators" (each a
            callable that takes a `Space` and the fixed `Allocation`), or the file of a policy.

    Raises:
        InvalidInputError: if there is none; the message names the nearest and all.
    """
    name = _FORMER_NAMES.get(name, name)
    if name in (*ALLOCATORS, AUTO):
        note_shadowed("amp.allocators", name)
    if name in ALLOCATORS:
        return ALLOCATORS[name]
    if name == AUTO:
        return AllocatorKind(_unresolved, _POLICY)
    plugins = plugin_names("amp.allocators", (*ALLOCATORS, AUTO, *_FORMER_NAMES))
    if name in plugins:
        return AllocatorKind(partial(_plugin, name))
    if is_policy_path(Path(name)):
        path = Path(name)
        return AllocatorKind(lambda options: _policy(path, options), _POLICY, path)
    names = sorted((*ALLOCATORS, AUTO, *plugins))
    raise InvalidInputError(
        f"unknown allocator {name!r}{did_you_mean(name, names)} "
        f"(allocators: {', '.join(names)}, or the file of a trained policy)"
    )


def is_policy_path(path: Path) -> bool:
    """Whether a path is that of a policy rather than a name: it ends so, or there is a file."""
    return path.suffix == ".safetensors" or path.is_file()


def make_allocator(name: str, options: AllocatorOptions = AllocatorOptions()) -> Allocator:
    """Makes an allocator by its name or file (see `find_allocator`).

    Raises:
        InvalidInputError: if there is none, an option does not fit it, or another package's
            cannot be made.
        MissingDependencyError: if another package's cannot be imported.
    """
    return find_allocator(name).make(options)


def _unresolved(options: AllocatorOptions) -> Allocator:
    raise InvalidInputError(f"allocator {AUTO!r} depends on the model; resolve it first")


def _plugin(name: str, options: AllocatorOptions) -> Allocator:
    kind, given = Allocator, (options.space, options.fixed)
    allocator: Allocator = make_plugin("amp.allocators", name, kind, *given)
    return allocator


def _policy(path: Path, options: AllocatorOptions) -> Allocator:
    """Reads a trained policy, for the benchmark and at the trade-off of the options."""
    from amp.allocate import policy_file  # needs numpy

    origin = policy_file.load_origin(path)
    if policy_file.policy_kind(path) == policy_file.ROUTER:
        router, at = policy_file.load_router(path), _trade_off(path, origin, options)
        learned_on = options.benchmark if origin is None else origin.benchmark
        own = any(arm.model is None for arm in router.arms.values())
        if own and learned_on != options.benchmark:
            raise InvalidInputError(
                f"policy {path} was learned on {learned_on} and chooses among the ways to ask"
                f" there, this is {options.benchmark}; learn one here"
            )
        return router if at is None else router.with_trade_off(at)
    if policy_file.policy_kind(path) == policy_file.ARM_VALUES:
        values, at = policy_file.load_arm_values(path), _trade_off(path, origin, options)
        return values if at is None else values.with_trade_off(at)
    policy, arms = policy_file.load_policy(path), policy_file.load_arms(path)
    elsewhere = origin is not None and origin.benchmark != options.benchmark
    if elsewhere and arms is None:
        policy = policy.transferred(options.space)
    if origin is not None and origin.assessor and not options.has_assessor:
        raise InvalidInputError(
            f"policy {path} was learned with an assessor of its own; name that assessor, too (it"
            " lies beside the policy that amp train made)"
        )
    trade_off = _trade_off(path, origin, options)
    policy = policy if trade_off is None else policy.with_trade_off(trade_off)
    return policy if arms is None else ByArm(policy, arms)


def _trade_off(path: Path, origin: Origin | None, options: AllocatorOptions) -> float | None:
    """The trade-off that is wanted, or the one that spends what is wanted; None for the usual."""
    trade_off = options.trade_off
    for name, budget in (("tokens", options.mean_tokens), ("dollars", options.mean_dollars)):
        if budget is None:
            continue
        if origin is None or not origin.curve:
            raise InvalidInputError(
                f"policy {path} does not say what it costs; set trade_off in place of mean_{name}"
            )
        trade_off = origin.trade_off_for(budget, name)
    return trade_off


__getattr__ = exported_later(
    __name__,
    {
        "mlp_policy": ("MlpPolicy",),
        "policy_file": ("load_head", "load_policy", "save_head", "save_policy"),
        "router": ("Router",),
    },
)
