"""The table as an environment: its episodes are those that the policy plays on the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from tests.fakes.synthetic import CARD

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.space import Space
from amp.assess.base import WeightedAssessor
from amp.assess.features import FEATURES as SCHEMA
from amp.assess.neural import NeuralAssessor
from amp.errors import InvalidInputError
from amp.learn.behaviour_cloning import latents_of
from amp.learn.rollout import roll_out
from amp.mlp import Layer
from amp.reward import Reward
from amp.simulate.replay import pulls, replay_allocator
from amp.simulate.sample_env import ORDERED, env_from_samples
from amp.simulate.samples import Arm, ArmSamples, RecordedSample, SampleTable, TaskSamples
from amp.simulate.table_env import TableEnv
from amp.types import Allocation, Candidate, Observation, StepContext, Task, Usage

PROGRAM = Allocation(temperature=0.7, top_p=1.0, tools=frozenset({"python"}))
CHAIN = Allocation(depth=4, temperature=0.7, top_p=1.0)
SPACE = Space(
    depth=(4, 4),
    depth_with_tools=(0, 0),
    temperature=(0.7, 0.7),
    top_p=(1.0, 1.0),
    beam_width=(1, 3),
    verification=(0, 0),
    tools=frozenset({"python"}),
)
FEATURES = ("token_entropy", "answer_tokens", "unread")
ASSESSOR = WeightedAssessor(probes=frozenset())
SAMPLES = 3


def draws(tasks: int = 12, seed: int = 0, samples: int = SAMPLES) -> SampleTable:
    """Answers of chance with lengths and entropies of their own, some of them unread."""
    rng = np.random.default_rng(seed)

    def draw() -> RecordedSample:
        answer = None if rng.random() < 0.15 else str(rng.integers(3))
        length = int(rng.integers(20, 200))
        log_prob, entropy = -float(rng.random()) * 30, float(rng.random())
        candidate = Candidate("x", answer, log_prob, entropy, completion_tokens=length)
        return RecordedSample(candidate, answer == "0", Usage(completion_tokens=length))

    def cell(prompt_tokens: int) -> ArmSamples:
        return ArmSamples(prompt_tokens, (0,) * samples, tuple(draw() for _ in range(samples)))

    rows = (
        TaskSamples(f"t/{index}", {"program": cell(100 + index), "chain": cell(200 + index)})
        for index in range(tasks)
    )
    arms = (Arm("program", PROGRAM), Arm("chain", CHAIN))
    return SampleTable("riddles", "riddles/1", CARD, True, arms, tuple(rows))


DRAWS = draws()


def contexts(made: SampleTable) -> Mapping[str, StepContext]:
    return {
        row.task: StepContext(Task(row.task, f"how many in {index}?"), Observation())
        for index, row in enumerate(made.tasks)
    }


CONTEXTS = contexts(DRAWS)
TABLE = env_from_samples(DRAWS, SPACE, FEATURES, ASSESSOR, CONTEXTS, max_rounds=4)


UNORDERED = tuple(feature.name for feature in SCHEMA if feature.name not in ORDERED)


def network(seed: int, names: tuple[str, ...] = UNORDERED) -> NeuralAssessor:
    """An assessor of chance that reads all that it may, and says all sorts of things."""
    rng = np.random.default_rng(seed)
    first, second = (
        Layer(
            rng.normal(0.0, 1.0, (inputs, outputs)).astype(np.float32),
            rng.normal(0.0, 1.0, outputs).astype(np.float32),
        )
        for inputs, outputs in ((3 * len(names), 8), (8, 1))
    )
    unit = np.ones(len(names), np.float32)
    return NeuralAssessor(names, 0 * unit, unit, (first, second))


SCORED = env_from_samples(DRAWS, SPACE, FEATURES, network(0), CONTEXTS, max_rounds=4)


def policy(seed: int) -> MlpPolicy:
    """A network of chance: decides all sorts of things, and depends on all that it sees."""
    rng = np.random.default_rng(seed)
    made = MlpPolicy.initial(SPACE, FEATURES, hidden=16, seed=seed)
    *hidden, output = made.layers
    weight = rng.normal(0.0, 1.0, output.weight.shape).astype(np.float32)
    layers = (hidden[0], hidden[1], replace(output, weight=weight))
    return replace(made, layers=layers, max_samples=SAMPLES, deterministic=True, trade_off=0.8)


def heeding(seed: int) -> MlpPolicy:
    """A policy of chance to which scores differ more than all else does."""
    made = policy(seed)
    mean, std = made.mean.copy(), made.std.copy()
    mean[len(FEATURES)], std[len(FEATURES)] = 0.5, 0.1
    mean[FEATURES.index("answer_tokens")], std[FEATURES.index("answer_tokens")] = 100.0, 200.0
    return replace(made, mean=mean, std=std)


@pytest.mark.parametrize("seed", range(20))
def test_the_simulator_and_the_table_give_the_same_episodes(seed: int) -> None:
    """The one is numpy over arrays, the other the planner's types, one round after the other."""
    one = policy(seed)
    inside = _in_order(one)
    outside = replay_allocator(DRAWS, one, ASSESSOR, CONTEXTS)
    assert inside == [(o.score, float(o.usage.tokens)) for o in outside]


@pytest.mark.parametrize("seed", range(10))
def test_so_they_do_with_a_network_that_scores_and_with_one_that_has_learned_since(
    seed: int,
) -> None:
    one = heeding(seed)
    for assessor, inside in (
        (network(0), _in_order(one, SCORED)),
        (network(1 + seed), _in_order(one, SCORED, network(1 + seed))),
    ):
        outside = replay_allocator(DRAWS, one, assessor, CONTEXTS)
        assert inside == [(o.score, float(o.usage.tokens)) for o in outside]


