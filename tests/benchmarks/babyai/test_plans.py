"""Plans in the words of BabyAI: pinned texts, how they are read, and where they go on."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.allocate import PlanThenFollow
from amp.benchmarks.babyai import PATH_FINDER, BabyAI
from amp.benchmarks.babyai.plans import (
    PRIMITIVE_PLANS,
    SUBGOAL_PLANS,
    VERSION,
    BabyAIPlans,
    Planned,
)
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.evaluate.assembly import Assembly
from amp.evaluate.config import PlannerConfig
from amp.execute.executor import Executor
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import (
    Allocation,
    Complexity,
    Limits,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

PINNED = ("babyai-plan/1", "44727c6fdedc2f78")
PLANS = BabyAIPlans()
SUBGOALS = ("go to the locked red door", "go to the blue ball 2 steps left", "explore")


def at(state: str, actions: tuple[str, ...] = SUBGOALS, mission: str = "m") -> StepContext:
    seen = Observation(state, PRIMITIVES, {PATH_FINDER: actions})
    done = StepRecord(seen, (), Complexity(0.5), "explore", Usage(), feedback="You explored.")
    return StepContext(Task("t", mission), seen, (done,))


def test_a_changed_text_is_a_new_version() -> None:
    prompts = [
        PLANS.ask(at("You see a red ball 2 steps left"), a, 3) for a in (SUBGOALS, PRIMITIVES)
    ]
    told = "\n".join(f"{m.role}: {m.content}" for p in prompts for m in p.messages)
    assert (VERSION, hashlib.sha256(told.encode()).hexdigest()[:16]) == PINNED


@pytest.mark.parametrize("example", [*SUBGOAL_PLANS, *PRIMITIVE_PLANS], ids=lambda e: e.mission)
def test_the_worked_examples_are_read_as_they_stand(example: Planned) -> None:
    assert tuple(map(PLANS.read, example.plan)) == example.plan


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("Go to a red ball.", "go to the red ball"),
        ("pick up red ball", "pick up the red ball"),
        ("put the red key next to a blue ball", "put the red key next to the blue ball"),
        ("turn left", "turn left"),
        ("explore", "explore"),
        ("walk to the red ball", None),
        ("", None),
    ],
)
def test_lines_are_read_generously(line: str, read: str | None) -> None:
    assert PLANS.read(line) == read


@pytest.mark.parametrize(
    ("state", "actions", "plan", "following"),
    [
        # A thing without its place means the nearest one, and "locked" makes no difference.
        ("", SUBGOALS, ("go to the red door",), ("go to the locked red door",)),
        ("", SUBGOALS, ("go to the blue ball",), ("go to the blue ball 2 steps left",)),
        # The next thing is seen: no need to explore.
        ("", SUBGOALS, ("explore", "go to the red door", "x"), ("go to the locked red door", "x")),
        # It is before the agent: no need to go there.
        (
            "You see a closed red door 1 step forward",
            ("open the red door", "explore"),
            ("go to the red door", "open the red door"),
            ("open the red door",),
        ),
        # It is not seen, so it is looked for, and the plan stands.
        ("", SUBGOALS, ("go to the red box", "x"), ("explore", "go to the red box", "x")),
        ("", ("drop the red key",), ("go to the red box",), ()),
        # It is seen and can't be done.
        ("You see a red box 3 steps left", SUBGOALS, ("pick up the red box",), ()),
        ("", SUBGOALS, ("drop the red box",), ()),
        ("", SUBGOALS, ("explore",), ("explore",)),
        # Without a colour, any of the kind.
        (
            "You see a red door 1 step left",
            SUBGOALS,
            ("go to the door", "x"),
            ("go to the locked red door", "x"),
        ),
        ("", SUBGOALS, ("go to the ball on your left",), ("go to the blue ball 2 steps left",)),
        ("", PRIMITIVES, ("turn left", "pick up"), ("turn left", "pick up")),
        ("", SUBGOALS, (), ()),
    ],
)
def test_where_a_plan_goes_on(
    state: str, actions: tuple[str, ...], plan: tuple[str, ...], following: tuple[str, ...]
) -> None:
    assert PLANS.following(at(state), plan, actions) == following


lines = st.sampled_from(
    [line for example in SUBGOAL_PLANS for line in example.plan] + list(PRIMITIVES) + list(SUBGOALS)
)


@settings(max_examples=50)
@given(st.lists(lines, max_size=6), st.lists(lines, max_size=8), st.booleans())
def test_what_is_followed_is_admissible_and_the_rest_is_of_the_plan(
    plan: list[str], actions: list[str], sees: bool
) -> None:
    state = "You see a red key 1 step forward" if sees else ""
    following = PLANS.following(at(state), tuple(plan), tuple(actions))
    if following:
        action, *rest = following
        assert action in actions
        assert rest == plan[len(plan) - len(rest) :]


@pytest.mark.parametrize(
    ("level", "seed", "plan", "calls"),
    [
        (
            "BabyAI-PutNextLocal-v0",
            10_000,
            "go to a green ball\npick up the green ball\n3. go to the red key\n"
            "4. put the green ball next to the red key",
            1,
        ),
        (
            "BabyAI-UnlockLocal-v0",
            10_001,
            "go to the blue key\n2. pick up the blue key\n3. go to the door\n4. open the door",
            1,
        ),
        (
            "BabyAI-OpenTwoDoors-v0",
            10_000,
            "go to the blue door\n2. open the blue door\n3. go to the purple door\n"
            "4. open the purple door",
            1,
        ),
    ],
)
async def test_one_answer_solves_a_mission(level: str, seed: int, plan: str, calls: int) -> None:
    pytest.importorskip("minigrid")
    benchmark = BabyAI(level)
    (task,) = benchmark.tasks(f"seeds:{seed}-{seed}")
    model = ScriptedModel([plan])
    executor = Executor(benchmark.prompts, plans=benchmark.defaults.plans)
    rule = PlanThenFollow(Allocation(tools=frozenset({PATH_FINDER})), most=1, gives_up=True)
    planner = Planner(model, executor, allocator=rule, limits=Limits(steps=16), probes=frozenset())
    episode = await planner.run(task, benchmark.environment(task))
    assert episode.success, episode.plan
    assert episode.usage.model_calls == calls


async def test_without_the_path_finder_a_plan_is_of_moves() -> None:
    pytest.importorskip("minigrid")
    benchmark = BabyAI("BabyAI-GoToLocal-v0")
    (task,) = benchmark.tasks("seeds:10000-10000")
    model = ScriptedModel(["go forward\n2. go forward"])
    executor = Executor(benchmark.prompts, plans=benchmark.defaults.plans)
    planner = Planner(
        model, executor, allocator=PlanThenFollow(), limits=Limits(steps=4), probes=frozenset()
    )
    episode = await planner.run(task, benchmark.environment(task))
    assert episode.success
    assert episode.plan == ("go forward",)


def test_a_run_says_which_texts_may_ask_for_plans() -> None:
    benchmark, plans = BabyAI(), PLANS.version
    for told, versions in {
        "plan_then_follow": (BabyAI().prompts.version, plans),
        "fixed": (BabyAI().prompts.version,),
    }.items():
        assert Assembly.of(PlannerConfig(allocator=told), benchmark).prompts == versions
    tools = frozenset({"plan", PATH_FINDER})
    config = PlannerConfig(allocator="fixed", depth=4, tools=tools)
    assert plans in Assembly.of(config, benchmark).prompts
