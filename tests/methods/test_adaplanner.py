"""AdaPlanner-style: a whole plan first, rewritten when an assertion fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.methods import executor
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle

from amp.errors import InvalidInputError
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.execute.tools.python import PythonTool
from amp.methods import AdaPlanner
from amp.methods.adaplanner import LONGEST_PLAN, PlannedStep, read_plan
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Episode, Limits, Transition


async def walk(
    model: ScriptedModel, world: Corridor | None = None, refinements: int = 3
) -> Episode:
    planner = AdaPlanner(model, executor(), limits=Limits(steps=9), max_refinements=refinements)
    return await planner.run(CORRIDOR, world or Corridor())


def author(*plans: str) -> ScriptedModel:
    """Writes one plan after the other; every assertion that is asked about holds."""
    left = list(plans)

    def answer(prompt: Prompt, sample: int) -> str:
        return left.pop(0) if left else "nothing"

    return ScriptedModel(answer, next_tokens=lambda prompt: {"yes": 0.8, "no": 0.2})


async def test_a_plan_that_works_is_written_once() -> None:
    model = author(" walk | expect: cell 1\n2. walk | expect: cell 2\n3. Walk. | expect: the end")
    episode = await walk(model)
    assert (episode.success, episode.plan) == (True, ("walk", "walk", "walk"))
    assert len(model.requests) == 1
    assert model.probes == []  # "cell 1" was observed to the letter, and the end needs no check
    assert [step.usage.model_calls for step in episode.steps] == [1, 0, 0]
    assert episode.steps[0].rounds[0].candidates[0].action == "walk"


@pytest.mark.parametrize(
    ("plan", "trouble"),
    [
        (" walk\n2. fly\n3. walk", "'fly' is not possible now"),
        (" walk", "all of it was carried out, and the goal is not reached yet"),
        (" fly", "'fly' is not possible now"),
        ("", "no plan could be read"),
    ],
)
async def test_a_plan_that_cannot_go_on_is_refined_and_told_why(plan: str, trouble: str) -> None:
    model = author(plan, " walk\n2. walk\n3. walk")
    episode = await walk(model)
    assert episode.success
    assert len(model.requests) == 2
    asked = model.requests[1].prompt.messages[-2].content
    assert f"Your plan did not work out: {trouble}." in asked
    assert ("Done: walk. cell 1" in asked) == plan.startswith(" walk")


async def test_an_assertion_that_does_not_hold_is_refined() -> None:
    model = author(" walk | expect: a ball\n2. wait\n3. wait", " walk\n2. walk")
    model._next_tokens = lambda prompt: {"yes": 0.3, "no": 0.7}
    episode = await walk(model)
    assert episode.plan == ("walk", "walk", "walk")
    assert "Expected: a ball\nObserved: cell 1" in model.probes[0].messages[1].content
    assert "you expected 'a ball', but: cell 1" in model.requests[1].prompt.messages[-2].content
    # The check is paid for by the step that it is about.
    assert [step.usage.model_calls for step in episode.steps] == [2, 1, 0]


class Slippery(Corridor):
    """The first walk leads nowhere, and the world says so."""

    def step(self, action: str) -> Transition:
        if not self.taken:
            self.taken.append(action)
            return Transition(self._observe(), False, feedback="You did not move.")
        return super().step(action)


async def test_a_failure_that_the_environment_tells_needs_no_question() -> None:
    model = author(" walk | expect: a ball\n2. wait", " walk\n2. walk\n3. walk")
    episode = await walk(model, Slippery())
    assert episode.success
    assert model.probes == []
    assert "You did not move." in model.requests[1].prompt.messages[-2].content


@pytest.mark.parametrize("refinements", [0, 1, 3])
async def test_refinements_are_limited(refinements: int) -> None:
    model = author()
    episode = await walk(model, refinements=refinements)
    assert len(model.requests) == refinements + 1
    assert (episode.success, episode.ended) == (False, "limit of refinements")
    assert episode.steps[-1].failure == "'nothing' is not possible now"


@pytest.mark.parametrize("named", ["follow the guide", "Follow", "wait"])
async def test_an_action_may_be_named_by_its_beginning(named: str) -> None:
    planner = AdaPlanner(
        author(f" {named}"), executor(), Allocation(tools=frozenset({"guide"})), Limits(steps=1)
    )
    episode = await planner.run(CORRIDOR, Corridor())
    assert episode.plan == ("wait" if named == "wait" else "follow the guide",)


def programmer(answer: Callable[[Prompt, int], str]) -> tuple[ScriptedModel, Executor]:
    return ScriptedModel(answer), Executor(PlainPrompts(), {"python": PythonTool()})


async def test_a_program_whose_assertion_fails_is_repaired_with_its_error() -> None:
    wrong = "```python\nanswer = 6\nassert answer % 4 == 0, 'legs come in fours'\n```"
    right = "```python\nanswer = 8\nassert answer % 4 == 0\n```"
    model, carrier = programmer(lambda prompt, i: right if len(prompt.messages) > 2 else wrong)
    episode = await AdaPlanner(model, carrier, limits=Limits(steps=1)).run(RIDDLE, Riddle())
    assert (episode.success, episode.plan) == (True, ("8",))
    first, second = (r.candidates[0] for r in episode.steps[0].rounds)
    assert first.action is None
    assert first.failure == "AssertionError: legs come in fours"
    assert second.tool_uses[0].output == "8"
    assert episode.usage.tool_calls == 2
    *_, said, asked, begun = model.requests[1].prompt.messages
    assert (said.content, begun.content) == (wrong, "```python\n")
    assert "Running it failed: AssertionError: legs come in fours" in asked.content


async def test_a_program_that_comes_back_as_it_was_ends_the_refinement() -> None:
    model = ScriptedModel(["```python\nfail"])
    episode = await AdaPlanner(model, executor(), limits=Limits(steps=5)).run(RIDDLE, Riddle())
    assert len(model.requests) == 2
    assert episode.ended == "limit of refinements"


async def test_programs_that_all_fail_end_the_episode() -> None:
    model = ScriptedModel(lambda prompt, i: f"```python\nfail({len(str(prompt.messages))})")
    episode = await AdaPlanner(model, executor(), limits=Limits(steps=5)).run(RIDDLE, Riddle())
    assert len(model.requests) == 4
    assert episode.ended == "limit of refinements"
    assert episode.steps[-1].failure == "AssertionError: too many legs"


async def test_programs_need_the_tool_that_runs_them() -> None:
    planner = AdaPlanner(ScriptedModel(["x"]), Executor(PlainPrompts()))
    with pytest.raises(InvalidInputError, match="give the executor the tool 'python'"):
        await planner.run(RIDDLE, Riddle())


def test_a_negative_number_of_refinements_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_refinements is -1"):
        AdaPlanner(ScriptedModel(["x"]), executor(), max_refinements=-1)


@given(st.lists(st.tuples(st.sampled_from(["go to x", "open y"]), st.sampled_from(["", "z is"]))))
def test_what_a_plan_says_is_read_back(steps: list[tuple[str, str]]) -> None:
    lines = [
        f"{number}. {action}" + (f" | expect: {expected}" if expected else "")
        for number, (action, expected) in enumerate(steps, start=1)
    ]
    text = "\n".join(lines).removeprefix("1.")
    assert read_plan(text) == tuple(PlannedStep(*step) for step in steps[:LONGEST_PLAN])


@given(st.text())
def test_any_text_is_read_as_a_plan_without_an_error(text: str) -> None:
    assert all(step.action for step in read_plan(text))
