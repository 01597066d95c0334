"""The network of spec 3.2, C(s, p) = NN_phi(f_1, ..., f_n), in numpy, and trained ones on disk.

Among its features may be the hidden state of the base model's last token, projected so that the
vector stays small.

A file is safetensors with a header that says what the weights are for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from amp.assess import features
from amp.assess.base import Assessor, Training, WeightedAssessor
from amp.assess.features import BY_NAME, FeatureVector, observe
from amp.assess.text import Parser, find_parser, parser_name, structural
from amp.errors import InvalidInputError
from amp.mlp import Floats, Layer, normalise, read_tensors, write_tensors
from amp.models.base import ModelCard
from amp.types import Complexity, ProbeKind, StepContext


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """The first principal directions of the hidden states of training steps (spec 2.5.2).

    Attributes:
        mean: of every unit in training; shape (units,).
        components: one direction a column, scaled so that each coordinate has variance 1 over the
            training steps; shape (units, k).

    Raises:
        InvalidInputError: if shapes do not fit or a number is not finite.
    """

    mean: Floats
    components: Floats

    def __post_init__(self) -> None:
        units = self.mean.shape[0] if self.mean.ndim == 1 else -1
        if self.components.ndim != 2 or self.components.shape[0] != units:
            raise InvalidInputError(
                f"projection has mean {self.mean.shape} and components {self.components.shape}, "
                "expected (units,) and (units, k)"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.components).all()):
            raise InvalidInputError("the projection of hidden states is not finite")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates as features: hidden_0, hidden_1, ..."""
        return tuple(f"hidden_{index}" for index in range(self.components.shape[1]))

    @classmethod
    def fit(cls, states: Floats, k: int) -> Projection:
        """Principal components of standardised states, the `k` with the largest variance.

        Args:
            states: one hidden state a row, of training steps only.
            k: how many; at most one less than there are rows.

        Raises:
            InvalidInputError: if there are too few states for k, or they are not finite.
        """
        if not 1 <= k < min(states.shape):
            raise InvalidInputError(
                f"{k} directions of {states.shape[0]} hidden states of {states.shape[1]} units, "
                f"expected 1 to {max(1, min(states.shape) - 1)}"
            )
        if not np.isfinite(states).all():
            raise InvalidInputError("a hidden state has a number that is not finite")
        states = states.astype(np.float64)
        mean, std = states.mean(0), states.std(0) + 1e-6
        _, spread, directions = np.linalg.svd((states - mean) / std, full_matrices=False)
        scale = np.sqrt(len(states)) / np.maximum(spread[:k], 1e-9)
        components = directions[:k].T * scale / std[:, None]
        return cls(mean.astype(np.float32), components.astype(np.float32))

    def __call__(self, hidden: Sequence[float]) -> dict[str, float]:
        """The coordinates of a hidden state by name; empty where there is none or it is not finite.

        Raises:
            InvalidInputError: if it has another number of units: it is another model's.
        """
        if not hidden:
            return {}
        if len(hidden) != self.mean.shape[0]:
            raise InvalidInputError(
                f"a hidden state of {len(hidden)} units, expected {self.mean.shape[0]}: the "
                "projection was fitted on another model"
            )
        projected = (np.asarray(hidden, np.float32) - self.mean) @ self.components
        if not np.isfinite(projected).all():
            return {}
        return dict(zip(self.names, projected.tolist(), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class NeuralAssessor(Assessor):
    """Layers of tanh over the features and what is missing of them, and a sigmoid: C in (0, 1).

    What is counted without a bound goes in as log(1 + x), so that a long text is no outlier.

    Attributes:
        names: of the features that it reads, coordinates of the projection among them.
        mean: of each in training, after the logarithm; shape (n,).
        std: likewise, more than 0.
        layers: (3 n) inputs, hidden ones, one output.
        projection: makes coordinates of a hidden state; None reads none.
        probes: what it wants to know before the first round.
        parse: how the structure of text is found.

    Raises:
        InvalidInputError: if shapes do not fit, a name is unknown, or a number is not finite.
    """

    names: tuple[str, ...]
    mean: Floats
    std: Floats
    layers: tuple[Layer, ...]
    projection: Projection | None = None
    probes: frozenset[ProbeKind] = frozenset()
    parse: Parser = structural

    kind: ClassVar[str] = "neural"

    def __post_init__(self) -> None:
        known = {*BY_NAME, *(self.projection.names if self.projection else ())}
        for name in self.names:
            if name not in known:
                raise InvalidInputError(f"the network reads a feature {name!r} that is not known")
        n = len(self.names)
        if self.mean.shape != (n,) or self.std.shape != (n,) or not (self.std > 0).all():
            raise InvalidInputError(f"mean and std of the network, expected {n} numbers, std > 0")
        widths = [3 * n, *(layer.weight.shape[-1] for layer in self.layers)]
        if widths[-1] != 1 or not self.layers:
            raise InvalidInputError(f"the network ends in {widths[-1]} numbers, expected 1")
        for number, (layer, shape) in enumerate(zip(self.layers, pairwise(widths), strict=True)):
            if layer.weight.shape != shape or layer.bias.shape != shape[1:]:
                raise InvalidInputError(
                    f"layer {number} of the network has the shape {layer.weight.shape}, "
                    f"expected {shape}"
                )
        arrays = [self.mean, self.std, *(a for ly in self.layers for a in (ly.weight, ly.bias))]
        if not all(np.isfinite(array).all() for array in arrays):
            raise InvalidInputError("the network has a number that is not finite")

    @property
    def network(self) -> NeuralAssessor:
        return self

    def observe(self, context: StepContext) -> FeatureVector:
        """The features of a step, with the coordinates of its hidden state where it has one."""
        probe = context.evidence.probe
        return self.project(observe(context, self.parse), () if probe is None else probe.hidden)

    def score(self, features: FeatureVector) -> Complexity:
        """Returns NN_phi of the features."""
        return features.complexity(float(self.predict(self.encode(features)[None])[0]))

    def project(self, features: FeatureVector, hidden: Sequence[float]) -> FeatureVector:
        """The features with the coordinates of a hidden state; as they are where there is none."""
        if self.projection is None or not hidden:
            return features
        return replace(features, values={**features.values, **self.projection(hidden)})

    def encode(self, features: FeatureVector) -> Floats:
        """The network's input, shape (3 n,): what was measured, what stands in, what is missing.

        A substitute has a place of its own, since it need not tell the same as what it stands for.
        """
        values = [transformed(name, features.values.get(name)) for name in self.names]
        stands_in = [name in features.substituted for name in self.names]
        measured = [None if s else v for v, s in zip(values, stands_in, strict=True)]
        substitutes = [v if s else None for v, s in zip(values, stands_in, strict=True)]
        return np.concatenate(
            (
                normalise(measured, self.mean, self.std),
                normalise(substitutes, self.mean, self.std),
                np.array([value is None for value in values], self.mean.dtype),
            )
        )

    def predict(self, inputs: Floats) -> Floats:
        """C of each row of inputs, shape (rows, 3 n) to (rows,)."""
        x = inputs
        for layer in self.layers[:-1]:
            x = np.tanh(layer(x))
        return np.asarray(1.0 / (1.0 + np.exp(-self.layers[-1](x)[:, 0])))

    def to_tensors(self) -> dict[str, Floats]:
        """The parameters by name, for `amp.assess.neural`."""
        tensors = {"mean": self.mean, "std": self.std}
        for number, layer in enumerate(self.layers):
            tensors[f"layers.{number}.weight"] = layer.weight
            tensors[f"layers.{number}.bias"] = layer.bias
        if self.projection is not None:
            tensors["projection.mean"] = self.projection.mean
            tensors["projection.components"] = self.projection.components
        return tensors

    @classmethod
    def from_tensors(
        cls,
        names: tuple[str, ...],
        tensors: Mapping[str, Floats],
        probes: frozenset[ProbeKind],
        parse: Parser,
    ) -> NeuralAssessor:
        """Makes what `to_tensors` took apart.

        Raises:
            InvalidInputError: if it does not fit together.
            KeyError: if a parameter is missing.
        """
        count = sum(name.startswith("layers.") for name in tensors) // 2
        projection = None
        if "projection.mean" in tensors:
            projection = Projection(tensors["projection.mean"], tensors["projection.components"])
        layers = tuple(
            Layer(tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"])
            for number in range(count)
        )
        mean, std = tensors["mean"], tensors["std"]
        return cls(names, mean, std, layers, projection, probes, parse)


def transformed(name: str, value: float | None) -> float | None:
    """What goes into the network: sign(x) log(1 + |x|) where a feature has no bound, else x."""
    if value is None:
        return None
    feature = BY_NAME.get(name)
    if feature is None or (math.isfinite(feature.low) and math.isfinite(feature.high)):
        return value
    return math.copysign(math.log1p(abs(value)), value)


SCHEMA = "amp-assessor/1"


class TrainedAssessor(Assessor, Protocol):
    """An assessor with parameters that can be saved.

    Attributes:
        kind: a key of `KINDS`.
        names: of the features that it reads.
        parse: how the structure of text is found.
    """

    @property
    def kind(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def parse(self) -> Parser: ...

    def to_tensors(self) -> Mapping[str, Floats | Sequence[float]]:
        """The parameters by name."""
        ...


KINDS: Mapping[
    str,
    Callable[
        [tuple[str, ...], Mapping[str, Floats], frozenset[ProbeKind], Parser], TrainedAssessor
    ],
] = {"weighted": WeightedAssessor.from_tensors, "neural": NeuralAssessor.from_tensors}
"""How each kind of assessor is made from its names, parameters, probes and parser."""


def save_assessor(assessor: TrainedAssessor, training: Training, path: Path) -> None:
    """Writes an assessor with the schema of its features and what it was trained on."""
    header = {
        "schema": SCHEMA,
        "features": str(features.VERSION),
        "parser": parser_name(assessor.parse),
        "probes": json.dumps(sorted(assessor.probes)),
        "kind": assessor.kind,
        "names": json.dumps(assessor.names),
        **training.to_header(),
    }
    tensors = {n: np.ascontiguousarray(tensor) for n, tensor in assessor.to_tensors().items()}
    write_tensors(path, header, tensors)


def load_assessor(
    path: Path, *, model: ModelCard | None = None, environment: str | None = None
) -> tuple[TrainedAssessor, Training]:
    """Reads what `save_assessor` wrote.

    Args:
        path: the file.
        model: the base model that it will assess; None takes any.
        environment: the benchmark or environment; None takes any.

    Raises:
        InvalidInputError: if there is no such assessor, or it was trained for something else.
    """
    header, tensors = read_tensors(path, "assessor", SCHEMA)
    try:
        if header["features"] != str(features.VERSION):
            raise InvalidInputError(
                f"it reads features of version {header['features']}, "
                f"this is version {features.VERSION}; train it again"
            )
        training = Training.from_header(header)
        if header["kind"] not in KINDS:
            raise InvalidInputError(f"kind is {header['kind']!r}, expected {' or '.join(KINDS)}")
        assessor = KINDS[header["kind"]](
            tuple(json.loads(header["names"])),
            tensors,
            frozenset(json.loads(header["probes"])),
            find_parser(header["parser"]),
        )
    except KeyError as error:
        raise InvalidInputError(f"assessor {path} lacks {error}; train it again") from None
    except (InvalidInputError, ValueError) as error:
        raise InvalidInputError(f"assessor {path} does not fit: {error}") from None
    training.check_fit(f"assessor {path}", model=model, environment=environment)
    return assessor, training
