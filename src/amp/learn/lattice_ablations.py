"""Ablations on a lattice (spec 2.7), and transfer to other levels and benchmarks (spec 4.1.4).

The whole is what a configuration learns; each variant learns with one thing changed, on the same
training tasks and with as many seeds, and plays the same test tasks. What nothing is learned of,
fixed arms, their best mixture of equal cost, the policy's own allocations by chance, and rules on
direct signals, stands beside it. All are compared with the whole task by task.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from amp.allocate.arm_values import ArmValues
from amp.allocate.base import CONTROLS, Allocator, FixedAllocator, shuffled_control
from amp.allocate.plan_state import PLAN_STATE, plan_rules
from amp.allocate.policy import ByArm
from amp.benchmarks.base import Benchmark
from amp.cost import COSTS, Costing, costing
from amp.errors import InvalidInputError
from amp.learn.arm_values import ValueSettings, learn_arm_values
from amp.learn.config import PlanLearner, TrainConfig
from amp.learn.lattices import learn_network, read_lattice, searched_departures, table_of
from amp.report.ablations import Ablations, Played, ablation_rows, mixture_beside
from amp.report.groups import TaskMeans
from amp.settings import Config, FilePath
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import leaves, replay_best, replay_lattice
from amp.simulate.table_env import TableEnv
from amp.types import STANDING_PLAN, Episode

Share = Annotated[float, Field(ge=0.0, le=1.0)]
WHOLE, DIRECT, FIXED, TRANSFER = "the whole", "2.7.5 direct", "2.7.1 fixed", "4.1.4 transfer"


class Variant(Config):
    """What is learned with one thing changed.

    Attributes:
        part: of the spec, for the table.
        name: of the variant.
        learner: another one; None for that of the whole, as below.
        features: that the policy reads, and no other; None for all of the whole's.
        without: features that it does not read.
        without_arms: arms that it does not have.
        gives_up: whether ``values`` may give up.
        trade_off: lambda, to learn and to play at.
        demonstrations: of ``ppo``, 0 for PPO alone.
        learn: of ``ppo``, false for imitation alone.
        curriculum: of ``ppo``.
    """

    part: str
    name: str
    learner: PlanLearner | None = None
    features: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    without_arms: tuple[str, ...] = ()
    gives_up: bool = True
    trade_off: Share | None = None
    demonstrations: Annotated[int, Field(ge=0)] | None = None
    learn: bool = True
    curriculum: bool = True

    @model_validator(mode="after")
    def _features_exist(self) -> Self:
        for name in (*(self.features or ()), *self.without):
            if name not in PLAN_STATE:
                raise ValueError(
                    f"feature {name!r} of {self.name!r} is none of a plan ({', '.join(PLAN_STATE)})"
                )
        return self


class AblationConfig(Config):
    """A sweep file.

    Attributes:
        of: configuration of the whole, as for `amp lattices compare`.
        learner: of the whole.
        seeds: how often each is learned.
        decisions: of ``ppo`` in each of them; fewer than where it is learned for use.
        transfer: whether what is learned on all levels but one plays that one.
        others: configurations of other benchmarks, whose lattices have arms of the same names; each
            benchmark is played by what is learned on all the rest.
        variants: in the order of the table.
    """

    of: FilePath
    learner: PlanLearner = "values"
    seeds: Annotated[int, Field(ge=1)] = 3
    decisions: Annotated[int, Field(ge=1)] = 20_000
    transfer: bool = True
    others: tuple[FilePath, ...] = ()
    variants: tuple[Variant, ...] = ()


def ablate(
    sweep: AblationConfig,
    config: TrainConfig,
    benchmarks: Sequence[Benchmark],
    others: Sequence[tuple[TrainConfig, Sequence[Benchmark]]] = (),
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Ablations:
    """Learns and plays the whole and every variant.

    Args:
        sweep: what is changed.
        config: of the whole; its source is a lattice.
        benchmarks: the benchmark, once for each level.
        others: those of the sweep, each with its benchmark likewise.
        on_stage: called with what is done now.

    Raises:
        InvalidInputError: if there is no such arm, or as `read_lattice` and the learners.
        RecordingError: as `read_lattice`.
    """
    told = config.compare
    on_stage("reading the lattice")
    players = _players(sweep, config, benchmarks)
    for variant in sweep.variants:  # before the first is learned, which takes minutes
        _check_arms(variant, players.training)
    on_stage(WHOLE)
    whole = players.learned(Variant(part="", name=WHOLE))
    found = [*players.fixed(whole)]
    for variant in sweep.variants:
        on_stage(variant.name)
        found.append(players.learned(variant))
    found += players.rules()
    found.append(players.oracle())
    pairs = [(one, whole) for one in found]
    if sweep.transfer and len(benchmarks) > 1:
        on_stage(TRANSFER)
        pairs += players.transferred(whole, _levels(config, benchmarks))
    every = [players, *(_players(sweep, other, its) for other, its in others)] if others else []
    for there in every:
        on_stage(f"{TRANSFER}: {there.config.benchmark}")
        own = whole if there is players else there.learned(Variant(part="", name=WHOLE))
        pairs.append((there.learned_elsewhere([one for one in every if one is not there]), own))
    rows = ablation_rows(whole, pairs)
    unit = COSTS[config.ppo.cost]
    return Ablations(
        players.test.card.name,
        len(players.training.tasks),
        sweep.seeds,
        told.trade_offs[0],
        unit,
        rows,
    )


def _players(
    sweep: AblationConfig, config: TrainConfig, benchmarks: Sequence[Benchmark]
) -> _Players:
    """What learns and plays by a configuration."""
    told = config.compare
    config = config.replace(
        learner=sweep.learner,
        ppo=config.ppo.replace(decisions=sweep.decisions),
        compare=told.replace(seeds=sweep.seeds),
    )
    assert config.recording is not None  # `load_train_config` sees to it
    training = read_lattice(config, benchmarks, config.recording, config.split, config.limit)
    ids = tuple(task.task.id for task in training.tasks)
    recording = told.recording or config.recording
    test = read_lattice(config, benchmarks, recording, told.split, told.limit, ids)
    return _Players(config, training, test, costing(config.ppo.cost, test.card))


@dataclass(slots=True)
class _Players:
    """Learns on some tasks and plays others.

    Attributes:
        config: of the whole.
        training: what is learned and tuned on.
        test: what is played.
        measure: how cost is measured.
        weights: what the cost of each training task counts, where that is not 1.
        came: episodes of each policy, by its name and seed.
    """

    config: TrainConfig
    training: Lattice
    test: Lattice
    measure: Costing
    weights: tuple[float, ...] = ()
    came: dict[str, Sequence[Sequence[Episode]]] = field(default_factory=dict)

    def learned(self, variant: Variant) -> Played:
        """A variant, learned with each seed."""
        config, training = _changed(self.config, variant), _without(self.training, variant)
        trade_off = config.compare.trade_offs[0]
        learner, policies = config.learner, list[ArmValues | ByArm]()
        table = None if learner == "departures" else table_of(config, training)
        if table is not None and self.weights:
            table = table.weighed(np.array(self.weights))
        asks: tuple[str, ...] = ()
        for number in range(config.compare.seeds):
            own = config.replace(ppo=config.ppo.replace(seed=config.ppo.seed + number))
            policy = _learned(own, training, table, variant.gives_up)
            if isinstance(policy, ArmValues) and not number:
                asks = tuple(policy.with_trade_off(trade_off).questions())
            policies.append(policy.with_trade_off(trade_off))
        return self._played(variant.part, variant.name, policies, asks)

    def learned_elsewhere(self, others: Sequence[_Players]) -> Played:
        """What is learned on the training tasks of other benchmarks.

        Costs count in units of the benchmark they are from, its `reference_cost`: what is dear in
        one is usual in another.
        """
        named = self.training.arms.named
        for other in others:
            if unknown := sorted(set(named) ^ set(other.training.arms.named)):
                raise InvalidInputError(
                    f"only one of {self.config.benchmark} and {other.config.benchmark} has the arm"
                    f" {unknown[0]!r}, expected the same arms ({', '.join(named)})"
                )
        tasks = tuple(task for other in others for task in other.training.tasks)
        unit = self.config.ppo.reward.reference_cost
        weights = [
            unit / other.config.ppo.reward.reference_cost
            for other in others
            for _ in other.training.tasks
        ]
        training = replace(self.training, tasks=tasks)
        away = _Players(self.config, training, self.test, self.measure, tuple(weights))
        names = " and ".join(other.config.benchmark for other in others)
        name = f"{self.config.benchmark}, learned on {names}"
        return away.learned(Variant(part=TRANSFER, name=name))

    def fixed(self, whole: Played) -> Iterator[Played]:
        """Every arm in every step, their best mixture of equal cost, and the whole's by chance."""
        arms = {n: a for n, a in self.test.arms.named.items() if STANDING_PLAN not in a.tools}
        alone = [
            self._played(FIXED, f"{name} in every step", [FixedAllocator(arm)])
            for name, arm in arms.items()
        ]
        yield from (*alone, mixture_beside(alone, whole))
        episodes = self.came[WHOLE]
        if any(step.rounds for each in episodes for one in each for step in one.steps):
            for how in CONTROLS:
                controls = [shuffled_control(how, each, seed) for seed, each in enumerate(episodes)]
                yield self._played(FIXED, f"{how} of the whole", controls)

    def rules(self) -> Iterator[Played]:
        """Rules on direct signals, each with the setting that pays best on the training tasks."""
        trade_off, reward = self.config.compare.trade_offs[0], self.config.ppo.reward

        def earned(allocator: Allocator) -> float:
            episodes = replay_lattice(self.training, allocator)
            return fmean(reward.of(e.score, self.measure.of(e.usage), trade_off) for e in episodes)

        for name, settings in plan_rules(self.training.arms.named).items():
            best = max(settings, key=lambda setting: earned(settings[setting]))
            yield self._played(DIRECT, f"{name}: {best}", [settings[best]])

    def oracle(self) -> Played:
        """What knows where every arm leads."""
        trade_off, reward = self.config.compare.trade_offs[0], self.config.ppo.reward
        episodes = replay_best(self.test, reward, trade_off, self.measure.of)
        return Played("headroom", "oracle", TaskMeans.of(episodes, self.measure.of))

    def transferred(
        self, whole: Played, levels: dict[str, frozenset[str]]
    ) -> list[tuple[Played, Played]]:
        """What is learned on all levels but one, on that one, beside the whole there; then all."""
        pairs: list[tuple[Played, Played]] = []
        for level, ids in levels.items():
            rest = _of(self.training, lambda task: task not in ids)  # noqa: B023
            there = _of(self.test, lambda task: task in ids)  # noqa: B023
            if not there.tasks or not 1 < len(rest.tasks) < len(self.training.tasks):
                continue
            part = _Players(self.config, rest, there, self.measure)
            away = part.learned(Variant(part=TRANSFER, name=f"{level}, learned on the others"))
            pairs.append((away, replace(whole, means=whole.means.on(away.means.success))))
        if pairs:
            success = {t: s for one, _ in pairs for t, s in one.means.success.items()}
            cost = {t: c for one, _ in pairs for t, c in one.means.cost.items()}
            left, name = sum(one.left for one, _ in pairs), "every level, learned on the others"
            every = Played(TRANSFER, name, TaskMeans(success, cost), left)
            pairs.append((every, replace(whole, means=whole.means.on(success))))
        return pairs

    def _played(
        self, part: str, name: str, policies: Sequence[Allocator], asks: tuple[str, ...] = ()
    ) -> Played:
        episodes = [replay_lattice(self.test, one, seed=seed) for seed, one in enumerate(policies)]
        self.came[name] = episodes
        every = [episode for each in episodes for episode in each]
        return Played(part, name, TaskMeans.of(every, self.measure.of), len(leaves(every)), asks)


