"""The training loop: roll out, update, write metrics, save a checkpoint; repeat.

A training is a directory: ``checkpoint.safetensors`` to resume from, ``metrics.jsonl`` with a line
per update, the same metrics as event files of TensorBoard if that is installed, and
``policy.safetensors``, the policy so far for the numpy runtime. A training that was interrupted and
resumed gives, bit by bit, the same policy as one that was not.

In end-to-end training (spec 2.5, 4b) the assessor is trained with the policy and saved in
``assessor.safetensors``; the two files belong together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from amp.allocate.mlp_policy import EXTRAS, MlpPolicy
from amp.allocate.policy_file import save_policy
from amp.assess import neural
from amp.assess.base import Training as TrainedOn
from amp.assess.neural import NeuralAssessor
from amp.errors import InvalidInputError, LimitReachedError
from amp.files import append_line, replace_file
from amp.learn.config import CHECKPOINT as CHECKPOINT
from amp.learn.config import POLICY as POLICY
from amp.learn.config import PPOConfig
from amp.learn.curriculum import success_by_tercile, terciles_of
from amp.learn.networks import normalisation, one_thread
from amp.learn.ppo import (
    NothingToLearnError,
    TrainingState,
    Update,
    load_checkpoint,
    save_checkpoint,
    update,
)
from amp.learn.rollout import EnvRollouts, Rollout, Rollouts
from amp.mlp import FAR, Ints, Layer
from amp.simulate.table_env import VectorEnv


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed, so that `scalars` writes anything."""
    return find_spec("tensorboard") is not None


@contextmanager
def scalars(
    directory: Path, updates: int
) -> Iterator[Callable[[Mapping[str, int | float | None]], None]]:
    """Opens an event file and yields a function that adds the metrics of an update to it.

    Args:
        directory: of the event files.
        updates: number of updates so far; TensorBoard hides later ones of earlier files.
    """
    if not has_tensorboard():
        yield lambda metrics: None
        return
    # Imported here, as that takes as long as several updates.
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(directory, purge_step=updates + 1) as writer:

        def add(metrics: Mapping[str, int | float | None]) -> None:
            step = int(metrics["update"] or 0)
            for name, value in metrics.items():
                if value is not None and name != "update":
                    writer.add_scalar(name, value, step)
            # As in metrics.jsonl, a training that is killed loses no finished update.
            writer.flush()

        yield add


METRICS = "metrics.jsonl"
ASSESSOR = "assessor.safetensors"

_MIN_SCORE_STD = 1.0 / FAR
"""Smallest standard deviation of the score of an assessor in training. Scores that are close to
each other at first may move anywhere in (0, 1), and an input that is clipped has no gradient."""

Metrics = dict[str, int | float | None]


def train(
    env: VectorEnv,
    settings: PPOConfig,
    directory: Path,
    *,
    start: MlpPolicy | None = None,
    assessor: NeuralAssessor | None = None,
    trained_on: TrainedOn | None = None,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
    spread: Callable[[EnvRollouts], Rollouts] = lambda rollouts: rollouts,
) -> MlpPolicy:
    """Trains a policy in an environment: `train_on` its rollouts, which may be spread elsewhere."""
    return train_on(
        spread(EnvRollouts(env, settings.reward)),
        settings,
        directory,
        start=start,
        assessor=assessor,
        trained_on=trained_on,
        resume=resume,
        on_update=on_update,
    )


