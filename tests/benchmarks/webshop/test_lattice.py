"""Two ways to one state of a purchase go on alike, and a lattice of purchases replays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from amp import cli
from amp.allocate import Allocator
from amp.benchmarks.webshop import WebShop
from amp.benchmarks.webshop.environment import WebShopEnvironment
from amp.benchmarks.webshop.plans import WebShopPlans
from amp.benchmarks.webshop.prompts import WebShopPrompts
from amp.benchmarks.webshop.shop import Shop
from amp.environment import Recognisable
from amp.execute.choice_step import labels_for
from amp.execute.executor import Executor
from amp.models.base import Message, ModelCard, Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.simulate.lattice_recording import Survey, lattice_from_recording, record_lattice
from amp.simulate.lattice_replay import replay_lattice
from amp.simulate.lattice_states import Arms, lattice_arms
from amp.types import (
    STOP,
    Allocation,
    Complexity,
    Decision,
    Episode,
    Limits,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

ACTIONS = (
    *("search[brass]", "search[wool]", "click[b000000001]", "click[red]", "click[small]"),
    *("click[description]", "click[< prev]", "click[back to search]", "click[nonsense]"),
)
BUY = "click[buy now]"
STEPS = 5


class Walk:
    """A way through the shop, as planner and prompts see it."""

    def __init__(self, shop: Shop, actions: Sequence[str]) -> None:
        number = next(n for n, goal in enumerate(shop.goals) if goal.asin == "B000000001")
        self.task = Task(f"webshop/small/{number}", shop.goals[number].instruction)
        self.environment = WebShopEnvironment(shop, "small")
        self.observation = self.environment.reset(self.task)
        self.steps: list[StepRecord] = []
        for action in actions:
            self.go(action)

    def go(self, action: str) -> object:
        after = self.environment.step(action)
        self.steps.append(
            StepRecord(self.observation, (), Complexity(0.0), action, Usage(), after.feedback)
        )
        self.observation = after.observation
        return after

    @property
    def context(self) -> StepContext:
        return StepContext(self.task, self.observation, tuple(self.steps))

    @property
    def key(self) -> object:
        remembered = WebShopPrompts().remembers(self.context, frozenset())
        return self.environment.fingerprint(), remembered

    def asked(self) -> list[tuple[Message, ...]]:
        """All that a model may be asked here."""
        context, actions = self.context, self.observation.actions
        prompts, plan = WebShopPrompts(), WebShopPlans().ask(self.context, actions, 4)
        if actions is None:
            return [prompts.solve(context, Allocation()).messages, plan.messages]
        choice = prompts.choose(context, actions, labels_for(len(actions)), "")
        return [choice.messages, prompts.think(context, actions, 1).messages, plan.messages]


def check_alike(one: Walk, other: Walk, further: Sequence[str]) -> None:
    assert one.asked() == other.asked()
    for action in further:
        assert one.go(action) == other.go(action)
        assert one.asked() == other.asked()
    assert one.go(BUY) == other.go(BUY)


some = st.sampled_from(ACTIONS)


@given(
    st.integers(0, 4).flatmap(lambda n: st.tuples(*[st.lists(some, min_size=n, max_size=n)] * 2)),
    st.lists(some, min_size=4, max_size=7),
    st.lists(some, max_size=4),
)
def test_states_of_one_fingerprint_go_on_alike(
    shop: Shop, begun: tuple[list[str], list[str]], then: list[str], further: list[str]
) -> None:
    one, other = (Walk(shop, [*first, *then]) for first in begun)
    assert isinstance(one.environment, Recognisable)
    if one.key == other.key:
        check_alike(one, other, further)


def test_what_was_done_long_ago_makes_no_state_of_its_own(shop: Shop) -> None:
    then = (
        *("click[back to search]", "search[brass]", "click[b000000001]", "click[red]"),
        *("click[description]", "click[< prev]"),
    )
    red, small = (
        Walk(shop, ["search[brass]", "click[b000000001]", f"click[{value}]", *then])
        for value in ("red", "small")
    )
    assert red.key == small.key
    check_alike(red, small, ["click[small]"])


def test_what_was_chosen_and_drawn_tells_states_apart(shop: Shop) -> None:
    opened = ("search[brass]", "click[b000000001]")
    ways = [opened, (*opened, "click[red]"), (*opened, "click[small]"), ("search[<r>]",), ()]
    fingerprints = [Walk(shop, way).environment.fingerprint() for way in ways]
    assert len({*fingerprints}) == len(ways)
    over = Walk(shop, (*opened, BUY)).environment.fingerprint()
    assert over not in fingerprints


def shopper() -> ScriptedModel:
    """Searches for what there is, and clicks and plans by chance."""

    def said(prompt: Prompt, sample: int) -> str:
        rng = random.Random(repr(prompt.messages[-2:]))
        if prompt.version != WebShopPlans.version:
            return rng.choice(("brass lamp", "wool socks"))
        lines = ("open product 1", "choose color: red", "choose size: small", "buy")
        plan = ["search[brass lamp]", *rng.sample(lines, 3)]
        return "\n".join(f"{number}. {line}" for number, line in enumerate(plan, 1))[2:]

    def next_tokens(prompt: Prompt) -> dict[str, float]:
        rng = random.Random(repr(prompt.messages[-2:]))
        return {label: rng.random() ** 3 for label in labels_for(26)[:8]} | {"1": 0.1}

    return ScriptedModel(said, next_tokens=next_tokens, card=ModelCard("shopper", parameters=10))


async def record(path: Path, survey: Survey, tasks: Sequence[Task]) -> None:
    model = RecordedModel(shopper(), path, "auto")
    assert await record_lattice(model, path, survey, tasks) == {}
    await model.close()


@dataclass
class Guess(Allocator):
    """An arm of chance in every step."""

    seed: int
    arms: Sequence[Allocation]

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return STOP
        rng = random.Random(f"{self.seed} {context.task.id} {len(context.steps)}")
        return Decision(rng.choice(self.arms))


async def planned(
    path: Path, benchmark: WebShop, allocator: Allocator, tasks: Sequence[Task]
) -> list[Episode]:
    """What a planner does with the recording alone."""
    told = benchmark.defaults
    executor = Executor(benchmark.prompts, {}, told.plausibility, plans=told.plans)
    model, limits = RecordedModel(None, path, "replay"), Limits(steps=STEPS)
    planner = Planner(model, executor, allocator=allocator, limits=limits, probes=frozenset())
    episodes = [await planner.run(task, benchmark.environment(task)) for task in tasks]
    await model.close()
    return episodes


def test_a_planner_that_changes_its_arm_finds_every_answer(data: Path, tmp_path: Path) -> None:
    """States are told apart by all that prompts read, or answers would be others than recorded."""
    benchmark, path = WebShop(data), tmp_path / "lattice.sqlite"
    tasks = benchmark.tasks("test", 3)
    arms = lattice_arms(benchmark, ("act", "act unaided", "follow", "plan 8"))
    survey = Survey(benchmark, Arms(arms), 1000, STEPS)
    asyncio.run(record(path, survey, tasks))
    lattice = asyncio.run(lattice_from_recording(path, survey, tasks))
    assert [each.cut_off for each in lattice.tasks] == [0, 0, 0]
    done = set()
    for seed in range(10):
        allocator = Guess(seed, tuple(arms.values()))
        played = asyncio.run(planned(path, benchmark, allocator, tasks))
        replayed = replay_lattice(lattice, allocator)
        assert [each.plan for each in played] == [each.plan for each in replayed]
        assert [each.score for each in played] == [each.score for each in replayed]
        assert [each.usage for each in played] == [each.usage for each in replayed]
        done |= {each.plan for each in played}
    assert len(done) > 6


def test_the_command_records_every_arm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amp.cli.record.open_model", lambda *_, **__: shopper())
    arms = ("--arm", "act", "--arm", "act unaided", "--arm", "follow", "--arm", "plan 8")
    told = ("--split", "test", "--limit", "2", "--nodes", "8", "--max-steps", "4", *arms)
    to = ("--to", str(tmp_path / "lattice.sqlite"), "--data", str(data))
    for _ in range(2):  # the second time all of it is there
        result = CliRunner().invoke(cli.app, ["record", "webshop", "--lattice", *told, *to])
        assert result.exit_code == 0, result.output
        assert "all 2 tasks" in result.output
