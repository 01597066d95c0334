"""How a policy is trained: one TOML file from the recording, or the model, to PPO.

The table ``[lattice]`` says how a lattice was recorded, where that is the ``source``; the table
``[compare]`` is what `amp lattices compare` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AliasChoices, Field, field_validator, model_validator

from amp.allocate.plan_state import OF_PLAN_TEXT, PLAN_STATE
from amp.assess.correctness import Kind
from amp.cost import COSTS, Cost
from amp.errors import InvalidInputError, did_you_mean
from amp.reward import Charge, Reward
from amp.settings import Config, FilePath, checked, read_toml
from amp.types import ProbeKind

Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
PlanLearner = Literal["values", "departures", "ppo"]

OF_LATTICES: Mapping[str, Any] = {
    "arms": (),
    "samples": 1,
    "rounds": 1,
    "features": tuple(name for name in PLAN_STATE if name not in OF_PLAN_TEXT),
}
"""What a configuration has where it names nothing else; no arms stand for all of the lattice."""

OF_PLANS: Mapping[str, Any] = {"gamma": 0.99, "gae_lambda": 0.95}
"""Preset of PPO for plans of many steps, where what comes later is worth a little less."""


class LatticeConfig(Config):
    """How a lattice was recorded (`amp record --lattice`), as far as its states depend on it.

    Attributes:
        levels: of a benchmark that has levels; the tasks of all of them are taken together.
        max_steps: plan steps of an episode at most; None for the benchmark's.
        main: the arm whose states came first, if one did.
        probes: what was measured before each step; every policy pays for it.
        cache: how much of a prompt counts as cached: what was when it was ``recorded``, or what all
            prompts of its arm begin with (``shared``), whatever had been asked before it.
    """

    levels: Annotated[tuple[str, ...], Field(min_length=1)] = ()
    max_steps: Count | None = None
    main: str | None = None
    probes: tuple[ProbeKind, ...] = ()
    cache: Literal["recorded", "shared"] = "recorded"

    @field_validator("probes")
    @classmethod
    def _known(cls, value: tuple[ProbeKind, ...]) -> tuple[ProbeKind, ...]:
        return tuple(kind for kind in get_args(ProbeKind) if kind in value)


class CompareConfig(Config):
    """On which tasks policies are compared, and which.

    Attributes:
        recording: with the lattice of the test tasks; None for that of the training tasks.
        split: of the test tasks. Those that are training tasks are left out.
        limit: test tasks of each level at most.
        learners: what is learned on the training tasks.
        seeds: how often each is learned, and how many seeds controls have.
        trade_offs: at which policies are compared, and rules tuned.
    """

    recording: FilePath | None = None
    split: str = "test"
    limit: Count | None = None
    learners: Annotated[tuple[PlanLearner, ...], Field(min_length=1)] = ("values", "ppo")
    seeds: Count = 3
    trade_offs: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.9,)


POLICY = "policy.safetensors"
"""File of the policy in the directory of a training."""
CHECKPOINT = "checkpoint.safetensors"
"""File of the state of a training that goes on."""
CORRECTNESS = "correctness.safetensors"
"""File of the heads beside it, if candidates are rated."""


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

PRESETS: Mapping[str, Mapping[str, Any]] = {"small": {}, "paper": PAPER, "plans": OF_PLANS}


class PPOConfig(Config):
    """How PPO trains; the defaults are the preset ``small``.

    Attributes:
        cost: what is charged: tokens, written, flops, dollars or seconds (`amp.cost.Cost`).
        reference_cost: the cost that counts as 1: the reference budget of the benchmark, about what
            its best fixed allocation takes; ``reference_tokens`` in files before there were others.
        charge: how it is charged (`amp.reward.Charge`).
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
            budget, by steps of dual ascent at this rate (`amp.reward.dual_step`).
        curriculum: whether to start with the tasks of the easiest tercile.
        opens_at: mean success in the hardest open tercile at which the next one opens.
        patience: updates after which it opens in any case.
        checkpoint_every: updates between checkpoints.
        seed: of everything random.
    """

    cost: Cost = "tokens"
    reference_cost: Annotated[
        float,
        Field(
            gt=0.0,
            allow_inf_nan=False,
            validation_alias=AliasChoices("reference_cost", "reference_tokens"),
        ),
    ] = 1000.0
    charge: Charge = "always"
    binary: bool = False
    decisions: Count = 500_000
    episodes: Count = 256
    hidden: Count = 64
    learning_rate: Annotated[float, Field(ge=1e-9, le=1.0)] = 1e-3
    assessor_learning_rate: Share = 1e-3
    anneal: bool = True
    batch_size: Count = 128
    epochs: Count = 4
    gamma: Share = 1.0
    gae_lambda: Share = 0.95
    epsilon: Annotated[float, Field(ge=1e-3, le=1.0)] = 0.2
    target_kl: Annotated[float, Field(ge=1e-6)] = 0.03
    value_weight: Amount = 0.5
    entropy_weight: Amount = 0.001
    gradient_norm: Annotated[float, Field(ge=1e-6)] = 0.5
    min_trade_off: Share = 0.5
    max_trade_off: Share = 1.0
    efficiency_from: Share = 0.3
    dual_rate: Amount = 0.0
    curriculum: bool = True
    opens_at: Share = 0.5
    patience: Count = 20
    checkpoint_every: Count = 10
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0

    @model_validator(mode="before")
    @classmethod
    def _reference_is_of_the_cost(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        cost = values.get("cost", "tokens")
        if cost in COSTS and cost != "tokens" and "reference_cost" not in values:
            found = "in tokens" if "reference_tokens" in values else "missing"
            raise ValueError(
                f"reference_cost is {found}, expected what counts as 1 in {COSTS[cost]}, about what"
                " the best fixed allocation takes (amp simulate --cost says)"
            )
        return values

    @model_validator(mode="after")
    def _range_of_trade_offs(self) -> Self:
        if self.min_trade_off > self.max_trade_off:
            raise ValueError(
                f"min_trade_off is {self.min_trade_off}, expected at most max_trade_off, "
                f"which is {self.max_trade_off}"
            )
        if self.dual_rate and not self.max_trade_off > 0.0:
            raise ValueError("max_trade_off is 0, expected more where dual_rate is set")
        return self

    @property
    def reward(self) -> Reward:
        """What pays."""
        return Reward(self.reference_cost, self.charge, self.binary)


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for `PPOConfig` in place of a ``preset`` and what differs from it.

    Raises:
        InvalidInputError: if there is no such preset.
    """
    own = dict(values)
    name = own.pop("preset", "small")
    if name not in PRESETS:
        raise InvalidInputError(
            f"unknown preset {name!r}{did_you_mean(str(name), tuple(PRESETS))} "
            f"(presets: {', '.join(PRESETS)})"
        )
    return {**PRESETS[name], **own}


