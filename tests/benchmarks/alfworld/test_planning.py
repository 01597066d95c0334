"""Plans from beliefs, the tool that supposes them, and the whole loop on a game."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import alfworld_games

from amp.allocate.base import FixedAllocator
from amp.benchmarks.alfworld import ALFWorld
from amp.benchmarks.alfworld.planning import (
    Belief,
    belief_by_kind,
    common_sense,
    missing,
    planner_tools,
    planning_problem,
    random_belief,
)
from amp.benchmarks.alfworld.prompts import ALFWorldPrompts
from amp.benchmarks.alfworld.scene import Goal, Scene, facts, read_facts
from amp.cost import Ledger
from amp.evaluate import PlannerConfig, build_planner
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.execute.tools.strips import solve
from amp.execute.tools.symbolic_planner import first_step, read_problem
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import Allocation, Limits, Observation, StepContext, Task

PLACES = ("cabinet 1", "cabinet 2", "fridge 1", "microwave 1", "shelf 1", "sinkbasin 1")
THINGS = ("apple", "bread", "mug", "desklamp", "no such thing")
HOT_APPLE = Goal("apple", state="hot", place="fridge")


def plan(goal: Goal, scene: Scene, believe: Belief = common_sense) -> list[str] | None:
    stated = planning_problem(goal, scene, believe)
    if stated is None:
        return None
    found = solve(read_problem(stated), cheapest=True)
    return None if found is None else [action.name for action in found]


@given(
    st.sampled_from(THINGS),
    st.lists(st.sampled_from(PLACES), min_size=1, unique=True),
    st.text(max_size=3),
)
def test_beliefs_are_probabilities_and_chance_repeats(
    thing: str, places: list[str], seed: str
) -> None:
    model = belief_by_kind({"apple": {"fridge": 0.9, "cabinet": 0.1}, "mug": {}})
    for believe in (common_sense, random_belief(seed), model):
        belief = believe(thing, places)
        assert list(belief) == places
        assert sum(belief.values()) == pytest.approx(1.0)
        assert min(belief.values()) >= 0.0
    assert random_belief(seed)(thing, places) == random_belief(seed)(thing, places)


def test_common_sense_looks_for_food_in_the_fridge_and_one_of_many_counts_less() -> None:
    belief = common_sense("apple", PLACES)
    assert max(belief, key=lambda place: belief[place]) == "fridge 1"
    spread = belief_by_kind({"mug": {"cabinet": 0.6, "shelf": 0.4}})("mug", PLACES)
    assert spread["cabinet 1"] == pytest.approx(0.3)


def test_a_thing_that_was_seen_is_fetched_and_changed() -> None:
    scene = Scene(PLACES, contents={"shelf 1": ("apple 2",)}, shut={"fridge 1": True})
    assert plan(HOT_APPLE, scene) == [
        "go to shelf 1",
        "take apple 2 from shelf 1",
        "go to microwave 1",
        "heat apple 2 with microwave 1",
        "go to fridge 1",
        "open fridge 1",
        "move apple 2 to fridge 1",
    ]


def test_a_thing_that_was_not_seen_is_looked_for_where_belief_puts_it() -> None:
    steps = plan(HOT_APPLE, Scene(PLACES), belief_by_kind({"apple": {"shelf": 1.0}}))
    assert steps is not None
    assert steps[:2] == ["go to shelf 1", "take apple from shelf 1"]


def test_what_was_searched_in_vain_is_ruled_out_and_changes_no_other_belief() -> None:
    """Two of three cabinets were empty: the shelf is now the likelier place, as by Bayes' rule."""
    places = ("cabinet 1", "cabinet 2", "cabinet 3", "shelf 1")
    believe = belief_by_kind({"apple": {"cabinet": 0.6, "shelf": 0.4}})
    scene = Scene(places, contents={"cabinet 1": (), "cabinet 2": ()})
    steps = plan(Goal("apple", place="cabinet"), scene, believe)
    assert steps is not None
    assert steps[0] == "go to shelf 1"


