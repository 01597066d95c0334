"""What a policy would allocate across complexity, before the first round of a step and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from amp.allocate import inputs
from amp.allocate.draws import TOOLS_FROM
from amp.allocate.mlp import MlpPolicy
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.space import Space, sigmoid
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Evidence,
    Observation,
    StepContext,
    Task,
    ToolUse,
)

COMPLEXITIES = tuple(tenth / 10 for tenth in range(11))
TRADE_OFFS = (0.5, 0.7, 0.9, 1.0)

_STEP = StepContext(Task("any", "any"), Observation())


@dataclass(frozen=True, slots=True)
class Point:
    """What a policy does at one complexity.

    Attributes:
        complexity: c in [0, 1].
        allocation: of the first round, without chance (`Policy.deterministic`).
        tools: probability of each tool in that round.
        stop_agreed: probability of a stop after that round if all of its candidates name one
            action; 1 where the policy may have one round only.
        stop_split: if each of them names another one. There are two at least, so that they can.
    """

    complexity: float
    allocation: Allocation
    tools: Mapping[str, float]
    stop_agreed: float
    stop_split: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A policy across complexity, at one trade-off.

    Attributes:
        trade_off: lambda; None for a policy that does not see it.
        points: one for each of `COMPLEXITIES`.
    """

    trade_off: float | None
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What there is to show of a policy.

    Attributes:
        kind: ``sigmoid`` (spec 3.3) or ``mlp``.
        space: where it allocates.
        most_rounds: rounds a step at most.
        most_samples: of one way to ask, at most; None for any number.
        features: that it reads besides score, trade-off, budget and evidence; all of them are at
            their means in training here, and nothing limits the budget.
        inputs: version of what it reads; None for ``sigmoid``, which reads the score alone.
        curves: one a trade-off.
    """

    kind: str
    space: Space
    most_rounds: int
    most_samples: int | None
    features: tuple[str, ...]
    inputs: int | None
    curves: tuple[Curve, ...]


def policy_view(policy: SigmoidPolicy | MlpPolicy) -> PolicyView:
    """Asks a policy for steps that differ in their complexity alone."""
    sees = isinstance(policy, MlpPolicy)
    if isinstance(policy, MlpPolicy):
        features = policy.features
        # The first values of the input are the features: at its mean each is 0 there.
        typical = dict(zip(features, policy.mean.tolist(), strict=False))
        curves = tuple(_curve(replace(policy, trade_off=t), t, typical) for t in TRADE_OFFS)
    else:
        features, curves = (), (_curve(policy, None, {}),)
    return PolicyView(
        kind="mlp" if sees else "sigmoid",
        space=policy.space,
        most_rounds=policy.most_rounds,
        most_samples=policy.most_samples,
        features=features,
        inputs=inputs.VERSION if sees else None,
        curves=curves,
    )


def _curve(
    policy: SigmoidPolicy | MlpPolicy, trade_off: float | None, typical: Mapping[str, float]
) -> Curve:
    sure = replace(policy, deterministic=True)
    return Curve(trade_off, tuple(_point(sure, Complexity(c, typical)) for c in COMPLEXITIES))


def _point(policy: SigmoidPolicy | MlpPolicy, complexity: Complexity) -> Point:
    # Before the first round there is no stop, so there is an allocation.
    allocation = policy.allocate(_STEP, complexity).allocation or Allocation()
    tools = policy.heads(_STEP, complexity).locations[TOOLS_FROM:]
    used = tuple(ToolUse(name, "", "") for name in sorted(allocation.tools))
    count = max(2, allocation.beam_width)
    agreed, split = (
        [Candidate("", action, tool_uses=used) for action in actions]
        for actions in (["same"] * count, map(str, range(count)))
    )
    return Point(
        complexity=complexity.score,
        allocation=allocation,
        tools=dict(zip(policy.space.tool_names, map(sigmoid, tools), strict=True)),
        stop_agreed=_stop(policy, complexity, agreed),
        stop_split=_stop(policy, complexity, split),
    )


def _stop(
    policy: SigmoidPolicy | MlpPolicy, complexity: Complexity, candidates: list[Candidate]
) -> float:
    after = replace(_STEP, evidence=Evidence(tuple(candidates), 1))
    if policy.options(after).must_stop:
        return 1.0
    return sigmoid(policy.heads(after, complexity).locations[0])
