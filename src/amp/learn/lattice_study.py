"""A study of one lattice: policies learned on training tasks, beside rules tuned on the same ones.

Nothing is chosen on the test tasks. Every policy plays whole plans there, and none that leaves the
lattice is reported: a learned one that does is refused, of others it is told. With a model none
does, as what they come to is visited first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import fmean

from amp.allocate.arm_values import ArmValues
from amp.allocate.base import CONTROLS, Allocator, FixedAllocator, shuffled_control
from amp.allocate.plan_state import plan_rules, plan_state
from amp.allocate.policy import ByArm
from amp.allocate.policy_file import load_arm_values
from amp.allocate.rules import RuleSettings
from amp.benchmarks.base import Benchmark
from amp.cost import costing
from amp.errors import InvalidInputError
from amp.learn.config import CHECKPOINT, POLICY, PlanLearner, TrainConfig
from amp.learn.lattices import (
    learn_departures,
    learn_network,
    learn_values,
    read_lattice,
    table_of,
    with_learned,
    with_rules,
)
from amp.report.adaptivity import (
    AllocatedAmount,
    RankCorrelations,
    rank_correlations,
    resamples_for,
)
from amp.report.lattice_page import ArmShown, PlanShown, StepShown
from amp.report.report import OF_SAMPLES, RunReport, make_report
from amp.report.runs import Kind, Run, comparable
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import (
    CostOf,
    Outlook,
    Visit,
    as_it_is,
    best_arms,
    best_of,
    leaves,
    outlooks,
    replay_best,
    replay_lattice,
)
from amp.simulate.lattice_states import LatticeState
from amp.types import STANDING_PLAN, Episode, StepRecord

LearnedPolicy = ByArm | ArmValues
Learned = Mapping[PlanLearner, Mapping[Path, LearnedPolicy]]
"""Policies by learner and file, a file for each seed."""

_LEARNED_AGAIN = 3
"""Times at most that policies are learned, as long as they leave the training lattice."""


@dataclass(frozen=True, slots=True)
class Adaptivity:
    """How far a policy spends where it is needed (spec 2.6).

    Attributes:
        run: its name.
        steps: how many it decided.
        correlation: of what each was allocated with what the oracle would allocate there, by rank.
    """

    run: str
    steps: int
    correlation: RankCorrelations


@dataclass(frozen=True, slots=True)
class LatticeStudy:
    """What a study finds.

    Attributes:
        training: ids of the tasks that everything was learned and tuned on.
        report: of all policies that stay inside, on the test tasks.
        runs: what it is of.
        adaptivity: of the learned policies.
        notes: what was left out, and why.
        plans: of the learned policies, with the first seed and at the first trade-off, beside what
            each arm comes to in their states.
        questions: of what was learned with the first seed, at the first trade-off.
    """

    training: tuple[str, ...]
    report: RunReport
    runs: tuple[Run, ...]
    adaptivity: tuple[Adaptivity, ...]
    notes: tuple[str, ...]
    plans: tuple[PlanShown, ...] = ()
    questions: tuple[str, ...] = ()


def study_lattice(
    config: TrainConfig,
    benchmarks: Sequence[Benchmark],
    directory: Path,
    on_stage: Callable[[str], None] = lambda stage: None,
    visit: Visit = as_it_is,
    visit_training: Visit = as_it_is,
) -> LatticeStudy:
    """Learns, tunes, and plays everything on the test tasks.

    Args:
        config: how; its source is a lattice.
        benchmarks: the benchmark, once for each level.
        directory: where learned policies are kept, one of each learner and seed.
        on_stage: called with what is done now.
        visit: visits what policies come to on the test tasks; by itself it does nothing.
        visit_training: likewise on training tasks: what fixed arms and rules in any setting come
            to, and what is learned, which is then learned again.

    Raises:
        InvalidInputError: if nothing could be learned, or a learned policy or every fixed one
            leaves the lattice; and as `read_lattice`.
        RecordingError: as `read_lattice`.
    """
    assert config.recording is not None  # `load_train_config` sees to it
    told = config.compare
    on_stage("reading the training tasks")
    training = read_lattice(config, benchmarks, config.recording, config.split, config.limit)
    ids = tuple(task.task.id for task in training.tasks)
    on_stage("reading the test tasks")
    recording = told.recording or config.recording
    test = read_lattice(config, benchmarks, recording, told.split, told.limit, ids)
    _check_alike(training, test)
    training = with_rules(training, visit_training)
    measure = costing(config.ppo.cost, test.card)
    players = _Players(config, test, measure.of, visit)
    on_stage("playing fixed arms")
    reference = _play_fixed(players, training)
    learned, notes = _learn(config, training, directory, on_stage)
    for _ in range(_LEARNED_AGAIN - 1):
        if (more := with_learned(config, training, learned, visit_training)) is training:
            break
        training = more
        learned, notes = _learn(config, training, directory, on_stage)
    notes += [f"{what} left out {task}: {why}" for what, lattice in
              (("training", training), ("test", test)) for task, why in lattice.left_out.items()
              if why != "not in the recording"]  # fmt: skip
    for trade_off in told.trade_offs:
        for name, settings in plan_rules(test.arms.named).items():
            on_stage(f"tuning: {name}")
            setting = players.best_setting(training, settings, trade_off)
            players.play("rule", f"{name} tuned at {trade_off:g}: {setting}", settings[setting])
        for learner, policies in learned.items():
            on_stage(f"playing: {learner}")
            name = f"{learner} at {trade_off:g}"
            played = players.play_learned(name, tuple(policies.values()), trade_off)
            steps = [[step for episode in each for step in episode.steps] for each in played]
            if not all(any(step.rounds for step in each) for each in steps):
                notes.append(f"{name} has no controls: it gave up every task at once")
                continue
            for how in CONTROLS:
                seeds = {s: shuffled_control(how, each, s) for s, each in enumerate(played)}
                players.play_seeds("control", f"{how} of {name}", seeds)
    players.check_learned(learned)
    on_stage("comparing")
    if players.lattice is not test:
        players.play_again()
    adapted = [
        players.adapted(f"{learner} at {trade_off:g}", trade_off)
        for trade_off in told.trade_offs
        for learner in learned
    ]
    runs, gone = players.inside()
    oracle = players.oracle(told.trade_offs[0])
    duels = [f"{learner} at {told.trade_offs[0]:g}" for learner in learned]
    report = make_report(
        comparable(runs), reference, config.ppo.cost,
        analysis=OF_SAMPLES, duels=duels, oracle=oracle,
    )  # fmt: skip
    trees = learned.get("departures", learned.get("values", ()))
    asked = (load_arm_values(path) for path in trees)
    questions = (one.with_trade_off(told.trade_offs[0]).questions() for one in islice(asked, 1))
    return LatticeStudy(
        ids,
        report,
        runs,
        tuple(adapted),
        (*notes, *gone),
        tuple(plan for name in duels for plan in players.shown(name, told.trade_offs[0])),
        tuple(line for lines in questions for line in lines),
    )


def _check_alike(training: Lattice, test: Lattice) -> None:
    """Makes sure that both are of one model; the rest is what both are looked up by."""
    one, other = training.card, test.card
    if (one.name, one.sha256) != (other.name, other.sha256):
        raise InvalidInputError(
            f"the training tasks were recorded with {one.name}, the test tasks with {other.name}"
            f"{' of other weights' * (one.name == other.name)}; record both with one model"
        )


def _learn(
    config: TrainConfig,
    training: Lattice,
    directory: Path,
    on_stage: Callable[[str], None],
) -> tuple[Learned, list[str]]:
    """What was learned, and what failed."""
    table = table_of(config, training)
    learned: dict[PlanLearner, dict[Path, LearnedPolicy]] = {}
    notes: list[str] = []
    for learner in config.compare.learners:
        policies: dict[Path, LearnedPolicy] = {}
        try:
            for number in range(config.compare.seeds):
                on_stage(f"learning: {learner}, seed {number}")
                own = config.replace(ppo=config.ppo.replace(seed=config.ppo.seed + number))
                folder = directory / f"{learner}-{number}"
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / POLICY
                (folder / CHECKPOINT).unlink(missing_ok=True)  # of a study before, maybe of others
                if learner == "values":
                    policies[path] = learn_values(own, training, table, path)
                elif learner == "departures":
                    policies[path] = learn_departures(own, training, path)
                else:
                    policies[path] = learn_network(own, training, table, folder)
        except InvalidInputError as error:
            notes.append(f"{learner} was not learned: {error}")
            continue
        learned[learner] = policies
    if not learned:
        raise InvalidInputError("; ".join(notes))
    return learned, notes


def _play_fixed(players: _Players, training: Lattice) -> str:
    """Plays every arm in every step; says which succeeds most often on the training tasks."""
    arms = training.arms.named
    kept = {name: arm for name, arm in arms.items() if STANDING_PLAN not in arm.tools} or arms
    worth: dict[str, tuple[float, float]] = {}
    for name, arm in kept.items():
        players.play("fixed", name, FixedAllocator(arm))
        if players.is_inside(name):
            episodes = replay_lattice(training, FixedAllocator(arm))
            solved = fmean(episode.success is True for episode in episodes)
            worth[name] = solved, -fmean(players.cost_of(e.usage) for e in episodes)
    if not worth:
        raise InvalidInputError(
            "every fixed arm leaves the lattice on some test task, so there is nothing to compare"
            " with; visit what they come to (--model NAME, or amp record --lattice with more"
            " --nodes)"
        )
    return max(worth, key=lambda name: worth[name])


@dataclass(slots=True)
class _Players:
    """Plays policies on the test tasks, and keeps what came of it.

    Attributes:
        config: the configuration.
        lattice: of the test tasks, with what was visited for those played so far.
        cost_of: cost of a usage, in the unit of the configuration.
        visit: visits what a policy comes to before it is played.
        played: episodes of all seeds, by kind and name.
        allocators: what played them, by name and seed.
    """

    config: TrainConfig
    lattice: Lattice
    cost_of: CostOf
    visit: Visit = as_it_is
    played: dict[str, tuple[Kind, list[Episode]]] = field(default_factory=dict)
    allocators: dict[str, Mapping[int, Allocator]] = field(default_factory=dict)

    def play(self, kind: Kind, name: str, allocator: Allocator) -> None:
        """Plays a policy in all seeds."""
        self.play_seeds(kind, name, dict.fromkeys(range(self.config.compare.seeds), allocator))

    def play_seeds(self, kind: Kind, name: str, allocators: Mapping[int, Allocator]) -> None:
        """Plays a policy, another one for each seed."""
        episodes: list[Episode] = []
        for seed, allocator in allocators.items():
            self.lattice = self.visit(self.lattice, allocator, seed)
            episodes += replay_lattice(self.lattice, allocator, seed=seed)
        self.played[name] = kind, episodes
        self.allocators[name] = allocators

    def play_again(self) -> None:
        """Plays all once more, as costs may depend on all that was visited."""
        for name, allocators in self.allocators.items():
            self.play_seeds(self.played[name][0], name, allocators)

    def play_learned(
        self, name: str, policies: Sequence[LearnedPolicy], trade_off: float
    ) -> list[list[Episode]]:
        """Plays what was learned with each seed; returns the episodes by seed."""
        at = {seed: policy.with_trade_off(trade_off) for seed, policy in enumerate(policies)}
        self.play_seeds("adaptive", name, at)
        episodes, count = self.played[name][1], len(self.lattice.tasks)
        return [episodes[start : start + count] for start in range(0, len(episodes), count)]

    def best_setting(self, training: Lattice, settings: RuleSettings, trade_off: float) -> str:
        """The setting of a rule that pays best on the training tasks."""
        reward = self.config.ppo.reward

        def earned(name: str) -> float:
            episodes = replay_lattice(training, settings[name])
            return fmean(reward.of(e.score, self.cost_of(e.usage), trade_off) for e in episodes)

        return max(settings, key=earned)

    def is_inside(self, name: str) -> bool:
        """Whether a policy never left the lattice."""
        return not leaves(self.played[name][1])

    def check_learned(self, learned: Learned) -> None:
        """Makes sure that no learned policy left the lattice.

        Raises:
            InvalidInputError: if one did, with the option that visits what they come to.
        """
        for trade_off in self.config.compare.trade_offs:
            for name in (f"{learner} at {trade_off:g}" for learner in learned):
                if left := leaves(self.played[name][1]):
                    raise InvalidInputError(
                        f"{name} left the lattice in {len(left)} of {len(self.played[name][1])}"
                        f" episodes, such as one of task {left[0].task.id}; visit what is come to"
                        f" with {self.lattice.card.name}: the same command with --model NAME"
                    )

    def oracle(self, trade_off: float) -> Run:
        """The exact oracle of the lattice at a trade-off."""
        reward, seeds = self.config.ppo.reward, range(self.config.compare.seeds)
        episodes = [
            episode
            for seed in seeds
            for episode in replay_best(self.lattice, reward, trade_off, self.cost_of, seed)
        ]
        return self._run("oracle", "oracle", episodes)

    def inside(self) -> tuple[tuple[Run, ...], list[str]]:
        """Runs of all policies that never left the lattice, and what is told of the others."""
        runs, gone = [], []
        for name, (kind, episodes) in self.played.items():
            if left := leaves(episodes):
                gone.append(
                    f"{name} left the lattice in {len(left)} of {len(episodes)} episodes and is not"
                    " reported (--model NAME visits what policies come to)"
                )
            else:
                runs.append(self._run(name, kind, episodes))
        return tuple(runs), gone

    def shown(self, name: str, trade_off: float) -> list[PlanShown]:
        """The plans of a policy with the first seed, and what each arm comes to in their states."""
        reward, arms = self.config.ppo.reward, self.lattice.arms
        best = replay_best(self.lattice, reward, trade_off, self.cost_of)
        names = {allocation: arm for arm, allocation in arms.named.items()}
        plans = []
        episodes = self.played[name][1][: len(self.lattice.tasks)]
        for task, episode, oracle in zip(self.lattice.tasks, episodes, best, strict=True):
            known = outlooks(arms, task, reward, trade_off, self.cost_of)
            way = zip(episode.steps, task.way(episode), strict=True)
            steps = []
            for at, (step, state) in enumerate(way):
                assert state is not None  # `check_learned` sees to it
                asked = tuple(names[made.allocation] for made in step.rounds)
                steps.append(_shown(episode.steps[:at], step, state, known[state.name], asked))
            plans.append(PlanShown(name, episode, oracle, tuple(steps)))
        return plans

    def _run(self, name: str, kind: Kind, episodes: Sequence[Episode]) -> Run:
        return Run(
            name=name,
            episodes=tuple(replace(episode, steps=()) for episode in episodes),
            kind=kind,
            benchmark=self.lattice.benchmark,
            model=self.lattice.card.name,
            card=self.lattice.card,
            checksum=self.lattice.card.sha256 or "",
            prompts=self.lattice.prompts,
        )

    def adapted(self, name: str, trade_off: float) -> Adaptivity:
        """What each step was allocated against what the oracle would allocate there."""
        episodes, reward = self.played[name][1], self.config.ppo.reward
        tasks = {t.task.id: t for t in self.lattice.tasks}
        known = {
            name: best_arms(self.lattice.arms, task, reward, trade_off, self.cost_of)
            for name, task in tasks.items()
        }
        rows = [
            (episode.task.id, self.cost_of(step.usage), known[episode.task.id][state.name].cost)
            for episode in episodes
            for step, state in zip(episode.steps, tasks[episode.task.id].way(episode), strict=True)
            if state is not None and step.rounds
        ]
        levels = sorted({need for *_, need in rows})
        rank = {need: index / max(1, len(levels) - 1) for index, need in enumerate(levels)}
        spent = [AllocatedAmount(task, amount, rank[need]) for task, amount, need in rows]
        return Adaptivity(name, len(rows), rank_correlations(spent, resamples_for(len(rows))))


def _shown(
    before: Sequence[StepRecord],
    step: StepRecord,
    state: LatticeState,
    known: Sequence[Outlook],
    asked: tuple[str, ...],
) -> StepShown:
    """A step of a plan, and what each arm comes to there."""
    best = best_of(known)
    chosen = [each for each in known if asked == (each.arm,)]
    worth = chosen[0].worth if chosen else None if asked else 0.0
    return StepShown(
        asked,
        best.arm,
        None if worth is None else max(0.0, best.worth - worth),
        tuple(
            ArmShown(
                str(each.arm),
                None if each.choice is None else each.choice.action,
                () if each.choice is None else each.choice.plan,
                _leads(each),
                each.cost,
                each.worth,
            )
            for each in known
        ),
        plan_state(replace(state.context, steps=tuple(before))),
    )


def _leads(one: Outlook) -> str:
    """Where an arm leads, in words."""
    if one.lead is None or one.lead.to is not None:
        return "goes on"
    if one.lead.outside:
        return "not visited"
    return "success" if one.lead.success else "failure"
