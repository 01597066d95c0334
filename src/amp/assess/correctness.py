"""How probably a candidate is right, before others agree with it (part of the CAM, spec 2.2).

What tells it is how sure the model was of its tokens, and what the answer looks like against what
the step asks. A head weighs these features for each way to ask, since what is usual in a program is
not in a text. The planner has every candidate rated before the votes are counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from amp.assess.base import Rater, Training
from amp.assess.evidence import share_unused
from amp.assess.uncertainty import probe_entropy
from amp.errors import InvalidInputError
from amp.mlp import Floats, Layer, encode, read_tensors, write_tensors
from amp.models.base import ModelCard
from amp.types import Candidate, StepContext

VERSION = 1
"""Of the features below and their meaning; heads trained with another version are refused."""

TOKENS = (
    "log_prob",  # mean over the tokens
    "log_prob_sum",  # log(1 - sum over the tokens)
    "least",
    "window",
    "tail",
    "first",
    "doubtful",  # log(1 + count); as shares below
    "unlikely",
    "doubtful_share",
    "unlikely_share",
    "entropy",  # mean over the tokens
    "highest",
    "first_entropy",
    "choice",  # log-probability of the action among the options
    "rank",  # log(1 + options of the probe that are likelier)
    "lead",  # its probability in the probe less that of the likeliest other
    "option_entropy",  # of the probe, of the largest possible
)
"""Features of the model's confidence; see `TokenFigures`."""

LOOKS = (
    "tool_error",
    "cut_off",
    "broken_rule",
    "length",  # log(1 + tokens)
    "lines",  # log(1 + lines)
    "unused",  # share of the goal's numbers that the text does not name
)
"""Features of any answer's look; those of `Candidate.looks` come on top, by their own names."""

Group = Literal["tokens", "looks"]
Kind = Literal["logistic", "network"]


