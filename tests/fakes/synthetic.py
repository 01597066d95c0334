"""A benchmark whose best allocation is known: the truth that an evaluation has to report.

Every task has a level. The answers of a level are right with a known probability for each arm, all
right answers of a task are equal, and no two wrong ones are. No answer has a log-probability, so
the vote is right if two answers are, or the first one is: what a plan earns has a closed form.

Two numbers are shown before the first round, free of charge, as the look of a step: its entropy
tells the level, its perplexity tells nothing. So does the length of the prompts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from amp.models.base import ModelCard
from amp.report.frontier import Point
from amp.reward import reward
from amp.simulate.policies import Price, fixed_plans
from amp.simulate.replay import Plan
from amp.simulate.samples import Arm, ArmSamples, RecordedSample, SampleTable, TaskSamples
from amp.types import Allocation, Candidate, Probe, Usage

CARD = ModelCard("synthetic", parameters=1_000_000_000, layers=24, attention_width=2048)


@dataclass(frozen=True, slots=True)
class Way:
    """What an arm costs.

    Attributes:
        prompt_tokens: a call.
        completion_tokens: a sample.
    """

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Level:
    """Tasks of one difficulty.

    Attributes:
        share: of all tasks.
        entropy: what the look says of its tasks.
        right: probability of a right answer, by arm.
    """

    share: float
    entropy: float
    right: Mapping[str, float]


WAYS = {"short": Way(50, 40), "long": Way(80, 200)}

LEVELS = (
    Level(0.5, entropy=0.2, right={"short": 0.95, "long": 0.95}),
    Level(0.3, entropy=0.6, right={"short": 0.1, "long": 0.9}),
    Level(0.2, entropy=1.2, right={"short": 0.02, "long": 0.05}),
)
"""Easy, hard and hopeless: entropy rises with difficulty, what is worth spending does not."""

CERTAIN_LEVELS = (
    Level(0.5, entropy=0.2, right={"short": 1.0, "long": 1.0}),
    Level(0.3, entropy=0.6, right={"short": 0.0, "long": 1.0}),
    Level(0.2, entropy=1.2, right={"short": 0.0, "long": 0.0}),
)
"""The same without luck: who knows the level knows the verdicts, so the oracle can be reached."""


def synthetic(
    tasks: int,
    seed: int = 0,
    samples: int = 4,
    levels: Sequence[Level] = LEVELS,
    ways: Mapping[str, Way] = WAYS,
) -> SampleTable:
    """SampleTable a table; the levels have their shares to within one task.

    Args:
        tasks: how many.
        seed: of the table.
        samples: of each arm.
        levels: of the tasks; their shares add up to 1.
        ways: what the arms cost.
    """
    chance = random.Random(seed)
    rows = [
        _row(f"synthetic/{index}", _level(index, tasks, levels), samples, ways, chance)
        for index in range(tasks)
    ]
    return SampleTable(
        benchmark="synthetic",
        prompts="synthetic/1",
        card=CARD,
        shared_prompt=True,
        arms=tuple(
            Arm(name, Allocation(depth=depth, temperature=0.7)) for depth, name in enumerate(ways)
        ),
        tasks=tuple(rows),
        probes=frozenset({"next_token", "perplexity"}),
        seed=seed,
    )


def success_of(plan: Plan, level: Level) -> float:
    """Probability that the vote of a plan is right on a level.

    The first answer is right, or two of the others are: p + (1 - p) P(at least two of the rest).
    """
    first, *rest = [level.right[pull.arm] for pull in plan for _ in range(pull.samples)]
    none, one = 1.0, 0.0  # probabilities of no and of one right answer among the rest so far
    for p in rest:
        none, one = none * (1.0 - p), one * (1.0 - p) + none * p
    return first + (1.0 - first) * (1.0 - none - one)


def tokens_of(plan: Plan, ways: Mapping[str, Way] = WAYS) -> int:
    """What a plan costs on every task."""
    return sum(
        ways[pull.arm].prompt_tokens + pull.samples * ways[pull.arm].completion_tokens
        for pull in plan
    )


def fixed_point(
    plan: Plan, levels: Sequence[Level] = LEVELS, ways: Mapping[str, Way] = WAYS
) -> Point:
    """Expected tokens and success of a plan that is played on all tasks alike."""
    success = sum(level.share * success_of(plan, level) for level in levels)
    return Point(tokens_of(plan, ways), success)


def informed_plan(
    table: SampleTable, level: Level, price: Price, ways: Mapping[str, Way] = WAYS
) -> Plan:
    """The plan that pays best on a level: the optimum of whoever knows the level, in one round."""

    def earned(plan: Plan) -> float:
        cost = tokens_of(plan, ways) / price.budget
        return reward(success_of(plan, level), cost, price.trade_off)

    return max(fixed_plans(table), key=earned)


def informed_point(
    table: SampleTable,
    price: Price,
    levels: Sequence[Level] = LEVELS,
    ways: Mapping[str, Way] = WAYS,
) -> Point:
    """Expected tokens and success of the best plan of every level."""
    plans = [(level, informed_plan(table, level, price, ways)) for level in levels]
    return Point(
        sum(level.share * tokens_of(plan, ways) for level, plan in plans),
        sum(level.share * success_of(plan, level) for level, plan in plans),
    )


def oracle_point(
    table: SampleTable, levels: Sequence[Level] = LEVELS, ways: Mapping[str, Way] = WAYS
) -> Point:
    """Expected tokens and success of the oracle that knows the verdicts, over all their patterns.

    It plays the cheapest plan whose vote is right, and the cheapest of all where none is.
    """
    arms = [name for name, count in table.samples.items() for _ in range(count)]
    plans = sorted(fixed_plans(table), key=lambda plan: tokens_of(plan, ways))
    tokens = success = 0.0
    for pattern in product((False, True), repeat=len(arms)):
        right = {
            name: [verdict for verdict, arm in zip(pattern, arms, strict=True) if arm == name]
            for name in table.samples
        }
        won = next((plan for plan in plans if _wins(plan, right)), None)
        probability = sum(level.share * _likelihood(pattern, arms, level) for level in levels)
        tokens += probability * tokens_of(won or plans[0], ways)
        success += probability * (won is not None)
    return Point(tokens, success)


def _wins(plan: Plan, right: Mapping[str, Sequence[bool]]) -> bool:
    verdicts = [verdict for pull in plan for verdict in right[pull.arm][: pull.samples]]
    return verdicts[0] or sum(verdicts) >= 2


def _likelihood(pattern: Sequence[bool], arms: Sequence[str], level: Level) -> float:
    probability = 1.0
    for verdict, arm in zip(pattern, arms, strict=True):
        probability *= level.right[arm] if verdict else 1.0 - level.right[arm]
    return probability


def _row(
    task: str, level: Level, samples: int, ways: Mapping[str, Way], chance: random.Random
) -> TaskSamples:
    probe = Probe(entropy=level.entropy, perplexity=1.0 + chance.random())
    return TaskSamples(
        task,
        {
            name: ArmSamples(
                way.prompt_tokens,
                (0,) + (way.prompt_tokens,) * (samples - 1),
                tuple(
                    _draw(chance.random() < level.right[name], f"{name} {index}", way)
                    for index in range(samples)
                ),
            )
            for name, way in ways.items()
        },
        probe=probe,
    )


def _draw(right: bool, wrong_answer: str, way: Way) -> RecordedSample:
    tokens = way.completion_tokens
    candidate = Candidate("", "right" if right else wrong_answer, completion_tokens=tokens)
    return RecordedSample(candidate, right, Usage(completion_tokens=tokens))


def _level(index: int, tasks: int, levels: Sequence[Level]) -> Level:
    """The level whose share of the tasks the index lies in."""
    reached = 0.0
    for level in levels:
        reached += level.share
        if (index + 0.5) / tasks < reached:
            return level
    return levels[-1]
