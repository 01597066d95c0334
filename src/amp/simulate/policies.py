"""What an allocation policy is compared with, on one table of samples (`amp.simulate.samples`).

Every policy here makes one episode of each task from the same samples, so all are paired. Policies
that optimise (the length rule, the oracles) maximise the reward that a `Price` defines; what is
learned is learned on one table and applied to another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, permutations, product, takewhile

from amp.allocate.base import Allocator
from amp.allocate.stopping import AdaptiveConsistency, EarlyStopping, UntilAgreement
from amp.cost import BY_TOKENS
from amp.errors import InvalidInputError
from amp.reward import reward
from amp.simulate.replay import Plan, Pull, State, pulls, replay_plan, replay_plans
from amp.simulate.samples import SampleTable, TaskSamples
from amp.types import Episode, Usage

CostOf = Callable[[Usage], float]
TOKENS: CostOf = BY_TOKENS.of

TWO_AGREE = "aabababb"
"""The order in which two arms take turns until two samples agree: a is the better one."""

THREE_AGREE = "aaababbb"
"""Likewise until three agree."""


@dataclass(frozen=True, slots=True)
class Price:
    """The reward to maximise: `amp.reward.reward` with its trade-off, and what counts as 1.

    Attributes:
        trade_off: lambda of spec 2.4, in [0, 1].
        budget: above 0, in the unit of the cost.
        cost: the cost of a usage, as `amp.cost.Costing.of` measures it.

    Raises:
        InvalidInputError: if the budget is not above 0.
    """

    trade_off: float
    budget: float
    cost: CostOf = TOKENS

    def __post_init__(self) -> None:
        if not self.budget > 0.0:
            raise InvalidInputError(f"budget is {self.budget}, expected a cost above 0")

    def of(self, episode: Episode) -> float:
        """The reward of an episode."""
        return reward(episode.score, self.cost(episode.usage) / self.budget, self.trade_off)


# --------------------------------------------------------------------------- without a look


def fixed_plans(table: SampleTable) -> tuple[Plan, ...]:
    """Every fixed allocation: a number of samples of each arm, one call per arm, at least 1 sample.

    The order of the arms is that of the table: another one would cost the same, and decide the same
    but for votes that are equal to the last digit of their log-probabilities.
    """
    counts = product(*(range(samples + 1) for samples in table.samples.values()))
    return tuple(_plan(table, numbers) for numbers in counts if any(numbers))


def fixed(table: SampleTable, plan: Plan) -> tuple[Episode, ...]:
    """Replays the same plan in all plan steps of all tasks."""
    return replay_plans(table, lambda row: plan)


def resampled_control(table: SampleTable, episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """Replays, on each task, the rounds that a policy used on a random task.

    It spends as much as the policy, but on the wrong tasks. Tasks are drawn with replacement here,
    without it in `shuffled_control`.
    """
    plans = [_steps(table, episode) for episode in episodes]
    return _replay_assigned(table, random.Random(seed).choices(plans, k=len(table.tasks)))


def shuffled_control(table: SampleTable, episodes: Sequence[Episode], seed: int) -> list[Episode]:
    """Replays the rounds of a policy, permuted among the tasks.

    Raises:
        InvalidInputError: if the episodes are not of the tasks of the table.
    """
    if [episode.task.id for episode in episodes] != [row.task for row in table.tasks]:
        raise InvalidInputError("the episodes to shuffle are not of the tasks of the table")
    plans = [_steps(table, episode) for episode in episodes]
    return _replay_assigned(table, random.Random(seed).sample(plans, k=len(plans)))


def _steps(table: SampleTable, episode: Episode) -> tuple[Plan, ...]:
    return tuple(pulls(table, step) for step in episode.steps)


def _replay_assigned(table: SampleTable, plans: Sequence[tuple[Plan, ...]]) -> list[Episode]:
    """Replays a plan step by step; a task with more steps repeats the last one."""
    episodes = []
    for row, steps in zip(table.tasks, plans, strict=True):
        state = State.begin(table, row)
        while state.success is None:
            for pull in steps[min(len(state.steps), len(steps) - 1)]:
                state = state.after(pull)
            state = state.settled()
        episodes.append(state.episode())
    return episodes


# --------------------------------------------------------------------------- one number decides


@dataclass(frozen=True, slots=True)
class Threshold:
    """A plan up to a value of some measure of a task, another plan above it.

    Attributes:
        measure: computed from a task before its first sample.
        value: the threshold.
        low: the plan where the measure is at most `value`.
        high: the plan above it.
    """

    measure: Callable[[TaskSamples], float]
    value: float
    low: Plan
    high: Plan

    def __call__(self, row: TaskSamples) -> Plan:
        return self.low if self.measure(row) <= self.value else self.high


def prompt_length(row: TaskSamples) -> float:
    """Prompt tokens of a task in its first arm: all that a length rule looks at."""
    return float(next(iter(row.by_arm.values())).prompt_tokens)


def learn_threshold(
    table: SampleTable,
    price: Price,
    measure: Callable[[TaskSamples], float] = prompt_length,
) -> Threshold:
    """The threshold and the two plans that pay best on these tasks; for other tasks than these.

    Args:
        table: the tasks to learn on.
        price: what pays.
        measure: what decides.
    """
    rows = sorted(table.tasks, key=measure)
    totals = [
        (plan, [0.0, *accumulate(price.of(replay_plan(table, row, plan)) for row in rows)])
        for plan in fixed_plans(table)
    ]
    best: tuple[float, Threshold] | None = None
    for cut in range(1, len(rows) + 1):
        if cut < len(rows) and measure(rows[cut - 1]) == measure(rows[cut]):
            continue  # no threshold lies between equal values
        low, below = max(totals, key=lambda total: total[1][cut])
        high, above = max(totals, key=lambda total: total[1][-1] - total[1][cut])
        earned_here = below[cut] + above[-1] - above[cut]
        if best is None or earned_here > best[0]:
            best = earned_here, Threshold(measure, measure(rows[cut - 1]), low, high)
    assert best is not None  # a table has tasks
    return best[1]


# --------------------------------------------------------------------------- rules on votes


def vote_rules(table: SampleTable) -> dict[str, Allocator]:
    """The published and the simple rules on votes, as far as the samples of the table go, by name.

    On each arm: until two or three agree, Adaptive-Consistency at the paper's threshold and at one
    that two equal answers pass, and early stopping in windows of two. On each ordered pair of arms:
    until two or three agree, by turns, and until two agree with two samples a turn in one call,
    which reads fewer prompts. `amp.simulate.replay.replay_allocator` runs them.
    """
    rules: dict[str, Allocator] = {}
    for arm, samples in table.samples.items():
        one = table.arm(arm).allocation
        for threshold in (0.95, 0.85):
            name = f"adaptive consistency {threshold:g}, {arm}"
            rules[name] = AdaptiveConsistency(one, threshold, max_samples=samples)
        rules[f"early stopping, {arm}"] = EarlyStopping(one, window=2, max_samples=samples)
    orders = {
        arm: {agree: [arm] * samples for agree in (2, 3)} for arm, samples in table.samples.items()
    }
    for better, other in permutations(table.samples, 2):
        orders[f"{better} and {other} by turns"] = {
            2: by_turns(better, other, TWO_AGREE),
            3: by_turns(better, other, THREE_AGREE),
        }
        turns = min(table.samples[better], table.samples[other]) // 2
        if turns:
            pair = [replace(table.arm(a).allocation, beam_width=2) for a in (better, other)]
            name = f"two {better} and two {other} by turns until 2 agree"
            rules[name] = UntilAgreement((*pair * turns,))
    for name, order in orders.items():
        for agree, arms in order.items():
            rules[f"{name} until {agree} agree"] = until(table, arms, agree)
            at_once = until(table, arms, agree, at_once=True)
            rules[f"{name} until {agree} agree, first ones at once"] = at_once
    return rules


def by_turns(better: str, other: str, letters: str) -> list[str]:
    """The arms in the order of the letters: a stands for the better one, b for the other."""
    return [better if letter == "a" else other for letter in letters]


def until(
    table: SampleTable, order: Sequence[str], agree: int, *, at_once: bool = False
) -> UntilAgreement:
    """Samples the arms in this order until so many samples agree.

    Args:
        table: the table; what the order asks for beyond its samples is left out.
        order: the arm of each sample.
        agree: votes that settle a task.
        at_once: whether the first samples, as far as they are of one arm and too few to agree
            earlier, are drawn in one call. That decides the same, and reads fewer prompts.
    """
    left = dict(table.samples)
    arms = []
    for arm in order:
        if left[arm]:
            left[arm] -= 1
            arms.append(arm)
    opening = len(list(takewhile(lambda arm: arm == arms[0], arms[:agree]))) if at_once else 1
    first, *rest = [table.arm(arm).allocation for arm in (arms[0], *arms[opening:])]
    return UntilAgreement((replace(first, beam_width=opening), *rest), agree)


# --------------------------------------------------------------------------- oracles


def oracle(table: SampleTable, cost: CostOf = TOKENS) -> list[Episode]:
    """The cheapest allocations that solve a task, task by task; the cheapest of all if none do.

    It knows the verdicts beforehand: no policy reaches it, and its success bounds that of all
    which decide by the vote. It takes the samples in their order, like everybody; in each plan step
    so many of each arm, one call an arm.
    """
    return [
        min(_ends(table, row, cost), key=lambda end: (not end.success, cost(end.usage))).episode()
        for row in table.tasks
    ]


def reward_oracle(table: SampleTable, price: Price) -> list[Episode]:
    """The allocations with the highest reward, task by task; the cheaper ones of equals."""
    return [
        max(
            (end.episode() for end in _ends(table, row, price.cost)),
            key=lambda episode: (price.of(episode), -price.cost(episode.usage)),
        )
        for row in table.tasks
    ]


def best_fixed(table: SampleTable, price: Price) -> Plan:
    """The plan with the highest mean reward over all tasks."""
    return max(fixed_plans(table), key=lambda plan: sum(map(price.of, fixed(table, plan))))


def _ends(table: SampleTable, row: TaskSamples, cost: CostOf) -> list[State]:
    """The possible ends of a task's plan, after the cheapest way to reach each plan step.

    Dynamic programming over the plan steps in order: what follows a step does not depend on how it
    was reached, so only the cheapest way to reach it is continued.
    """
    reached = {row.task: State.begin(table, row)}
    ends = []
    for name in row.steps():
        if name not in reached:
            continue
        for state in _all_counts(reached[name]):
            after = state.settled()
            if after.success is not None:
                ends.append(after)
            elif after.name not in reached or cost(after.usage) < cost(reached[after.name].usage):
                reached[after.name] = after
    return ends


def _all_counts(state: State) -> list[State]:
    """The state after each of the `fixed_plans`, in their order."""
    states = [state]
    for arm, samples in state.table.samples.items():
        states = [
            one.after(Pull(arm, number)) if number else one
            for one in states
            for number in range(samples + 1)
        ]
    return states[1:]  # the first one took nothing


def _plan(table: SampleTable, numbers: Sequence[int]) -> Plan:
    return tuple(
        Pull(name, number) for name, number in zip(table.samples, numbers, strict=True) if number
    )