def test_what_is_missing_is_what_the_goal_needs_and_nobody_saw() -> None:
    two, look = Goal("mug", count=2, place="shelf"), Goal("mug", lamp="desklamp")
    one_seen = Scene(PLACES, contents={"shelf 1": ("mug 1",)})
    assert missing(two, Scene(PLACES)) == missing(two, one_seen) == ("mug",)
    assert missing(look, Scene(PLACES)) == ("mug", "desklamp")
    assert missing(look, one_seen) == ("desklamp",)
    assert missing(HOT_APPLE, Scene(PLACES, held="apple 1")) == ()


def test_a_thing_is_looked_for_even_where_it_shall_be_in_the_end() -> None:
    assert plan(
        Goal("apple", place="shelf"), Scene(PLACES), belief_by_kind({"apple": {"shelf": 1.0}})
    ) == ["go to shelf 1"]


def test_a_closed_place_is_opened_and_a_near_one_examined() -> None:
    scene = Scene(PLACES, at="cabinet 1", near=("cabinet 2",), shut={"cabinet 1": True})
    steps = plan(Goal("mug", place="shelf"), scene, lambda _, places: dict.fromkeys(places, 1.0))
    assert steps is not None
    assert steps[0] == "open cabinet 1"
    scene.shut, scene.contents = {"cabinet 1": False}, {"cabinet 1": ()}
    steps = plan(Goal("mug", place="shelf"), scene, lambda _, places: dict.fromkeys(places, 1.0))
    assert steps is not None
    assert steps[0] == "examine cabinet 2"


def test_what_is_in_the_way_is_put_down() -> None:
    scene = Scene(PLACES, at="shelf 1", held="mug 1", contents={"shelf 1": ("apple 1",)})
    steps = plan(Goal("apple", place="fridge"), scene)
    assert steps is not None
    assert steps[0] == "move mug 1 to shelf 1"


def test_two_things_end_in_one_place_and_stay_there() -> None:
    scene = Scene(PLACES, at="cabinet 1", contents={"cabinet 2": ("mug 1",), "shelf 1": ("mug 3",)})
    assert plan(Goal("mug", count=2, place="cabinet"), scene) == [
        "go to shelf 1",
        "take mug 3 from shelf 1",
        "go to cabinet 2",
        "move mug 3 to cabinet 2",
    ]


def test_a_thing_is_carried_to_the_lamp() -> None:
    scene = Scene(PLACES, contents={"shelf 1": ("mug 1",), "cabinet 1": ("desklamp 1",)})
    assert plan(Goal("mug", lamp="desklamp"), scene) == [
        "go to shelf 1",
        "take mug 1 from shelf 1",
        "go to cabinet 1",
        "use desklamp 1",
    ]


def test_there_is_no_problem_once_everything_was_searched_in_vain() -> None:
    scene = Scene(PLACES, contents=dict.fromkeys(PLACES, ()))
    assert planning_problem(HOT_APPLE, scene, common_sense) is None


ROOM = ("cabinet 1", "cabinet 2", "drawer 1", "fridge 1", "shelf 1")
MUG = Goal("mug", place="shelf")
LOOK = Goal("mug", lamp="desklamp")

places = st.sampled_from(ROOM)
things = st.sampled_from(["apple 1", "mug 1", "mug 2", "desklamp 1"])
scenes = st.builds(
    Scene,
    receptacles=st.just(ROOM),
    at=st.none() | places,
    near=st.lists(places, max_size=2).map(tuple),
    held=st.none() | things,
    contents=st.dictionaries(places, st.lists(things, max_size=3).map(tuple)),
    shut=st.dictionaries(places, st.booleans()),
    states=st.dictionaries(things, st.frozensets(st.sampled_from(["hot", "cool", "clean"]))),
    lit=st.sets(things),
)
goals = st.builds(
    Goal,
    object=st.sampled_from(["apple", "mug"]),
    count=st.integers(1, 2),
    state=st.sampled_from(["", "hot"]),
    place=st.sampled_from(["", "shelf"]),
    lamp=st.sampled_from(["", "desklamp"]),
)


