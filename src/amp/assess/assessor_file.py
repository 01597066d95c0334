"""Trained assessors on disk: safetensors with a header that says what they are for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from amp.assess import features
from amp.assess.base import Assessor, WeightedAssessor
from amp.assess.neural import NeuralAssessor
from amp.assess.text import Parser, find_parser, parser_name
from amp.errors import InvalidInputError
from amp.mlp import Floats, read_tensors, write_tensors
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
        tasks: ids of the training tasks, which no validation may use.
    """

    model: str
    environment: str
    sha256: str = ""
    tasks: tuple[str, ...] = ()


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
        "model": training.model,
        "sha256": training.sha256,
        "environment": training.environment,
        "tasks": json.dumps(training.tasks),
        "kind": assessor.kind,
        "names": json.dumps(assessor.names),
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
        training = Training(
            model=header["model"],
            sha256=header["sha256"],
            environment=header["environment"],
            tasks=tuple(json.loads(header["tasks"])),
        )
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
    check_fit(path, training, model=model, environment=environment)
    return assessor, training


def check_fit(
    path: Path,
    training: Training,
    *,
    model: ModelCard | None = None,
    environment: str | None = None,
) -> None:
    """Refuses an assessor that was trained for another model or environment; None takes any.

    Raises:
        InvalidInputError: if it was; names the file and both.
    """
    if model is not None and (model.name, model.sha256) != (training.model, training.sha256):
        raise InvalidInputError(
            f"assessor {path} does not fit: it was trained on model {training.model} "
            f"{training.sha256[:8]}, this is {model.name} {model.sha256[:8]}".rstrip()
        )
    if environment not in (None, training.environment):
        raise InvalidInputError(
            f"assessor {path} does not fit: it was trained on {training.environment}, "
            f"this is {environment}"
        )