def _changed(config: TrainConfig, variant: Variant) -> TrainConfig:
    """The configuration of a variant."""
    features = config.features if variant.features is None else variant.features
    given = config.demonstrations if variant.demonstrations is None else variant.demonstrations
    compare = config.compare
    if variant.trade_off is not None:
        compare = compare.replace(trade_offs=(variant.trade_off,))
    return config.replace(
        learner=variant.learner or config.learner,
        features=tuple(name for name in features if name not in variant.without),
        demonstrations=given,
        learn=variant.learn,
        ppo=config.ppo.replace(curriculum=variant.curriculum),
        compare=compare,
    )


def _without(lattice: Lattice, variant: Variant) -> Lattice:
    """A lattice without some arms, as if these had never been asked."""
    _check_arms(variant, lattice)
    if not variant.without_arms:
        return lattice
    named = lattice.arms.named
    kept = {name: arm for name, arm in named.items() if name not in variant.without_arms}
    tasks = tuple(
        replace(
            task,
            states={
                name: replace(state, asked={arm: state.asked[arm] for arm in kept})
                for name, state in task.states.items()
            },
        )
        for task in lattice.tasks
    )
    return replace(lattice, arms=replace(lattice.arms, named=kept, main=None), tasks=tasks)


def _check_arms(variant: Variant, lattice: Lattice) -> None:
    named = lattice.arms.named
    if unknown := sorted(set(variant.without_arms) - set(named)):
        raise InvalidInputError(
            f"without_arms of {variant.name!r} has {unknown[0]!r}, expected some of the arms:"
            f" {', '.join(named)}"
        )


