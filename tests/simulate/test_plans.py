"""Plans of several steps: what is refused, and the laws of oracle, policies and replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.synthetic import CARD
from tests.simulate.test_table_env import CHAIN, FEATURES, PROGRAM, SPACE, policy

from amp.allocate.base import FixedAllocator
from amp.allocate.mlp_policy import EXTRAS, MlpPolicy
from amp.allocate.stopping import UntilAgreement
from amp.assess.base import WeightedAssessor
from amp.errors import InvalidInputError
from amp.learn.config import PPOConfig
from amp.learn.rollout import roll_out
from amp.learn.trainer import train
from amp.mlp import Floats
from amp.reward import Reward
from amp.simulate import policies
from amp.simulate.node_env import Edge, Node, env_from_lattice
from amp.simulate.policies import Price, fixed, fixed_plans, reward_oracle
from amp.simulate.replay import Pull, replay_allocator, replay_plan, replay_plans
from amp.simulate.sample_env import env_from_samples
from amp.simulate.samples import (
    Arm,
    ArmSamples,
    RecordedSample,
    SampleTable,
    StepSamples,
    TaskSamples,
)
from amp.simulate.table_env import TableEnv
from amp.simulate.table_oracle import oracle
from amp.types import Candidate, Complexity, Observation, StepContext, Task, Usage

ARMS = (Arm("program", PROGRAM), Arm("chain", CHAIN))
NAMED = {arm.name: arm.allocation for arm in ARMS}
REWARD = Reward(400.0)


def earned(success: Floats, tokens: Floats, trade_off: float) -> Floats:
    return REWARD.of(success, tokens, np.full(len(success), trade_off))


# --------------------------------------------------------------------------- lattices by hand


def step(
    name: str, task: str, hint: float, leads: Mapping[str, tuple[str | None, float]]
) -> tuple[list[Node], list[Edge]]:
    """A plan step of one round: a cheap arm and a dear one, and where each leads."""
    known = Complexity(hint, {"words": hint})
    nodes, edges = [Node(name, task, complexity=known)], []
    for arm, tokens in (("program", 50), ("chain", 300)):
        then, score = leads[arm]
        after = f"{name}/{arm}"
        nodes.append(Node(after, task, complexity=known, then=then, score=score))
        edges.append(Edge(name, arm, after, tokens - 20, prompt_tokens=20))
    return nodes, edges


def two_steps(tasks: int) -> TableEnv:
    """In which step the dear arm is needed tells the score: in the first, the second, or none."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    for number in range(tasks):
        task, kind = f"t{number}", number % 3
        lost, won = f"{task}/lost", f"{task}/won"
        first = {"program": (lost if kind == 0 else won, 0.0), "chain": (won, 0.0)}
        last = {"program": (None, float(kind != 1)), "chain": (None, 1.0)}
        for made in (
            step(task, task, 0.9 if kind == 0 else 0.1, first),
            step(won, task, 0.9 if kind == 1 else 0.1, last),
            *([step(lost, task, 0.1, dict.fromkeys(first, (None, 0.0)))] if kind == 0 else []),
        ):
            nodes += made[0]
            edges += made[1]
    return env_from_lattice(nodes, edges, NAMED, SPACE, ("words",), max_rounds=1)


def test_the_oracle_of_a_lattice_buys_where_it_is_needed() -> None:
    env = two_steps(6)
    success, tokens = oracle(env, REWARD, 0.9)
    assert success.tolist() == [1.0] * 6
    assert tokens.tolist() == [350.0, 350.0, 100.0] * 2
    # Where success is worth nothing, the cheapest end is the best one.
    assert oracle(env, REWARD, 0.0)[1].tolist() == [100.0] * 6


def test_nodes_that_two_allocations_lead_to_are_shared() -> None:
    env = two_steps(3)
    begins = env.first[1]
    program, chain = env.next[begins, :, 0]
    assert program != chain
    assert env.then[program] == env.then[chain] != -1


