"""Supervised pre-training of the CAM: from annotated steps to a trained assessor (spec 3.4.1).

Two scorers learn from the same examples, annotated steps with their features, by mean squared
error. The weighted sum has three weights and a bias, so its least squares are exact. The network is
small, there are few examples and many of them are of the same task: the penalty on its weights is
chosen by cross-validation over tasks, and several networks from different seeds are averaged. Their
average is again one network, which is what comes out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from amp.annotations.store import Annotation
from amp.assess.base import TERMS, Training, WeightedAssessor
from amp.assess.features import FEATURES, RATED, FeatureVector, observe
from amp.assess.neural import NeuralAssessor, Projection, TrainedAssessor, transformed
from amp.assess.text import Parser
from amp.benchmarks.labels import blinded, context_at
from amp.errors import InvalidInputError
from amp.learn.networks import layer_of, one_thread
from amp.mlp import Floats, Layer
from amp.models.base import ModelCard
from amp.types import Episode, Observation, ProbeKind, StepContext, Task

BLINDED_WEIGHT = 0.1
"""Of an example as a model without log-probabilities would have left it, beside the example."""


@dataclass(frozen=True, slots=True)
class Example:
    """One annotated step.

    Attributes:
        task: id of its task; examples of one task are not independent.
        candidates: how many candidates were known.
        observed: its features, without the hidden state.
        hidden: the hidden state, empty if it was not probed.
        complexity: what it should be, in [0, 1].
        weight: how much it counts.
    """

    task: str
    candidates: int
    observed: FeatureVector
    hidden: tuple[float, ...]
    complexity: float
    weight: float


def examples(
    annotations: Iterable[Annotation], episodes: Sequence[Episode], parse: Parser
) -> list[Example]:
    """Puts annotations and the steps that they speak of together.

    An annotation of a step that no episode holds is taken at its own words: its goal and its state,
    without anything of the model. All annotations of one step with equally many candidates count
    together as one, so that neither many annotators nor many samples make a step weigh more. Each
    example that has something of the model comes a second time without it, so that what is learned
    holds for black-box models, too.
    """
    known = {episode.task.id: episode for episode in episodes}
    annotations = list(annotations)
    shares = Counter((a.task, a.step, len(a.candidates)) for a in annotations)
    made: list[Example] = []
    for annotation in annotations:
        context = _context(annotation, known.get(annotation.task))
        weight = 1.0 / shares[annotation.task, annotation.step, len(annotation.candidates)]
        made.append(_example(annotation, context, parse, weight))
        blind = blinded(context)
        if blind != context:
            made.append(_example(annotation, blind, parse, BLINDED_WEIGHT * weight))
    return made


def _context(annotation: Annotation, episode: Episode | None) -> StepContext:
    if episode is not None and annotation.step < len(episode.steps):
        return context_at(episode, annotation.step, annotation.candidates)
    return StepContext(Task(annotation.task, annotation.goal), Observation(annotation.state))


def _example(annotation: Annotation, context: StepContext, parse: Parser, weight: float) -> Example:
    probe = context.evidence.probe
    return Example(
        task=annotation.task,
        candidates=len(context.evidence.candidates),
        observed=observe(context, parse),
        hidden=() if probe is None else probe.hidden,
        complexity=annotation.complexity,
        weight=weight,
    )


_MEMBERS_IN_FOLDS = 2
_CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """How the network is trained.

    Attributes:
        directions: coordinates of the hidden state that it sees, where there is one; 0 for none.
        units: of each member's hidden layer.
        members: networks that are averaged.
        epochs: steps of Adam over all examples at once.
        learning_rate: of Adam.
        penalties: on the squares of the weights, to choose among.
        folds: of the cross-validation.
        seed: of everything random.
    """

    directions: int = 8
    units: int = 16
    members: int = 8
    epochs: int = 300
    learning_rate: float = 0.01
    penalties: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    folds: int = 5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a scorer fits tasks that it was not trained on, in cross-validation over tasks.

    Attributes:
        error: mean squared error.
        constant_error: that of always saying the mean complexity of the training folds.
        penalty: on the squares of the network's weights, chosen for the least error; 0 for the
            weighted sum, which has none.
        tasks: how many.
        examples: how many, those without anything of the model among them.
    """

    error: float
    constant_error: float
    penalty: float
    tasks: int
    examples: int


def train_weighted(
    examples: Sequence[Example],
    probes: frozenset[ProbeKind],
    parse: Parser,
    settings: PretrainSettings = PretrainSettings(),
) -> tuple[WeightedAssessor, Fit]:
    """Learns alpha, beta, gamma and a bias by least squares.

    Raises:
        InvalidInputError: if there are fewer tasks than folds, or no term varies.
    """
    error = constant = 0.0
    for inside, outside in _folds(examples, settings):
        design = _least_squares(inside, probes, parse)
        predicted = np.array([design.score(e.observed).score for e in outside])
        error += _error(predicted, outside)
        constant += _error(np.full(len(outside), _mean(inside)), outside)
    fit = _fit(examples, error, constant, penalty=0.0)
    return _least_squares(examples, probes, parse), fit