class OnlineConfig(Config):
    """How a policy is trained in the real planner, with a model: `amp train --online`.

    Attributes:
        model: as of `amp run`; None for that of the settings.
        level: of a benchmark that has levels.
        step: what a plan step is, where there is a choice.
        start: file of the policy to begin with. None begins with what is cloned from the recording,
            where one is named, else anew.
        jobs: episodes at a time at most.
        max_calls: of the model, for the whole training, that of an earlier run which is gone on
            with included. Episodes under way when it is reached are charged, but not learned from.
        max_tokens: likewise, prompts included.
        max_dollars: likewise.
    """

    model: str | None = None
    level: str | None = None
    step: str | None = None
    start: FilePath | None = None
    jobs: Count = 4
    max_calls: Count | None = None
    max_tokens: Count | None = None
    max_dollars: Annotated[float, Field(gt=0.0)] | None = None


class TrainConfig(Config):
    """From a recording, or from a model, to a policy; the same one gives the same policy.

    Attributes:
        benchmark: whose tasks are learned on; of one plan step a task, but for a lattice.
        source: ``samples`` of every arm, or a ``lattice`` of all states that the arms reach.
        recording: holds either; needed but for training online.
        split: of the tasks.
        limit: tasks at most, the first ones (of each level); None for all that are recorded.
        arms: by name (`amp.evaluate.arms_of`).
        samples: of each.
        rounds: a plan step at most.
        features: of the complexity or of the plan, that the policy reads; in a lattice all of
            `amp.allocate.plan_state`, if the file names none, but for those of the plan's text,
            which ``departures`` alone reads.
        assessor: file of a trained assessor of this model and benchmark that asks for no probe; its
            score is what the policy sees. None takes the weighted sum with its initial weights.
        end_to_end: whether that assessor, a network, learns with the policy in PPO (spec 2.5, 4b).
        correctness: trains heads that rate each candidate, of this kind, and has the policy see the
            votes as these weigh them; None for votes of equal weight. What the policy learns from
            are ratings by heads that were trained without the task.
        learner: ``ppo`` for the policy network of spec 2.3, pre-trained by imitation and trained by
            PPO; ``router`` for one that stops by value (`amp.learn.routing`), which learns from
            fewer tasks and of the settings below reads the cost and its reference alone; on a
            lattice ``values`` likewise (`amp.learn.arm_values`), and ``departures`` from the rule
            that pays best (`amp.learn.departures`).
        ridge: of ``router``, the penalty on the squares of its weights.
        orders: of ``router``, in how many the samples of each task are taken.
        demonstrations: episodes on which the oracle is imitated before PPO; 0 for no pre-training.
        hidden: units of each hidden layer.
        epochs: passes over the demonstrations.
        learn: whether PPO follows.
        online: trains in the real planner; ``true`` in a file for its defaults, None for training
            on the recording.
        lattice: how the lattice was recorded, where that is the source.
        compare: what `amp lattices compare` compares.
        ppo: its settings. In a file they may name a ``preset``, and have `hidden` from above; on a
            lattice the preset is ``plans`` if none is named.
    """

    benchmark: str
    source: Literal["samples", "lattice"] = "samples"
    recording: FilePath | None = None
    split: str = "train"
    limit: Count | None = None
    arms: tuple[str, ...] = ("program", "chain")
    samples: Count = 4
    rounds: Count = 4
    features: tuple[str, ...] = ()
    assessor: FilePath | None = None
    end_to_end: bool = False
    correctness: Kind | None = None
    learner: Literal["ppo", "router", "values", "departures"] = "ppo"
    ridge: Annotated[float, Field(ge=0.0)] = 3.0
    orders: Count = 12
    demonstrations: Annotated[
        int, Field(ge=0, validation_alias=AliasChoices("demonstrations", "lessons"))
    ] = 6000
    hidden: Count = 32
    epochs: Count = 15
    learn: bool = True
    online: OnlineConfig | None = None
    lattice: LatticeConfig = LatticeConfig()
    compare: CompareConfig = CompareConfig()
    ppo: PPOConfig = PPOConfig(hidden=32)

    @field_validator("online", mode="before")
    @classmethod
    def _true_is_by_default(cls, value: object) -> object:
        return ({} if value else None) if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        if self.online is None and self.recording is None:
            raise ValueError("recording is missing, expected the samples to learn from")
        if self.online is not None and (self.end_to_end or not self.learn):
            what = "end_to_end is true" if self.end_to_end else "learn is false"
            raise ValueError(f"online is set and {what}, which is for training on a recording")
        if self.source == "lattice":
            self._check_lattice()
        elif not self.arms:
            raise ValueError("arms is [], expected at least 1 where the source is samples")
        elif self.learner in ("values", "departures"):
            raise ValueError(
                f'learner is {self.learner}, which is for a lattice: source = "lattice"'
            )
        if not self.demonstrations and not self.learn:
            raise ValueError("demonstrations is 0 and learn is false, expected one of them")
        if self.end_to_end and (self.assessor is None or not self.learn):
            lacking = "no assessor is named" if self.assessor is None else "learn is false"
            raise ValueError(f"end_to_end is true and {lacking}, expected both or neither")
        return self

    def _check_lattice(self) -> None:
        refused = {
            "learner": "router" if self.learner == "router" else None,
            "correctness": self.correctness,
            "assessor": self.assessor,
            "online": self.online,
        }
        for name, value in refused.items():
            if value is not None:
                raise ValueError(
                    f"{name} is {value}, which is not for a lattice; leave it out, or source ="
                    ' "samples"'
                )