@pytest.mark.slow
def test_ppo_learns_a_lattice_of_two_steps(tmp_path: Path) -> None:
    env = two_steps(12)
    config = PPOConfig(
        decisions=30_000,
        hidden=16,
        reference_cost=400.0,
        learning_rate=3e-3,
        min_trade_off=0.7,
        max_trade_off=0.7,
        curriculum=False,
    )
    made = train(env, config, tmp_path / "training")
    tasks = np.arange(len(env.tasks))
    lambdas = np.full(len(tasks), 0.7)
    rng = np.random.default_rng(0)
    came = roll_out(replace(made, deterministic=True), env, REWARD, tasks, lambdas, rng)
    success, tokens = oracle(env, REWARD, 0.7)
    best = earned(success, tokens, 0.7).mean()
    always = [_always(env, arms) for arms in product(range(2), repeat=2)]
    alike = max(earned(s, t, 0.7).mean() for s, t in always)
    assert best > alike + 0.02
    assert came.returns.mean() - alike >= 0.95 * (best - alike)


def _always(env: TableEnv, arms: Sequence[int]) -> tuple[Floats, Floats]:
    """Success and tokens where the same arm is pulled in the same plan step of every task."""
    nodes, tokens = env.first, np.zeros(len(env.tasks))
    for arm in arms:
        tokens += env.read(nodes, np.full(len(nodes), arm))
        tokens += env.costs["tokens"].samples[env.cost_rows[nodes], arm, 0]
        ends = env.next[nodes, arm, 0]
        nodes = env.then[ends]
    return env.score[ends], tokens


@pytest.mark.parametrize(
    ("nodes", "edges", "said"),
    [
        ([], [], "there are no nodes"),
        ([Node("a", "t"), Node("a", "t")], [], "node a comes twice"),
        ([Node("a", "t")], [("a", "b")], "edge from a leads to b, which is no node"),
        ([Node("a", "t")], [("c", "a")], "edge from c leads to c, which is no node"),
        ([Node("a", "t", then="b")], [], "node a leads to b, which is no node"),
        ([Node("a", "t"), Node("b", "t")], [], "nothing leads to node b"),
        ([Node("a", "t"), Node("b", "u")], [("a", "b")], "leads from task t to u"),
        ([Node("a", "t"), Node("b", "t", then="a")], [("a", "b")], "back to themselves"),
        ([Node("a", "t")], [("a", "a")], "back to themselves"),
        ([Node("a", "t", then="b"), Node("b", "t")], [], "begins at node a, where no arm"),
        (
            [Node("a", "t"), Node("b", "t", then="c"), Node("c", "t")],
            [("a", "b")],
            "begins at node c, where no arm",
        ),
    ],
)
def test_a_lattice_that_makes_no_sense_is_refused(
    nodes: list[Node], edges: list[tuple[str, str]], said: str
) -> None:
    made = [Edge(one, arm.name, two, 1) for one, two in edges for arm in ARMS]
    with pytest.raises(InvalidInputError, match=said):
        env_from_lattice(nodes, made, NAMED, SPACE)


def test_an_unknown_arm_and_a_call_of_two_prompts_are_refused() -> None:
    nodes = [Node("a", "t"), Node("b", "t"), Node("c", "t")]
    with pytest.raises(InvalidInputError, match="has arm prgram, which is none"):
        env_from_lattice(nodes[:2], [Edge("a", "prgram", "b", 1)], NAMED, SPACE)
    edges = [Edge("a", "chain", name, 1, prompt_tokens=size) for name, size in (("b", 1), ("c", 2))]
    with pytest.raises(InvalidInputError, match="differ in prompt_tokens"):
        env_from_lattice(nodes, edges, NAMED, SPACE)


# --------------------------------------------------------------------------- tables of two steps


SAMPLES = 2


def plan_table(seed: int, tasks: int = 3) -> SampleTable:
    """Plans of two steps: of the first one's answers, 0 and 1 lead to a step each, 2 ends it."""
    rng = np.random.default_rng(seed)

    def sample(last: bool) -> RecordedSample:
        action = None if rng.random() < 0.1 else str(rng.integers(3))
        length = int(rng.integers(20, 200))
        candidate = Candidate("x", action, -float(rng.random()), completion_tokens=length)
        then = f"step {action}" if not last and action in ("0", "1") else None
        return RecordedSample(candidate, action == "0", Usage(completion_tokens=length), then)

    def by_arm(last: bool) -> dict[str, ArmSamples]:
        return {
            arm.name: ArmSamples(
                int(rng.integers(50, 150)),
                (0,) * SAMPLES,
                tuple(sample(last) for _ in range(SAMPLES)),
            )
            for arm in ARMS
        }

    rows = []
    for number in range(tasks):
        first = TaskSamples(f"t/{number}", by_arm(last=False))
        named = {s.next for arm in first.by_arm.values() for s in arm.samples if s.next}
        later = {name: StepSamples(by_arm(last=True)) for name in sorted(named)}
        rows.append(replace(first, later=later))
    return SampleTable("walks", "walks/1", CARD, True, ARMS, tuple(rows), max_steps=2)


