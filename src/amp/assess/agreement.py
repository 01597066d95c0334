"""What agreement among the answers tells in place of a model that gives no probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from amp.assess.aftermath import answer_divergence, answer_nats, answer_perplexity, margin
from amp.assess.uncertainty import answer_entropy
from amp.types import Evidence


@dataclass(frozen=True, slots=True)
class StandIn:
    """An estimate of one feature.

    Attributes:
        feature: its name.
        value: in the feature's unit.
        phrase: what stands in for what.
    """

    feature: str
    value: float | None
    phrase: str


def stand_ins(evidence: Evidence) -> Iterator[StandIn]:
    """Estimates of what the model alone would know, the better one first.

    All need two candidates or more, except for the perplexity of the answers' own tokens.
    """
    yield StandIn(
        "perplexity",
        answer_perplexity(evidence),
        "perplexity of the answers for that of the context",
    )
    if len(evidence.candidates) < 2:
        return
    nats = answer_nats(evidence)
    yield StandIn("entropy", nats, "entropy of the answers for next-token entropy")
    yield StandIn("token_entropy", nats, "entropy of the answers for that of their tokens")
    yield StandIn(
        "perplexity",
        None if nats is None else math.exp(nats),
        "entropy of the answers for the perplexity of the context",
    )
    if evidence.agreement:
        yield StandIn(
            "log_prob",
            math.log(evidence.agreement),
            "agreement of the answers for their log-probability",
        )
    counts = "counts of the answers for the probabilities of the options"
    yield StandIn("choice_entropy", answer_entropy(evidence), counts)
    yield StandIn("choice_margin", margin(evidence), counts)
    yield StandIn(
        "divergence",
        answer_divergence(evidence),
        "divergence of the answers for that of the model's probabilities",
    )
