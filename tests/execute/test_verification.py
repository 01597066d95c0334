"""Refinement keeps the better of two answers, and never one that the rules reject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, context

from amp.cost import Ledger
from amp.execute.base import PlainPrompts
from amp.execute.checks import Check, check_game24, is_better
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Candidate, Limits, StepContext, Task
from amp.votes import vote

CHOICE = context(CORRIDOR, Corridor().reset(CORRIDOR))
REFINED = Allocation(verification=3)
candidates = st.builds(
    Candidate,
    text=st.just("text"),
    action=st.sampled_from([None, "a", "b"]),
    broken_rule=st.sampled_from([None, "rule"]),
    p_correct=st.none() | st.floats(0, 1),
)


def answers(first: str, second: str) -> ScriptedModel:
    """Says `first`, criticises it, then says `second`; believes in figures above five."""

    def answer(prompt: Prompt, index: int) -> str:
        question = prompt.messages[-1].content
        if "What is wrong" in question:
            return "It has the wrong number."
        return second if "Critique: It has the wrong number." in question else first

    def believe(prompt: Prompt) -> Mapping[str, float]:
        sure = "Proposed: 8" in prompt.messages[-2].content
        return {"yes": 0.9, "no": 0.1} if sure else {"yes": 0.2, "no": 0.8}

    return ScriptedModel(answer, next_tokens=believe)


async def execute(
    model: ScriptedModel, allocation: Allocation = REFINED, limits: Limits = Limits()
) -> tuple[tuple[Candidate, ...], Meter]:
    meter = Meter(model, Ledger(limits))
    return await Executor(PlainPrompts()).execute(context(RIDDLE), allocation, meter), meter


@given(candidates, candidates)
def test_what_the_rules_accept_is_never_replaced_by_what_they_reject(
    attempt: Candidate, first: Candidate
) -> None:
    if first.valid and not attempt.valid:
        assert not is_better(attempt, first)
    assert not (is_better(attempt, first) and is_better(first, attempt))


async def test_an_attempt_that_the_model_believes_in_more_replaces_the_first_answer() -> None:
    (candidate,), _ = await execute(answers("Action: 6", "Action: 8"))
    assert (candidate.action, candidate.refined_from) == ("8", "6")
    assert candidate.text == "Action: 6"
    assert candidate.critique == "It has the wrong number."
    assert candidate.attempt is not None
    assert candidate.attempt.text == "Action: 8"
    assert candidate.p_correct == pytest.approx(0.9)


async def test_an_attempt_that_it_believes_in_less_is_kept_in_the_record_only() -> None:
    (candidate,), _ = await execute(answers("Action: 8", "Action: 6"))
    assert (candidate.action, candidate.refined_from) == ("8", None)
    assert candidate.attempt is not None
    assert candidate.attempt.action == "6"


async def test_an_attempt_that_breaks_a_rule_is_not_taken() -> None:
    (candidate,), _ = await execute(answers("Action: 6", "4 + 4 = 9. Action: 8"))
    assert candidate.action == "6"
    assert candidate.attempt is not None
    assert candidate.attempt.broken_rule == "4 + 4 is 8, not 9"


async def test_an_answer_that_cannot_be_read_gets_a_second_chance() -> None:
    (candidate,), _ = await execute(answers("", "Action: 6"))
    assert (candidate.action, candidate.valid) == ("6", True)


async def test_whatever_stood_for_the_leading_action_stands_for_its_refinement() -> None:
    texts = ["Action: 6", "Action: 5", "I say Action: 6"]

    def answer(prompt: Prompt, index: int) -> str:
        question = prompt.messages[-1].content
        if "What is wrong" in question:
            return "No."
        return "Action: 8" if "Critique: No." in question else texts[index]

    def believe(prompt: Prompt) -> Mapping[str, float]:
        sure = "Proposed: 8" in prompt.messages[-2].content
        return {"yes": 0.9, "no": 0.1} if sure else {"yes": 0.1, "no": 0.9}

    model = ScriptedModel(answer, next_tokens=believe)
    some, _ = await execute(model, replace(REFINED, temperature=1.0, beam_width=3))
    assert [c.action for c in some] == ["8", "5", "8"]
    winner = vote(some)
    assert winner is not None
    assert winner.action == "8"


async def test_a_refinement_that_does_not_fit_is_left_out_and_noted() -> None:
    _, free = await execute(answers("Action: 6", "Action: 8"), Allocation(verification=2))
    room = free.ledger.usage.tokens + 30
    (candidate,), meter = await execute(
        answers("Action: 6", "Action: 8"), limits=Limits(tokens=room)
    )
    assert (candidate.action, candidate.critique) == ("6", None)
    assert "refinement left out to stay within the limits" in meter.take_notes()
    assert meter.ledger.usage.tokens <= room


async def test_a_choice_is_made_again_with_the_critique_as_its_thought() -> None:
    def tell(prompt: Prompt) -> Mapping[str, float]:
        question = prompt.messages[-2].content
        if "Is this the right next step" in question:
            return {"yes": 0.9 if "Proposed: walk" in question else 0.1, "no": 0.1}
        return {"2": 1.0} if "You considered: Waiting" in question else {"1": 1.0}

    model = ScriptedModel(["Waiting brings nothing."], next_tokens=tell)
    meter = Meter(model, Ledger(Limits()))
    at: StepContext = CHOICE
    (candidate,) = await Executor(PlainPrompts()).execute(at, REFINED, meter)
    assert (candidate.action, candidate.refined_from) == ("walk", "wait")


GAME = context(Task("24", "4 9 10 13"))
RIGHT, WRONG, TOLD = "(10 - 4) * (13 - 9)", "(13 - 9) * 4 + 10", "there is no solution"


async def play(level: int, check: Check | None, said: list[str]) -> tuple[Candidate, ...]:
    model = ScriptedModel(lambda prompt, index: f"Action: {said[index]}")
    allocation = Allocation(verification=level, beam_width=len(said), temperature=0.7)
    executor = Executor(PlainPrompts(), check=check)
    return await executor.execute(GAME, allocation, Meter(model, Ledger(Limits())))


async def test_what_an_exact_check_finds_wrong_breaks_a_rule_and_has_no_vote() -> None:
    found = await play(1, check_game24, [WRONG, WRONG, RIGHT])
    rule = "the exact check says that it is wrong"
    assert [c.broken_rule for c in found] == [rule, rule, None]
    assert (best := vote(found)) is not None
    assert best.action == RIGHT


async def test_what_an_exact_check_cant_tell_breaks_no_rule() -> None:
    assert [c.broken_rule for c in await play(1, check_game24, [TOLD])] == [None]


@pytest.mark.parametrize(("level", "check"), [(0, check_game24), (1, None)])
async def test_without_verification_or_a_check_wrong_answers_vote(
    level: int, check: Check | None
) -> None:
    found = await play(level, check, [WRONG, WRONG, RIGHT])
    assert (best := vote(found)) is not None
    assert best.action == WRONG


async def test_a_new_attempt_that_the_check_finds_wrong_replaces_nothing() -> None:
    model = ScriptedModel(
        lambda prompt, index: f"Action: {WRONG if 'Critique' in str(prompt) else RIGHT}",
        next_tokens=lambda prompt: {"yes": 0.9 if WRONG in str(prompt) else 0.1, "no": 0.1},
    )
    executor = Executor(PlainPrompts(), check=check_game24)
    (candidate,) = await executor.execute(GAME, REFINED, Meter(model, Ledger(Limits())))
    assert candidate.action == RIGHT
    assert candidate.attempt is not None
    assert candidate.attempt.action == WRONG
