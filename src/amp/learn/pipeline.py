"""A policy from a recording: a table of its samples, imitation of the oracle, then PPO."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import CurvePoint, Origin, save_policy
from amp.assess import assessor_file
from amp.assess.base import Assessor
from amp.assess.features import BY_NAME
from amp.assess.neural import NeuralAssessor
from amp.assess.weighted import WeightedAssessor
from amp.benchmarks.base import Benchmark
from amp.cost import Reward
from amp.errors import InvalidInputError, did_you_mean
from amp.learn.behaviour_cloning import ImitationSettings, demonstrate, imitate
from amp.learn.config import TrainConfig
from amp.learn.rollout import Rollout, roll_out
from amp.learn.trainer import ASSESSOR, POLICY, Metrics, train
from amp.mlp import Layer
from amp.models.base import ModelCard
from amp.simulate.build import opening_contexts, table_from_recording
from amp.simulate.lattice import ORDERED, check_arms, env_from_samples
from amp.simulate.samples import Arm
from amp.simulate.table_env import TableEnv

CURVE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
"""Trade-offs at which a new policy is measured on its training tasks."""

_REPEATS = 20
"""Orders of the samples for that."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A trained assessor, and what it has learned from."""

    assessor: assessor_file.TrainedAssessor
    trained_on: assessor_file.Training


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a config learns from.

    Attributes:
        table: the recorded draws as an environment.
        card: the model that they are from.
        scorer: what the scores of the table are of; None for the weighted sum as it begins.
    """

    table: TableEnv
    card: ModelCard
    scorer: Scorer | None = None


def load_dataset(
    config: TrainConfig, benchmark: Benchmark, on_task: Callable[[str], None] = lambda task: None
) -> Dataset:
    """The recorded draws of a config, as its assessor scores them.

    What tells the order of the samples (`amp.simulate.lattice.ORDERED`) is taken from an assessor
    that is a network: it is missing to it from here on, and so it is to the one that is kept.

    Args:
        config: says which.
        benchmark: that of the config.
        on_task: is told of each task when it is worked out.

    Raises:
        InvalidInputError: for an unknown arm or feature, arms that lack one that a policy may
            choose, a benchmark of several steps, or an assessor that is of another model or
            benchmark, probes, or cannot learn as the config wants it.
        RecordingError: if the recording is none or lacks samples.
    """
    space, known_arms = benchmark.defaults.policy_space, benchmark.defaults.arms
    if space is None:
        raise InvalidInputError(
            f"no policy can be learned on {benchmark.name}: its defaults have no policy_space,"
            " since a task is not one plan step or has no arms to choose from"
        )
    for what, names, known in (
        ("arm", config.arms, tuple(known_arms)),
        ("feature", config.features, tuple(BY_NAME)),
    ):
        for name in names:
            if name not in known:
                raise InvalidInputError(
                    f"unknown {what} {name!r}{did_you_mean(name, known)} ({', '.join(known)})"
                )
    arms = tuple(Arm(name, known_arms[name]) for name in config.arms)
    check_arms(arms, space)
    tasks = benchmark.tasks(config.split, config.limit)
    samples = table_from_recording(
        config.recording, benchmark, tasks, arms, config.samples, incomplete="leave out"
    )
    scorer = _scorer(config, samples.card)
    made = env_from_samples(
        samples,
        space,
        config.features,
        WeightedAssessor(probes=frozenset()) if scorer is None else scorer.assessor,
        opening_contexts(benchmark, tasks),
        config.rounds,
        on_task,
    )
    return Dataset(made, samples.card, scorer)


def _scorer(config: TrainConfig, card: ModelCard) -> Scorer | None:
    if config.assessor is None:
        return None
    assessor, trained_on = assessor_file.load_assessor(
        config.assessor, model=card, environment=config.benchmark
    )
    if assessor.network is not None:
        return Scorer(without(assessor.network, ORDERED), trained_on)
    if config.end_to_end:
        raise InvalidInputError(
            f"assessor {config.assessor} is a weighted sum, expected a network where end_to_end is"
            " true: amp assess train --kind neural"
        )
    return Scorer(assessor, trained_on)


def without(assessor: NeuralAssessor, names: Collection[str]) -> NeuralAssessor:
    """The assessor to which these features are missing for good: it does not read them any more.

    It says of every step what the whole one says where they cannot be had.
    """
    count = len(assessor.names)
    kept = [index for index, name in enumerate(assessor.names) if name not in names]
    gone = sorted(set(range(count)) - set(kept))
    first, *others = assessor.layers
    missing = first.weight[[2 * count + index for index in gone]].sum(0)
    rows = [block * count + index for block in range(3) for index in kept]
    return replace(
        assessor,
        names=tuple(assessor.names[index] for index in kept),
        mean=assessor.mean[kept],
        std=assessor.std[kept],
        layers=(Layer(first.weight[rows], first.bias + missing), *others),
    )


def train_policy(
    config: TrainConfig,
    dataset: Dataset,
    directory: Path,
    *,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
) -> MlpPolicy:
    """Learns the policy of a config and keeps it in ``policy.safetensors`` of the directory.

    Where the config names an assessor, ``assessor.safetensors`` beside it holds the one whose
    scores the policy is to see: what has become of it in learning, or what it was.

    Args:
        config: how.
        dataset: what is learned from (`load_dataset`).
        directory: where training keeps its state.
        resume: whether to go on with the training that the directory holds.
        on_update: is told the metrics of each update of PPO.

    Raises:
        InvalidInputError: as `amp.learn.trainer.train`, and as `imitate`.
    """
    table, scorer = dataset.table, dataset.scorer
    start = _cloned(config, table) if config.demonstrations else None
    assessor, trained_on = _learning(scorer, table) if config.end_to_end else (None, None)
    if config.learn:
        policy = train(
            table,
            config.ppo,
            directory,
            start=start,
            assessor=assessor,
            trained_on=trained_on,
            resume=resume,
            on_update=on_update,
        )
    else:
        assert start is not None  # `load_train_config` sees to it
        policy = start
        directory.mkdir(parents=True, exist_ok=True)
    if assessor is not None:
        assessor = _network(assessor_file.load_assessor(directory / ASSESSOR)[0])
    elif scorer is not None:
        assessor_file.save_assessor(scorer.assessor, scorer.trained_on, directory / ASSESSOR)
    own = directory / ASSESSOR
    origin = Origin(
        config.benchmark,
        dataset.card.name,
        dataset.card.sha256,
        table.tasks,
        curve(policy, table, CURVE, assessor),
        "" if scorer is None else hashlib.sha256(own.read_bytes()).hexdigest(),
    )
    save_policy(policy, directory / POLICY, origin)
    return policy


def _cloned(config: TrainConfig, table: TableEnv) -> MlpPolicy:
    """What imitation alone makes."""
    settings = config.ppo
    examples = demonstrate(
        table,
        settings.reward,
        (settings.min_trade_off, settings.max_trade_off),
        config.demonstrations,
        np.random.default_rng(settings.seed),
    )
    cloned = imitate(
        table.space,
        table.features,
        table.max_rounds,
        examples,
        ImitationSettings(hidden=config.hidden, epochs=config.epochs, seed=settings.seed),
    )
    return replace(cloned, max_samples=table.max_samples)


def _learning(
    scorer: Scorer | None, table: TableEnv
) -> tuple[NeuralAssessor, assessor_file.Training]:
    """The assessor that is to learn, and what it will have learned from."""
    assert scorer is not None  # `load_train_config` sees to it
    tasks = tuple(sorted({*scorer.trained_on.tasks, *table.tasks}))
    return _network(scorer.assessor), replace(scorer.trained_on, tasks=tasks)


def _network(assessor: Assessor) -> NeuralAssessor:
    assert assessor.network is not None  # `_scorer` sees to it
    return assessor.network


def curve(
    policy: MlpPolicy,
    table: TableEnv,
    trade_offs: Sequence[float],
    assessor: NeuralAssessor | None = None,
    seed: int = 0,
) -> tuple[CurvePoint, ...]:
    """What a policy takes and reaches on the tasks of a table, without chance of its own.

    Args:
        policy: what is measured.
        table: where.
        trade_offs: one point each.
        assessor: gives the scores; None takes those of the table.
        seed: of the order of the samples.
    """
    points = []
    for trade_off in trade_offs:
        came = served(policy, table, trade_off, _REPEATS, assessor, seed)
        points.append(CurvePoint(trade_off, float(came.tokens.mean()), float(came.success.mean())))
    return tuple(points)


def served(
    policy: MlpPolicy,
    table: TableEnv,
    trade_off: float,
    orders: int,
    assessor: NeuralAssessor | None = None,
    seed: int = 0,
) -> Rollout:
    """Plays every task in so many orders of its samples, one after the other, as in serving.

    Args:
        policy: decides, without chance of its own.
        table: where.
        trade_off: lambda of all episodes; what they are rewarded is of no use.
        orders: episodes a task.
        assessor: gives the scores; None takes those of the table.
        seed: of the orders.
    """
    tasks = np.repeat(np.arange(len(table.tasks)), orders)
    return roll_out(
        replace(policy, deterministic=True),
        table,
        reward=Reward(1.0),
        tasks=tasks,
        trade_offs=np.full(len(tasks), trade_off),
        rng=np.random.default_rng(seed),
        assessor=assessor,
    )