def contexts(table: SampleTable) -> dict[str, StepContext]:
    found = {}
    for row in table.tasks:
        for name in row.steps():
            found[name] = StepContext(Task(row.task, "where to?"), Observation(name))
    return found


def env_of(table: SampleTable, max_rounds: int = 4) -> TableEnv:
    silent = WeightedAssessor(probes=frozenset())
    made = env_from_samples(table, SPACE, (), silent, contexts(table), max_rounds)
    return replace(made, shuffled=False)


def _of_no_features(one: MlpPolicy) -> MlpPolicy:
    """The same policy of chance where no feature is shown."""
    made = policy(one.seed)
    values = len(EXTRAS)
    first, second, output = made.layers
    kept = [*range(len(FEATURES), len(FEATURES) + values)]
    both = [*kept, *(len(FEATURES) + values + index for index in kept)]
    layers = (replace(first, weight=first.weight[both]), second, output)
    return replace(one, features=(), mean=made.mean[kept], std=made.std[kept], layers=layers)


TRADE_OFFS = st.floats(0.0, 1.0)
SEEDS = st.integers(0, 2**16)


@given(SEEDS, SEEDS, TRADE_OFFS)
@settings(max_examples=25, deadline=None)
def test_no_policy_earns_more_than_the_oracle(seed: int, number: int, trade_off: float) -> None:
    table = plan_table(seed, tasks=1)
    env = env_of(table)
    one = _of_no_features(replace(policy(number), max_samples=SAMPLES, trade_off=trade_off))
    success, tokens = oracle(env, REWARD, trade_off)
    best = earned(success, tokens, trade_off)
    for deterministic in (True, False):
        came = roll_out(
            replace(one, deterministic=deterministic),
            *(env, REWARD, np.array([0]), np.array([trade_off]), np.random.default_rng(number)),
        )
        assert came.returns[0] <= best[0] + 1e-9


@given(SEEDS, TRADE_OFFS)
@settings(max_examples=25, deadline=None)
def test_the_oracle_of_the_table_is_that_of_its_lattice_where_one_call_an_arm_is_enough(
    seed: int, trade_off: float
) -> None:
    """No step gains by a second call of an arm, as each reads its prompt again."""
    table = plan_table(seed, tasks=2)
    price = Price(trade_off, REWARD.reference_cost)
    env = env_of(table)
    success, tokens = oracle(env, REWARD, trade_off)
    replayed = [price.of(episode) for episode in reward_oracle(table, price)]
    assert replayed == pytest.approx(earned(success, tokens, trade_off).tolist())
    for plan in fixed_plans(table):
        for episode, best in zip(fixed(table, plan), replayed, strict=True):
            assert price.of(episode) <= best + 1e-9


@pytest.mark.parametrize("seed", range(10))
def test_a_policy_walks_a_table_of_plans_as_the_planner_would(seed: int) -> None:
    """The one in arrays, the other in the planner's types, round by round and step by step."""
    table = plan_table(seed, tasks=4)
    # Names of steps are those of the task that they are of: contexts are by name.
    table = replace(table, tasks=tuple(_named_apart(row) for row in table.tasks))
    one = _of_no_features(replace(policy(seed), max_samples=SAMPLES))
    env, tasks = env_of(table), np.arange(4)
    came = roll_out(one, env, REWARD, tasks, np.full(4, one.trade_off), np.random.default_rng(0))
    silent = WeightedAssessor(probes=frozenset())
    episodes = replay_allocator(table, one, silent, contexts(table))
    assert came.success.tolist() == [episode.score for episode in episodes]
    assert came.cost.tolist() == [episode.usage.tokens for episode in episodes]