@given(goals, scenes)
def test_facts_are_plain_json_and_tell_all_that_a_plan_rests_on(goal: Goal, scene: Scene) -> None:
    told = facts(goal, scene)
    assert json.loads(json.dumps(told)) == told
    assert read_facts(told) == (goal, scene)


def step(goal: Goal, scene: Scene, id: str = "t", seed: int = 0) -> StepContext:
    return StepContext(Task(id, "g", seed=seed), Observation("", symbols=facts(goal, scene)))


def sure_of(kinds: dict[str, str]) -> ScriptedModel:
    """A model that knows for each kind of thing one kind of place."""

    def next_tokens(prompt: Prompt) -> dict[str, float]:
        question, lead = (message.content for message in prompt.messages[-2:])
        asked = re.search(rf"\b({'|'.join(kinds)})\b", lead)
        assert asked is not None
        label = re.search(rf"{kinds[asked[1]]} \((\w)\)", question)
        return {label[1]: 1.0} if label else {"?": 1.0}

    return ScriptedModel([""], next_tokens=next_tokens)


async def planned(name: str, at: StepContext, meter: Meter) -> str | None:
    executor = Executor(ALFWorldPrompts(), planner_tools())
    advice = await executor.advise(at, Allocation(tools=frozenset({name})), meter)
    return first_step(advice[0].output) if advice else None


def meter_of(model: ScriptedModel) -> Meter:
    return Meter(model, Ledger(Limits()))


@pytest.mark.parametrize("kind", ["cabinet", "drawer", "fridge"])
async def test_the_model_is_asked_once_and_the_plan_begins_where_it_says(kind: str) -> None:
    model = sure_of({"mug": kind})
    meter, scene = meter_of(model), Scene(ROOM)
    for _ in range(2):
        assert await planned("symbolic_planner", step(MUG, scene), meter) == f"go to {kind} 1"
    scene.contents[f"{kind} 1"] = ()
    assert await planned("symbolic_planner", step(MUG, scene), meter) != f"go to {kind} 1"
    assert meter.ledger.usage.model_calls == len(model.probes) == 1


async def test_each_kind_of_thing_is_asked_for_when_it_is_missing_and_only_then() -> None:
    model = sure_of({"mug": "drawer", "desklamp": "shelf"})
    meter, scene = meter_of(model), Scene(ROOM, contents={"cabinet 1": ("mug 1",)})
    assert await planned("symbolic_planner", step(LOOK, scene), meter) is not None
    assert len(model.probes) == 1
    assert await planned("symbolic_planner", step(LOOK, Scene(ROOM)), meter) is not None
    assert len(model.probes) == 2
    scene.contents["shelf 1"] = ("desklamp 1",)
    assert await planned("symbolic_planner", step(LOOK, scene), meter_of(model)) is not None
    assert len(model.probes) == 2


async def test_a_model_without_an_answer_leaves_all_places_alike_and_the_notes_say_so() -> None:
    meter = meter_of(sure_of({"mug": "nowhere"}))
    first = await planned("symbolic_planner", step(MUG, Scene(ROOM)), meter)
    assert first == "go to cabinet 1"
    assert meter.take_notes() == ("the model has no answer to a question of symbolic_planner",)


@pytest.mark.parametrize("name", ["symbolic_planner_random", "symbolic_planner_table"])
async def test_chance_and_the_table_ask_nobody(name: str) -> None:
    meter = meter_of(sure_of({}))
    assert await planned(name, step(MUG, Scene(ROOM)), meter) is not None
    assert meter.ledger.usage.model_calls == 0
    assert meter.ledger.usage.tool_calls == 1