def train_neural(
    examples: Sequence[Example],
    probes: frozenset[ProbeKind],
    parse: Parser,
    settings: PretrainSettings = PretrainSettings(),
) -> tuple[NeuralAssessor, Fit]:
    """Learns NN_phi; the same examples and settings give the same network.

    Raises:
        InvalidInputError: if there are fewer tasks than folds.
    """
    errors, constant = dict.fromkeys(settings.penalties, 0.0), 0.0
    for inside, outside in _folds(examples, settings):
        frame = _untrained(inside, settings.directions, probes, parse)
        x, held = _inputs(frame, inside), _inputs(frame, outside)
        constant += _error(np.full(len(outside), _mean(inside)), outside)
        for penalty in settings.penalties:
            layers = _average(_train(x, inside, penalty, settings, _MEMBERS_IN_FOLDS))
            errors[penalty] += _error(replace(frame, layers=layers).predict(held), outside)
    best = min(errors, key=lambda penalty: errors[penalty])
    frame = _untrained(examples, settings.directions, probes, parse)
    members = _train(_inputs(frame, examples), examples, best, settings, settings.members)
    fit = _fit(examples, errors[best], constant, best)
    return replace(frame, layers=_average(members)), fit


def _folds(
    examples: Sequence[Example], settings: PretrainSettings
) -> Iterator[tuple[list[Example], list[Example]]]:
    """Parts the examples by their tasks, into those to learn from and those left out."""
    tasks = sorted({example.task for example in examples})
    if len(tasks) < settings.folds:
        raise InvalidInputError(
            f"{len(tasks)} tasks with annotated steps, expected at least {settings.folds}; "
            "annotate steps of more tasks"
        )
    order = np.random.default_rng(settings.seed).permutation(len(tasks))
    fold_of = {tasks[index]: number % settings.folds for number, index in enumerate(order)}
    for fold in range(settings.folds):
        yield (
            [e for e in examples if fold_of[e.task] != fold],
            [e for e in examples if fold_of[e.task] == fold],
        )


def _least_squares(
    examples: Sequence[Example], probes: frozenset[ProbeKind], parse: Parser
) -> WeightedAssessor:
    weights, target = _targets(examples)
    table = np.array([[e.observed.values.get(term, np.nan) for term in TERMS] for e in examples])
    known = ~np.isnan(table)
    total = (known * weights[:, None]).sum(0)
    filled = (np.where(known, table, 0.0) * weights[:, None]).sum(0)
    typical = np.where(total > 0, filled / np.maximum(total, _CONSTANT), 0.5)
    # Centred, so that a term that does not vary gets no weight: the bias says what it says.
    design = np.where(known, table - typical, 0.0) * np.sqrt(weights)[:, None]
    mean = float(np.average(target, weights=weights))
    slopes, *_ = np.linalg.lstsq(design, (target - mean) * np.sqrt(weights), rcond=_CONSTANT)
    alpha, beta, gamma = slopes.tolist()
    bias = mean - float(slopes @ typical)
    means = dict(zip(TERMS, typical.tolist(), strict=True))
    return WeightedAssessor(alpha, beta, gamma, bias, means, probes, parse)


def _untrained(
    examples: Sequence[Example], directions: int, probes: frozenset[ProbeKind], parse: Parser
) -> NeuralAssessor:
    """A network of nothing yet: what it reads, and how that is normalised, from these examples."""
    states = sorted({example.hidden for example in examples if example.hidden})
    k = min(directions, len(states) - 1)
    # The same step comes with more and with less evidence: each state counts once.
    projection = Projection.fit(np.array(states), k) if k >= 1 else None
    hidden = projection.names if projection is not None else ()
    # Without a rater these would say nothing but that there is none.
    rated = any(not RATED.isdisjoint(example.observed.values) for example in examples)
    own = (f.name for f in FEATURES if rated or f.name not in RATED)
    names = (*own, *hidden)
    nothing = Layer(np.zeros((3 * len(names), 1), np.float32), np.zeros(1, np.float32))
    unit = np.ones(len(names), np.float32)
    raw = NeuralAssessor(names, 0 * unit, unit, (nothing,), projection, probes, parse)
    values = [raw.project(example.observed, example.hidden).values for example in examples]
    table = np.array(
        [[transformed(name, row.get(name, math.nan)) for name in names] for row in values], float
    )
    known = ~np.isnan(table)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, table, 0.0).sum(0) / count
    spread = np.sqrt((np.where(known, table - mean, 0.0) ** 2).sum(0) / count)
    std = np.where(spread > _CONSTANT, spread, 1.0)
    return replace(raw, mean=mean.astype(np.float32), std=std.astype(np.float32))


