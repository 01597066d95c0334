"""Rules on votes at their best: their parameters, tuned on training tasks alone.

A rule with the parameters of its paper is easy to beat on other tasks, so a learned policy is
compared with rules whose parameters were chosen on the tasks that it learned from. What rules know
of the tasks beforehand (how answers are spread, what a sample costs, how often it is right) comes
from these tasks, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from statistics import fmean

import numpy as np

from amp.allocate.base import Allocator
from amp.allocate.confidence import (
    ByGain,
    ConfidenceStop,
    FittedGain,
    Gain,
    PosteriorGain,
    ReliabilityStop,
    UntilSure,
    Way,
    gain_features,
)
from amp.allocate.stopping import (
    AdaptiveConsistency,
    BayesianStop,
    EarlyStopping,
    Prior,
    learn_prior,
    tally_of,
)
from amp.reward import reward
from amp.simulate.policies import TOKENS, TWO_AGREE, CostOf, Price, by_turns, until
from amp.simulate.replay import Pull, State, pull_of
from amp.simulate.samples import RecordedSample, SampleTable, StepSamples
from amp.types import Complexity, Evidence, Observation, StepContext, Task
from amp.votes import weighted_vote

Settings = Mapping[str, Allocator]
"""The settings of a rule, by what they are called."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a setting of a rule reached on the tasks that it was tuned on; means of an episode.

    Attributes:
        name: of the setting.
        allocator: the rule so set, for any table with these arms.
        success: share of solved tasks.
        cost: in the unit that it was tuned for.
        written: completion tokens.
        tokens: all tokens.
    """

    name: str
    allocator: Allocator
    success: float
    cost: float
    written: float
    tokens: float


def tuned_rules(table: SampleTable, price: Price, orders: int = 3) -> dict[str, Tried]:
    """The setting of each rule that pays best on these tasks; for other tasks than these.

    Args:
        table: the training tasks. Rules that weigh candidates read their `p_right`, which has to
            come from a head that was not trained on the same tasks, or they trust it too much.
        price: what pays.
        orders: of the samples.
    """
    return {
        rule: best_at(settings, price)
        for rule, settings in tried_rules(table, price.cost, orders).items()
    }


def best_at(settings: Sequence[Tried], price: Price) -> Tried:
    """The setting with the highest mean reward, whose cost is that of the price; the first one."""
    return max(
        settings, key=lambda one: reward(one.success, one.cost / price.budget, price.trade_off)
    )


def front(settings: Iterable[Tried]) -> tuple[Tried, ...]:
    """The settings than which none is better and no dearer, from the cheapest on."""
    kept: list[Tried] = []
    for one in sorted(settings, key=lambda one: (one.cost, -one.success)):
        if not kept or one.success > kept[-1].success:
            kept.append(one)
    return tuple(kept)


def tried_rules(
    table: SampleTable, cost: CostOf = TOKENS, orders: int = 3
) -> dict[str, tuple[Tried, ...]]:
    """What every setting of every rule reaches on a table, by the name of the rule."""
    rules = rule_settings(table, cost)
    ends: dict[tuple[str, str], list[State]] = {
        (rule, name): [] for rule, settings in rules.items() for name in settings
    }
    for seed in range(orders):
        replays = _Replays(table.permuted(seed))
        for (rule, name), reached in ends.items():
            reached.extend(replays.ends(rules[rule][name]))
    return {
        rule: tuple(
            _tried(name, allocator, ends[rule, name], cost) for name, allocator in settings.items()
        )
        for rule, settings in rules.items()
    }


def _tried(name: str, allocator: Allocator, ends: Sequence[State], cost: CostOf) -> Tried:
    return Tried(
        name,
        allocator,
        success=fmean(bool(end.success) for end in ends),
        cost=fmean(cost(end.usage) for end in ends),
        written=fmean(end.usage.completion_tokens for end in ends),
        tokens=fmean(end.usage.tokens for end in ends),
    )


class _Replays:
    """Replays many rules on one table; rounds that several of them take are computed once.

    As `replay_allocator` without an assessor, which rules do not read.
    """

    def __init__(self, table: SampleTable) -> None:
        self._table = table
        self._after: dict[tuple[str, tuple[Pull | None, ...]], State] = {}

    def ends(self, allocator: Allocator) -> Iterator[State]:
        """The end of each task."""
        for row in self._table.tasks:
            state, way = State.begin(self._table, row), tuple[Pull | None, ...]()
            task = Task(row.task, "", seed=self._table.seed)
            while state.success is None:
                context = StepContext(task, Observation(), state.steps, state.evidence)
                allocation = allocator.allocate(context, _NOT_ASSESSED).allocation
                pull = None if allocation is None else pull_of(self._table, allocation)
                way = (*way, pull)
                known = self._after.get((row.task, way))
                if known is None:
                    known = state.settled() if pull is None else state.after(pull)
                    self._after[row.task, way] = known
                state = known
            yield state


_NOT_ASSESSED = Complexity(0.0)


# --------------------------------------------------------------------------- settings


def rule_settings(table: SampleTable, cost: CostOf = TOKENS) -> dict[str, Settings]:
    """The rules and their settings, as far as the samples of a table go, by name.

    Rules that sample in a fixed order have settings for each arm alone, and for each ordered pair
    of arms by turns.

    Args:
        table: of training tasks, from which rules learn what they know beforehand.
        cost: in which one more sample is paid.
    """
    orders = _orders(table)
    sequences = {name: until(table, arms, 2).sequence for name, arms in orders.items()}
    alone = [(arm, table.arm(arm).allocation, most) for arm, most in table.samples.items()]
    rules: dict[str, Settings] = {
        "until_agreement": {
            f"{name}, {agree}{', first ones at once' if at_once else ''}": until(
                table, arms, agree, at_once=at_once
            )
            for (name, arms), agree, at_once in product(orders.items(), (2, 3), (False, True))
        },
        "adaptive_consistency": {
            f"{arm}, {threshold:g}": AdaptiveConsistency(one, threshold, most)
            for (arm, one, most), threshold in product(alone, _THRESHOLDS)
        },
        "early_stopping": {
            f"{arm}, windows of {window}": EarlyStopping(one, window, most)
            for arm, one, most in alone
            for window in range(1, most + 1)
        },
        "bayesian_stop": {
            f"{name}, {delta:g}": BayesianStop(sequences[name], delta, prior)
            for name, prior in {n: _prior(table, arms) for n, arms in orders.items()}.items()
            for delta in _DELTAS
        },
        "until_sure": {
            f"{name}, {threshold:g}": UntilSure(sequence, threshold)
            for (name, sequence), threshold in product(sequences.items(), _THRESHOLDS)
        },
        "cges": {
            f"{name}, {threshold:g}, {answers} answers": ConfidenceStop(
                sequence, threshold, answers
            )
            for (name, sequence), threshold, answers in product(
                sequences.items(), _THRESHOLDS, (2, 6, 21)
            )
        },
        "reasc": {
            f"{name}, gate {gate:.2f}, {threshold:g}": ReliabilityStop(sequence, gate, threshold)
            for name, sequence in sequences.items()
            for gate, threshold in product(_gates(table, orders[name][0]), _LEADS)
        },
    }
    gains: dict[str, Gain] = {"by_gain": PosteriorGain(), "by_fitted_gain": fit_gain(table)}
    for rule, gain in gains.items():
        rules[rule] = {
            f"{name}, worth {worth:g}": ByGain(ways, worth, gain)
            for (name, ways), worth in product(_choices(table, cost).items(), _WORTHS)
        }
    return rules


_THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_LEADS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_DELTAS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_WORTHS = (0.0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, math.inf)


def _orders(table: SampleTable) -> dict[str, list[str]]:
    """The arm of each sample in the orders of the rules, by name."""
    orders = {arm: [arm] * most for arm, most in table.samples.items()}
    for better, other in permutations(table.samples, 2):
        orders[f"{better} and {other} by turns"] = by_turns(better, other, TWO_AGREE)
    return orders


def _prior(table: SampleTable, arms: Iterable[str]) -> Prior:
    """How the answers of these arms are spread over the tasks, taken together."""
    steps = [[step.by_arm[arm].samples for arm in set(arms)] for step in _steps(table)]
    candidates = [tuple(one.candidate for arm in step for one in arm) for step in steps]
    return learn_prior([tally_of(Evidence(each).votes) for each in candidates])


def _gates(table: SampleTable, arm: str) -> list[float]:
    """Quantiles of how sure the candidates of an arm are where they are least so, and no gate."""
    samples = [one.candidate.tokens for step in _steps(table) for one in step.by_arm[arm].samples]
    windows = [tokens.window for tokens in samples if tokens and tokens.window is not None]
    gates = np.exp(np.quantile(windows, (0.3, 0.5, 0.7, 0.9))) if windows else ()
    return [*map(float, gates), 1.01]


def _choices(table: SampleTable, cost: CostOf) -> dict[str, tuple[Way, ...]]:
    """Each arm alone, and each pair that candidates tell apart, by name."""
    ways = ways_of(table, cost)
    choices: dict[str, tuple[Way, ...]] = {arm: (way,) for arm, way in ways.items()}
    return choices | {
        f"{one} or {other}": (ways[one], ways[other])
        for one, other in combinations(ways, 2)
        if bool(ways[one].allocation.tools) != bool(ways[other].allocation.tools)
    }


def ways_of(table: SampleTable, cost: CostOf = TOKENS) -> dict[str, Way]:
    """What a sample of each arm costs, if taken alone, and how often it is right.

    The cheapest costs 1.
    """
    costs, right = {}, {}
    for arm, most in table.samples.items():
        ends = [State.begin(table, row) for row in table.tasks]
        for _ in range(most):
            ends = [end.after(Pull(arm)) for end in ends]
        costs[arm] = fmean(cost(end.usage) for end in ends) / most
        right[arm] = fmean(one.right for step in _steps(table) for one in step.by_arm[arm].samples)
    least = min(costs.values()) or 1.0
    return {
        arm: Way(table.arm(arm).allocation, most, costs[arm] / least, right[arm])
        for arm, most in table.samples.items()
    }


def _steps(table: SampleTable) -> Iterator[StepSamples]:
    for row in table.tasks:
        yield from row.steps().values()


# --------------------------------------------------------------------------- a fitted gain


def fit_gain(table: SampleTable, ridge: float = 1.0) -> FittedGain:
    """Fits the gain of one more sample, from what it would have brought on these tasks.

    The target is whether the vote is right with the sample, less whether it is so without, averaged
    over all samples of the arm that are left; the regression is linear with an L2 penalty. Where
    arms share their tools, the last one is meant.

    Args:
        table: of training tasks.
        ridge: the penalty, in tasks.
    """
    weights = {}
    for arm in table.arms:
        rows = [found for step in _steps(table) for found in _gains(step, arm.name)]
        x = np.array([features for features, _ in rows])
        y = np.array([gain for _, gain in rows])
        solved = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
        weights[arm.allocation.tools] = tuple(map(float, solved))
    return FittedGain(weights)


def _gains(step: StepSamples, arm: str) -> Iterator[tuple[tuple[float, ...], float]]:
    """The features after so many samples of each arm, and what one more of this arm brings."""
    counts = product(*(range(len(found.samples) + 1) for found in step.by_arm.values()))
    more = step.by_arm[arm].samples
    for numbers in counts:
        taken = [
            sample
            for number, found in zip(numbers, step.by_arm.values(), strict=True)
            for sample in found.samples[:number]
        ]
        left = more[dict(zip(step.by_arm, numbers, strict=True))[arm] :]
        if taken and left:
            evidence = Evidence(tuple(one.candidate for one in taken), len(taken))
            now = _right(taken)
            yield gain_features(evidence), fmean(_right([*taken, one]) - now for one in left)


def _right(samples: Sequence[RecordedSample]) -> bool:
    candidates = [sample.candidate for sample in samples]
    winner = weighted_vote(candidates)
    return winner is not None and samples[candidates.index(winner)].right
