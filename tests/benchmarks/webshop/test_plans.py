"""Plans of a purchase: pinned texts, how they are read, and where they go on."""

from __future__ import annotations

import hashlib

import pytest

from amp.allocate import PlanThenFollow
from amp.benchmarks.webshop import WebShop
from amp.benchmarks.webshop.environment import WebShopEnvironment
from amp.benchmarks.webshop.plans import PLANS, VERSION, WebShopPlans
from amp.benchmarks.webshop.shop import Shop
from amp.execute.executor import Executor
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import Complexity, Limits, Observation, StepContext, StepRecord, Task, Usage

PINNED = ("webshop-plan/1", "901c59ff0432d8e7")
READER = WebShopPlans()
GOAL = "Find me energy saving lamps with size: small, and color: red"


def walked(shop: Shop, *actions: str) -> StepContext:
    """The shop after some actions, for whichever goal."""
    task = Task("webshop/small/0", GOAL)
    environment = WebShopEnvironment(shop, "small")
    observation, steps = environment.reset(task), []
    for action in actions:
        steps.append(StepRecord(observation, (), Complexity(0.0), action, Usage()))
        observation = environment.step(action).observation
    return StepContext(task, observation, tuple(steps))


def test_a_changed_text_is_a_new_version() -> None:
    context = StepContext(Task("webshop/small/0", GOAL), Observation("WebShop"))
    told = "\n".join(f"{m.role}: {m.content}" for m in READER.ask(context, None, 3).messages)
    assert (VERSION, hashlib.sha256(told.encode()).hexdigest()[:16]) == PINNED


@pytest.mark.parametrize("plan", [plan for _, _, plan in PLANS])
def test_the_worked_examples_are_read_as_they_stand(plan: tuple[str, ...]) -> None:
    assert tuple(map(READER.read, plan)) == plan


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("Search[red 'lamp']", "search[red 'lamp']"),
        ("search red lamp", "search[red lamp]"),
        ("open product 2: Brass Desk Lamp, $15.5", "open product 2"),
        ("Select the color: Red.", "choose color: red"),
        ("buy now", "buy now"),
        ("search[<script>]", "search[script]"),
        ("think about lamps", None),
        ("search[]", None),
    ],
)
def test_lines_are_read_generously(line: str, read: str | None) -> None:
    assert READER.read(line) == read


RESULTS = ("search[brass lamp]",)
PRODUCT = (*RESULTS, "click[b000000001]")


@pytest.mark.parametrize(
    ("done", "plan", "following"),
    [
        ((), ("search[lamp]", "x"), ("search[lamp]", "x")),
        ((), ("open product 1",), ()),
        (RESULTS, ("open product 1", "x"), ("click[b000000001]", "x")),
        (RESULTS, ("buy",), ()),
        (RESULTS, ("search[lamp]", "x"), ("click[back to search]", "search[lamp]", "x")),
        (PRODUCT, ("choose size: small", "x"), ("click[small]", "x")),
        (PRODUCT, ("choose size: huge", "buy"), ()),
        (PRODUCT, ("buy",), ("click[buy now]",)),
        (PRODUCT, ("back",), ("click[< prev]",)),
        # It is chosen already.
        ((*PRODUCT, "click[small]"), ("choose size: small", "buy"), ("click[buy now]",)),
        (PRODUCT, (), ()),
    ],
)
def test_where_a_plan_goes_on(
    shop: Shop, done: tuple[str, ...], plan: tuple[str, ...], following: tuple[str, ...]
) -> None:
    context = walked(shop, *done)
    assert READER.following(context, plan, context.observation.actions) == following


async def test_one_answer_buys(shop: Shop) -> None:
    plan = ("open product 1", "choose color: red", "choose size: small", "buy")
    listed = [f"{number}. {line}" for number, line in enumerate(plan, start=2)]
    model = ScriptedModel(["\n".join((" search[brass lamp]", *listed))])
    told = WebShop.defaults
    planner = Planner(
        model,
        Executor(WebShop().prompts, plans=told.plans),
        allocator=PlanThenFollow(),
        limits=Limits(steps=8),
        probes=frozenset(),
    )
    episode = await planner.run(Task("webshop/small/0", GOAL), WebShopEnvironment(shop, "small"))
    assert episode.ended == "done"
    assert episode.plan[-1] == "click[buy now]"
    assert (len(episode.plan), episode.usage.model_calls) == (5, 1)
