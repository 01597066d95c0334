"""Every feature of spec 2.2 and 3.2 under one versioned schema, and how a step is put into it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from amp.assess import evidence as rounds
from amp.assess.evidence import goal_distance, stand_ins
from amp.assess.text import (
    INDICATORS,
    MAX_CHARACTERS,
    Parser,
    indicator_counts,
    latest,
    numbers,
    reasoning_indicators,
    structural,
    word_count,
)
from amp.assess.uncertainty import (
    MAX_DIVERGENCE,
    MAX_ENTROPY,
    answer_entropy,
    divergence,
    entropy_share,
    fault,
    uncertainty,
)
from amp.types import Complexity, Evidence, Probe, StepContext

VERSION = 2
"""Of `FEATURES`, their meaning and order; weights trained with another version are refused."""

_CACHED_TEXTS = 512


@dataclass(frozen=True, slots=True)
class Feature:
    """One number about a plan step.

    Attributes:
        name: in traces, reports and weights files.
        unit: what it counts or measures.
        source: ``model`` needs the model's probabilities, ``context`` needs words alone, and
            ``evidence`` needs a round.
        meaning: one line, for reports and the documentation.
        low: least value.
        high: largest value; infinite where there is none.
    """

    name: str
    unit: str
    source: Literal["model", "context", "evidence"]
    meaning: str
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class FeatureVector:
    """The features of one step.

    Attributes:
        values: by name, finite and within the feature's bounds; unavailable features are absent.
        substituted: names of those whose value comes from a stated substitute.
        substitutes: what stood in for what, one phrase each.
    """

    values: Mapping[str, float]
    substituted: frozenset[str] = frozenset()
    substitutes: tuple[str, ...] = ()

    def complexity(self, score: float) -> Complexity:
        """The complexity of a step with these features."""
        return Complexity(score, dict(self.values), self.substitutes)


FEATURES: tuple[Feature, ...] = (
    Feature("entropy", "nats", "model", "entropy of the next token", high=MAX_ENTROPY),
    Feature("choice_entropy", "share", "model", "entropy of the options, of the largest", high=1.0),
    Feature("choice_margin", "share", "model", "likeliest option less the next", high=1.0),
    Feature("perplexity", "tokens", "model", "perplexity of the context", low=1.0),
    Feature(
        "divergence",
        "nats",
        "model",
        "KL of the options from the last step's, or of the answers with the last from those before",
        high=MAX_DIVERGENCE,
    ),
    Feature("token_entropy", "nats", "model", "mean entropy of answers' tokens", high=MAX_ENTROPY),
    Feature("log_prob", "nats", "model", "mean log-probability of an answer", -math.inf, 0.0),
    Feature("uncertainty", "share", "model", "H, from the best source there is", high=1.0),
    *(
        Feature(name, "words", "context", f"{name} reasoning indicators in goal and state")
        for name in INDICATORS
    ),
    Feature("indicators", "share", "context", "I, density of all reasoning indicators", high=1.0),
    Feature("words", "words", "context", "length of goal and state"),
    Feature("quantities", "numbers", "context", "numbers that the goal names"),
    Feature("entities", "things", "context", "distinct things that goal and state name"),
    Feature("relations", "links", "context", "how often goal and state relate things"),
    Feature("syntactic_depth", "levels", "context", "deepest nesting in goal and state"),
    Feature("distance", "share", "context", "D, how far the goal still is", high=1.0),
    Feature("options", "actions", "context", "admissible actions, those of tools included"),
    Feature("plan_steps", "steps", "context", "length of the plan so far"),
    Feature("revisits", "steps", "context", "earlier steps in this very state"),
    Feature("candidates", "candidates", "evidence", "candidates so far"),
    Feature("agreement", "share", "evidence", "candidates behind the leading action", high=1.0),
    Feature("margin", "share", "evidence", "leading action less the runner-up", high=1.0),
    Feature("answer_entropy", "share", "evidence", "entropy of answers, of the largest", high=1.0),
    Feature("answer_tokens", "tokens", "evidence", "mean length of an answer"),
    Feature("cut_off", "share", "evidence", "answers that the token cap ended", high=1.0),
    Feature("unread", "share", "evidence", "answers without a valid action", high=1.0),
    Feature("unused", "share", "evidence", "the goal's numbers that answers leave out", high=1.0),
    Feature("p_correct", "probability", "evidence", "mean verdict of the self-check", high=1.0),
    Feature("p_right", "probability", "evidence", "mean P(right) of the candidates", high=1.0),
    Feature("leader_right", "probability", "evidence", "P(leading answer is right)", high=1.0),
    Feature("runner_up_right", "probability", "evidence", "P(the next answer is right)", high=1.0),
    Feature(
        "gain_with_tools",
        "probability",
        "evidence",
        "by how much one more candidate with tools would raise leader_right",
        high=1.0,
    ),
    Feature("gain_without_tools", "probability", "evidence", "likewise without tools", high=1.0),
)
"""The schema. A step before its first round lacks what needs a round."""

RATED = frozenset(
    {"p_right", "leader_right", "runner_up_right", "gain_with_tools", "gain_without_tools"}
)
"""Features that are there only where a rater says how probably candidates are right."""

BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}


def observe(context: StepContext, parse: Parser = structural) -> FeatureVector:
    """Returns the features of a step that are available without a model call.

    Goal and state are read from their end, `text.MAX_CHARACTERS` characters in all. A value
    that is no number of its feature, such as NaN, is left out, and a phrase says so. What a model
    without log-probabilities does not tell is estimated from two or more candidates; such a value
    is named in `substituted`, with a phrase in `substitutes`.

    Args:
        context: the step, with the evidence of its rounds so far.
        parse: reads entities, relations and depth.
    """
    features = _Builder()
    evidence = context.evidence
    probe = evidence.probe or Probe()
    _from_model(features, context, probe)
    _from_words(features, context, parse)
    _from_plan(features, context)
    _from_evidence(features, evidence, context.task.goal)
    for estimate in stand_ins(evidence):
        if features.lacks(estimate.feature):
            features.put(estimate.feature, estimate.value, estimate.phrase)
    return features.build()


@dataclass
class _Builder:
    """Puts the features of one step together, each checked against its bounds."""

    values: dict[str, float] = field(default_factory=dict)
    substituted: set[str] = field(default_factory=set)
    masked: set[str] = field(default_factory=set)
    phrases: dict[str, None] = field(default_factory=dict)

    def put(self, name: str, value: float | None, substitute: str | None = None) -> None:
        """Takes a value if there is one; `substitute` says what it stands in for."""
        if value is None:
            return
        feature = BY_NAME[name]
        if not (math.isfinite(value) and feature.low <= value <= feature.high):
            self.mask(name, f"{value:.6g}")
            return
        self.values[name] = float(value)
        if substitute is not None:
            self.substituted.add(name)
            self.phrases[substitute] = None

    def mask(self, name: str, value: str) -> None:
        """Leaves a feature out because of the value that the model gave for it."""
        self.masked.add(name)
        self.phrases[f"no {name}: the model told {value}"] = None

    def lacks(self, name: str) -> bool:
        """Whether nothing is known of a feature, neither a value nor that it was senseless."""
        return name not in self.values and name not in self.masked

    def build(self) -> FeatureVector:
        return FeatureVector(self.values, frozenset(self.substituted), tuple(self.phrases))


def _from_model(features: _Builder, context: StepContext, probe: Probe) -> None:
    evidence = context.evidence
    first = rounds.first_entropy(evidence) if probe.entropy is None else probe.entropy
    features.put("entropy", first)
    if probe.options:
        if (error := fault(probe.options.values())) is not None:
            features.mask("choice_entropy", error)
            features.mask("choice_margin", error)
        else:
            best, second, *_ = [*sorted(probe.options.values(), reverse=True), 0.0]
            features.put("choice_entropy", entropy_share(probe.options.values()))
            features.put("choice_margin", min(1.0, best - second))
    features.put("perplexity", probe.perplexity)
    features.put("token_entropy", rounds.token_entropy(evidence))
    features.put("log_prob", rounds.log_prob(evidence))
    if len(evidence.candidates) < 2 and context.steps:
        before = context.steps[-1].probe or Probe()
        if probe.options and before.options:
            error = fault(probe.options.values()) or fault(before.options.values())
            if error is not None:
                features.mask("divergence", error)
            else:
                features.put("divergence", divergence(probe.options, before.options))
    if (known := uncertainty(evidence)) is not None:
        value, source = known
        own = source == "next-token entropy"
        features.put("uncertainty", value, None if own else f"{source} for next-token entropy")


@dataclass(frozen=True, slots=True)
class _Language:
    """The counts of one text."""

    indicators: Mapping[str, int]
    density: float
    words: int


@lru_cache(maxsize=_CACHED_TEXTS)
def _language(text: str) -> _Language:
    return _Language(indicator_counts(text), reasoning_indicators(text), word_count(text))


def _from_words(features: _Builder, context: StepContext, parse: Parser) -> None:
    whole = f"{context.task.goal} {context.observation.state}"
    text = latest(whole)
    cut = None
    if len(whole) > MAX_CHARACTERS:
        cut = f"last {MAX_CHARACTERS:,} characters for the whole goal and state"
    language = _language(text)
    for name, count in language.indicators.items():
        features.put(name, count, cut)
    features.put("indicators", language.density, cut)
    features.put("words", language.words, cut)
    features.put("quantities", len(numbers(context.task.goal)))
    structure = parse(text)
    cut = structure.substitute or cut
    features.put("entities", structure.entities, cut)
    features.put("relations", structure.relations, cut)
    features.put("syntactic_depth", structure.depth, cut)
    distance, substitute = goal_distance(context)
    features.put("distance", distance, substitute)


def _from_plan(features: _Builder, context: StepContext) -> None:
    observation = context.observation
    actions = context.offered
    features.put("options", None if actions is None else len(actions))
    features.put("plan_steps", len(context.steps))
    features.put(
        "revisits",
        sum(
            bool(observation.state) and step.observation.state == observation.state
            for step in context.steps
        ),
    )


def _from_evidence(features: _Builder, evidence: Evidence, goal: str) -> None:
    features.put("candidates", len(evidence.candidates))
    features.put("agreement", evidence.agreement)
    features.put("margin", rounds.margin(evidence))
    features.put("answer_entropy", answer_entropy(evidence))
    features.put("answer_tokens", rounds.answer_tokens(evidence))
    features.put("cut_off", rounds.cut_off(evidence))
    features.put("unread", rounds.unread(evidence))
    features.put("unused", rounds.unused(evidence, goal))
    features.put("p_correct", rounds.p_correct(evidence))
    for name, value in rounds.expectations(evidence).items():
        features.put(name, value)