def test_a_plan_of_two_steps_is_replayed_step_by_step() -> None:
    tables = [plan_table(seed) for seed in range(10)]
    lengths = set()
    for table in tables:
        for row, episode in zip(table.tasks, replay_plans(table, lambda row: TWO), strict=True):
            lengths.add(len(episode.steps))
            name = row.task
            for made in episode.steps:
                assert made.observation == Observation()
                step = row.steps()[name]
                taken = [s for arm in TWO for s in step.by_arm[arm.arm].samples[: arm.samples]]
                assert [c for r in made.rounds for c in r.candidates] == [
                    s.candidate for s in taken
                ]
                leads = {s.next for s in taken if s.candidate.action == made.action}
                (name,) = {to or "" for to in leads} if made.action else {step.no_action or ""}
            assert name == ""
            spent = sum((made.usage for made in episode.steps), Usage())
            assert spent.tokens == episode.usage.tokens
    assert lengths == {1, 2}


TWO = (Pull("program", 2), Pull("chain", 1))


def test_with_one_arm_of_one_sample_everything_is_the_fixed_run() -> None:
    table = plan_table(1).with_arms("chain")
    only = tuple(
        row.changed(
            lambda step, _: replace(
                step,
                by_arm={
                    name: replace(arm, samples=arm.samples[:1], cached=arm.cached[:1])
                    for name, arm in step.by_arm.items()
                },
            )
        )
        for row in table.tasks
    )
    table = replace(table, tasks=tuple(map(_without_what_nothing_leads_to, only)))
    (plan,) = fixed_plans(table)
    run = [(e.success, e.usage) for e in fixed(table, plan)]
    price = Price(0.7, 400.0)
    others = [
        *(replay_allocator(table, rule) for rule in policies.vote_rules(table).values()),
        replay_allocator(table, FixedAllocator(CHAIN)),
        replay_allocator(table, UntilAgreement((CHAIN,))),
        policies.shuffled_control(table, fixed(table, plan), 0),
        policies.resampled_control(table, fixed(table, plan), 0),
        policies.oracle(table),
        reward_oracle(table, price),
    ]
    assert len(others) > 6
    for episodes in others:
        assert [(e.success, e.usage) for e in episodes] == run


def test_a_table_whose_steps_make_no_sense_is_refused() -> None:
    table = next(made for seed in range(99) if (made := plan_table(seed)).tasks[0].later)
    row = table.tasks[0]
    name = next(iter(row.later))
    for tasks, max_steps, said in (
        ((replace(row, later={}),), 2, f"leads to {name}|leads to step {name}, which is not"),
        ((replace(row, later={**row.later, "x": row.first}),), 2, "leads to step x"),
        ((row,), 1, "has plans of 2 steps, the table of at most 1"),
        (
            (replace(row, later={n: replace(s, no_action=n) for n, s in row.later.items()}),),
            2,
            "lead back to themselves",
        ),
    ):
        with pytest.raises(InvalidInputError, match=said):
            replace(table, tasks=tasks, max_steps=max_steps)


def test_a_table_of_plans_keeps_its_steps_when_it_is_permuted_or_cut() -> None:
    table = plan_table(3)
    for made in (table.permuted(1), table.with_arms("chain", "program")):
        for row, before in zip(made.tasks, table.tasks, strict=True):
            assert row.later.keys() == before.later.keys()
            assert {s.candidate for s in row.by_arm["chain"].samples} == {
                s.candidate for s in before.by_arm["chain"].samples
            }
    once = replay_plan(table, table.tasks[0], TWO)
    assert once.ended == "done"


def _named_apart(row: TaskSamples) -> TaskSamples:
    def renamed(arm: ArmSamples) -> ArmSamples:
        return replace(
            arm,
            samples=tuple(
                replace(s, next=f"{row.task} {s.next}" if s.next else None) for s in arm.samples
            ),
        )

    changed = row.changed(
        lambda step, _: replace(step, by_arm={n: renamed(a) for n, a in step.by_arm.items()})
    )
    return replace(changed, later={f"{row.task} {n}": s for n, s in changed.later.items()})


def _without_what_nothing_leads_to(row: TaskSamples) -> TaskSamples:
    named = {s.next for arm in row.by_arm.values() for s in arm.samples}
    return replace(row, later={n: s for n, s in row.later.items() if n in named})