def train_on(
    rollouts: Rollouts,
    settings: PPOConfig,
    directory: Path,
    *,
    start: MlpPolicy | None = None,
    assessor: NeuralAssessor | None = None,
    trained_on: TrainedOn | None = None,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
) -> MlpPolicy:
    """Trains a policy by PPO; the same seed gives the same policy.

    If a limit on the cost of the training is reached, it ends with the policy so far, and can be
    resumed.

    Args:
        rollouts: makes the episodes to learn from.
        settings: of PPO.
        directory: of the training; created if it does not exist.
        start: the initial policy, such as one that was trained by imitation; by default one near
            the sigmoids of spec 3.3.
        assessor: an assessor to train with the policy; the environment has to provide its inputs.
            None uses the scores of the environment unchanged.
        trained_on: saved with the assessor: everything that it was trained on, including this
            training.
        resume: whether to resume the training in the directory.
        on_update: called with the metrics of each update, as they are in the file.

    Raises:
        InvalidInputError: if `resume` is False and the directory has a training, or True and it has
            none or a different one; if there are no tasks, or nothing to learn on them; if values
            of the environment are invalid; or if only one of assessor and trained_on is given.
    """
    if (assessor is None) != (trained_on is None):
        raise InvalidInputError("assessor and trained_on belong together; give both or none")
    path = directory / CHECKPOINT
    if path.exists() and not resume:
        raise InvalidInputError(
            f"{directory} has a training already; resume it or train in another directory"
        )
    if not len(rollouts.difficulties):
        raise InvalidInputError("there are no tasks to train on, expected at least one")
    terciles = terciles_of(rollouts.difficulties)
    with one_thread():
        if resume:
            initial = start or _unnormalised(rollouts, settings)
            training = load_checkpoint(path, initial, settings, assessor)
        else:
            initial = _initial_policy(rollouts, settings, start, assessor)
            training = TrainingState.of(initial, settings, assessor)
            save_checkpoint(training, settings, path)
        _truncate_metrics(directory / METRICS, training.updates)
        with scalars(directory, training.updates) as add_scalars:
            while training.decisions < settings.decisions:
                try:
                    metrics = _update(training, rollouts, terciles, settings)
                except LimitReachedError:
                    _save(training, settings, directory, trained_on)
                    break
                append_line(directory / METRICS, json.dumps(metrics))
                add_scalars(metrics)
                on_update(metrics)
                finished = training.decisions >= settings.decisions
                if finished or training.updates % settings.checkpoint_every == 0:
                    _save(training, settings, directory, trained_on)
        return training.policy


def _save(
    training: TrainingState,
    settings: PPOConfig,
    directory: Path,
    trained_on: TrainedOn | None,
) -> None:
    save_policy(training.policy, directory / POLICY)
    if training.assessor is not None and trained_on is not None:
        neural.save_assessor(training.assessor, trained_on, directory / ASSESSOR)
    save_checkpoint(training, settings, directory / CHECKPOINT)


def _update(
    training: TrainingState, rollouts: Rollouts, terciles: Ints, settings: PPOConfig
) -> Metrics:
    """Makes a rollout and one update of the policy; returns the metrics."""
    began = time.perf_counter()
    rng = _generator(settings, training.updates)
    progress = training.decisions / settings.decisions
    low, high = training.curriculum.trade_offs(settings, progress)
    rollout = rollouts.collect(
        training.policy,
        rng.choice(training.curriculum.tasks(terciles), settings.episodes),
        rng.uniform(low, high, settings.episodes),
        rng,
        training.assessor,
    )
    rolled_out = time.perf_counter()
    decay = 1.0 - progress if settings.anneal else 1.0
    rates = (settings.learning_rate * decay, settings.assessor_learning_rate * decay)
    for group, rate in zip(training.optimiser.param_groups, rates, strict=False):
        group["lr"] = rate
    try:
        done = asdict(update(training.networks, training.optimiser, rollout, settings, rng))
    except NothingToLearnError:
        if not rollouts.live:
            raise
        # Live rollouts are small, and by chance no decision of this one had a choice.
        done = {field.name: None for field in fields(Update)}
    opened = training.curriculum.opened
    training.curriculum = training.curriculum.after(rollout, terciles, settings)
    training.updates += 1
    training.decisions += len(rollout.inputs)
    easy, medium, hard = success_by_tercile(rollout, terciles)
    return {
        "update": training.updates,
        "decisions": training.decisions,
        "reward": float(rollout.returns.mean()),
        "success": float(rollout.success.mean()),
        "cost": float(rollout.cost.mean()),
        "terciles_open": opened,
        "success_easy": easy,
        "success_medium": medium,
        "success_hard": hard,
        "trade_off_from": low,
        "trade_off_to": high,
        "learning_rate": rates[0],
        **done,
        **rollouts.spent,
        "seconds_rolling_out": rolled_out - began,
        "seconds_updating": time.perf_counter() - rolled_out,
    }


