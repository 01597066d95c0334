"""ReAct: thoughts, actions and observations by turns, in one growing transcript."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.methods import ALLOCATION, executor
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle, context

from amp.execute.base import PlainPrompts, Tool
from amp.execute.executor import Executor
from amp.methods import ReActPlanner
from amp.methods.react import MAX_TURNS, ReActTurn, choose, read, solve, think
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Episode, Limits, Observation


async def solve_riddle(
    model: ScriptedModel, tools: Mapping[str, Tool] | None = None
) -> tuple[Episode, ScriptedModel]:
    carrier = executor() if tools is None else Executor(PlainPrompts(), tools)
    planner = ReActPlanner(model, carrier, ALLOCATION, Limits(steps=1))
    return await planner.run(RIDDLE, Riddle()), model


def speaker(*turns: str) -> ScriptedModel:
    """Says one turn after the other, by the length of the transcript."""

    def answer(prompt: Prompt, sample: int) -> str:
        asked = [m.content for m in prompt.messages if m.role == "user"]
        return turns[len(asked) - 1 - asked.index(f"Goal: {RIDDLE.goal}")]

    return ScriptedModel(answer)


async def test_an_open_task_is_solved_by_turns_of_calculations_and_an_answer() -> None:
    episode, model = await solve_riddle(
        speaker(
            "Pairs.\nAction: calculate[4 * 2] gives 9\nObservation: 9", "So 8.\nAction: finish[8]"
        )
    )
    assert (episode.success, episode.plan) == (True, ("8",))
    (step,) = episode.steps
    assert [r.candidates[0].action for r in step.rounds] == ["calculate[4 * 2]", "8"]
    assert [use.output for use in step.rounds[0].candidates[0].tool_uses] == ["8"]
    assert (episode.usage.tool_calls, episode.usage.model_calls) == (1, 2)
    *_, said, heard, begun = model.requests[1].prompt.messages
    assert said.content == "Thought: Pairs.\nAction: calculate[4 * 2]"  # its own 9 is dropped
    assert (heard.content, begun.content) == ("Observation: 8", "Thought:")


async def test_what_is_no_call_or_no_arithmetic_is_told_and_the_next_turn_follows() -> None:
    turns = ("Hm.", "Action: calculate[many]", "Action: calculate[1 / 0]", "Action: finish[8]")
    episode, model = await solve_riddle(speaker(*turns))
    assert episode.success
    heard = [m.content for m in model.requests[-1].prompt.messages if m.role == "user"][-3:]
    assert heard[0] == "Observation: That is no action."
    assert "not arithmetic" in heard[1]
    assert "division by zero" in heard[2]
    assert [r.candidates[0].failure for r in episode.steps[0].rounds] == [
        "no action could be read",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("said", "done"),
    [("3 + 5", "8"), ("16 / 2", "8"), ("eight", "eight"), ("2 + many", "2 + many"), ("-8", "-8")],
)
async def test_an_answer_that_is_a_sum_is_worked_out(said: str, done: str) -> None:
    episode, _ = await solve_riddle(speaker(f"Action: finish[{said}]"))
    assert episode.plan == (done,)


async def test_a_step_without_an_answer_ends_after_so_many_turns() -> None:
    episode, model = await solve_riddle(ScriptedModel(["Action: calculate[1 + 1]"]))
    assert len(model.requests) == MAX_TURNS == len(episode.steps[0].rounds)
    assert episode.steps[0].failure == "no answer within 8 turns"
    assert (episode.success, episode.ended) == (False, "limit of steps")


async def test_without_a_calculator_none_is_offered() -> None:
    turns = ["Action: calculate[1 + 1]", "Action: finish[8]"]
    episode, model = await solve_riddle(
        ScriptedModel(lambda prompt, i: turns[len(prompt.messages) > 3]), {}
    )
    assert episode.success
    assert "calculate" not in model.requests[0].prompt.messages[0].content
    assert "no calculator is here" in model.requests[1].prompt.messages[-2].content
    assert episode.steps[0].rounds[0].allocation.tools == frozenset()


async def test_a_listed_action_is_chosen_by_its_label_and_the_thoughts_stay() -> None:
    model = ScriptedModel(
        [" The door is ahead. Action: fly ("], next_tokens=lambda p: {"1": 0.1, "2": 0.9}
    )
    world = Corridor()
    planner = ReActPlanner(model, executor(), Allocation(), Limits(steps=5))
    episode = await planner.run(CORRIDOR, world)
    assert episode.success
    assert world.taken == ["walk"] * 3
    candidate = episode.steps[0].rounds[0].candidates[0]
    assert candidate.probability == pytest.approx(0.9)
    assert candidate.completion_tokens == 8
    assert model.probes[0].messages[-1].content == "Thought: The door is ahead. Action: fly ("
    transcript = [m.content for m in model.requests[2].prompt.messages]
    assert transcript.count("Thought: The door is ahead. Action: walk") == 2
    assert "Observation: cell 1" in transcript


async def test_the_tools_of_the_environment_are_those_allocated() -> None:
    model = ScriptedModel([""], next_tokens=lambda prompt: {"2": 1.0})
    planner = ReActPlanner(
        model, executor(), Allocation(tools=frozenset({"guide"})), Limits(steps=5)
    )
    episode = await planner.run(CORRIDOR, Corridor())
    assert episode.plan == ("follow the guide",)


def test_a_longer_transcript_only_adds_to_the_prompt() -> None:
    turns = [ReActTurn(f"t{i}\nAction: calculate[{i}]", str(i)) for i in range(4)]
    for count in range(4):
        shorter = solve(context(), turns[:count], calculator=True).messages[:-1]
        longer = solve(context(), turns[: count + 1], calculator=True).messages
        assert longer[: len(shorter)] == shorter


@given(count=st.integers(2, 52), turns=st.integers(0, 30))
def test_every_action_has_one_label_and_the_prompt_ends_before_it(count: int, turns: int) -> None:
    actions = tuple(f"take box {i}" for i in range(count))
    now = context(CORRIDOR, Observation("You see boxes", actions))
    heard = [ReActTurn(f"thought {i} Action: wait", f"heard {i}") for i in range(turns)]
    prompt = choose(now, actions, heard, "box 1 it is. Action: take box 1")
    asked = prompt.messages[-2].content
    labels = re.findall(r"- take box \d+ \((.)\)", asked)
    assert len(set(labels)) == count
    assert prompt.messages[-1].content.endswith("Action: take box 1 (")
    assert prompt.max_tokens == 1
    assert CORRIDOR.goal in asked
    assert [m.role for m in prompt.messages[1:]] == ["user", "assistant"] * (
        len(prompt.messages) // 2
    )
    assert think(now, actions, heard).messages[:-1] == prompt.messages[:-1]
    if turns:
        assert f"heard {turns - 1}" in asked


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("Thought: x\nAction: finish[42]", "finish", "42"),
        ("Action 2: Calculate[ (1 + 2) * 3 ]", "calculate", "(1 + 2) * 3"),
        ("Action: `finish[$1,200]`", "finish", "$1,200"),
        ("Action: calculate[1]\nAction: finish[2]", "calculate", "1"),
    ],
)
def test_the_first_call_counts(text: str, name: str, argument: str) -> None:
    call = read(text)
    assert call is not None
    assert (call.name, call.argument) == (name, argument)


@pytest.mark.parametrize("text", ["", "finish[1]", "Action: finish[]", "Action: dance[1]"])
def test_what_is_no_call_is_none(text: str) -> None:
    assert read(text) is None
