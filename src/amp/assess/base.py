"""The complexity assessment module (CAM, spec 2.2): its protocol, the weighted sum, and ablation.

The weighted sum is C = alpha * H + beta * I + gamma * D.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from amp.assess.features import FeatureVector, observe
from amp.assess.text import INDICATORS, Parser, structural
from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.types import Candidate, Complexity, ProbeKind, StepContext

if TYPE_CHECKING:
    from amp.assess.neural import NeuralAssessor
    from amp.mlp import Floats


class Assessor(Protocol):
    """Scores how hard a plan step is, before its first round and again after each.

    It makes no model calls: everything from the model is in `StepContext.evidence`.
    """

    @property
    def probes(self) -> frozenset[ProbeKind]:
        """The probes that it needs before the first round of a step; by default none."""
        return frozenset()

    @property
    def network(self) -> NeuralAssessor | None:
        """Its neural network, for training and for examining it; None if it has none."""
        return None

    def observe(self, context: StepContext) -> FeatureVector:
        """Returns the features of a step."""
        ...

    def score(self, features: FeatureVector) -> Complexity:
        """Returns the complexity for some features, of which any may be missing."""
        ...

    def assess(self, context: StepContext) -> Complexity:
        """Returns C(s, p) of a step, in well under a millisecond."""
        return self.score(self.observe(context))


class Rater(Protocol):
    """Says how probably candidates are right."""

    def rate(self, context: StepContext, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Returns the candidates of one round with `p_right`, where it can be told.

        It makes no model calls. What other candidates answered is not looked at: that is counted
        when they vote.
        """
        ...


