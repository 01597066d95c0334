"""A policy learned from a recording: a table of draws, imitation of its oracle, then PPO."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import CurvePoint, Origin, save_policy
from amp.assess import assessor_file
from amp.assess.features import BY_NAME
from amp.assess.neural import NeuralAssessor
from amp.assess.weighted import WeightedAssessor
from amp.benchmarks.base import Benchmark
from amp.benchmarks.presets import ARMS, POLICY_SPACES
from amp.cost import Reward
from amp.errors import InvalidInputError, did_you_mean
from amp.learn.behaviour_cloning import ImitationSettings, imitate, lessons
from amp.learn.config import Recipe
from amp.learn.rollout import Rollout, roll_out
from amp.learn.table_env import ORDERED, Table, check_arms, without
from amp.learn.trainer import ASSESSOR, POLICY, Metrics, train
from amp.models.base import ModelCard
from amp.simulate.build import of_recording, opening_contexts
from amp.simulate.samples import Arm

CURVE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
"""Trade-offs at which a new policy is measured on its training tasks."""

_REPEATS = 20
"""Orders of the samples for that."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A trained assessor, and what it has learned from."""

    assessor: WeightedAssessor | NeuralAssessor
    trained_on: assessor_file.Training


@dataclass(frozen=True, slots=True)
class Material:
    """What a recipe learns from.

    Attributes:
        table: the recorded draws as a simulator.
        card: the model that they are from.
        scorer: what the scores of the table are of; None for the weighted sum as it begins.
    """

    table: Table
    card: ModelCard
    scorer: Scorer | None = None


def material_of(
    recipe: Recipe, benchmark: Benchmark, on_task: Callable[[str], None] = lambda task: None
) -> Material:
    """The recorded draws of a recipe, as its assessor scores them.

    What tells the order of the samples (`subsets.ORDERED`) is taken from an assessor that is a
    network: it is missing to it from here on, and so it is to the one that is kept.

    Args:
        recipe: says which.
        benchmark: that of the recipe.
        on_task: is told of each task when it is worked out.

    Raises:
        InvalidInputError: for an arm or feature that is none, arms that leave a way to ask open, a
            benchmark of several steps, or an assessor that is of another model or benchmark, looks,
            or cannot learn as the recipe wants it.
        RecordingError: if the recording is none or lacks samples.
    """
    for what, names, known in (
        ("benchmark to learn on", (benchmark.name,), tuple(POLICY_SPACES)),
        ("way to ask", recipe.arms, tuple(ARMS)),
        ("feature", recipe.features, tuple(BY_NAME)),
    ):
        for name in names:
            if name not in known:
                raise InvalidInputError(
                    f"unknown {what} {name!r}{did_you_mean(name, known)} ({', '.join(known)})"
                )
    space = POLICY_SPACES[benchmark.name]
    arms = tuple(Arm(name, ARMS[name]) for name in recipe.arms)
    check_arms(arms, space)
    tasks = benchmark.tasks(recipe.split, recipe.limit)
    draws = of_recording(
        recipe.recording, benchmark, tasks, arms, recipe.samples, incomplete="leave out"
    )
    scorer = _scorer(recipe, draws.card)
    made = Table.of(
        draws,
        space,
        recipe.features,
        WeightedAssessor(probes=frozenset()) if scorer is None else scorer.assessor,
        opening_contexts(benchmark, tasks),
        recipe.rounds,
        on_task,
    )
    return Material(made, draws.card, scorer)


def _scorer(recipe: Recipe, card: ModelCard) -> Scorer | None:
    if recipe.assessor is None:
        return None
    assessor, trained_on = assessor_file.load_assessor(
        recipe.assessor, model=card, environment=recipe.benchmark
    )
    if isinstance(assessor, NeuralAssessor):
        return Scorer(without(assessor, ORDERED), trained_on)
    if recipe.end_to_end:
        raise InvalidInputError(
            f"assessor {recipe.assessor} is a weighted sum, expected a network where end_to_end is"
            " true: amp assess train --kind neural"
        )
    return Scorer(assessor, trained_on)


def learn(
    recipe: Recipe,
    material: Material,
    directory: Path,
    *,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
) -> MlpPolicy:
    """Learns the policy of a recipe and keeps it in ``policy.safetensors`` of the directory.

    Where the recipe names an assessor, ``assessor.safetensors`` beside it holds the one whose
    scores the policy is to see: what has become of it in learning, or what it was.

    Args:
        recipe: how.
        material: what is learned from (`material_of`).
        directory: where training keeps its state.
        resume: whether to go on with the training that the directory holds.
        on_update: is told the metrics of each update of PPO.

    Raises:
        InvalidInputError: as `amp.learn.trainer.train`, and as `imitate`.
    """
    table, scorer = material.table, material.scorer
    start = _taught(recipe, table) if recipe.lessons else None
    assessor, trained_on = _learning(scorer, table) if recipe.end_to_end else (None, None)
    if recipe.learn:
        policy = train(
            table,
            recipe.settings,
            directory,
            start=start,
            assessor=assessor,
            trained_on=trained_on,
            resume=resume,
            on_update=on_update,
        )
    else:
        assert start is not None  # `read_recipe` sees to it
        policy = start
        directory.mkdir(parents=True, exist_ok=True)
    if assessor is not None:
        assessor = _neural(assessor_file.load_assessor(directory / ASSESSOR)[0])
    elif scorer is not None:
        assessor_file.save_assessor(scorer.assessor, scorer.trained_on, directory / ASSESSOR)
    own = directory / ASSESSOR
    origin = Origin(
        recipe.benchmark,
        material.card.name,
        material.card.sha256,
        table.tasks,
        curve(policy, table, CURVE, assessor),
        "" if scorer is None else hashlib.sha256(own.read_bytes()).hexdigest(),
    )
    save_policy(policy, directory / POLICY, origin)
    return policy


def _taught(recipe: Recipe, table: Table) -> MlpPolicy:
    """What imitation alone makes."""
    settings = recipe.settings
    examples = lessons(
        table,
        settings.reward,
        (settings.min_trade_off, settings.max_trade_off),
        recipe.lessons,
        np.random.default_rng(settings.seed),
    )
    taught = imitate(
        table.space,
        table.features,
        table.max_rounds,
        examples,
        ImitationSettings(hidden=recipe.hidden, epochs=recipe.epochs, seed=settings.seed),
    )
    return replace(taught, max_samples=table.max_samples)


def _learning(scorer: Scorer | None, table: Table) -> tuple[NeuralAssessor, assessor_file.Training]:
    """The assessor that is to learn, and what it will have learned from."""
    assert scorer is not None  # `read_recipe` sees to it
    tasks = tuple(sorted({*scorer.trained_on.tasks, *table.tasks}))
    return _neural(scorer.assessor), replace(scorer.trained_on, tasks=tasks)


def _neural(assessor: WeightedAssessor | NeuralAssessor) -> NeuralAssessor:
    assert isinstance(assessor, NeuralAssessor)  # `_scorer` sees to it
    return assessor


def curve(
    policy: MlpPolicy,
    table: Table,
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
    table: Table,
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
