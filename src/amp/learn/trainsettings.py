"""How a policy is trained, with two presets."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from amp.cost import Charge, Reward
from amp.errors import InvalidInputError, did_you_mean


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
        least_trade_off: lambda is drawn between this, for each episode,
        most_trade_off: and this.
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
    least_trade_off: float = 0.5
    most_trade_off: float = 1.0
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
        if self.least_trade_off > self.most_trade_off:
            raise InvalidInputError(
                f"least_trade_off is {self.least_trade_off}, expected at most most_trade_off, "
                f"which is {self.most_trade_off}"
            )
        if self.dual_rate and not self.most_trade_off > 0.0:
            raise InvalidInputError("most_trade_off is 0, expected more where dual_rate is set")
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
    "least_trade_off": (0.0, 1.0),
    "most_trade_off": (0.0, 1.0),
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
