"""Rules on votes at their best: their parameters, tuned on training tasks alone.

A rule with the parameters of its paper is easy to beat on other tasks, so a learned policy is
compared with rules whose parameters were chosen on the tasks that it learned from. What rules know
of the tasks beforehand (how answers are spread, what a sample costs, how often it is right) comes
from these tasks, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from statistics import fmean

import numpy as np

from amp.allocate.base import Allocator
from amp.allocate.confidence import (
    ByGain,
    ConfidenceStop,
    ReliabilityStop,
    UntilSure,
    Way,
)
from amp.allocate.rules import RuleSettings
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
from amp.simulate.samples import SampleTable, StepSamples
from amp.types import Complexity, Evidence, Observation, StepContext, Task


@dataclass(frozen=True, slots=True)
class TriedSetting:
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


def tuned_rules(table: SampleTable, price: Price, orders: int = 5) -> dict[str, TriedSetting]:
    """The setting of each rule that pays best on these tasks; for other tasks than these.

    Args:
        table: the training tasks. Rules that weigh candidates read their `p_right`, which has to
            come from a head that was not trained on the same tasks, or they trust it too much.
        price: what pays.
        orders: of the samples; with few of them, luck chooses the order of the arms.
    """
    return {
        rule: best_at(settings, price)
        for rule, settings in tried_rules(table, price.cost, orders).items()
    }


def best_at(settings: Sequence[TriedSetting], price: Price) -> TriedSetting:
    """The setting with the highest mean reward, whose cost is that of the price; the first one."""
    return max(
        settings, key=lambda one: reward(one.success, one.cost / price.budget, price.trade_off)
    )


def front(settings: Iterable[TriedSetting]) -> tuple[TriedSetting, ...]:
    """The settings than which none is better and no dearer, from the cheapest on."""
    kept: list[TriedSetting] = []
    for one in sorted(settings, key=lambda one: (one.cost, -one.success)):
        if not kept or one.success > kept[-1].success:
            kept.append(one)
    return tuple(kept)


def tried_rules(
    table: SampleTable, cost: CostOf = TOKENS, orders: int = 5
) -> dict[str, tuple[TriedSetting, ...]]:
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


def _tried(name: str, allocator: Allocator, ends: Sequence[State], cost: CostOf) -> TriedSetting:
    return TriedSetting(
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


def rule_settings(table: SampleTable, cost: CostOf = TOKENS) -> dict[str, RuleSettings]:
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
    return {
        "until_agreement": {
            f"{name}, {agree}{', first ones at once' if at_once else ''}": until(
                table, arms, agree, at_once=at_once
            )
            for (name, arms), agree, at_once in product(orders.items(), (2, 3), (False, True))
        },
        "adaptive_consistency": {
            f"{arm}, {threshold:g}": AdaptiveConsistency(one, threshold, most)
            for (arm, one, most), threshold in product(alone, _MAJORITIES)
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
        "by_gain": {
            f"{name}, worth {worth:g}": ByGain(ways, worth)
            for (name, ways), worth in product(_choices(table, cost).items(), _WORTHS)
        },
    }


_MAJORITIES = (0.5, 0.6, 0.7, 0.75, 0.85, 0.9, 0.95)
_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
_LEADS = (0.6, 0.7, 0.8, 0.9, 0.95)
_DELTAS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_WORTHS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, math.inf)
_PARTS = 6


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
    """What a sample of each arm costs, if taken alone, and how probably such samples are right.

    The cheapest costs 1. The chances are means of equal parts of the samples by their P(right), or
    where nothing rates them the share of right ones.
    """
    costs, chances = {}, {}
    for arm, most in table.samples.items():
        ends = [State.begin(table, row) for row in table.tasks]
        for _ in range(most):
            ends = [end.after(Pull(arm)) for end in ends]
        costs[arm] = fmean(cost(end.usage) for end in ends) / most
        samples = [one for step in _steps(table) for one in step.by_arm[arm].samples]
        known = [one.candidate.p_right for one in samples if one.candidate.p_right is not None]
        parts = np.array_split(np.sort(known), min(_PARTS, len(known))) if known else ()
        right = fmean(one.right for one in samples)
        chances[arm] = tuple(float(part.mean()) for part in parts) or (right,)
    least = min(costs.values()) or 1.0
    return {
        arm: Way(table.arm(arm).allocation, most, costs[arm] / least, chances[arm])
        for arm, most in table.samples.items()
    }


def _steps(table: SampleTable) -> Iterator[StepSamples]:
    for row in table.tasks:
        yield from row.steps().values()