async def test_chance_repeats_for_a_task_and_differs_between_tasks_and_seeds() -> None:
    async def first(id: str, seed: int) -> str | None:
        at = step(MUG, Scene(ROOM), id, seed)
        return await planned("symbolic_planner_random", at, meter_of(sure_of({})))

    assert [await first("t", 0)] * 2 == [await first("t", 0), await first("t", 0)]
    assert len({await first(f"{number}", 0) for number in range(20)}) > 2
    assert len({await first("t", seed) for seed in range(20)}) > 2


@pytest.mark.parametrize("name", planner_tools())
async def test_it_says_nothing_without_facts_or_when_all_was_searched_in_vain(name: str) -> None:
    searched = Scene(ROOM, contents=dict.fromkeys(ROOM, ()))
    meter = meter_of(sure_of({"mug": "fridge"}))
    assert await planned(name, step(MUG, searched), meter) is None
    bare = StepContext(Task("t", "g"), Observation())
    assert await planned(name, bare, meter_of(sure_of({}))) is None


@pytest.mark.parametrize("name", planner_tools())
def test_a_tool_has_its_own_name_and_says_where_its_beliefs_are_from(name: str) -> None:
    tool = planner_tools()[name]
    assert tool.name == name
    assert re.search("model|chance|table", tool.description)


with_textworld = pytest.mark.skipif(
    find_spec("textworld") is None or find_spec("alfworld") is None, reason="needs TextWorld"
)


def copied(prompt: Prompt) -> dict[str, float]:
    """The label that stands behind the words that the answer begins with; else the first."""
    user, lead = (message.content for message in prompt.messages[-2:])
    wanted = re.split(r"Now: |Planned: ", lead)[-1].removesuffix(" (")
    found = re.search(rf"- {re.escape(wanted)} \((\w)\)", user) or re.search(r"\((\w)\)", user)
    assert found is not None
    return {found[1]: 1.0}


@with_textworld
@pytest.mark.parametrize(
    ("tools", "wins"),
    [
        ({"symbolic_planner"}, True),
        ({"symbolic_planner_random"}, True),
        ({"symbolic_planner_table"}, True),
        (set(), False),
    ],
)
async def test_a_model_that_copies_wins_with_the_planner(
    tmp_path: Path, tools: set[str], wins: bool
) -> None:
    alfworld_games.write(tmp_path)
    benchmark = ALFWorld(tmp_path)
    (task,) = benchmark.tasks("train")
    planner = Planner(
        ScriptedModel("no words", next_tokens=copied),
        Executor(benchmark.prompts, benchmark.tools),
        allocator=FixedAllocator(Allocation(tools=frozenset(tools))),
        limits=Limits(steps=16),
    )
    episode = await planner.run(task, benchmark.environment(task))
    benchmark.close()
    assert episode.success is wins, episode.plan
    if wins:
        assert episode.plan[-1].startswith("move apple ")
        assert len(episode.plan) <= 12


@with_textworld
@pytest.mark.parametrize(("method", "calls"), [("llm_dp", 1), ("llm_dp_random", 0)])
async def test_llm_dp_reaches_the_goal_and_asks_only_where_the_apple_is(
    tmp_path: Path, method: str, calls: int
) -> None:
    alfworld_games.write(tmp_path)
    benchmark = ALFWorld(tmp_path)
    (task,) = benchmark.tasks("train")
    model = ScriptedModel("no words", next_tokens=copied)
    planner = build_planner(PlannerConfig(method=method), model, benchmark)
    episode = await planner.run(task, benchmark.environment(task))
    benchmark.close()
    assert episode.success, episode.plan
    assert episode.usage.model_calls == len(model.probes) == calls
    assert "apple" in str([probe.messages[-1] for probe in model.probes]) or not calls