@dataclass(frozen=True, slots=True)
class RaterByModel(Rater):
    """Rates the candidates of each model by a rater of its own; what has none stays unrated.

    Attributes:
        raters: by the name of the model.
    """

    raters: Mapping[str, Rater]

    def rate(self, context: StepContext, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        name = candidates[0].model if candidates else None  # one model answers a round
        rater = self.raters.get(name or "")
        return tuple(candidates) if rater is None else rater.rate(context, candidates)


@dataclass(frozen=True, slots=True)
class Training:
    """What weights were trained on; signs and sizes of effects hold there and nowhere else.

    Attributes:
        model: name of the base model.
        environment: name of the benchmark or environment.
        sha256: hash of the model's weights; empty where there is no file.
        tasks: ids of the training tasks, which no validation may use.
    """

    model: str
    environment: str
    sha256: str = ""
    tasks: tuple[str, ...] = ()

    def to_header(self) -> dict[str, str]:
        """For the header of the weights' file."""
        return {
            "model": self.model,
            "sha256": self.sha256,
            "environment": self.environment,
            "tasks": json.dumps(self.tasks),
        }

    @classmethod
    def from_header(cls, header: Mapping[str, str]) -> Training:
        """The inverse of `to_header`.

        Raises:
            KeyError: if the header lacks something.
            ValueError: if it is damaged.
        """
        tasks = tuple(json.loads(header["tasks"]))
        return cls(header["model"], header["environment"], header["sha256"], tasks)

    def check_fit(
        self, what: str, *, model: ModelCard | None = None, environment: str | None = None
    ) -> None:
        """Refuses weights that were trained for another model or environment; None takes any.

        Raises:
            InvalidInputError: if they were; names `what` and both.
        """
        if model is not None and (model.name, model.sha256) != (self.model, self.sha256):
            raise InvalidInputError(
                f"{what} does not fit: it was trained on model {self.model} {self.sha256[:8]}, "
                f"this is {model.name} {model.sha256[:8]}".rstrip()
            )
        if environment not in (None, self.environment):
            raise InvalidInputError(
                f"{what} does not fit: it was trained on {self.environment}, this is {environment}"
            )


Group = Literal["uncertainty", "indicators", "structure", "distance", "evidence", "hidden"]
"""Groups of features that an ablation can exclude."""

GROUPS: Mapping[Group, frozenset[str]] = {
    "uncertainty": frozenset(
        {"entropy", "choice_entropy", "choice_margin", "perplexity", "divergence"}
        | {"token_entropy", "log_prob", "uncertainty"}
    ),
    "indicators": frozenset({*INDICATORS, "indicators"}),
    "structure": frozenset({"words", "quantities", "entities", "relations", "syntactic_depth"}),
    "distance": frozenset({"distance", "options", "plan_steps", "revisits"}),
    "evidence": frozenset(
        {"candidates", "agreement", "margin", "answer_entropy", "answer_tokens", "cut_off"}
        | {"unread", "unused", "p_correct", "p_right", "leader_right", "runner_up_right"}
        | {"gain_with_tools", "gain_without_tools"}
    ),
    "hidden": frozenset(),
}
"""The features of each group. All other names are coordinates of the hidden state, in ``hidden``.
Uncertainty H is in its group whatever it was computed from, be it the candidates' disagreement."""

_PROBES: Mapping[ProbeKind, Group] = {
    "options": "uncertainty",
    "next_token": "uncertainty",
    "perplexity": "uncertainty",
    "hidden": "hidden",
}


def group_of(feature: str) -> Group:
    """The group of a feature."""
    for group, names in GROUPS.items():
        if feature in names:
            return group
    return "hidden"


def ablate(features: FeatureVector, exclude: frozenset[Group]) -> FeatureVector:
    """Returns the features without those of some groups, to measure their worth (spec 2.7, 3.2)."""
    values = {n: v for n, v in features.values.items() if group_of(n) not in exclude}
    return replace(features, values=values, substituted=features.substituted & values.keys())


@dataclass(frozen=True, slots=True)
class AblatedAssessor(Assessor):
    """An assessor for which some features are always missing, also for the allocator.

    The inner assessor treats them like any missing feature: a network has a flag for it; the
    weighted sum distributes their weight over the other terms or, if it was trained, takes the
    typical value.

    Attributes:
        inner: the assessor.
        exclude: groups of features.
    """

    inner: Assessor
    exclude: frozenset[Group]

    @property
    def probes(self) -> frozenset[ProbeKind]:
        """The probes of the inner assessor, except those for excluded groups."""
        return frozenset(p for p in self.inner.probes if _PROBES[p] not in self.exclude)

    def observe(self, context: StepContext) -> FeatureVector:
        return ablate(self.inner.observe(context), self.exclude)

    def score(self, features: FeatureVector) -> Complexity:
        return self.inner.score(features)


TERMS = ("uncertainty", "indicators", "distance")
"""The features H, I and D that alpha, beta and gamma weigh, each in [0, 1]."""


@dataclass(frozen=True, slots=True)
class WeightedAssessor(Assessor):
    """C(s, p) in [0, 1] from uncertainty H, reasoning indicators I and goal distance D.

    The default weights are only a start: which signs and sizes help is learned for each model and
    environment (`amp.learn.pretrain`), and a learned weight may be negative.

    Attributes:
        alpha: weight of uncertainty H.
        beta: weight of reasoning indicators I.
        gamma: weight of goal-state distance D.
        bias: added to the sum. Spec 2.2 has none; learned weights need one, as the means of H, I
            and D differ.
        typical: values for missing terms, by name: their means in training. Without it the weights
            of the other terms are scaled up in proportion, so none may be negative then.
        probes: the probes that it needs before the first round.
        parse: parses text for the structural features; the score does not depend on them.

    Raises:
        InvalidInputError: if a weight is not finite, all are 0, or one is negative without
            `typical`.
    """

    alpha: float = 0.7
    beta: float = 0.15
    gamma: float = 0.15
    bias: float = 0.0
    typical: Mapping[str, float] | None = None
    probes: frozenset[ProbeKind] = frozenset({"options"})
    parse: Parser = structural

    kind: ClassVar[str] = "weighted"
    names: ClassVar[tuple[str, ...]] = TERMS

    def __post_init__(self) -> None:
        low = 0.0 if self.typical is None else -math.inf
        weights = {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= low):
                expected = "at least 0" if self.typical is None else "a finite number"
                raise InvalidInputError(f"weight {name} is {weight}, expected {expected}")
        if not math.isfinite(self.bias):
            raise InvalidInputError(f"bias is {self.bias}, expected a finite number")
        if not any(weights.values()):
            raise InvalidInputError("all weights are 0, expected at least one above 0")
        if self.typical is not None and set(self.typical) != set(TERMS):
            named = ", ".join(self.typical) or "nothing"
            raise InvalidInputError(f"typical names {named}, expected {', '.join(TERMS)}")

    def observe(self, context: StepContext) -> FeatureVector:
        return observe(context, self.parse)

    def score(self, features: FeatureVector) -> Complexity:
        """Returns the weighted sum of the terms among these features, cut to [0, 1].

        If all terms are missing, it is 0.5.
        """
        weights = dict(zip(TERMS, (self.alpha, self.beta, self.gamma), strict=True))
        values = {**(self.typical or {}), **features.values}
        present = {name: weight for name, weight in weights.items() if name in values}
        total = math.fsum(weight * values[name] for name, weight in present.items())
        if self.typical is None:
            scale = math.fsum(present.values())
            total = total / scale if scale else 0.5
        return features.complexity(min(1.0, max(0.0, self.bias + total)))

    def to_tensors(self) -> dict[str, Sequence[float]]:
        """The parameters by name, for `amp.assess.neural`."""
        tensors: dict[str, Sequence[float]] = {
            "weights": (self.alpha, self.beta, self.gamma),
            "bias": (self.bias,),
        }
        if self.typical is not None:
            tensors["typical"] = [self.typical[name] for name in TERMS]
        return tensors

    @classmethod
    def from_tensors(
        cls,
        names: tuple[str, ...],
        tensors: Mapping[str, Floats],
        probes: frozenset[ProbeKind],
        parse: Parser,
    ) -> WeightedAssessor:
        """The inverse of `to_tensors`.

        Raises:
            InvalidInputError: if the names are not `TERMS`.
            KeyError: if a parameter is missing.
        """
        if names != TERMS:
            raise InvalidInputError(f"it weighs {', '.join(names)}, expected {', '.join(TERMS)}")
        alpha, beta, gamma = tensors["weights"].tolist()
        typical = tensors.get("typical")
        return cls(
            alpha,
            beta,
            gamma,
            bias=float(tensors["bias"][0]),
            typical=None if typical is None else dict(zip(TERMS, typical.tolist(), strict=True)),
            probes=probes,
            parse=parse,
        )
