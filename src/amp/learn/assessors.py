"""From judged or annotated episodes to a trained assessor of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amp.annotations.base import Annotation
from amp.assess.neural import NeuralAssessor
from amp.assess.structure import Parser
from amp.assess.weighted import WeightedAssessor
from amp.assess.weights import Training
from amp.errors import InvalidInputError
from amp.learn.examples import examples
from amp.learn.pretrain import Fit, PretrainSettings, train_neural, train_weighted
from amp.models.base import ModelCard
from amp.types import Episode, LookKind


@dataclass(frozen=True, slots=True)
class Trained:
    """An assessor, and how well its kind fits tasks that it was not trained on."""

    assessor: WeightedAssessor | NeuralAssessor
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
    looks = looks_in(episodes)
    settings = PretrainSettings(seed=seed)
    if kind == "neural":
        return Trained(*train_neural(made, looks, parse, settings))
    if kind == "weighted":
        return Trained(*train_weighted(made, looks, parse, settings))
    raise InvalidInputError(f"kind is {kind!r}, expected neural or weighted")


def looks_in(episodes: Sequence[Episode]) -> frozenset[LookKind]:
    """What was looked at before the first round of any step."""
    seen: set[LookKind] = set()
    for look in (step.look for episode in episodes for step in episode.steps):
        if look is None:
            continue
        if look.options:
            seen.add("options")
        if look.entropy is not None:
            seen.add("next_token")
        if look.hidden:
            seen.add("hidden")
        if look.perplexity is not None:
            seen.add("perplexity")
    return frozenset(seen)


def training_of(card: ModelCard, environment: str, annotations: Sequence[Annotation]) -> Training:
    """What goes beside the weights into their file."""
    tasks = tuple(sorted({note.task for note in annotations}))
    return Training(card.name, environment, card.sha256, tasks)
