"""Policies from lattices: what `amp train` does with a configuration whose source is one.

The policy network imitates the exact oracle and goes on with PPO over whole plans; values of arms
are learned by policy iteration. Both are policies that choose among the arms of the lattice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from amp.allocate.arm_values import ArmValues
from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.plan_state import PLAN_STATE, base_rules, plan_rules
from amp.allocate.policy import ByArm
from amp.allocate.policy_file import CurvePoint, Origin, save_arm_values, save_policy
from amp.benchmarks.base import Benchmark
from amp.cost import Costing, costing
from amp.errors import InvalidInputError
from amp.learn.arm_values import ValueSettings, learn_arm_values
from amp.learn.config import POLICY, PlanLearner, TrainConfig
from amp.learn.dataset import CURVE
from amp.learn.departures import SearchSettings, search_departures
from amp.simulate.lattice_cache import with_shared_prefixes
from amp.simulate.lattice_recording import Lattice, Survey, lattice_from_recording
from amp.simulate.lattice_replay import Visit, replay_lattice
from amp.simulate.lattice_states import Arms, lattice_arms
from amp.simulate.lattice_table import lattice_env
from amp.simulate.table_env import TableEnv
from amp.simulate.table_oracle import oracle
from amp.types import Task

if TYPE_CHECKING:  # it loads PyTorch
    from amp.learn.rollout import EnvRollouts, Rollouts
    from amp.learn.trainer import Metrics

_HARDEST = 1.0
"""Trade-off at which tasks are the harder the less often, and the more dearly, they can be done."""


def survey_of(config: TrainConfig, benchmarks: Sequence[Benchmark]) -> Survey:
    """What was visited of the lattice of a configuration.

    Raises:
        InvalidInputError: if the benchmark lacks one of its arms.
    """
    first, told = benchmarks[0], config.lattice
    named = lattice_arms(first, config.arms)
    arms = Arms(named, config.samples, frozenset(told.probes), told.main)
    return Survey(first, arms, max_steps=told.max_steps)


def read_lattice(
    config: TrainConfig,
    benchmarks: Sequence[Benchmark],
    recording: Path,
    split: str,
    limit: int | None,
    without: Collection[str] = (),
) -> Lattice:
    """The lattice of some tasks of a configuration.

    Args:
        config: says how it was recorded.
        benchmarks: the benchmark, once for each level.
        recording: has the lattice.
        split: of the tasks.
        limit: tasks of each level at most; None for all that are recorded.
        without: ids of tasks to leave out.

    Raises:
        InvalidInputError: if there are no such tasks or arms.
        RecordingError: as `lattice_from_recording`.
    """
    survey = survey_of(config, benchmarks)
    every = [task for each in benchmarks for task in each.tasks(split, limit)]
    tasks: list[Task] = [task for task in every if task.id not in without]
    if not tasks:
        raise InvalidInputError(
            f"split {split!r} of {config.benchmark} has {len(every)} tasks, and of these none that"
            " is no training task; name another split or a higher limit"
        )
    lattice = asyncio.run(lattice_from_recording(recording, survey, tasks))
    return as_charged(config, lattice)


def as_charged(config: TrainConfig, lattice: Lattice) -> Lattice:
    """A lattice, of which nothing or a part is, with what a configuration says of the cache."""
    return with_shared_prefixes(lattice) if config.lattice.cache == "shared" else lattice


def with_rules(training: Lattice, visit: Visit) -> Lattice:
    """Training tasks with all that fixed arms and rules in any setting come to."""
    arms = training.arms.named
    played: list[Allocator] = [FixedAllocator(arm) for arm in arms.values()]
    played += [one for settings in plan_rules(arms).values() for one in settings.values()]
    for allocator in played:
        training = visit(training, allocator, 0)
    return training


def with_learned(
    config: TrainConfig,
    training: Lattice,
    learned: Mapping[PlanLearner, Mapping[Path, ByArm | ArmValues]],
    visit: Visit,
) -> Lattice:
    """Training tasks with all that learned policies come to, of each learner one a seed."""
    for policies in learned.values():
        for seed, policy in enumerate(policies.values()):
            for trade_off in config.compare.trade_offs:
                training = visit(training, policy.with_trade_off(trade_off), seed)
    return training


def table_of(config: TrainConfig, lattice: Lattice, base: Allocator | None = None) -> TableEnv:
    """A lattice as an environment to learn in, its hardest tasks those that are dearest at best.

    Args:
        config: how it is learned.
        lattice: of the training tasks.
        base: a rule whose decisions are noted, to begin with.

    Raises:
        InvalidInputError: as `lattice_env`, or if the cost is not known of the model.
    """
    costing(config.ppo.cost, lattice.card)  # refuses what is not known, before the work
    table = lattice_env(lattice, None, config.features, None, config.rounds, base)
    table = table.in_unit(config.ppo.cost)
    success, cost = oracle(table, config.ppo.reward, _HARDEST)
    return replace(table, difficulties=1.0 - success + cost / (1.0 + cost.max()))


def train_on_lattice(
    config: TrainConfig,
    benchmarks: Sequence[Benchmark],
    directory: Path,
    *,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
    spread: Callable[[EnvRollouts], Rollouts] = lambda rollouts: rollouts,
) -> None:
    """Learns the policy of a configuration, and keeps it in ``policy.safetensors``.

    Args:
        config: how; its source is a lattice.
        benchmarks: the benchmark, once for each level.
        directory: where the policy is written, and PPO keeps its state.
        resume: whether PPO goes on with the training in the directory.
        on_update: called with the metrics of each of its updates.
        spread: gives its rollouts to others, or leaves them as they are.

    Raises:
        InvalidInputError: as the learners, `read_lattice` and `table_of`.
        RecordingError: as `read_lattice`.
    """
    assert config.recording is not None  # `load_train_config` sees to it
    lattice = read_lattice(config, benchmarks, config.recording, config.split, config.limit)
    if config.learner == "departures":
        learn_departures(config, lattice, directory / POLICY)
        return
    table = table_of(config, lattice)
    if config.learner == "values":
        learn_values(config, lattice, table, directory / POLICY)
    else:
        learn_network(
            *(config, lattice, table, directory),
            resume=resume,
            on_update=on_update,
            spread=spread,
        )


def learn_values(config: TrainConfig, lattice: Lattice, table: TableEnv, path: Path) -> ArmValues:
    """Learns values of arms, and keeps them in a file."""
    usual = ValueSettings(seed=config.ppo.seed)
    wanted = sorted({*usual.trade_offs, *config.compare.trade_offs})
    settings = replace(usual, trade_offs=tuple(wanted))
    arms = lattice.arms.named
    policy = learn_arm_values(table, arms, config.ppo.reward, settings).policy
    save_arm_values(policy, path, _origin(config, lattice, policy))
    return policy


def learn_departures(config: TrainConfig, lattice: Lattice, path: Path) -> ArmValues:
    """Learns where to depart from the best rule, and keeps that in a file."""
    wanted = tuple(sorted({*SearchSettings().trade_offs, *config.compare.trade_offs}))
    policy = searched_departures(config, lattice, wanted)
    save_arm_values(policy, path, _origin(config, lattice, policy))
    return policy


def searched_departures(
    config: TrainConfig, lattice: Lattice, trade_offs: tuple[float, ...]
) -> ArmValues:
    """The policy of `learn_departures` at some trade-offs alone."""
    base = _best_rule(config, lattice)
    arms, told = lattice.arms.named, config.replace(features=tuple(PLAN_STATE))
    table = table_of(told, lattice, base_rules(arms)[base])
    settings = SearchSettings(trade_offs, seed=config.ppo.seed)
    return search_departures(table, arms, config.ppo.reward, settings, base).policy


def _best_rule(config: TrainConfig, lattice: Lattice) -> str:
    """The rule of `base_rules` that earns most, at the first trade-off of the comparison.

    Of equals the first one counts: an arm in every step before a rule that changes it.
    """
    cost_of = costing(config.ppo.cost, lattice.card).of
    reward, trade_off = config.ppo.reward, config.compare.trade_offs[0]

    def earned(allocator: Allocator) -> float:
        episodes = replay_lattice(lattice, allocator)
        return fmean(reward.of(e.score, cost_of(e.usage), trade_off) for e in episodes)

    rules = base_rules(lattice.arms.named)
    return max(rules, key=lambda name: round(earned(rules[name]), 9))


def learn_network(
    config: TrainConfig,
    lattice: Lattice,
    table: TableEnv,
    directory: Path,
    *,
    resume: bool = False,
    on_update: Callable[[Metrics], None] = lambda metrics: None,
    spread: Callable[[EnvRollouts], Rollouts] = lambda rollouts: rollouts,
) -> ByArm:
    """Learns a policy network by imitation and PPO, and keeps it as `train_on_lattice` does."""
    from amp.learn.pipeline import cloned  # loads PyTorch
    from amp.learn.trainer import train

    start = cloned(config, table) if config.demonstrations else None
    if config.learn:
        made = train(
            *(table, config.ppo, directory),
            start=start,
            resume=resume,
            on_update=on_update,
            spread=spread,
        )
    else:
        assert start is not None  # `load_train_config` sees to it
        made = start
    policy = ByArm(replace(made, deterministic=True), lattice.arms.named)
    origin = _origin(config, lattice, policy)
    save_policy(made, directory / POLICY, origin, lattice.arms.named)
    return policy


def _origin(config: TrainConfig, lattice: Lattice, policy: ByArm | ArmValues) -> Origin:
    """Where a policy was learned, with its curve on the training tasks."""
    dollars: Costing | None = None
    with suppress(InvalidInputError):  # no price is known
        dollars = costing("dollars", lattice.card)
    points = []
    for trade_off in CURVE:
        episodes = replay_lattice(lattice, policy.with_trade_off(trade_off))
        paid = None if dollars is None else fmean(dollars.of(e.usage) for e in episodes)
        tokens = fmean(e.usage.tokens for e in episodes)
        points.append(CurvePoint(trade_off, tokens, fmean(e.score for e in episodes), paid))
    return Origin(
        config.benchmark,
        lattice.card.name,
        lattice.card.sha256,
        tuple(task.task.id for task in lattice.tasks),
        tuple(points),
        cost=config.ppo.cost,
        price="" if dollars is None else dollars.note,
    )
