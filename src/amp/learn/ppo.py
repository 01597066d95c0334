"""Proximal policy optimisation (spec 2.4, 3.4.2; Schulman et al. 2017), and its state on disk.

It works over whole episodes. Where an assessor is trained as well, the gradient of the whole loss
reaches it through its score, which is an input of the policy and of the value function. So the
complexity learns to tell steps by what comes of them.

Loss and advantages are a few lines each, so they stand here; the tests hold them to the values of
TorchRL, which takes three times as long over networks this small.

A checkpoint is one safetensors file with the rest as JSON in its header, so that weights and
counters can't belong to different updates. It holds no state of a random generator: every update
draws from one of its own, made of the seed and the update's number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from amp.allocate.mlp_policy import INPUTS_VERSION, MlpPolicy
from amp.assess.neural import NeuralAssessor
from amp.errors import InvalidInputError
from amp.learn.config import PPOConfig
from amp.learn.curriculum import Curriculum
from amp.learn.networks import Networks
from amp.learn.rollout import Rollout
from amp.mlp import Floats, read_tensors, write_tensors


class NothingToLearnError(InvalidInputError):
    """All decisions were equally good."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Decisions to learn from, one row each."""

    inputs: torch.Tensor
    assessed: torch.Tensor
    latents: torch.Tensor
    free: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor

    def rows(self, rows: torch.Tensor) -> Batch:
        """Some of them."""
        return Batch(
            self.inputs[rows],
            self.assessed[rows],
            self.latents[rows],
            self.free[rows],
            self.log_probs[rows],
            self.advantages[rows],
            self.returns[rows],
        )


@dataclass(frozen=True, slots=True)
class Losses:
    """One minibatch: three losses to be added up, and what they say of the step.

    Attributes:
        policy: the negative of L^CLIP (spec 2.4).
        value: half of the mean squared error of the value function.
        entropy: mean entropy of the decisions, in nats.
        kl: how far the policy is from that which drew the decisions, by the mean of r - 1 - log r.
        clip_fraction: share of the ratios outside 1 +- epsilon.
    """

    policy: torch.Tensor
    value: torch.Tensor
    entropy: torch.Tensor
    kl: torch.Tensor
    clip_fraction: torch.Tensor

    def total(self, settings: PPOConfig) -> torch.Tensor:
        """What is made small."""
        return (
            self.policy
            + settings.value_weight * self.value
            - settings.entropy_weight * self.entropy
        )


@dataclass(frozen=True, slots=True)
class Update:
    """What an update did, as means over its minibatches.

    Attributes:
        policy_loss: see `Losses`.
        value_loss: likewise.
        entropy: likewise.
        kl: likewise, of the last minibatch.
        clip_fraction: see `Losses`.
        gradient_norm: of policy and value function, before it is clipped.
        assessor_gradient_norm: of the assessor, which is clipped apart; None where none learns.
        explained_variance: share of the variance of the returns that the value function knew.
        minibatches: how many there were, before the KL divergence ended the update.
    """

    policy_loss: float
    value_loss: float
    entropy: float
    kl: float
    clip_fraction: float
    gradient_norm: float
    assessor_gradient_norm: float | None
    explained_variance: float
    minibatches: int


def advantages(rewards: Floats, values: Floats, gamma: float, gae_lambda: float) -> Floats:
    """Generalised advantage estimates (Schulman et al. 2016) of episodes that end by themselves.

    A_t = delta_t + gamma * gae_lambda * A_(t+1), with delta_t = r_t + gamma * V_(t+1) - V_t.

    Args:
        rewards: shape (turns, episodes), 0 after the end of an episode.
        values: expected returns, likewise.
        gamma: discount factor.
        gae_lambda: 0 for the error of one step, 1 for that of the whole return.
    """
    result = np.zeros_like(values)
    following = value = np.zeros(values.shape[1:])
    for turn in reversed(range(len(values))):
        delta = rewards[turn] + gamma * value - values[turn]
        # After the end all three are 0, and stay so.
        result[turn] = following = delta + gamma * gae_lambda * following
        value = values[turn]
    return result


def losses(networks: Networks, batch: Batch, epsilon: float) -> Losses:
    """The clipped objective with one joint ratio of all that a decision drew (spec 2.4)."""
    inputs = networks.scored(batch.inputs, batch.assessed)
    log_probs, entropies = networks.log_probs(inputs, batch.latents, batch.free)
    log_ratios = log_probs - batch.log_probs
    ratios = torch.exp(log_ratios)
    clipped = torch.clamp(ratios, 1.0 - epsilon, 1.0 + epsilon)
    gain = torch.minimum(ratios * batch.advantages, clipped * batch.advantages)
    error = networks.values(inputs) - batch.returns
    with torch.no_grad():
        kl = (ratios - 1.0 - log_ratios).mean()
        outside = ((ratios - 1.0).abs() > epsilon).float().mean()
    return Losses(-gain.mean(), 0.5 * (error * error).mean(), entropies.mean(), kl, outside)


