"""Prompts: their version, their shape, and what is read from answers in words."""

from __future__ import annotations

import hashlib

import pytest

from amp.benchmarks.babyai import PATH_FINDER
from amp.benchmarks.babyai.prompts import VERSION, BabyAIPrompts
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.execute.base import Prompts
from amp.execute.choice_step import labels_for
from amp.models.base import Prompt
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

PINNED = ("babyai/2", "226b521baabc425a")

FEW = ("go to the red ball", "pick up the red ball", "explore")
MANY = tuple(f"go to the {color} {kind}" for color in ("red", "blue") for kind in "abcdef")
WITH_TOOL, WITHOUT = Allocation(tools=frozenset({PATH_FINDER})), Allocation()


def context(subgoals: tuple[str, ...] = FEW, steps: int = 1, goal: str = FEW[0]) -> StepContext:
    seen = Observation(
        "You see a wall 1 step forward\nYou see a red ball 2 steps left",
        PRIMITIVES,
        {PATH_FINDER: subgoals},
    )
    done = StepRecord(seen, (), Complexity(0.5), "explore", Usage(), feedback="You explored.")
    return StepContext(Task("t", goal), seen, (done,) * steps)


def everything(prompts: Prompts) -> list[Prompt]:
    made: list[Prompt] = []
    for actions in (FEW, MANY, PRIMITIVES):
        now = context(FEW if actions is PRIMITIVES else actions)
        allocation = WITHOUT if actions is PRIMITIVES else WITH_TOOL
        labels = labels_for(len(actions))
        made += [
            prompts.choose(now, actions, labels, ""),
            prompts.choose(now, actions, labels, "I see it."),
            prompts.think(now, actions, 2),
            prompts.solve(now, allocation),
            prompts.check(now, Candidate("", actions[0])),
            prompts.critique(now, Candidate("", actions[0], broken_rule="cut off")),
            prompts.refine(now, allocation, Candidate("", None), "It is not seen."),
        ]
    return made


def test_a_changed_prompt_is_a_new_version() -> None:
    digest = hashlib.sha256(repr(everything(BabyAIPrompts())).encode()).hexdigest()
    assert (VERSION, digest[:16]) == PINNED, "prompts changed: count VERSION up, pin the new hash"


def test_every_prompt_begins_with_the_system_ends_with_a_lead_and_has_the_version() -> None:
    for prompt in everything(BabyAIPrompts()):
        roles = [message.role for message in prompt.messages]
        assert roles[0] == "system"
        assert roles[1:] == ["user", "assistant"] * (len(roles[1:]) // 2)
        assert prompt.version == VERSION
        assert prompt.max_tokens >= 1


def test_only_the_last_turn_differs_between_steps_so_that_the_rest_is_cached() -> None:
    prompts = BabyAIPrompts()
    for subgoals in (FEW, MANY):
        labels = labels_for(len(subgoals))
        one = prompts.choose(context(subgoals, steps=0), subgoals, labels, "")
        other = prompts.choose(context(subgoals, 2, "open a door"), subgoals[1:], labels[1:], "")
        if labels[0] == "A":
            other = prompts.choose(context(subgoals, 2, "open a door"), subgoals, labels, "")
        assert one.messages[:-2] == other.messages[:-2]
        assert one.messages[-2] != other.messages[-2]


@pytest.mark.parametrize("actions", [FEW, MANY])
def test_the_step_shows_mission_state_history_and_each_action_with_its_label(
    actions: tuple[str, ...],
) -> None:
    labels = labels_for(len(actions))
    step = BabyAIPrompts().choose(context(actions), actions, labels, "").messages[-2].content
    for label, action in zip(labels, actions, strict=True):
        assert f"{action} ({label})" in step
    for part in (FEW[0], "red ball", "2 steps left", "You explored."):
        assert part in step


def test_a_thought_has_room_for_its_steps_and_ends_after_them() -> None:
    prompts = BabyAIPrompts()
    one, three = (prompts.think(context(), FEW, depth) for depth in (1, 3))
    assert three.max_tokens == 3 * one.max_tokens
    assert "\n2." in one.stop
    assert "\n4." in three.stop


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ("go to the red ball", "go to the red ball"),
        ("I see it.\n2. So I go.\nAction: Go to the red ball.", "go to the red ball"),
        ("Action: explore\nAction: pick up the red ball", "pick up the red ball"),
        ("fly", None),
        ("", None),
    ],
)
def test_an_answer_in_words_is_read_as_the_listed_action(answer: str, action: str | None) -> None:
    assert BabyAIPrompts().read(context(), WITH_TOOL, answer, ()) == action