def _inputs(frame: NeuralAssessor, examples: Sequence[Example]) -> Floats:
    return np.array([frame.encode(frame.project(e.observed, e.hidden)) for e in examples])


def _train(
    inputs: Floats,
    examples: Sequence[Example],
    penalty: float,
    settings: PretrainSettings,
    members: int,
) -> list[tuple[Layer, Layer]]:
    """Trains networks of one hidden layer that differ in their seeds alone."""
    weights, target = _targets(examples)
    x, y = torch.as_tensor(inputs), torch.as_tensor(target, dtype=torch.float32)
    share = torch.as_tensor(weights / weights.sum(), dtype=torch.float32)
    with one_thread():
        return [
            _train_member(x, y, share, penalty, settings, settings.seed + member)
            for member in range(members)
        ]


def _train_member(
    x: torch.Tensor,
    y: torch.Tensor,
    share: torch.Tensor,
    penalty: float,
    settings: PretrainSettings,
    seed: int,
) -> tuple[Layer, Layer]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = nn.Linear(x.shape[1], settings.units), nn.Linear(settings.units, 1)
    network = nn.Sequential(first, nn.Tanh(), second, nn.Sigmoid())
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    for _ in range(settings.epochs):
        optimiser.zero_grad()
        error = (share * (network(x)[:, 0] - y) ** 2).sum()
        loss = error + penalty * (first.weight.square().sum() + second.weight.square().sum())
        loss.backward()
        optimiser.step()
    return layer_of(first), layer_of(second)


def _average(members: Sequence[tuple[Layer, Layer]]) -> tuple[Layer, Layer]:
    """One network whose logit is the mean of theirs: their hidden units side by side."""
    first = Layer(
        np.concatenate([m[0].weight for m in members], axis=1),
        np.concatenate([m[0].bias for m in members]),
    )
    second = Layer(
        np.concatenate([m[1].weight for m in members]) / len(members),
        np.mean([m[1].bias for m in members], axis=0),
    )
    return first, second


def _targets(examples: Sequence[Example]) -> tuple[Floats, Floats]:
    weights = np.array([example.weight for example in examples])
    return weights, np.array([example.complexity for example in examples])


def _mean(examples: Sequence[Example]) -> float:
    weights, target = _targets(examples)
    return float(np.average(target, weights=weights))


def _error(predicted: Floats, examples: Sequence[Example]) -> float:
    """The weighted sum of squared errors."""
    weights, target = _targets(examples)
    return float((weights * (target - predicted) ** 2).sum())


def _fit(examples: Sequence[Example], error: float, constant: float, penalty: float) -> Fit:
    total = math.fsum(example.weight for example in examples)
    tasks = len({example.task for example in examples})
    return Fit(error / total, constant / total, penalty, tasks, len(examples))


@dataclass(frozen=True, slots=True)
class Trained:
    """An assessor, and how well its kind fits tasks that it was not trained on."""

    assessor: TrainedAssessor
    fit: Fit


def train_assessor(
    kind: str,
    episodes: Sequence[Episode],
    annotations: Sequence[Annotation],
    parse: Parser,
    seed: int = 0,
) -> Trained:
    """Trains an assessor that looks at what was looked at in the episodes.

    Args:
        kind: ``neural`` or ``weighted``.
        episodes: where the annotated steps are found.
        annotations: what to learn.
        parse: how the structure of text is found.
        seed: of everything random.

    Raises:
        InvalidInputError: if there is too little to learn from, or no such kind.
    """
    made = examples(annotations, episodes, parse)
    probes = probes_in(episodes)
    settings = PretrainSettings(seed=seed)
    if kind == "neural":
        return Trained(*train_neural(made, probes, parse, settings))
    if kind == "weighted":
        return Trained(*train_weighted(made, probes, parse, settings))
    raise InvalidInputError(f"kind is {kind!r}, expected neural or weighted")


def probes_in(episodes: Sequence[Episode]) -> frozenset[ProbeKind]:
    """What was looked at before the first round of any step."""
    seen: set[ProbeKind] = set()
    for probe in (step.probe for episode in episodes for step in episode.steps):
        if probe is None:
            continue
        if probe.options:
            seen.add("options")
        if probe.entropy is not None:
            seen.add("next_token")
        if probe.hidden:
            seen.add("hidden")
        if probe.perplexity is not None:
            seen.add("perplexity")
    return frozenset(seen)


def training_of(card: ModelCard, environment: str, annotations: Sequence[Annotation]) -> Training:
    """What goes beside the weights into their file."""
    tasks = tuple(sorted({note.task for note in annotations}))
    return Training(card.name, environment, card.sha256, tasks)
