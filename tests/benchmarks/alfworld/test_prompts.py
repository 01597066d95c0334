"""Prompts: one version, a shared prefix, the goal next to the question, all from the text."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from amp.benchmarks.alfworld.prompts import (
    EXAMPLES,
    VERSION,
    ALFWorldPrompts,
    Situation,
    situation_of,
    where,
)
from amp.benchmarks.alfworld.scene import Scene
from amp.execute.choice_step import labels_for
from amp.models.base import Prompt
from amp.types import (
    UNAIDED,
    Allocation,
    Candidate,
    Complexity,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

PROMPTS = ALFWorldPrompts()
ACTIONS = (
    "go to countertop 1",
    "go to drawer 1",
    "go to fridge 1",
    "go to microwave 1",
    "move apple 1 to shelf 1",
)


def scene() -> Scene:
    scene = Scene(("countertop 1", "drawer 1", "fridge 1", "microwave 1", "shelf 1"))
    for text in (
        "You arrive at drawer 1. The drawer 1 is closed.",
        "You open the drawer 1. The drawer 1 is open. In it, you see nothing.",
        "You arrive at countertop 1. On the countertop 1, you see a apple 2, and a mug 1.",
        "You arrive at shelf 1. On the shelf 1, you see a apple 1.",
        "You pick up the apple 1 from the shelf 1.",
    ):
        scene.hear(text)
    return scene


def context(
    goal: str = "put a hot apple in fridge",
    state: str | None = None,
    actions: tuple[str, ...] = ACTIONS,
    done: int = 3,
) -> StepContext:
    said = ["You arrive at shelf 1.", "Nothing happens."]
    steps = tuple(
        StepRecord(
            observation=Observation(),
            rounds=(),
            complexity=Complexity(0.0),
            action=f"go to shelf {number}",
            usage=Usage(),
            feedback=said[number % 2],
        )
        for number in range(done)
    )
    told = scene().describe() if state is None else state
    return StepContext(Task("t", goal), Observation(told, actions), steps)


def choose(given: StepContext, thought: str = "") -> Prompt:
    actions = given.observation.actions or ()
    return PROMPTS.choose(given, actions, labels_for(len(actions)), thought)


def test_a_changed_prompt_is_a_new_version() -> None:
    given, allocation = context(), Allocation(depth=1)
    candidate = Candidate("", "go to fridge 1", broken_rule="not listed")
    prompts = (
        choose(given),
        choose(given, "I hold the apple"),
        PROMPTS.think(given, ACTIONS, 2),
        PROMPTS.solve(given, allocation),
        PROMPTS.check(given, candidate),
        PROMPTS.critique(given, candidate),
        PROMPTS.refine(given, allocation, candidate, "it is not hot"),
        where("apple", ("fridge", "shelf")),
    )
    assert {prompt.version for prompt in prompts} == {VERSION}
    digest = hashlib.sha256(repr(prompts).encode()).hexdigest()[:16]
    assert (VERSION, digest) == ("alfworld/2", "76babaf66fed1afb")


def test_rules_and_examples_are_a_prefix_that_all_steps_share() -> None:
    one, two = choose(context()), choose(context("put two mug in drawer", done=0))
    assert one.messages[:-2] == two.messages[:-2]
    assert len(one.messages) == 1 + 2 * len(EXAMPLES) + 2


def test_the_goal_comes_last_and_the_answer_begins_with_what_is_open() -> None:
    user, lead = choose(context()).messages[-2:]
    assert user.content.endswith("\nGoal: put a hot apple in fridge")
    assert lead.content == (
        "Held: apple 1. Later: heat apple 1 with microwave, move apple 1 to fridge. "
        "Now: go to microwave ("
    )


def test_unaided_an_answer_begins_with_what_is_held_alone() -> None:
    aided, unaided = choose(context()), choose(replace(context(), tools=frozenset({UNAIDED})))
    assert unaided.messages[-1].content == "Held: apple 1. Now: ("
    answers = [m.content for m in unaided.messages if m.role == "assistant"]
    assert not [answer for answer in answers if "Later" in answer or "Now: (" not in answer]
    assert [m for m in unaided.messages if m.role != "assistant"] == [
        m for m in aided.messages if m.role != "assistant"
    ]


def test_what_is_remembered_is_all_that_prompts_read_of_the_plan() -> None:
    one, two = context(done=9), context(done=9)
    first, *others = two.steps
    told = replace(first, feedback="You hear a noise.")
    assert choose(replace(two, steps=(told, *others))) == choose(one)
    assert remembered(replace(two, steps=(told, *others))) == remembered(one)
    last = replace(two.steps[-1], feedback="You arrive.")
    assert remembered(replace(two, steps=(*others, last))) != remembered(one)
    for done in range(12):
        assert remembered(context(done=done)) != remembered(context(done=done + 1))


def remembered(given: StepContext) -> object:
    return PROMPTS.remembers(given, frozenset())


def test_actions_tell_what_was_seen_there() -> None:
    told = choose(context()).messages[-2].content
    assert "- go to countertop 1 (1) has apple 2\n" in told
    assert "- go to drawer 1 (2) searched\n" in told
    assert "- go to fridge 1 (3)\n" in told
    assert "You are at shelf 1.\n" in told


def test_an_action_without_effect_is_marked() -> None:
    told = choose(context(actions=("go to shelf 1", "go to shelf 2"))).messages[-2].content
    assert "- go to shelf 1 (1) tried, nothing happened\n" in told
    assert "- go to shelf 2 (2)\n" in told


def test_a_long_history_is_cut_and_says_so() -> None:
    assert "Done: go to shelf 0; go to shelf 1; go to shelf 2\n" in (
        choose(context()).messages[-2].content
    )
    told = choose(context(done=12)).messages[-2].content
    assert "Done (4 earlier actions left out): go to shelf 4; " in told


def test_a_plan_that_a_tool_made_stands_before_the_answer() -> None:
    state = scene().describe() + "\nPlan: 1. go to microwave 1 2. heat apple 1 with microwave 1"
    lead = choose(context(state=state)).messages[-1].content
    assert lead == "Held: apple 1. Planned: go to microwave 1 ("


@pytest.mark.parametrize(
    ("goal", "state", "lead"),
    [
        (
            "put a mug in fridge",
            "",
            "Held: nothing. Later: move mug to fridge. Now: find mug, go to",
        ),
        (
            "put a mug in fridge",
            "You are at cabinet 2, which is closed.",
            "Held: nothing. Later: move mug to fridge. Now: find mug, open cabinet 2",
        ),
        (
            "put a hot mug in fridge",
            "You hold mug 1.\nYou are at microwave 1, which is closed.",
            "Held: mug 1. Later: move mug 1 to fridge. Now: heat mug 1 with microwave",
        ),
        (
            "put a mug in fridge",
            "You hold mug 1.\nYou are at shelf 1, with nothing.",
            "Held: mug 1. Later: move mug 1 to fridge. Now: go to fridge",
        ),
        (
            "put two mug in desk",
            "You are at shelf 1, with mug 2.\ndesk 1: mug 1",
            "Held: nothing. Later: move mug 2 to desk. Now: take mug 2 from shelf 1",
        ),
        (
            "look at mug under the desklamp",
            "You hold mug 1.\nYou are at shelf 1, with nothing.\ndesk 1: desklamp 1",
            "Held: mug 1. Later: use desklamp 1. Now: go to desk 1",
        ),
        (
            "look at mug under the desklamp",
            "You hold pen 1.",
            "Held: pen 1. Later: find mug, find desklamp, use desklamp. Now: move pen 1 away",
        ),
        ("tidy up", "You hold pen 1 (hot).", "Held: pen 1 (hot). Now: tidy up"),
    ],
)
def test_what_is_open_follows_from_goal_and_state(goal: str, state: str, lead: str) -> None:
    assert Situation(goal, (), 0, state, ()).lead() == lead


def test_the_state_that_the_model_reads_is_the_scene() -> None:
    known, read = scene(), situation_of(context(), ACTIONS).scene
    assert read.contents == known.contents
    assert (read.at, read.held) == (known.at, known.held)


def test_examples_choose_labels_all_over_the_list() -> None:
    for example in EXAMPLES:
        assert example.thought.endswith(example.action)
        assert example.action != example.other
    assert len({example.best for example in EXAMPLES}) == 4


def test_an_answer_in_words_is_read_only_if_it_is_listed() -> None:
    given, allocation = context(), Allocation()
    assert (
        PROMPTS.read(given, allocation, "1. So.\nAction: Go to fridge 1.", ()) == "go to fridge 1"
    )
    assert PROMPTS.read(given, allocation, "Action: go to the moon", ()) is None