def _learned(
    config: TrainConfig, training: Lattice, table: TableEnv | None, gives_up: bool
) -> ArmValues | ByArm:
    """What a configuration learns, for its first trade-off."""
    at, seed = config.compare.trade_offs[:1], config.ppo.seed
    if table is None:
        return searched_departures(config, training, at)
    if config.learner == "values":
        told = ValueSettings(at, seed=seed, may_give_up=gives_up)
        return learn_arm_values(table, training.arms.named, config.ppo.reward, told).policy
    with tempfile.TemporaryDirectory() as folder:
        return learn_network(config, training, table, Path(folder))


def _of(lattice: Lattice, wanted: Callable[[str], bool]) -> Lattice:
    """A lattice of some of its tasks."""
    return replace(lattice, tasks=tuple(one for one in lattice.tasks if wanted(one.task.id)))


def _levels(config: TrainConfig, benchmarks: Sequence[Benchmark]) -> dict[str, frozenset[str]]:
    """Ids of the tasks of each level, training and test tasks alike."""
    told, names = config.compare, config.lattice.levels
    return {
        name: frozenset(
            task.id
            for split, limit in ((config.split, config.limit), (told.split, told.limit))
            for task in benchmark.tasks(split, limit)
        )
        for name, benchmark in zip(names, benchmarks, strict=True)
    }