def _initial_policy(
    rollouts: Rollouts,
    settings: PPOConfig,
    start: MlpPolicy | None,
    assessor: NeuralAssessor | None,
) -> MlpPolicy:
    """The initial policy; its inputs are normalised by a first rollout on all tasks.

    If episodes cost model calls, that rollout has only as many tasks as an update has episodes, and
    is left out for a policy that is normalised already.
    """
    raw = replace(start or _unnormalised(rollouts, settings), deterministic=False)
    _check_fit(raw, rollouts)
    if rollouts.live and start is not None:
        return raw
    rng = np.random.default_rng((settings.seed, 0))
    count = len(rollouts.difficulties)
    tasks = rng.permutation(np.resize(np.arange(count), max(count, settings.episodes)))
    if rollouts.live:
        tasks = tasks[: settings.episodes]
    trade_offs = rng.uniform(settings.min_trade_off, settings.max_trade_off, len(tasks))
    probe = rollouts.collect(raw, tasks, trade_offs, rng, assessor)
    _check_outcomes(probe, is_anew=start is None)
    if start is not None:
        return raw if assessor is None else _uncut(raw)
    mean, std = normalisation(probe.values)
    if assessor is not None:
        score = len(raw.features) + EXTRAS.index("score")
        std[score] = max(std[score], _MIN_SCORE_STD)
    made = MlpPolicy.initial(
        raw.space,
        raw.features,
        mean=mean,
        std=std,
        hidden=settings.hidden,
        seed=settings.seed,
    )
    return replace(made, max_rounds=raw.max_rounds, max_samples=raw.max_samples)


def _uncut(policy: MlpPolicy) -> MlpPolicy:
    """The policy with an input scale of the score at which no score is clipped.

    Its decisions stay the same, except for scores that were clipped before.
    """
    score = len(policy.features) + EXTRAS.index("score")
    first, second, output = policy.layers
    weight, std = first.weight.copy(), policy.std.copy()
    std[score] = max(std[score], _MIN_SCORE_STD)
    weight[score] *= std[score] / policy.std[score]
    return replace(policy, std=std, layers=(Layer(weight, first.bias), second, output))


def _unnormalised(rollouts: Rollouts, settings: PPOConfig) -> MlpPolicy:
    policy = MlpPolicy.initial(
        rollouts.space, rollouts.features, hidden=settings.hidden, seed=settings.seed
    )
    return replace(policy, max_rounds=rollouts.max_rounds, max_samples=rollouts.max_samples)


def _check_fit(policy: MlpPolicy, rollouts: Rollouts) -> None:
    for name in ("space", "max_rounds", "max_samples", "features"):
        mine, theirs = getattr(policy, name), getattr(rollouts, name)
        if mine != theirs:
            raise InvalidInputError(
                f"the policy to begin with has {name} {mine}, the environment {theirs}"
            )


def _check_outcomes(probe: Rollout, *, is_anew: bool) -> None:
    """Refuses tasks on which nothing tells good from bad; what solves all may still get cheaper."""
    if np.ptp(probe.success) == 0.0 and (is_anew or probe.success[0] == 0.0):
        raise InvalidInputError(
            f"all {len(probe.tasks)} episodes of a first look at the tasks have the success "
            f"{probe.success[0]:g}, expected outcomes that differ; take other tasks or more of them"
        )


def _generator(settings: PPOConfig, updates: int) -> np.random.Generator:
    """A new generator for each update, so that none has to be saved; 0 is the initial policy's."""
    return np.random.default_rng((settings.seed, 1 + updates))


def _truncate_metrics(path: Path, updates: int) -> None:
    """Drops the metrics after the checkpoint, as those updates are made again."""
    lines = path.read_text("utf-8").splitlines(keepends=True)[:updates] if path.exists() else []
    replace_file(path, "".join(lines).encode())