def load_train_config(path: Path) -> TrainConfig:
    """Reads how to train from a TOML file.

    With ``like = "other.toml"``, a path from its own folder, it has the keys of that file but for
    those that it names; of the table ``ppo``, key by key. Of a lattice, what neither names is as
    `OF_LATTICES` has it.

    Raises:
        InvalidInputError: as `amp.settings.load_toml`, or if `like` names no such file, or one that
            has a `like` of its own.
    """
    values = _values(path)
    if values.get("source") == "lattice":
        values = {**OF_LATTICES, **values}
    if isinstance(ppo := values.get("ppo", {}), dict):
        if values.get("source") == "lattice":
            ppo = {"preset": "plans", **ppo}
        hidden = values.get("hidden", TrainConfig.model_fields["hidden"].default)
        try:
            values["ppo"] = {"hidden": hidden, **with_preset(ppo)}
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: ppo: {error}") from None
    return checked(TrainConfig, values, str(path), path.parent)


def _values(path: Path) -> dict[str, Any]:
    """The keys of a file, those of the one that it is `like` among them."""
    own = read_toml(path)
    if "like" not in own:
        return own
    like = own.pop("like")
    if not isinstance(like, str):
        raise InvalidInputError(f"{path}: like is {like!r}, expected the path of another file")
    base = path.parent / like
    if not base.is_file():
        raise InvalidInputError(f"{path}: like is {like!r}, but there is no file {base}")
    inherited = read_toml(base)
    if "like" in inherited:
        raise InvalidInputError(
            f"{path}: like is {like!r}, which is like {inherited['like']!r}; name that one"
        )
    for name in ("recording", "assessor"):
        if name in inherited:
            inherited[name] = str(Path(like).parent / str(inherited[name]))
    if isinstance(own.get("ppo"), dict) and isinstance(inherited.get("ppo"), dict):
        own["ppo"] = {**inherited["ppo"], **own["ppo"]}
    return {**inherited, **own}
