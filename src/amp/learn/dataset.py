"""What a training configuration learns from: recorded samples, rated and scored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from amp.assess import neural
from amp.assess.base import Training, WeightedAssessor
from amp.assess.correctness import Correctness
from amp.assess.features import BY_NAME
from amp.assess.neural import NeuralAssessor
from amp.benchmarks.base import Benchmark
from amp.cost import costing
from amp.errors import InvalidInputError, did_you_mean
from amp.learn.config import TrainConfig
from amp.learn.correctness import CorrectnessSettings, judged_samples, train_correctness
from amp.mlp import Layer
from amp.models.base import ModelCard
from amp.simulate.build import opening_contexts, table_from_recording, with_p_right
from amp.simulate.sample_env import ORDERED, check_arms, env_from_samples
from amp.simulate.samples import Arm, SampleTable
from amp.simulate.table_env import TableEnv
from amp.types import StepContext

CURVE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
"""Trade-offs at which a new policy is measured on its training tasks."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A trained assessor, and what it has learned from."""

    assessor: neural.TrainedAssessor
    trained_on: Training


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a config learns from.

    Attributes:
        table: the recorded samples as an environment.
        card: the model that they are from.
        scorer: what the scores of the table are of; None for the weighted sum as it begins.
        correctness: the heads that were trained on its samples; None if these are not rated.
    """

    table: TableEnv
    card: ModelCard
    scorer: Scorer | None = None
    correctness: Correctness | None = None


def load_dataset(
    config: TrainConfig, benchmark: Benchmark, on_task: Callable[[str], None] = lambda task: None
) -> Dataset:
    """The recorded samples of a config, as its assessor scores them.

    What tells the order of the samples (`amp.simulate.sample_env.ORDERED`) is taken from an
    assessor that is a network: it is missing to it from here on, and so it is to the one that is
    kept.

    Args:
        config: says which.
        benchmark: that of the config.
        on_task: called with each task when its part of the table is done.

    Raises:
        InvalidInputError: for an unknown arm or feature, arms that lack one that a policy may
            choose, a benchmark of several steps, or an assessor that is of another model or
            benchmark, probes, or cannot learn as the config wants it.
        RecordingError: if the recording is none or lacks samples.
    """
    space = benchmark.defaults.policy_space
    if space is None:
        raise InvalidInputError(
            f"no policy can be learned on {benchmark.name}: its defaults have no policy_space,"
            " since a task is not one plan step or has no arms to choose from"
        )
    _check_names("feature", config.features, BY_NAME)
    found = load_samples(config, benchmark)
    check_arms({arm.name: arm.allocation for arm in found.table.arms}, space)
    scorer = _scorer(config, found.table.card)
    costing(config.ppo.cost, found.table.card)  # refuses what is not known, before the work
    made = env_from_samples(
        found.table,
        space,
        config.features,
        WeightedAssessor(probes=frozenset()) if scorer is None else scorer.assessor,
        found.contexts,
        config.rounds,
        on_task,
    ).in_unit(config.ppo.cost)
    return Dataset(made, found.table.card, scorer, found.correctness)


@dataclass(frozen=True, slots=True)
class Samples:
    """Recorded samples of a config.

    Attributes:
        table: the samples, rated where the config wants it by heads that did not see their task: a
            head is too sure of what it was trained on, and a policy would learn to trust it.
        contexts: the first step of each task.
        correctness: heads that were trained on all of them; None if they are not rated.
    """

    table: SampleTable
    contexts: Mapping[str, StepContext]
    correctness: Correctness | None = None


def load_samples(config: TrainConfig, benchmark: Benchmark) -> Samples:
    """The recorded samples of a config.

    Raises:
        InvalidInputError: for an unknown arm, or a benchmark of several steps.
        RecordingError: if the recording is none or lacks samples.
    """
    known = benchmark.defaults.arms
    _check_names("arm", config.arms, known)
    arms = tuple(Arm(name, known[name]) for name in config.arms)
    tasks = benchmark.tasks(config.split, config.limit)
    assert config.recording is not None  # training online may do without
    table = table_from_recording(
        config.recording, benchmark, tasks, arms, config.samples, incomplete="leave out"
    )
    contexts = opening_contexts(benchmark, tasks)
    if config.correctness is None:
        return Samples(table, contexts)
    settings = CorrectnessSettings(kind=config.correctness, seed=config.ppo.seed)
    trained = train_correctness(judged_samples(table, contexts), settings)
    rated = with_p_right(table, trained.held_out.tolist())
    return Samples(rated, contexts, trained.correctness)


def _check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = tuple(known)
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"unknown {what} {name!r}{did_you_mean(name, known)} ({', '.join(known)})"
            )


def _scorer(config: TrainConfig, card: ModelCard) -> Scorer | None:
    if config.assessor is None:
        return None
    assessor, trained_on = neural.load_assessor(
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
