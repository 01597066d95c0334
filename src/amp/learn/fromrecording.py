"""A policy learned from a recording: a table of draws, imitation of its oracle, then PPO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from amp.allocate.mlp import MlpPolicy
from amp.allocate.weights import CurvePoint, Origin, save_policy
from amp.assess.features import BY_NAME
from amp.assess.weighted import WeightedAssessor
from amp.benchmarks.base import Benchmark
from amp.cost import Reward
from amp.errors import InvalidInputError, did_you_mean
from amp.evaluate.draws import Arm
from amp.evaluate.presets import ARMS, POLICY_SPACES
from amp.evaluate.tabulate import of_recording, opening_contexts
from amp.learn.imitate import ImitationSettings, imitate
from amp.learn.recipe import Recipe
from amp.learn.rollouts import roll_out
from amp.learn.tables import Table
from amp.learn.teacher import lessons
from amp.learn.train import POLICY, Metrics, train
from amp.models.base import ModelCard

CURVE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
"""Trade-offs at which a new policy is measured on its training tasks."""

_REPEATS = 20
"""Orders of the samples for that."""


def table_of(
    recipe: Recipe, benchmark: Benchmark, on_task: Callable[[str], None] = lambda task: None
) -> tuple[Table, ModelCard]:
    """The recorded draws of a recipe as a simulator, and the model that they are from.

    Args:
        recipe: says which.
        benchmark: that of the recipe.
        on_task: is told of each task when it is worked out.

    Raises:
        InvalidInputError: for an arm or feature that is none, or a benchmark of several steps.
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
    tasks = benchmark.tasks(recipe.split, recipe.limit)
    arms = [Arm(name, ARMS[name]) for name in recipe.arms]
    draws = of_recording(
        recipe.recording, benchmark, tasks, arms, recipe.samples, incomplete="leave out"
    )
    made = Table.of(
        draws,
        POLICY_SPACES[benchmark.name],
        recipe.features,
        WeightedAssessor(looks=frozenset()),
        opening_contexts(benchmark, tasks),
        recipe.rounds,
        on_task,
    )
    return made, draws.card


def learn(
    recipe: Recipe,
    table: Table,
    card: ModelCard,
    directory: Path,
    *,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
) -> MlpPolicy:
    """Learns the policy of a recipe and keeps it in ``policy.safetensors`` of the directory.

    Args:
        recipe: how.
        table: what is learned on (`table_of`).
        card: the model of its samples.
        directory: where training keeps its state.
        resume: whether to go on with the training that the directory holds.
        on_update: is told the metrics of each update of PPO.

    Raises:
        InvalidInputError: as `amp.learn.train.train`, and as `imitate`.
    """
    settings = recipe.settings
    start = None
    if recipe.lessons:
        examples = lessons(
            table,
            settings.reward,
            (settings.least_trade_off, settings.most_trade_off),
            recipe.lessons,
            np.random.default_rng(settings.seed),
        )
        taught = imitate(
            table.space,
            table.features,
            table.most_rounds,
            examples,
            ImitationSettings(hidden=recipe.hidden, epochs=recipe.epochs, seed=settings.seed),
        )
        start = replace(taught, most_samples=table.most_samples)
    if recipe.learn:
        policy = train(table, settings, directory, start=start, resume=resume, on_update=on_update)
        policy = replace(policy, most_samples=table.most_samples)
    else:
        assert start is not None  # `read_recipe` sees to it
        policy = start
        directory.mkdir(parents=True, exist_ok=True)
    origin = Origin(
        recipe.benchmark, card.name, card.sha256, table.tasks, curve(policy, table, CURVE)
    )
    save_policy(policy, directory / POLICY, origin)
    return policy


def curve(
    policy: MlpPolicy, table: Table, trade_offs: Sequence[float], seed: int = 0
) -> tuple[CurvePoint, ...]:
    """What a policy takes and reaches on the tasks of a table, without chance of its own."""
    tasks = np.repeat(np.arange(len(table.tasks)), _REPEATS)
    points = []
    for trade_off in trade_offs:
        came = roll_out(
            replace(policy, deterministic=True),
            table,
            reward=Reward(1.0),
            tasks=tasks,
            trade_offs=np.full(len(tasks), trade_off),
            rng=np.random.default_rng(seed),
        )
        points.append(CurvePoint(trade_off, float(came.tokens.mean()), float(came.success.mean())))
    return tuple(points)