def test_primitive_actions_are_read_without_the_path_finder() -> None:
    assert BabyAIPrompts().read(context(), WITHOUT, "Action: turn left", ()) == "turn left"
    assert BabyAIPrompts().read(context(), WITH_TOOL, "Action: turn left", ()) is None


@pytest.mark.parametrize("actions", [FEW, PRIMITIVES])
def test_a_critique_goes_on_where_the_check_ends(actions: tuple[str, ...]) -> None:
    candidate = Candidate("", actions[1])
    check, critique = (
        ask(context(), candidate) for ask in (BabyAIPrompts().check, BabyAIPrompts().critique)
    )
    assert critique.messages == check.messages
    assert check.max_tokens == 1 < critique.max_tokens <= 40
    question = critique.messages[-2].content
    assert f"Proposed action: {actions[1]}\n" in question
    for part in (FEW[0], *actions):
        assert part in question
    if actions is FEW:
        assert "You explored." in question


def test_half_of_the_judged_examples_are_wrong_and_say_what_would_be_right() -> None:
    messages = BabyAIPrompts().critique(context(), Candidate("", FEW[0])).messages[1:-2]
    verdicts = []
    for question, answer in zip(messages[::2], messages[1::2], strict=True):
        proposed = question.content.partition("Proposed action: ")[2].partition("\n")[0]
        assert answer.content.startswith(("Answer: yes. ", "Answer: no. "))
        verdicts.append(answer.content.startswith("Answer: yes"))
        assert answer.content.endswith(f"so I {proposed}.") is verdicts[-1]
    assert abs(verdicts.count(True) - verdicts.count(False)) <= 1


def test_a_critique_names_the_rule_that_was_broken() -> None:
    prompts = BabyAIPrompts()
    broken = Candidate("", None, broken_rule="'fly' is not admissible")
    assert "'fly' is not admissible" in prompts.critique(context(), broken).messages[-2].content
    assert (
        "Rule check" not in prompts.critique(context(), Candidate("", FEW[0])).messages[-2].content
    )


def test_a_refinement_is_a_solution_whose_thought_is_the_critique() -> None:
    prompts, depth = BabyAIPrompts(), Allocation(depth=1, tools=WITH_TOOL.tools)
    refined = prompts.refine(context(), WITH_TOOL, Candidate("", FEW[1]), "I don't face it.")
    solved = prompts.solve(context(), depth)
    assert refined.messages[:-1] == solved.messages[:-1]
    lead = solved.messages[-1].content
    assert refined.messages[-1].content == f"{lead} I don't face it\nAction:"
    assert prompts.read(context(), WITH_TOOL, f" {FEW[0]}", ()) == FEW[0]


def test_examples_that_take_a_thought_are_shown_only_with_one() -> None:
    prompts, labels = BabyAIPrompts(), labels_for(len(FEW))
    at_once = prompts.choose(context(), FEW, labels, "").messages
    thoughtful = prompts.choose(context(), FEW, labels, "I see it.").messages
    assert at_once[1:-2:2] == thoughtful[1 : len(at_once) - 2 : 2]
    assert len(thoughtful) > len(at_once)
    assert all("\n1. " in message.content for message in thoughtful[2::2])
    assert not any("\n1. " in message.content for message in at_once)
