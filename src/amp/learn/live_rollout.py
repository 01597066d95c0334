"""Episodes of a policy in the real planner, as a `Rollout`: what PPO learns from with a model.

`play` makes one rollout of some tasks, `LiveRollouts` one after the other for a whole training. If
the model gives the answers that a table has recorded, they are equal to those of
`rollout.roll_out` on that table. Not supported: an assessor that learns with the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from amp.allocate.base import Allocator
from amp.allocate.mlp_policy import MlpPolicy, observe
from amp.allocate.space import Space
from amp.assess.neural import NeuralAssessor
from amp.benchmarks.base import Benchmark
from amp.cost import BY_TOKENS, Costing
from amp.errors import InvalidInputError, LimitReachedError, ModelError
from amp.evaluate.run import Bench, plan
from amp.evaluate.workers import Here, Workers
from amp.learn.networks import encoded
from amp.learn.rollout import Rollout, most_likely
from amp.mlp import Floats, Ints
from amp.planner import Planner
from amp.reward import Reward
from amp.telemetry import traced
from amp.types import MODEL_ERROR, Complexity, Decision, Episode, StepContext, Task, Usage


@dataclass(frozen=True, slots=True)
class LiveBench:
    """What playing an episode takes.

    Attributes:
        planner_of: makes the planner around an allocator.
        benchmark: sets the tasks up.
    """

    planner_of: Callable[[Allocator], Planner]
    benchmark: Benchmark


async def play(
    planner_of: Callable[[Allocator], Planner],
    benchmark: Benchmark,
    tasks: Sequence[Task],
    policy: MlpPolicy,
    reward: Reward,
    trade_offs: Floats,
    jobs: int = 1,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    costing: Costing = BY_TOKENS,
    workers: Workers[LiveBench] | None = None,
) -> Rollout:
    """Plays an episode for each task, with its trade-off.

    As in `rollout.roll_out`, a row is a decision with more than one option, and its reward is the
    change that it made. The cost from one decision to the next is charged to the former, and the
    cost before the first one to that one. An exception: the first decision of a step is charged its
    probe, and what a later round had spent when a limit interrupted it, as a record does not
    distinguish the two.

    An episode that a failing model ended, or in which nothing was to be decided, is left out: the
    `tasks` of the rollout are indices of those that were kept.

    Args:
        planner_of: makes the planner around an allocator.
        benchmark: sets the tasks up.
        tasks: one an episode. Repeats of a task need seeds of their own, which give them other
            answers and other draws.
        policy: its `deterministic` says whether there is chance, its `seed` gives other draws for
            the same tasks; its trade-off is not used.
        reward: what pays.
        trade_offs: one an episode.
        jobs: episodes at a time at most. More change nothing but the time.
        on_episode: called with each episode when it ends; an exception of it ends the others.
        costing: measures what is spent.
        workers: play elsewhere, in place of the planner and the benchmark.

    Raises:
        InvalidInputError: if there is no task, one comes twice, there are more or fewer trade-offs,
            the planner ends a step before the policy would, or an episode does not say whether its
            task is solved.
        ModelError: if no episode is left.
        AmpError: the first other error of any episode.
    """
    keys = [_key(task) for task in tasks]
    _check(tasks, trade_offs)
    planner = planner_of(_Player(policy))
    if planner.max_rounds < policy.max_rounds:
        raise InvalidInputError(
            f"max_rounds of the planner is {planner.max_rounds}, expected at least the"
            f" {policy.max_rounds} of the policy, or its last decision would do nothing"
        )
    workers = workers or Here(LiveBench(planner_of, benchmark), jobs)
    played = workers.each(
        partial(_played, policy), list(zip(tasks, trade_offs.tolist(), strict=True))
    )
    ended: dict[_Key, tuple[Episode, list[_Moment]]] = {}
    async with aclosing(played):
        async for episode, moments in played:
            ended[_key(episode.task)] = episode, moments
            on_episode(episode)
    kept = [
        _Played(index, *ended[key])
        for index, key in enumerate(keys)
        if ended[key][0].ended != MODEL_ERROR and ended[key][1]
    ]
    if not kept:
        steps = [step for episode, _ in ended.values() for step in episode.steps]
        why = next((step.failure for step in steps if step.failure), "nothing to decide")
        raise ModelError(f"none of {len(tasks)} episodes can be learned from: {why}")
    return _rollout(kept, policy, reward, trade_offs, costing)


_SPENT = ("model_calls", "tokens", "dollars")


class LiveRollouts:
    """Tasks of a benchmark, played with a model: what `amp.learn.trainer.train_on` trains on.

    Every episode has a seed of its own, so that a task that is played again is answered anew. The
    same generator gives the same seeds: with the answers of a recording, the same episodes.

    Args:
        planner_of: makes the planner around an allocator.
        benchmark: sets the tasks up.
        tasks: those to train on.
        reward: what pays.
        space: where allocations move.
        features: names of the features that the policy sees.
        max_rounds: rounds a plan step at most.
        max_samples: of arms with a tool, and of arms without, in a plan step at most.
        run: runs a coroutine to its end, always on the same event loop.
        limits: of ``model_calls``, ``tokens`` and ``dollars``, by name.
        spent: of these, by an earlier part of a resumed training.
        jobs: episodes at a time at most.
        costing: measures what an episode costs.
        workers: play the episodes elsewhere.

    Attributes:
        exhausted: the limit that was reached; None as long as none was.
    """

    live = True

    def __init__(
        self,
        planner_of: Callable[[Allocator], Planner],
        benchmark: Benchmark,
        tasks: Sequence[Task],
        reward: Reward,
        *,
        space: Space,
        features: tuple[str, ...],
        max_rounds: int,
        max_samples: int | None,
        run: Callable[[Coroutine[Any, Any, Rollout]], Rollout],
        limits: Mapping[str, float] = {},
        spent: Mapping[str, float] = {},
        jobs: int = 1,
        costing: Costing = BY_TOKENS,
        workers: Workers[LiveBench] | None = None,
    ) -> None:
        self.space, self.features = space, features
        self.max_rounds, self.max_samples = max_rounds, max_samples
        scores = np.array([benchmark.difficulty(task).score for task in tasks], float)
        self.difficulties: Floats = scores
        self.exhausted: str | None = None
        self._planner_of, self._benchmark, self._tasks = planner_of, benchmark, tuple(tasks)
        self._reward, self._run, self._limits, self._jobs = reward, run, dict(limits), jobs
        self._costing, self._workers = costing, workers
        self._spent = {name: float(spent.get(name, 0.0)) for name in _SPENT}

    @property
    def spent(self) -> Mapping[str, float]:
        """The usage of all episodes so far, including the earlier part of a resumed training."""
        return {f"spent_{name}": value for name, value in self._spent.items()}

    def collect(
        self,
        policy: MlpPolicy,
        tasks: Ints,
        trade_offs: Floats,
        rng: np.random.Generator,
        assessor: NeuralAssessor | None = None,
    ) -> Rollout:
        """As `Rollouts.collect`, in the planner, with the scores of its assessor.

        Raises:
            LimitReachedError: if what may be spent is spent; the episodes are lost.
            InvalidInputError: if an assessor is to learn, and as `play`.
        """
        if assessor is not None:
            raise InvalidInputError("an assessor cannot learn online, expected none")
        self._check()
        seeds = rng.choice(2**31, len(tasks), replace=False)
        chosen = [
            replace(self._tasks[index], seed=int(seed))
            for index, seed in zip(tasks, seeds, strict=True)
        ]
        made = self._run(
            play(
                *(self._planner_of, self._benchmark, chosen, policy, self._reward, trade_offs),
                jobs=self._jobs,
                on_episode=self._charge,
                costing=self._costing,
                workers=self._workers,
            )
        )
        return replace(made, tasks=tasks[made.tasks])

    def _charge(self, episode: Episode) -> None:
        for name in _SPENT:
            self._spent[name] += float(getattr(episode.usage, name) or 0.0)
        self._check()

    def _check(self) -> None:
        for name, limit in self._limits.items():
            if self._spent[name] >= limit:
                self.exhausted = f"{limit:g} {name.replace('_', ' ')}"
                raise LimitReachedError(
                    name, f"the training has spent its {self.exhausted}; raise the limit to go on"
                )


_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Moment:
    """A decision that left a choice: when it was, what was seen, and what came out."""

    step: int
    rounds: int
    values: list[float | None]
    free: tuple[bool, ...]
    decision: Decision


@dataclass(frozen=True, slots=True)
class _Played:
    task: int
    episode: Episode
    moments: Sequence[_Moment]


@dataclass(frozen=True, slots=True)
class _Row:
    turn: int
    episode: int
    moment: _Moment
    reward: float


async def _played(
    policy: MlpPolicy, bench: LiveBench, item: tuple[Task, float]
) -> tuple[Episode, list[_Moment]]:
    """One episode, with its trade-off, and what was to be decided in it."""
    task, trade_off = item
    player = _Player(replace(policy, trade_off=trade_off))
    episode = await plan(Bench(traced(bench.planner_of(player)), bench.benchmark), task)
    return episode, player.moments


class _Player(Allocator):
    """Decides an episode as the policy does, and notes every choice."""

    def __init__(self, policy: MlpPolicy) -> None:
        self.moments: list[_Moment] = []
        self._policy = policy

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        policy = self._policy
        decision, free = policy.allocate(context, complexity), policy.mask(context).free
        if any(free):
            share = policy.env.budget_share(context.remaining)
            values = observe(policy.features, context, complexity, policy.trade_off, share)
            self.moments.append(
                _Moment(len(context.steps), context.evidence.rounds, values, free, decision)
            )
        return decision


def _key(task: Task) -> _Key:
    return task.id, task.seed


def _check(tasks: Sequence[Task], trade_offs: Floats) -> None:
    if not tasks:
        raise InvalidInputError("there are no tasks to play, expected at least one")
    if trade_offs.shape != (len(tasks),):
        raise InvalidInputError(
            f"trade_offs have the shape {trade_offs.shape}, expected one for each of"
            f" {len(tasks)} tasks"
        )
    seen: set[_Key] = set()
    for task in tasks:
        if _key(task) in seen:
            raise InvalidInputError(
                f"task {task.id} comes twice with the seed {task.seed}, and would be answered"
                " alike; give each repeat a seed of its own"
            )
        seen.add(_key(task))


def _rollout(
    kept: Sequence[_Played],
    policy: MlpPolicy,
    reward: Reward,
    trade_offs: Floats,
    measure: Costing,
) -> Rollout:
    """The episodes in columns, all first decisions before the second ones."""
    rows: list[_Row] = []
    for number, played in enumerate(kept):
        gained = _rewards(played, reward, measure, float(trade_offs[played.task]))
        rows += [
            _Row(turn, number, moment, more)
            for turn, (moment, more) in enumerate(zip(played.moments, gained, strict=True))
        ]
    rows.sort(key=lambda row: row.turn)
    values = np.array([row.moment.values for row in rows], np.float64)
    free = np.array([row.moment.free for row in rows])
    inputs = encoded(values, policy.mean, policy.std)
    if policy.deterministic:  # whose decisions tell no latents
        latents = most_likely(policy.locations(inputs), free)
    else:
        latents = np.array([row.moment.decision.latents for row in rows], np.float32)
    tasks = np.array([played.task for played in kept])
    return Rollout(
        values=values,
        inputs=inputs,
        assessed=np.zeros((len(rows), 0), np.float32),
        latents=latents,
        free=free,
        log_probs=np.array([row.moment.decision.log_prob for row in rows], np.float32),
        rewards=np.array([row.reward for row in rows]),
        episode=np.array([row.episode for row in rows]),
        turn=np.array([row.turn for row in rows]),
        tasks=tasks,
        trade_offs=trade_offs[tasks],
        success=np.array([played.episode.score for played in kept]),
        cost=np.array([measure.of(played.episode.usage) for played in kept]),
    )


def _rewards(played: _Played, reward: Reward, measure: Costing, trade_off: float) -> list[float]:
    """What each decision added to the reward of its episode."""
    episode = played.episode
    if episode.success is None:
        raise InvalidInputError(
            f"it is not known whether task {episode.task.id} is solved; leave it out"
        )
    spent = [
        measure.of(usage)
        for usage in (*(_spent_before(m, episode) for m in played.moments[1:]), episode.usage)
    ]
    worth = [reward.of(0.0, cost, trade_off) for cost in spent[:-1]]
    worth.append(reward.of(episode.score, spent[-1], trade_off))
    return [now - before for before, now in zip([0.0, *worth], worth, strict=False)]


def _spent_before(moment: _Moment, episode: Episode) -> Usage:
    """What the decisions before this one are charged."""
    spent = sum((step.usage for step in episode.steps[: moment.step]), Usage())
    if moment.rounds:
        step = episode.steps[moment.step]
        following = sum((made.usage for made in step.rounds[moment.rounds :]), Usage())
        spent += step.usage - following
    return spent
