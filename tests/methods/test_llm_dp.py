"""LLM-DP: does what a symbolic planner plans on beliefs, and asks the model only without a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.methods import asked, babbler, spent
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle

from amp.environment import Environment
from amp.errors import InvalidInputError
from amp.execute.base import PlainPrompts, Question
from amp.execute.executor import Executor
from amp.execute.tools.symbolic_planner import SymbolicPlannerTool
from amp.methods import LLMDPPlanner
from amp.models.base import Message, Prompt
from amp.models.scripted import ScriptedModel
from amp.types import (
    Allocation,
    Episode,
    Limits,
    Observation,
    StepContext,
    Task,
    Transition,
)

HIDDEN = Task("hidden", "find the key", {"in": "box 2"})
BOXES = ("box 1", "box 2", "box 3")
ALLOCATION = Allocation(tools=frozenset({"symbolic_planner"}))


@dataclass
class Boxes:
    """A key in one of three boxes; symbols tell which are still closed, as long as any is."""

    key: str = ""
    closed: tuple[str, ...] = BOXES
    listed: tuple[str, ...] = BOXES
    tell: bool = True

    def reset(self, task: Task) -> Observation:
        self.key, self.closed = str(task.data["in"]), BOXES
        return self._observe()

    def step(self, action: str) -> Transition:
        box = action.removeprefix("open ")
        self.closed = tuple(other for other in self.closed if other != box)
        done = box == self.key
        return Transition(self._observe(), done, done or None, float(done), f"opened {box}")

    def _observe(self) -> Observation:
        actions = tuple(f"open {box}" for box in self.listed)
        return Observation("closed: " + " ".join(self.closed), actions, symbols=self._symbols())

    def _symbols(self) -> dict[str, object]:
        return {"closed": list(self.closed)} if self.tell else {"closed": []}


class BoxTool(SymbolicPlannerTool):
    """Supposes the key in the closed box that the model finds likeliest."""

    def questions(self, context: StepContext) -> Sequence[Question]:
        return (Question(Prompt((Message("user", "Which box?"),), 1), "123"),)

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        symbols = context.observation.symbols or {}
        weights = dict(zip(BOXES, answers[0] or (1.0, 1.0, 1.0), strict=True))
        best = max(symbols["closed"], key=lambda box: weights[box], default=None)
        opened = [{"name": f"open {best}", "add": ["key"]}] if best else []
        stated = {"init": ["closed"], "goal": ["key"], "actions": opened}
        return replace(context, observation=replace(context.observation, symbols=stated))


def believer(*weights: float) -> ScriptedModel:
    """Believes in the boxes to this degree; where it has to choose, it takes the second action."""

    def next_tokens(prompt: Prompt) -> dict[str, float]:
        if prompt.messages[-1].content == "Which box?":
            return dict(zip("123", weights, strict=True))
        return {"2": 1.0}

    return ScriptedModel([""], next_tokens=next_tokens)


async def run(
    model: ScriptedModel,
    world: Environment | None = None,
    task: Task = HIDDEN,
    limits: Limits = Limits(steps=5),
    allocation: Allocation = ALLOCATION,
) -> Episode:
    executor = Executor(PlainPrompts(), {"symbolic_planner": BoxTool()})
    return await LLMDPPlanner(model, executor, allocation, limits).run(task, world or Boxes())


async def test_what_is_seen_corrects_what_was_believed_and_one_question_is_enough() -> None:
    model = believer(0.5, 0.2, 0.3)
    episode = await run(model)
    assert episode.plan == ("open box 1", "open box 3", "open box 2")
    assert episode.success
    assert episode.usage.model_calls == len(model.probes) == 1
    assert episode.usage.tool_calls == 3
    candidate = episode.steps[0].rounds[0].candidates[0]
    assert [use.output for use in candidate.tool_uses] == ["Plan: 1. open box 1"]


async def test_without_a_plan_the_model_chooses_at_once_and_is_counted() -> None:
    model = believer(0.5, 0.2, 0.3)
    episode = await run(model, Boxes(tell=False))
    (step,) = episode.steps
    assert step.action == "open box 2"
    assert episode.usage.model_calls == len(model.probes) == 2  # the boxes, then the action
    assert step.rounds[0].allocation.tools == frozenset()
    told = step.rounds[0].substitutes
    assert any(note.startswith("no advice of symbolic_planner: there is no plan") for note in told)
    assert "the model's choice for want of a plan" in told


async def test_a_planned_step_that_is_not_admissible_is_not_carried_out() -> None:
    episode = await run(believer(1.0, 0.0, 0.0), Boxes(listed=("box 2", "box 3")))
    assert episode.plan[0] == "open box 3"
    assert "for want of a plan" in str(episode.steps[0].rounds[0].substitutes)


async def test_a_model_that_names_no_action_fails_a_step_and_the_next_one_follows() -> None:
    model = ScriptedModel([""], next_tokens=lambda prompt: {"?": 1.0})
    episode = await run(model, Boxes(tell=False), limits=Limits(steps=2))
    assert [step.failure for step in episode.steps] == ["no listed action was named"] * 2
    assert (episode.ended, episode.success) == ("limit of steps", False)


@pytest.mark.parametrize(("task", "world"), [(CORRIDOR, Corridor), (RIDDLE, Riddle)])
async def test_what_has_no_symbols_is_refused_before_any_call(
    task: Task, world: type[Corridor] | type[Riddle]
) -> None:
    model = believer(1.0, 0.0, 0.0)
    with pytest.raises(InvalidInputError, match="symbols.*choose another method"):
        await run(model, world(), task)
    assert await asked(model) == (0, 0)


async def test_without_a_planner_tool_it_is_refused_before_any_call() -> None:
    model = believer(1.0, 0.0, 0.0)
    with pytest.raises(InvalidInputError, match="allocate 'symbolic_planner'"):
        await run(model, allocation=Allocation())
    assert await asked(model) == (0, 0)


@settings(max_examples=25)
@given(seed=st.integers(0, 400), tokens=st.integers(1, 400), tell=st.booleans())
async def test_every_token_is_counted_and_limits_hold(seed: int, tokens: int, tell: bool) -> None:
    model = babbler(seed)
    episode = await run(model, Boxes(tell=tell), limits=Limits(steps=4, tokens=tokens))
    calls, prompt_tokens = await asked(model)
    for usage in (episode.usage, spent(episode)):
        assert (usage.model_calls, usage.prompt_tokens) == (calls, prompt_tokens)
    assert episode.usage.tokens <= tokens
    assert episode.ended in ("done", "limit of tokens", "limit of steps")
