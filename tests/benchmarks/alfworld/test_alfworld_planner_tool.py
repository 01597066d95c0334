"""The environment tells what was seen; the tool supposes the rest, as its name says who does."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.alfworld.planning import planner_tools
from amp.benchmarks.alfworld.prompts import ALFWorldPrompts
from amp.benchmarks.alfworld.scene import Goal, Scene, facts, read_facts
from amp.cost import Ledger
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.execute.tools.symbolic_planner import first_step
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Limits, Observation, StepContext, Task

PLACES = ("cabinet 1", "cabinet 2", "drawer 1", "fridge 1", "shelf 1")
MUG = Goal("mug", place="shelf")
LOOK = Goal("mug", lamp="desklamp")

places = st.sampled_from(PLACES)
things = st.sampled_from(["apple 1", "mug 1", "mug 2", "desklamp 1"])
scenes = st.builds(
    Scene,
    receptacles=st.just(PLACES),
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
    meter, scene = meter_of(model), Scene(PLACES)
    for _ in range(2):
        assert await planned("symbolic_planner", step(MUG, scene), meter) == f"go to {kind} 1"
    scene.contents[f"{kind} 1"] = ()
    assert await planned("symbolic_planner", step(MUG, scene), meter) != f"go to {kind} 1"
    assert meter.ledger.usage.model_calls == len(model.probes) == 1


async def test_each_kind_of_thing_is_asked_for_when_it_is_missing_and_only_then() -> None:
    model = sure_of({"mug": "drawer", "desklamp": "shelf"})
    meter, scene = meter_of(model), Scene(PLACES, contents={"cabinet 1": ("mug 1",)})
    assert await planned("symbolic_planner", step(LOOK, scene), meter) is not None
    assert len(model.probes) == 1
    assert await planned("symbolic_planner", step(LOOK, Scene(PLACES)), meter) is not None
    assert len(model.probes) == 2
    scene.contents["shelf 1"] = ("desklamp 1",)
    assert await planned("symbolic_planner", step(LOOK, scene), meter_of(model)) is not None
    assert len(model.probes) == 2


async def test_a_model_without_an_answer_leaves_all_places_alike_and_the_notes_say_so() -> None:
    meter = meter_of(sure_of({"mug": "nowhere"}))
    first = await planned("symbolic_planner", step(MUG, Scene(PLACES)), meter)
    assert first == "go to cabinet 1"
    assert meter.take_notes() == ("the model has no answer to a question of symbolic_planner",)


@pytest.mark.parametrize("name", ["symbolic_planner_random", "symbolic_planner_table"])
async def test_chance_and_the_table_ask_nobody(name: str) -> None:
    meter = meter_of(sure_of({}))
    assert await planned(name, step(MUG, Scene(PLACES)), meter) is not None
    assert meter.ledger.usage.model_calls == 0
    assert meter.ledger.usage.tool_calls == 1


async def test_chance_repeats_for_a_task_and_differs_between_tasks_and_seeds() -> None:
    async def first(id: str, seed: int) -> str | None:
        at = step(MUG, Scene(PLACES), id, seed)
        return await planned("symbolic_planner_random", at, meter_of(sure_of({})))

    assert [await first("t", 0)] * 2 == [await first("t", 0), await first("t", 0)]
    assert len({await first(f"{number}", 0) for number in range(20)}) > 2
    assert len({await first("t", seed) for seed in range(20)}) > 2


@pytest.mark.parametrize("name", planner_tools())
async def test_it_says_nothing_without_facts_or_when_all_was_searched_in_vain(name: str) -> None:
    searched = Scene(PLACES, contents=dict.fromkeys(PLACES, ()))
    meter = meter_of(sure_of({"mug": "fridge"}))
    assert await planned(name, step(MUG, searched), meter) is None
    bare = StepContext(Task("t", "g"), Observation())
    assert await planned(name, bare, meter_of(sure_of({}))) is None


@pytest.mark.parametrize("name", planner_tools())
def test_a_tool_has_its_own_name_and_says_where_its_beliefs_are_from(name: str) -> None:
    tool = planner_tools()[name]
    assert tool.name == name
    assert re.search("model|chance|table", tool.description)