def test_the_scores_of_those_tests_matter() -> None:
    came = {
        repr([o.usage for o in replay_allocator(DRAWS, heeding(seed), assessor, CONTEXTS)])
        for seed in range(10)
        for assessor in (network(0), network(1 + seed))
    }
    assert len(came) > 10


def test_the_policies_of_that_test_differ_and_use_both_arms() -> None:
    asked = {
        (pull.arm, pull.samples, number)
        for seed in range(20)
        for outcome in replay_allocator(DRAWS, policy(seed), ASSESSOR, CONTEXTS)
        for number, pull in enumerate(pulls(DRAWS, outcome.steps[0]))
    }
    assert {arm for arm, _, _ in asked} == {"program", "chain"}
    assert {samples for _, samples, _ in asked} == {1, 2, 3}
    assert {number for _, _, number in asked} >= {0, 1, 2, 3}


def _in_order(
    one: MlpPolicy,
    table: TableEnv = TABLE,
    assessor: NeuralAssessor | None = None,
) -> list[tuple[float, float]]:
    tasks = np.arange(len(table.tasks))
    came = roll_out(
        one,
        replace(table, shuffled=False),
        Reward(1000.0),
        tasks,
        np.full(len(tasks), one.trade_off),
        np.random.default_rng(0),
        assessor,
    )
    return list(zip(came.success.tolist(), came.cost.tolist(), strict=True))


def test_every_order_of_the_samples_is_as_likely() -> None:
    tasks = np.zeros(3000, np.intp)
    plays = TABLE.reset(tasks, np.random.default_rng(0))
    view = plays.observe(np.arange(3000))
    wanted = latents_of(SPACE, [PROGRAM] * 3000, view.free)
    plays.step(np.arange(3000), wanted)
    first = np.bincount(plays.node, minlength=8)[[1, 2, 4]] / 3000
    assert first == pytest.approx([1 / 3] * 3, abs=0.04)


def test_a_part_is_the_same_table_of_fewer_tasks() -> None:
    part = SCORED.part(np.array([3, 1]))
    nodes = [*range(3 * SCORED.subsets, 4 * SCORED.subsets)]
    nodes += range(SCORED.subsets, 2 * SCORED.subsets)
    assert (part.assessed == SCORED.assessed[nodes]).all()
    assert (part.costs["tokens"].samples == SCORED.costs["tokens"].samples[[3, 1]]).all()
    assert (part.right == SCORED.right[[3, 1]]).all()
    assert part.next[part.next != -1].max() < len(part.next) == 2 * SCORED.subsets
    assert part.tasks == (TABLE.tasks[3], TABLE.tasks[1])
    assert np.array_equal(part.shown, SCORED.shown[nodes], equal_nan=True)
    assert part.difficulties.tolist() == TABLE.difficulties[[3, 1]].tolist()


def test_a_weight_counts_for_the_costs_of_its_task_alone() -> None:
    weights = np.arange(1.0, 1.0 + len(TABLE.tasks))
    nodes = np.arange(len(TABLE.then))
    by = np.repeat(weights, TABLE.subsets)[:, None, None]
    for unit, costs in TABLE.costs.items():
        made, own = TABLE.weighed(weights).costs[unit], costs.rows(TABLE.cost_rows)
        assert np.array_equal(made.calls[nodes], own.calls * by)
        assert np.array_equal(made.samples[nodes], own.samples * by)


def test_what_cannot_be_simulated_is_refused_by_name() -> None:
    def of(
        made: SampleTable = DRAWS,
        features: tuple[str, ...] = FEATURES,
        assessor: WeightedAssessor | NeuralAssessor = ASSESSOR,
    ) -> TableEnv:
        return env_from_samples(made, SPACE, features, assessor, CONTEXTS, max_rounds=4)

    with pytest.raises(InvalidInputError, match="feature divergence depends on the order"):
        of(features=("divergence",))
    with pytest.raises(InvalidInputError, match="feature divergence depends on the order"):
        of(assessor=network(0, ("words", "divergence")))
    with pytest.raises(InvalidInputError, match=r"no arm is without tools \(program\), but a pol"):
        of(_with_one_arm("program"))
    with pytest.raises(InvalidInputError, match=r"no arm has a tool \(chain\), but a policy here"):
        of(_with_one_arm("chain"))
    with pytest.raises(InvalidInputError, match="the assessor probes hidden first"):
        of(assessor=WeightedAssessor(probes=frozenset({"hidden"})))
    many = replace(
        DRAWS,
        tasks=tuple(
            replace(
                row, by_arm={n: replace(c, samples=c.samples * 3) for n, c in row.by_arm.items()}
            )
            for row in DRAWS.tasks
        ),
    )
    with pytest.raises(InvalidInputError, match="2 arms of 9 samples have 262,144 subsets"):
        of(many)
    with pytest.raises(InvalidInputError, match="share no prompt"):
        of(replace(DRAWS, shared_prompt=False))
    wide = replace(TABLE, space=replace(SPACE, depth=(0, 4)))
    plays = wide.reset(np.array([0]), np.random.default_rng(0))
    latents = latents_of(wide.space, [replace(CHAIN, depth=1)], plays.observe(np.array([0])).free)
    with pytest.raises(InvalidInputError, match=r"no arm for .*'depth': 1.0"):
        plays.step(np.array([0]), latents)


def _with_one_arm(name: str) -> SampleTable:
    rows = (replace(row, by_arm={name: row.by_arm[name]}) for row in DRAWS.tasks)
    return replace(DRAWS, arms=(DRAWS.arm(name),), tasks=tuple(rows))
