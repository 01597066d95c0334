"""A training as it stands on disk: one safetensors file with the rest as JSON in its header.

One file, so that weights and counters can't belong to different updates. Chance needs no room in
it: every update draws from a generator of its own, made of the seed and the update's number.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from amp.allocate.mlp_policy import INPUTS_VERSION, MlpPolicy
from amp.assess.neural import NeuralAssessor
from amp.errors import InvalidInputError
from amp.learn.config import Curriculum, PPOConfig
from amp.learn.networks import Networks
from amp.mlp import Floats, read_tensors, write_tensors

SCHEMA = "amp-training/1"

_RENAMED_SINCE_0_1 = {"least_trade_off": "min_trade_off", "most_trade_off": "max_trade_off"}


@dataclass(slots=True)
class Training:
    """Everything that the next update depends on.

    Attributes:
        frame: the policy but for its weights: space, rounds, samples, features, normalisation.
        networks: what is learned.
        optimiser: Adam, with its moments.
        curriculum: where it stands.
        assessor_frame: the assessor as it was at the beginning; None where none learns.
        updates: how many there were.
        decisions: that they learned from.
    """

    frame: MlpPolicy
    networks: Networks
    optimiser: torch.optim.Adam
    curriculum: Curriculum
    assessor_frame: NeuralAssessor | None = None
    updates: int = 0
    decisions: int = 0

    @classmethod
    def of(
        cls, policy: MlpPolicy, settings: PPOConfig, assessor: NeuralAssessor | None = None
    ) -> Training:
        """The beginning of a training from a policy, and from an assessor that is to learn, too."""
        networks = Networks(policy, settings.seed, assessor)
        groups = [{"params": group} for group in networks.groups()]
        adam = torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)
        return cls(policy, networks, adam, Curriculum.beginning(settings), assessor)

    @property
    def policy(self) -> MlpPolicy:
        """What is learned so far, for the numpy runtime."""
        return self.networks.export(self.frame)

    @property
    def assessor(self) -> NeuralAssessor | None:
        """The assessor likewise; None where none learns."""
        return self.networks.export_assessor(self.assessor_frame)


def save_checkpoint(training: Training, settings: PPOConfig, path: Path) -> None:
    """Writes a training; a file that exists is replaced only when the new one is complete."""
    header = _frame(training.frame, training.assessor_frame) | {
        "schema": SCHEMA,
        "settings": json.dumps(settings.model_dump()),
        "curriculum": json.dumps(asdict(training.curriculum)),
        "updates": str(training.updates),
        "decisions": str(training.decisions),
    }
    tensors: dict[str, Floats] = {"mean": training.frame.mean, "std": training.frame.std}
    for name, tensor in training.networks.state_dict().items():
        tensors[f"networks.{name}"] = tensor.numpy()
    for index, moments in training.optimiser.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"adam.{index}.{name}"] = np.atleast_1d(tensor.numpy())
    write_tensors(path, header, tensors)


def load_checkpoint(
    path: Path,
    frame: MlpPolicy,
    settings: PPOConfig,
    assessor: NeuralAssessor | None = None,
) -> Training:
    """Reads what `save_checkpoint` wrote, to go on with it.

    Args:
        path: the file.
        frame: any policy of the environment's space, rounds, samples and features, and of the
            settings' size.
        settings: those of the training; only the number of decisions and of updates between
            checkpoints may differ.
        assessor: the one that it was begun with, if it learns.

    Raises:
        InvalidInputError: if there is no such checkpoint, it is broken, or it is of another
            training.
    """
    header, tensors = read_tensors(path, "checkpoint", SCHEMA)
    try:
        then = json.loads(header["settings"])
        then = {_RENAMED_SINCE_0_1.get(name, name): value for name, value in then.items()}
        _compare(then, settings.model_dump())
        for name, value in _frame(frame, assessor).items():
            if header[name] != value:
                raise InvalidInputError(f"{name} was {header[name]}, now it is {value}")
        # A policy checks what it is made of: shapes, finite numbers, deviations above 0.
        whole = replace(frame, mean=tensors["mean"], std=tensors["std"])
        training = Training.of(whole, settings, assessor)
        training.networks.load_state_dict(
            {
                name: torch.from_numpy(tensors[f"networks.{name}"].copy())
                for name in training.networks.state_dict()
            }
        )
        adam = training.optimiser.state_dict()
        adam["state"] = {
            index: {
                "step": torch.tensor(float(tensors[f"adam.{index}.step"][0])),
                **{
                    name: torch.from_numpy(tensors[f"adam.{index}.{name}"].copy())
                    for name in ("exp_avg", "exp_avg_sq")
                },
            }
            for group in adam["param_groups"]
            for index in group["params"]
            if f"adam.{index}.step" in tensors
        }
        training.optimiser.load_state_dict(adam)
        training.curriculum = Curriculum(**json.loads(header["curriculum"]))
        training.updates, training.decisions = int(header["updates"]), int(header["decisions"])
    except KeyError as error:
        raise InvalidInputError(f"checkpoint {path} lacks {error}; train again") from None
    except (InvalidInputError, RuntimeError, TypeError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise InvalidInputError(
            f"checkpoint {path} is not of this training: {first_line}; "
            "train in another directory, or with what it was begun with"
        ) from None
    return training


def _frame(policy: MlpPolicy, assessor: NeuralAssessor | None) -> dict[str, str]:
    return {
        "space": policy.space.to_json(),
        "max_rounds": str(policy.max_rounds),
        "max_samples": json.dumps(policy.max_samples),
        "features": json.dumps(policy.features),
        "inputs": str(INPUTS_VERSION),
        "assessor": "none" if assessor is None else _digest(assessor),
    }


def _digest(assessor: NeuralAssessor) -> str:
    """Tells one assessor from another, so that a training goes on with that of its beginning."""
    arrays = [assessor.mean, assessor.std]
    arrays += [array for layer in assessor.layers for array in (layer.weight, layer.bias)]
    if assessor.projection is not None:
        arrays += [assessor.projection.mean, assessor.projection.components]
    digest = hashlib.sha256(json.dumps(assessor.names).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def _compare(then: dict[str, object], now: dict[str, object]) -> None:
    for name in sorted({*then, *now} - {"decisions", "checkpoint_every"}):
        if then.get(name) != now.get(name):
            raise InvalidInputError(
                f"setting {name} was {then.get(name)}, now it is {now.get(name)}"
            )