def batch_of(rollout: Rollout, networks: Networks, settings: PPOConfig) -> tuple[Batch, float]:
    """What to learn from a rollout, and the explained variance of its returns.

    Advantages have the mean 0 and the standard deviation 1.

    Raises:
        NothingToLearnError: if all decisions were equally good.
    """
    inputs = torch.as_tensor(rollout.inputs)
    with torch.no_grad():
        values = networks.values(inputs).numpy().astype(np.float64)
    table = advantages(
        rollout.grid(rollout.rewards), rollout.grid(values), settings.gamma, settings.gae_lambda
    )
    gained = table[rollout.turn, rollout.episode]
    returns = gained + values
    spread = gained.std()
    if not spread > 1e-9:
        raise NothingToLearnError(
            f"all {len(gained)} decisions had the same advantage, expected rewards that differ"
        )
    variance = returns.var()
    batch = Batch(
        inputs,
        torch.as_tensor(rollout.assessed),
        torch.as_tensor(rollout.latents),
        torch.as_tensor(rollout.free),
        torch.as_tensor(rollout.log_probs.astype(np.float32)),
        torch.as_tensor(((gained - gained.mean()) / spread).astype(np.float32)),
        torch.as_tensor(returns.astype(np.float32)),
    )
    explained = 1.0 - float(gained.var() / variance) if variance > 0 else 0.0
    return batch, explained


def update(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    rollout: Rollout,
    settings: PPOConfig,
    rng: np.random.Generator,
) -> Update:
    """Improves the networks with one rollout of the policy that they are now.

    The epochs end early when the policy has moved further than `target_kl`.
    """
    batch, explained = batch_of(rollout, networks, settings)
    groups = networks.groups()
    seen: list[tuple[float, ...]] = []
    for rows in _minibatches(len(batch.inputs), settings, rng):
        loss = losses(networks, batch.rows(rows), settings.epsilon)
        kl = loss.kl.item()
        if kl > settings.target_kl:
            break
        networks.zero_grad()
        loss.total(settings).backward()  # type: ignore[no-untyped-call]
        norms = [nn.utils.clip_grad_norm_(group, settings.gradient_norm) for group in groups]
        optimiser.step()
        networks.clamp()
        seen.append(
            (
                loss.policy.item(),
                loss.value.item(),
                loss.entropy.item(),
                loss.clip_fraction.item(),
                *(norm.item() for norm in norms),
            )
        )
    policy_loss, value_loss, entropy, clip_fraction, norm, *more = np.mean(seen, axis=0).tolist()
    return Update(
        policy_loss=policy_loss,
        value_loss=value_loss,
        entropy=entropy,
        kl=kl,
        clip_fraction=clip_fraction,
        gradient_norm=norm,
        assessor_gradient_norm=more[0] if more else None,
        explained_variance=explained,
        minibatches=len(seen),
    )


def _minibatches(
    rows: int, settings: PPOConfig, rng: np.random.Generator
) -> Iterator[torch.Tensor]:
    for _ in range(settings.epochs):
        order = torch.as_tensor(rng.permutation(rows))
        # Parts of nearly the same size: a rest of a few rows would have the say of a whole batch.
        yield from torch.tensor_split(order, max(1, round(rows / settings.batch_size)))


SCHEMA = "amp-training/1"

_RENAMED_SINCE_0_1 = {
    "least_trade_off": "min_trade_off",
    "most_trade_off": "max_trade_off",
    "reference_tokens": "reference_cost",
}


@dataclass(slots=True)
class TrainingState:
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
    ) -> TrainingState:
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


def save_checkpoint(training: TrainingState, settings: PPOConfig, path: Path) -> None:
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
) -> TrainingState:
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
        then.setdefault("cost", "tokens")
        _compare(then, settings.model_dump())
        for name, value in _frame(frame, assessor).items():
            if header[name] != value:
                raise InvalidInputError(f"{name} was {header[name]}, now it is {value}")
        # A policy checks what it is made of: shapes, finite numbers, deviations above 0.
        whole = replace(frame, mean=tensors["mean"], std=tensors["std"])
        training = TrainingState.of(whole, settings, assessor)
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
