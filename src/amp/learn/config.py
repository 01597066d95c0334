"""How a policy is trained, with two presets.

Where a policy comes from, in one TOML file: the recording, what is read, how it is learned.

From easy tasks to all of them, and from success towards efficiency (spec 3.4.3).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from amp.cost import Charge, Reward, dual_step
from amp.errors import InvalidInputError, did_you_mean
from amp.learn.rollout import Ints, Rollout
from amp.mlp import Floats


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What can be set; the defaults are the preset ``small``.

    Attributes:
        reference_tokens: the cost that counts as 1: the reference budget of the benchmark, about
            what its best fixed allocation takes.
        charge: what is charged (`amp.cost.Charge`).
        binary: whether only a whole success counts, and not its share.
        decisions: to train on, at least; the last update is not cut short.
        episodes: that each update learns from.
        hidden: units of each hidden layer, where training starts from nothing.
        learning_rate: of Adam, at the beginning.
        assessor_learning_rate: of Adam for the assessor where it learns with the policy, at the
            beginning; anneals likewise; 0 keeps it as it is.
        anneal: whether the learning rates fall to 0, linearly in the decisions.
        batch_size: decisions of a minibatch.
        epochs: how often an update goes through its decisions.
        gamma: discount factor.
        gae_lambda: of the generalised advantage estimates.
        epsilon: how far a ratio may go from 1 and still have a say.
        target_kl: an update ends when the policy has moved as far as this; `inf` for never.
        value_weight: of the value function's loss.
        entropy_weight: of the bonus for undecided policies.
        gradient_norm: longest gradient.
        min_trade_off: lambda is drawn between this, for each episode,
        max_trade_off: and this.
        efficiency_from: share of the training after which all of that range is drawn from. Before,
            its lower end, where costs weigh most, is closed; it opens linearly (spec 3.4.3).
        dual_rate: above 0, lambda is not drawn: it is what holds the mean cost at the reference
            budget, by steps of dual ascent at this rate (`amp.cost.dual_step`).
        curriculum: whether to start with the tasks of the easiest tercile.
        opens_at: mean success in the hardest open tercile at which the next one opens.
        patience: updates after which it opens in any case.
        checkpoint_every: updates between checkpoints.
        seed: of everything random.

    Raises:
        InvalidInputError: if a value is out of its range; the message names it.
    """

    reference_tokens: float = 1000.0
    charge: Charge = "always"
    binary: bool = False
    decisions: int = 500_000
    episodes: int = 256
    hidden: int = 64
    learning_rate: float = 1e-3
    assessor_learning_rate: float = 1e-3
    anneal: bool = True
    batch_size: int = 128
    epochs: int = 4
    gamma: float = 1.0
    gae_lambda: float = 0.95
    epsilon: float = 0.2
    target_kl: float = 0.03
    value_weight: float = 0.5
    entropy_weight: float = 0.001
    gradient_norm: float = 0.5
    min_trade_off: float = 0.5
    max_trade_off: float = 1.0
    efficiency_from: float = 0.3
    dual_rate: float = 0.0
    curriculum: bool = True
    opens_at: float = 0.5
    patience: int = 20
    checkpoint_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name), field.default)
        if self.min_trade_off > self.max_trade_off:
            raise InvalidInputError(
                f"min_trade_off is {self.min_trade_off}, expected at most max_trade_off, "
                f"which is {self.max_trade_off}"
            )
        if self.dual_rate and not self.max_trade_off > 0.0:
            raise InvalidInputError("max_trade_off is 0, expected more where dual_rate is set")
        _ = self.reward

    @property
    def reward(self) -> Reward:
        """What pays."""
        return Reward(self.reference_tokens, self.charge, self.binary)


PAPER: Mapping[str, Any] = {
    "learning_rate": 3e-5,
    "assessor_learning_rate": 3e-5,
    "anneal": False,
    "batch_size": 64,
    "epochs": 4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "epsilon": 0.2,
}
"""Spec 3.4.2 to the letter. On networks as small as these its learning rate hardly moves them."""

PRESETS: Mapping[str, Mapping[str, Any]] = {"small": {}, "paper": PAPER}