def candidate_features(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """The features of one candidate by name; what is not known or no finite number is absent."""
    told: dict[str, float | None] = {
        "tool_error": any(use.error is not None for use in candidate.tool_uses),
        "cut_off": candidate.cut_off,
        "broken_rule": candidate.broken_rule is not None,
        "length": math.log1p(candidate.completion_tokens),
        "lines": math.log1p(candidate.text.count("\n")),
        "unused": share_unused(context.task.goal, candidate.text) if candidate.text else None,
        **candidate.looks,
        "entropy": candidate.entropy,
        "first_entropy": candidate.first_entropy,
        "choice": _log(candidate.probability),
    }
    count, total = candidate.completion_tokens, candidate.log_prob
    if count > 0 and total is not None and total <= 0.0:
        told |= {"log_prob": total / count, "log_prob_sum": math.log1p(-total)}
    told |= _among_options(context, candidate)
    if (tokens := candidate.tokens) is not None:
        told |= {
            "least": tokens.least,
            "window": tokens.window,
            "tail": tokens.tail,
            "first": tokens.first,
            "highest": tokens.highest,
        }
        for name, number in (("doubtful", tokens.doubtful), ("unlikely", tokens.unlikely)):
            if number is not None and count > 0:
                told |= {name: math.log1p(number), f"{name}_share": number / count}
    return {
        name: float(value)
        for name, value in told.items()
        if value is not None and math.isfinite(value)
    }


def _among_options(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """How the action stands among the options of the probe, if it is one of them."""
    probe, action = context.evidence.probe, candidate.action
    spread = probe_entropy(context.evidence)
    if probe is None or spread is None or action is None or action not in probe.options:
        return {}
    own = probe.options[action]
    others = [share for other, share in probe.options.items() if other != action]
    return {
        "rank": math.log1p(sum(share > own for share in others)),
        "lead": own - max(others, default=0.0),
        "option_entropy": spread,
    }


def group_of(name: str) -> Group:
    """The group of a feature."""
    return "tokens" if name in TOKENS else "looks"


def way_of(context: StepContext, candidate: Candidate) -> str:
    """How the candidate came about: ``choice``, ``text``, or the names of the tools that ran."""
    if candidate.probability is not None or context.observation.actions is not None:
        return "choice"
    return "+".join(sorted({use.tool for use in candidate.tool_uses})) or "text"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """P(right) of the candidates of one way to ask: layers of tanh, and a sigmoid.

    One layer is a logistic regression. A missing feature counts as usual, with a flag of its own.

    Attributes:
        names: of the features.
        mean: of each in training; shape (n,).
        std: likewise, more than 0.
        layers: 2 n inputs, hidden ones, one output.

    Raises:
        InvalidInputError: if shapes do not fit or a number is not finite.
    """

    names: tuple[str, ...]
    mean: Floats
    std: Floats
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.mean.shape != (n,) or self.std.shape != (n,) or not (self.std > 0).all():
            raise InvalidInputError(f"mean and std of the head, expected {n} numbers, std > 0")
        widths = [2 * n, *(layer.weight.shape[-1] for layer in self.layers)]
        if not self.layers or widths[-1] != 1:
            raise InvalidInputError(f"the head ends in {widths[-1]} numbers, expected 1")
        for number, (layer, shape) in enumerate(zip(self.layers, pairwise(widths), strict=True)):
            if layer.weight.shape != shape or layer.bias.shape != shape[1:]:
                raise InvalidInputError(
                    f"layer {number} of the head has the shape {layer.weight.shape}, expected"
                    f" {shape}"
                )
        arrays = [self.mean, self.std, *(a for ly in self.layers for a in (ly.weight, ly.bias))]
        if not all(np.isfinite(array).all() for array in arrays):
            raise InvalidInputError("the head has a number that is not finite")
        largest = max(float(np.abs(layer.weight).max(initial=0.0)) for layer in self.layers)
        if largest > _LARGEST:  # sums of such could be no number any more
            raise InvalidInputError(
                f"the head has a weight of {largest:.3g}, expected at most {_LARGEST:.0g}"
            )

    def encode(self, features: Mapping[str, float]) -> Floats:
        """The input of the layers, shape (2 n,)."""
        return encode([features.get(name) for name in self.names], self.mean, self.std)

    def logits(self, inputs: Floats) -> Floats:
        """log(p / (1 - p)) of each row of inputs, shape (rows, 2 n) to (rows,)."""
        x = inputs
        for layer in self.layers[:-1]:
            x = np.tanh(layer(x))
        return np.asarray(self.layers[-1](x)[:, 0])

    def p_right(self, features: Mapping[str, float]) -> float:
        """The probability that a candidate with these features is right."""
        logit = float(self.logits(self.encode(features)[None])[0])
        return 1.0 / (1.0 + math.exp(-min(max(logit, -_FAR), _FAR)))


_FAR = 30.0
_LARGEST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Correctness(Rater):
    """A trained head for each way to ask.

    Attributes:
        heads: by the name that `way_of` gives.
        kind: ``logistic`` or ``network``.

    Raises:
        InvalidInputError: if there is no head.
    """

    heads: Mapping[str, Head]
    kind: Kind = "logistic"

    def __post_init__(self) -> None:
        if not self.heads:
            raise InvalidInputError("a correctness head for no way to ask, expected at least one")

    def rate(self, context: StepContext, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """See `Rater`; a candidate without an action is right with probability 0.

        One of a way that was not seen in training keeps `p_right` as it is.
        """
        return tuple(self._rated(context, candidate) for candidate in candidates)

    def _rated(self, context: StepContext, candidate: Candidate) -> Candidate:
        if candidate.action is None:
            return replace(candidate, p_right=0.0)
        head = self.heads.get(way_of(context, candidate))
        if head is None:
            return candidate
        return replace(candidate, p_right=head.p_right(candidate_features(context, candidate)))


SCHEMA = "amp-correctness/1"


def save_correctness(correctness: Correctness, training: Training, path: Path) -> None:
    """Writes heads with the version of their features and what they were trained on."""
    header = {
        "schema": SCHEMA,
        "features": str(VERSION),
        "kind": correctness.kind,
        "ways": json.dumps({way: head.names for way, head in correctness.heads.items()}),
        **training.to_header(),
    }
    tensors: dict[str, Floats] = {}
    for way, head in correctness.heads.items():
        tensors |= {f"{way}.mean": head.mean, f"{way}.std": head.std}
        for number, layer in enumerate(head.layers):
            tensors[f"{way}.{number}.weight"] = np.ascontiguousarray(layer.weight)
            tensors[f"{way}.{number}.bias"] = np.ascontiguousarray(layer.bias)
    write_tensors(path, header, tensors)


def load_correctness(
    path: Path, *, model: ModelCard | None = None, environment: str | None = None
) -> tuple[Correctness, Training]:
    """Reads what `save_correctness` wrote.

    Args:
        path: the file.
        model: the base model whose candidates it will rate; None takes any.
        environment: the benchmark or environment; None takes any.

    Raises:
        InvalidInputError: if there is no such file, or it was trained for something else.
    """
    header, tensors = read_tensors(path, "correctness head", SCHEMA)
    try:
        if header["features"] != str(VERSION):
            raise InvalidInputError(
                f"it reads features of version {header['features']}, "
                f"this is version {VERSION}; train it again"
            )
        if header["kind"] not in get_args(Kind):
            raise InvalidInputError(
                f"kind is {header['kind']!r}, expected {' or '.join(get_args(Kind))}"
            )
        training = Training.from_header(header)
        correctness = Correctness(
            {way: _head(way, names, tensors) for way, names in json.loads(header["ways"]).items()},
            cast(Kind, header["kind"]),
        )
    except KeyError as error:
        raise InvalidInputError(f"correctness head {path} lacks {error}; train it again") from None
    except (AttributeError, InvalidInputError, TypeError, ValueError) as error:
        raise InvalidInputError(f"correctness head {path} does not fit: {error}") from None
    training.check_fit(f"correctness head {path}", model=model, environment=environment)
    return correctness, training


def _head(way: str, names: Sequence[str], tensors: Mapping[str, Floats]) -> Head:
    count = sum(name.startswith(f"{way}.") and name.endswith(".weight") for name in tensors)
    layers = tuple(
        Layer(tensors[f"{way}.{number}.weight"], tensors[f"{way}.{number}.bias"])
        for number in range(count)
    )
    return Head(tuple(names), tensors[f"{way}.mean"], tensors[f"{way}.std"], layers)


def bundled_correctness(benchmark: str, card: ModelCard) -> Path | None:
    """The heads that come with this package for a benchmark and model; None if there are none."""
    for path in sorted(_BUNDLED.glob("*.safetensors")):
        _, training = load_correctness(path)
        same = training.sha256 == card.sha256 if card.sha256 else training.model == card.name
        if same and training.environment == benchmark:
            return path
    return None


_BUNDLED = Path(__file__).parents[1] / "data" / "correctness"


def _log(probability: float | None) -> float | None:
    return None if probability is None or not 0.0 < probability <= 1.0 else math.log(probability)
