"""ADaPT-style: try first, break the task up only on failure."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.methods import executor
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle

from amp.errors import InvalidInputError
from amp.methods import ADaPTPlanner
from amp.methods.adapt import MAX_SUBTASKS, Decomposition, read
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Episode, Limits


def goal_of(prompt: Prompt) -> str:
    """What the executor or the planner was asked to do."""
    first = prompt.messages[3 if len(prompt.messages) > 3 else 1].content.partition("\n")[0]
    return first.partition(": ")[2]


def walker(reached: Mapping[str, float], parts: str) -> ScriptedModel:
    """Walks for goals that say so and waits for others; reports by goal; breaks tasks up."""

    def next_tokens(prompt: Prompt) -> Mapping[str, float]:
        if prompt.version == "adapt/1":
            yes = reached[goal_of(prompt)]
            return {"yes": yes, "no": 1 - yes}
        return {"2": 1.0} if "walk" in goal_of(prompt) else {"1": 1.0}

    return ScriptedModel([parts], next_tokens=next_tokens)


async def walk(
    model: ScriptedModel, depth: int = 2, tries: int = 2, steps: int = 20
) -> tuple[Episode, Corridor]:
    world = Corridor()
    planner = ADaPTPlanner(
        model, executor(), limits=Limits(steps=steps), max_depth=depth, try_steps=tries
    )
    return await planner.run(CORRIDOR, world), world


async def test_what_the_executor_does_alone_is_never_broken_up() -> None:
    model = ScriptedModel(["?"], next_tokens=lambda prompt: {"2": 1.0})
    episode, _ = await walk(model, tries=3)
    assert (episode.success, episode.plan) == (True, ("walk",) * 3)
    assert model.requests == []
    assert {probe.version for probe in model.probes} == {"plain/1"}


async def test_parts_joined_by_and_are_done_in_order_after_a_failure() -> None:
    model = walker({"walk ahead": 0.9, "walk on": 0.2}, " walk ahead\n2. walk on\nLogic: AND")
    episode, world = await walk(model)
    assert world.taken == ["wait", "wait", "walk", "walk", "walk"]
    assert episode.success
    assert len(model.requests) == 1
    # Breaking it up is paid for by the step that begins with it.
    assert [step.usage.completion_tokens > 2 for step in episode.steps] == [
        *(False, False, True),
        *(False, False),
    ]
    assert episode.steps[2].rounds[0].candidates[0].action == "(walk ahead) and (walk on)"


async def test_a_failed_part_joined_by_and_fails_the_whole() -> None:
    model = walker({"stay": 0.1}, " stay\n2. walk on\nLogic: AND")
    episode, world = await walk(model)
    assert world.taken == ["wait"] * 4
    assert (episode.success, episode.ended) == (False, "limit of depth")


async def test_parts_joined_by_or_are_tried_until_one_succeeds() -> None:
    model = walker(
        {"stay": 0.1, "walk": 0.9, "walk on": 0.9}, " stay\n2. walk\n3. walk on\nLogic: OR"
    )
    episode, world = await walk(model)
    assert world.taken == ["wait", "wait", "wait", "wait", "walk"]
    assert episode.ended == "limit of depth"


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_the_depth_is_limited(depth: int) -> None:
    model = walker({"stay": 0.0}, " stay\n2. stay\nLogic: OR")
    episode, _ = await walk(model, depth=depth, tries=1, steps=100)
    assert len(episode.steps) == 2**depth - 1
    assert len(model.requests) == 2 ** (depth - 1) - 1
    assert episode.ended == "limit of depth"


async def test_a_task_that_nobody_can_break_up_ends_with_the_cost_on_record() -> None:
    model = walker({}, "")
    episode, _ = await walk(model)
    assert episode.steps[-1].action is None
    assert episode.steps[-1].failure == "limit of depth"
    assert episode.steps[-1].usage.model_calls == 1


def solver(answers: Mapping[str, str], believed: Mapping[str, float], parts: str) -> ScriptedModel:
    """Answers and believes by the last line of the question."""

    def answer(prompt: Prompt, sample: int) -> str:
        if prompt.version == "adapt/1":
            return parts
        asked = prompt.messages[1].content.partition("Goal: ")[2].partition("\nWrite only")[0]
        return f"Action: {answers[asked.splitlines()[-1]]}"

    def next_tokens(prompt: Prompt) -> Mapping[str, float]:
        proposed = prompt.messages[1].content.partition("Proposed answer: ")[2].splitlines()[0]
        return {"yes": believed[proposed], "no": 1 - believed[proposed]}

    return ScriptedModel(answer, next_tokens=next_tokens)


async def ask(model: ScriptedModel) -> Episode:
    planner = ADaPTPlanner(model, executor(), Allocation(), Limits(steps=1))
    return await planner.run(RIDDLE, Riddle())


async def test_an_answer_that_is_believed_is_given() -> None:
    model = solver({RIDDLE.goal: "8"}, {"8": 0.9}, "")
    episode = await ask(model)
    assert episode.success
    assert (len(model.requests), len(model.probes)) == (1, 1)


async def test_the_answers_to_the_parts_feed_the_final_one() -> None:
    answers = {
        RIDDLE.goal: "6",
        "Answer only this: How many pairs?": "4",
        "Answer only this: Legs a pair?": "2",
        "Known: Legs a pair? 2": "8",
    }
    model = solver(
        answers, {"6": 0.2, "4": 0.9, "2": 0.9}, " How many pairs?\n2. Legs a pair?\nLogic: AND"
    )
    episode = await ask(model)
    assert (episode.success, episode.plan) == (True, ("8",))
    goals = [r.prompt.messages[1].content for r in model.requests if r.prompt.version == "plain/1"]
    assert "Known: How many pairs? 4\nAnswer only this: Legs a pair?" in goals[2]
    assert "Known: How many pairs? 4\nKnown: Legs a pair? 2" in goals[3]
    (step,) = episode.steps
    assert [r.candidates[0].action for r in step.rounds] == [
        "6",
        "(How many pairs?) and (Legs a pair?)",
        "4",
        "2",
        "8",
    ]


async def test_one_way_that_is_believed_is_enough_where_parts_are_alternatives() -> None:
    answers = {
        RIDDLE.goal: "6",
        "Answer only this: By memory?": "7",
        "Answer only this: By counting?": "8",
    }
    believed = {"6": 0.2, "7": 0.3, "8": 0.9}
    model = solver(answers, believed, " By memory?\n2. By counting?\n3. By luck?\nLogic: OR")
    assert (await ask(model)).plan == ("8",)


async def test_an_answer_that_nobody_believes_is_given_all_the_same() -> None:
    model = solver({RIDDLE.goal: "8"}, {"8": 0.1}, "")
    episode = await ask(model)
    assert (episode.plan, episode.success) == (("8",), True)


def test_a_planner_that_never_tries_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_depth is 0, expected at least 1"):
        ADaPTPlanner(ScriptedModel(["x"]), executor(), max_depth=0)
    with pytest.raises(InvalidInputError, match="try_steps is 0, expected at least 1"):
        ADaPTPlanner(ScriptedModel(["x"]), executor(), try_steps=0)


def test_the_logic_is_and_unless_it_says_or() -> None:
    assert read(" a\n2. b\nLogic: or") == Decomposition(("a", "b"), "or")
    assert read(" a\n2. b") == Decomposition(("a", "b"), "and")
    assert read("\n\nLogic: OR") is None


@given(st.text())
def test_any_text_is_read_without_an_error_and_has_few_parts(text: str) -> None:
    found = read(text)
    assert found is None or (0 < len(found.subtasks) <= MAX_SUBTASKS and all(found.subtasks))
