"""A policy from a configuration: what `amp train` does, on a recording or online.

On a recording: a table of its samples, imitation of the oracle, then PPO. Online: PPO on episodes
of the real planner with a model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from amp.allocate.base import Allocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import CurvePoint, Origin, load_policy, save_policy
from amp.assess import neural
from amp.assess.base import Assessor, Training
from amp.assess.correctness import save_correctness
from amp.assess.neural import NeuralAssessor
from amp.benchmarks.base import Benchmark
from amp.cost import costing, is_priced
from amp.errors import InvalidInputError
from amp.evaluate.assembly import build_planner
from amp.evaluate.config import PlannerConfig
from amp.evaluate.workers import Workers
from amp.files import read_file, replace_file
from amp.learn.behaviour_cloning import ImitationSettings, demonstrate, imitate
from amp.learn.config import CORRECTNESS, TrainConfig
from amp.learn.dataset import CURVE, Dataset, Scorer, load_dataset
from amp.learn.live_rollout import LiveBench, LiveRollouts
from amp.learn.rollout import EnvRollouts, Rollout, Rollouts, roll_out
from amp.learn.trainer import ASSESSOR, METRICS, POLICY, Metrics, train, train_on
from amp.mlp import content_hash
from amp.models.base import LanguageModel
from amp.planner import Planner
from amp.reward import Reward
from amp.simulate.table_env import TableEnv

_REPEATS = 20
"""Orders of the samples in which a new policy is measured."""


def train_policy(
    config: TrainConfig,
    dataset: Dataset,
    directory: Path,
    *,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
    spread: Callable[[EnvRollouts], Rollouts] = lambda rollouts: rollouts,
) -> MlpPolicy:
    """Learns the policy of a config and keeps it in ``policy.safetensors`` of the directory.

    Where the config names an assessor, ``assessor.safetensors`` beside it holds the one whose
    scores the policy is to see: what has become of it in learning, or what it was.

    Args:
        config: how.
        dataset: what is learned from (`load_dataset`).
        directory: where training keeps its state.
        resume: whether to go on with the training in the directory.
        on_update: called with the metrics of each update of PPO.
        spread: gives the rollouts of PPO to others, or leaves them as they are.

    Raises:
        InvalidInputError: as `amp.learn.trainer.train`, and as `imitate`.
    """
    table, scorer = dataset.table, dataset.scorer
    start = cloned(config, table) if config.demonstrations else None
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
            spread=spread,
        )
    else:
        assert start is not None  # `load_train_config` sees to it
        policy = start
    if assessor is not None:
        assessor = _network(neural.load_assessor(directory / ASSESSOR)[0])
    elif scorer is not None:
        neural.save_assessor(scorer.assessor, scorer.trained_on, directory / ASSESSOR)
    own, heads = directory / ASSESSOR, directory / CORRECTNESS
    if dataset.correctness is not None:
        trained = Training(
            dataset.card.name, config.benchmark, dataset.card.sha256, dataset.table.tasks
        )
        save_correctness(dataset.correctness, trained, heads)
    origin = Origin(
        config.benchmark,
        dataset.card.name,
        dataset.card.sha256,
        table.tasks,
        curve(policy, table, CURVE, assessor),
        "" if scorer is None else content_hash(own),
        "" if dataset.correctness is None else content_hash(heads),
        table.unit,
        costing("dollars", dataset.card).note if "dollars" in table.costs else "",
    )
    save_policy(policy, directory / POLICY, origin)
    return policy


MakeBench = Callable[[Benchmark, LanguageModel], LiveBench]
"""Makes the bench of a benchmark and an open model."""

Elsewhere = Callable[[MakeBench], AbstractAsyncContextManager[Workers[LiveBench] | None]]
"""Gives workers with such benches; None where episodes are played in this process."""


def train_online(
    config: TrainConfig,
    benchmark: Benchmark,
    model: LanguageModel,
    directory: Path,
    *,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
    elsewhere: Elsewhere = lambda make: nullcontext(),
) -> str | None:
    """Learns a policy in the real planner (spec 3.4.2), and keeps it as `train_policy` does.

    It goes on with what the directory holds bit by bit if the model answers as it did: from a
    recording, or by its seeds.

    Args:
        config: how; `TrainConfig.online` is set.
        benchmark: that of the config.
        model: is asked, and closed in the end.
        directory: where training keeps its state.
        resume: whether to go on with the training in the directory.
        on_update: called with the metrics of each update.
        elsewhere: gives the workers that play the episodes.

    Returns:
        The limit that ended the training, such as ``500 model calls``; None if it is complete.

    Raises:
        InvalidInputError: as `train_on`, if the policy to begin with does not fit, or dollars are
            limited and no price is known.
        ModelError: if a whole update failed.
    """
    online = config.online
    assert online is not None
    limits = {
        name: limit
        for name, limit in (
            ("model_calls", online.max_calls),
            ("tokens", online.max_tokens),
            ("dollars", online.max_dollars),
        )
        if limit is not None
    }
    if online.max_dollars is not None and not is_priced(model.card):
        raise InvalidInputError(
            f"max_dollars is {online.max_dollars:g}, but no price is known for model"
            f" {model.card.name}; limit max_tokens, or name its price"
        )
    start = _online_start(config, benchmark)
    rounds = config.rounds if start is None else start.max_rounds
    make = partial(live_bench, config.assessor, rounds)
    tasks = benchmark.tasks(config.split, config.limit)
    defaults = benchmark.defaults
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            bench = make(benchmark, model)
            workers = runner.run(stack.enter_async_context(elsewhere(make)))
            rollouts = LiveRollouts(
                *(bench.planner_of, benchmark, tasks, config.ppo.reward),
                space=start.space if start else defaults.policy_space or defaults.space,
                features=start.features if start else config.features,
                max_rounds=start.max_rounds if start else config.rounds,
                max_samples=start.max_samples if start else config.samples,
                run=runner.run,
                limits=limits,
                spent=_spent_before(directory) if resume else {},
                jobs=online.jobs,
                costing=costing(config.ppo.cost, model.card),
                workers=workers,
            )
            policy = train_on(
                rollouts, config.ppo, directory, start=start, resume=resume, on_update=on_update
            )
        finally:
            runner.run(stack.aclose())
            runner.run(model.close())
    digest = ""
    if config.assessor is not None:
        replace_file(directory / ASSESSOR, read_file(config.assessor))
        digest = content_hash(directory / ASSESSOR)
    names = tuple(task.id for task in tasks)
    who = (benchmark.name, model.card.name, model.card.sha256)
    origin = Origin(*who, names, assessor=digest, cost=config.ppo.cost)
    save_policy(policy, directory / POLICY, origin)
    return rollouts.exhausted


def live_bench(
    assessor: Path | None, rounds: int, benchmark: Benchmark, model: LanguageModel
) -> LiveBench:
    """What playing episodes takes, here or elsewhere."""
    planned = PlannerConfig(allocator="heuristic", assessor=assessor, rounds=rounds)
    base = build_planner(planned, model, benchmark)
    assert isinstance(base, Planner)  # a heuristic allocator has that one

    def planner_of(allocator: Allocator) -> Planner:
        made = copy(base)
        made.allocator = allocator
        return made

    return LiveBench(planner_of, benchmark)


def _online_start(config: TrainConfig, benchmark: Benchmark) -> MlpPolicy | None:
    """The policy to begin with: of a file, cloned from the recording, or none."""
    assert config.online is not None
    path = config.online.start
    if path is None:
        if config.recording is None or not config.demonstrations:
            return None
        return cloned(config, load_dataset(config, benchmark).table)
    policy = load_policy(path, space=benchmark.defaults.policy_space or benchmark.defaults.space)
    if policy.network is None:
        raise InvalidInputError(f"policy {path} is no network; begin with one of amp train")
    return policy.network


def _spent_before(directory: Path) -> dict[str, float]:
    """What the updates took that the directory tells of, those after its checkpoint, too."""
    path = directory / METRICS
    lines = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    return {name.removeprefix("spent_"): value for name, value in last.items()}


def cloned(config: TrainConfig, table: TableEnv) -> MlpPolicy:
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


def _learning(scorer: Scorer | None, table: TableEnv) -> tuple[NeuralAssessor, Training]:
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
        table: where; a point has the dollars, too, if they are known there.
        trade_offs: one point each.
        assessor: gives the scores; None takes those of the table.
        seed: of the order of the samples.
    """
    known = "dollars" in table.costs
    points = []
    for trade_off in trade_offs:
        came = served(policy, table.in_unit("tokens"), trade_off, _REPEATS, assessor, seed)
        dollars = None
        if known:  # the same episodes
            again = served(policy, table.in_unit("dollars"), trade_off, _REPEATS, assessor, seed)
            dollars = float(again.cost.mean())
        points.append(
            CurvePoint(trade_off, float(came.cost.mean()), float(came.success.mean()), dollars)
        )
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
