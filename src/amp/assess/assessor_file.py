"""Trained assessors on disk: safetensors with a header that says what they are for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amp.assess import features
from amp.assess.dependency import parser, parser_name
from amp.assess.neural import NeuralAssessor, Projection
from amp.assess.weighted import TERMS, WeightedAssessor
from amp.errors import InvalidInputError
from amp.mlp import Floats, Layer, read_tensors, write_tensors
from amp.models.base import ModelCard
from amp.types import ProbeKind

SCHEMA = "amp-assessor/1"


@dataclass(frozen=True, slots=True)
class Training:
    """What an assessor was trained on; signs and sizes of effects hold there and nowhere else.

    Attributes:
        model: name of the base model.
        sha256: hash of its weights; empty where there is no file.
        environment: name of the benchmark or environment.
        tasks: ids of the training tasks, so that nobody validates on them.
    """

    model: str
    environment: str
    sha256: str = ""
    tasks: tuple[str, ...] = ()


def save_assessor(
    assessor: WeightedAssessor | NeuralAssessor, training: Training, path: Path
) -> None:
    """Writes an assessor with the schema of its features and what it was trained on."""
    header = {
        "schema": SCHEMA,
        "features": str(features.VERSION),
        "parser": parser_name(assessor.parse),
        "probes": json.dumps(sorted(assessor.probes)),
        "model": training.model,
        "sha256": training.sha256,
        "environment": training.environment,
        "tasks": json.dumps(training.tasks),
    }
    if isinstance(assessor, WeightedAssessor):
        header |= {"kind": "weighted", "names": json.dumps(TERMS)}
        typical = assessor.typical
        tensors: dict[str, Floats] = {
            "weights": np.array([assessor.alpha, assessor.beta, assessor.gamma]),
            "bias": np.array([assessor.bias]),
        }
        if typical is not None:
            tensors["typical"] = np.array([typical[name] for name in TERMS])
    else:
        header |= {"kind": "neural", "names": json.dumps(assessor.names)}
        tensors = {"mean": assessor.mean, "std": assessor.std}
        for number, layer in enumerate(assessor.layers):
            tensors[f"layers.{number}.weight"] = np.ascontiguousarray(layer.weight)
            tensors[f"layers.{number}.bias"] = layer.bias
        if assessor.projection is not None:
            tensors["projection.mean"] = assessor.projection.mean
            tensors["projection.components"] = np.ascontiguousarray(assessor.projection.components)
    write_tensors(path, header, tensors)


def load_assessor(
    path: Path, *, model: ModelCard | None = None, environment: str | None = None
) -> tuple[WeightedAssessor | NeuralAssessor, Training]:
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
        training = Training(
            model=header["model"],
            sha256=header["sha256"],
            environment=header["environment"],
            tasks=tuple(json.loads(header["tasks"])),
        )
        _check(training, model, environment)
        return _assessor(header, tensors), training
    except KeyError as error:
        raise InvalidInputError(f"assessor {path} lacks {error}; train it again") from None
    except (InvalidInputError, ValueError) as error:
        raise InvalidInputError(f"assessor {path} does not fit: {error}") from None


def _check(training: Training, model: ModelCard | None, environment: str | None) -> None:
    if model is not None and (model.name, model.sha256) != (training.model, training.sha256):
        raise InvalidInputError(
            f"it was trained on model {training.model} {training.sha256[:8]}, "
            f"this is {model.name} {model.sha256[:8]}".rstrip()
        )
    if environment not in (None, training.environment):
        raise InvalidInputError(f"it was trained on {training.environment}, this is {environment}")


def _assessor(
    header: Mapping[str, str], tensors: Mapping[str, Floats]
) -> WeightedAssessor | NeuralAssessor:
    names = tuple(json.loads(header["names"]))
    probes = frozenset[ProbeKind](json.loads(header["probes"]))
    parse = parser(header["parser"])
    if header["kind"] == "weighted":
        if names != TERMS:
            raise InvalidInputError(f"it weighs {', '.join(names)}, expected {', '.join(TERMS)}")
        alpha, beta, gamma = tensors["weights"].tolist()
        typical = tensors.get("typical")
        return WeightedAssessor(
            alpha,
            beta,
            gamma,
            bias=float(tensors["bias"][0]),
            typical=None if typical is None else dict(zip(TERMS, typical.tolist(), strict=True)),
            probes=probes,
            parse=parse,
        )
    if header["kind"] != "neural":
        raise InvalidInputError(f"kind is {header['kind']!r}, expected 'weighted' or 'neural'")
    count = sum(name.startswith("layers.") for name in tensors) // 2
    projection = None
    if "projection.mean" in tensors:
        projection = Projection(tensors["projection.mean"], tensors["projection.components"])
    return NeuralAssessor(
        names=names,
        mean=tensors["mean"],
        std=tensors["std"],
        layers=tuple(
            Layer(tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"])
            for number in range(count)
        ),
        projection=projection,
        probes=probes,
        parse=parse,
    )