def train_settings(values: Mapping[str, Any]) -> TrainSettings:
    """Settings from a table: a ``preset``, and what differs from it.

    Raises:
        InvalidInputError: for an unknown key, named with the nearest that there is, an unknown
            preset, or a value out of its range.
    """
    known = (*(field.name for field in fields(TrainSettings)), "preset")
    for key in values:
        if key not in known:
            raise InvalidInputError(
                f"unknown training setting {key!r}{did_you_mean(key, known)} "
                f"(settings: {', '.join(sorted(known))})"
            )
    name = values.get("preset", "small")
    if name not in PRESETS:
        raise InvalidInputError(
            f"unknown preset {name!r}{did_you_mean(str(name), tuple(PRESETS))} "
            f"(presets: {', '.join(PRESETS)})"
        )
    own = {key: value for key, value in values.items() if key != "preset"}
    return TrainSettings(**{**PRESETS[name], **own})


def read_train_settings(path: Path) -> TrainSettings:
    """Settings from a TOML file without tables.

    Raises:
        InvalidInputError: if there is no such file, it is no TOML, or says what can't be set.
    """
    try:
        return train_settings(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise InvalidInputError(f"there are no training settings {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"training settings {path} are no TOML: {error}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"training settings {path}: {error}") from None


_RANGES = {
    "learning_rate": (1e-9, 1.0),
    "assessor_learning_rate": (0.0, 1.0),
    "gamma": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "epsilon": (1e-3, 1.0),
    "target_kl": (1e-6, math.inf),
    "gradient_norm": (1e-6, math.inf),
    "min_trade_off": (0.0, 1.0),
    "max_trade_off": (0.0, 1.0),
    "efficiency_from": (0.0, 1.0),
    "opens_at": (0.0, 1.0),
    "seed": (0, 2**31),
}


def _check(name: str, value: object, default: object) -> None:
    if isinstance(default, bool | str):
        fits, expected = isinstance(value, type(default)), type(default).__name__
    else:
        least = 1.0 if isinstance(default, int) else 0.0
        low, high = _RANGES.get(name, (least, math.inf))
        kinds = (int,) if isinstance(default, int) else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
        expected = f"{'a whole number' if kinds == (int,) else 'a number'} " + (
            f"from {low:g}" + (f" to {high:g}" if high < math.inf else "")
        )
    if not fits:
        raise InvalidInputError(f"{name} is {value!r}, expected {expected}")


Count = Annotated[int, Field(ge=1)]


class TrainConfig(BaseModel):
    """From a recording to a policy; the same config gives the same policy.

    Attributes:
        benchmark: whose tasks are learned on; of one plan step a task.
        recording: holds the samples. Paths are relative to where the command runs.
        split: of the tasks.
        limit: tasks at most, the first ones; None for all that are recorded.
        arms: arms (`amp.benchmarks.presets.ARMS`).
        samples: of each.
        rounds: a task at most.
        features: of the complexity, that the policy reads.
        assessor: file of a trained assessor of this model and benchmark that does not look; its
            score is what the policy sees. None takes the weighted sum with its initial weights.
        end_to_end: whether that assessor, a network, learns with the policy in PPO (spec 2.5, 4b).
        demonstrations: episodes on which the oracle is imitated before PPO; 0 for no pre-training.
        hidden: units of each hidden layer.
        epochs: passes over the demonstrations.
        learn: whether PPO follows.
        ppo: its settings (`amp.learn.config.TrainSettings`), a ``preset`` among them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    recording: Path
    split: str = "train"
    limit: Count | None = None
    arms: Annotated[tuple[str, ...], Field(min_length=1)] = ("program", "chain")
    samples: Count = 4
    rounds: Count = 4
    features: tuple[str, ...] = ()
    assessor: Path | None = None
    end_to_end: bool = False
    demonstrations: Annotated[
        int, Field(ge=0, validation_alias=AliasChoices("demonstrations", "lessons"))
    ] = 6000
    hidden: Count = 32
    epochs: Count = 15
    learn: bool = True
    ppo: dict[str, Any] = {}

    @property
    def settings(self) -> TrainSettings:
        """Those of PPO."""
        return train_settings({"hidden": self.hidden, **self.ppo})


def read_train_config(path: Path) -> TrainConfig:
    """Reads a config.

    With ``like = "other.toml"``, a path from its own folder, it has the keys of that config but for
    those that it names; of the table ``ppo``, key by key.

    Raises:
        InvalidInputError: if there is no such file, it is no TOML, has a key that is none, or a
            value that does not fit; the message names the file and the key.
    """
    try:
        config = TrainConfig.model_validate(_values(path))
        if not config.demonstrations and not config.learn:
            raise InvalidInputError("demonstrations is 0 and learn is false, expected one of them")
        if config.end_to_end and (config.assessor is None or not config.learn):
            lacking = "no assessor is named" if config.assessor is None else "learn is false"
            raise InvalidInputError(f"end_to_end is true and {lacking}, expected both or neither")
        _ = config.settings
    except OSError as error:
        raise InvalidInputError(
            f"training config {path} cannot be read: {error.strerror}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"training config {path} is no TOML: {error}") from None
    except ValidationError as error:
        raise InvalidInputError(f"training config {path}: {_told(error)}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"training config {path}: {error}") from None
    return config


def _values(path: Path) -> dict[str, Any]:
    """The keys of a config, those of the one that it is `like` among them."""
    own = tomllib.loads(path.read_text("utf-8"))
    if "like" not in own:
        return own
    like = own.pop("like")
    if not isinstance(like, str):
        raise InvalidInputError(f"like is {like!r}, expected the path of another config")
    base = path.parent / like
    if not base.is_file():
        raise InvalidInputError(f"like is {like!r}, but there is no config {base}")
    inherited = tomllib.loads(base.read_text("utf-8"))
    if "like" in inherited:
        raise InvalidInputError(
            f"like is {like!r}, which is like {inherited['like']!r}; name that one"
        )
    if isinstance(own.get("ppo"), dict) and isinstance(inherited.get("ppo"), dict):
        own["ppo"] = {**inherited["ppo"], **own["ppo"]}
    return {**inherited, **own}


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = sorted(TrainConfig.model_fields)
        return f"{where} is no key{did_you_mean(where, known)} (keys: {', '.join(known)})"
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where} is {first['input']!r}: {first['msg']}"


TERCILES = 3


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Where the training stands.

    Attributes:
        opened: how many terciles of the tasks are played, the easiest first.
        waited: updates since the last one opened.
        trade_off: lambda of the next update, where dual ascent finds it; else unused.
    """

    opened: int
    waited: int
    trade_off: float

    @classmethod
    def beginning(cls, settings: TrainSettings) -> Curriculum:
        return cls(1 if settings.curriculum else TERCILES, 0, settings.max_trade_off)

    def tasks(self, terciles: Ints) -> Ints:
        """Indices of the open tasks."""
        return np.flatnonzero(terciles < self.opened)

    def trade_offs(self, settings: TrainSettings, progress: float) -> tuple[float, float]:
        """Between which two lambda is drawn, after this share of the training."""
        if settings.dual_rate:
            return self.trade_off, self.trade_off
        low, high = settings.min_trade_off, settings.max_trade_off
        reached = progress / settings.efficiency_from if settings.efficiency_from else 1.0
        return high - (high - low) * min(1.0, reached), high

    def after(self, rollout: Rollout, terciles: Ints, settings: TrainSettings) -> Curriculum:
        """Where it stands after an update: the next tercile opens by success, or by patience."""
        trade_off = self.trade_off
        if settings.dual_rate:
            cost = float(rollout.tokens.mean()) / settings.reference_tokens
            trade_off = dual_step(trade_off, cost, settings.dual_rate)
        hardest = success_by_tercile(rollout, terciles)[self.opened - 1]
        waited = self.waited + 1
        good = hardest is not None and hardest >= settings.opens_at
        if self.opened < TERCILES and (good or waited >= settings.patience):
            return Curriculum(self.opened + 1, 0, trade_off)
        return Curriculum(self.opened, waited, trade_off)


def terciles_of(difficulties: Floats) -> Ints:
    """0, 1 or 2 for each task: three parts of the same size, but for one task, the easiest first.

    Equally difficult tasks are parted in their order.
    """
    ranks = np.empty(len(difficulties), np.intp)
    ranks[np.argsort(difficulties, kind="stable")] = np.arange(len(difficulties))
    return ranks * TERCILES // max(1, len(difficulties))


def success_by_tercile(rollout: Rollout, terciles: Ints) -> list[float | None]:
    """Mean success of the episodes of each; None where there was none."""
    played = terciles[rollout.tasks]
    parts = [rollout.success[played == tercile] for tercile in range(TERCILES)]
    return [float(part.mean()) if len(part) else None for part in parts]
