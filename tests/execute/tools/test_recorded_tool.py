from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.worlds import CORRIDOR, Corridor

from amp.cost import Ledger
from amp.errors import RecordingError
from amp.execute.base import PlainPrompts, Question
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.execute.tools import TOOLS, CalculatorTool, MemoryTool, RecordedTool, SymbolicPlannerTool
from amp.models.base import Message, Prompt
from amp.models.recorded import RecordedModel
from amp.models.recording import Mode, Recording
from amp.models.scripted import ScriptedModel
from amp.types import (
    Allocation,
    Complexity,
    Evidence,
    Limits,
    Observation,
    StepContext,
    StepRecord,
    ToolUse,
    Usage,
)

SYMBOLS = {"init": ["a"], "goal": ["b"], "actions": [{"name": "go", "add": ["b"]}]}
AT = StepContext(
    CORRIDOR,
    Observation("a wall", symbols=SYMBOLS),
    (StepRecord(Observation("a key"), (), Complexity(0.0), "walk", Usage(), feedback="a bell"),),
)


class Asked(MemoryTool):
    """A memory that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def advise(self, context: StepContext) -> ToolUse | None:
        self.asked += 1
        return await super().advise(context)


async def test_advice_is_replayed_with_every_figure_and_without_asking(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    recording = Recording(path, "auto")
    first = [await RecordedTool(t, recording).advise(AT) for t in (Asked(), SymbolicPlannerTool())]
    recording.close()
    assert all(use is not None and use.seconds > 0 for use in first)
    replay, asked = Recording(path, "replay"), Asked()
    again = [await RecordedTool(t, replay).advise(AT) for t in (asked, SymbolicPlannerTool())]
    replay.close()
    assert again == first
    assert asked.asked == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda at: replace(at, task=replace(at.task, id="other")),
        lambda at: replace(at, task=replace(at.task, goal="other")),
        lambda at: replace(at, observation=replace(at.observation, state="other")),
        lambda at: replace(at, observation=replace(at.observation, symbols=None)),
        lambda at: replace(at, steps=(replace(at.steps[0], action="wait"),)),
        lambda at: replace(at, steps=(replace(at.steps[0], feedback="a gong"),)),
        lambda at: replace(at, steps=(replace(at.steps[0], observation=Observation("a ball")),)),
        lambda at: replace(at, steps=at.steps * 2),
    ],
)
async def test_another_situation_is_another_advice(
    tmp_path: Path, change: Callable[[StepContext], StepContext]
) -> None:
    recording, asked = Recording(tmp_path / "pool.sqlite", "auto"), Asked()
    tool = RecordedTool(asked, recording)
    await tool.advise(AT)
    await tool.advise(change(AT))
    await tool.advise(AT)
    recording.close()
    assert asked.asked == 2


async def test_what_rounds_of_the_step_brought_changes_nothing(tmp_path: Path) -> None:
    recording, asked = Recording(tmp_path / "pool.sqlite", "auto"), Asked()
    tool = RecordedTool(asked, recording)
    later = replace(AT, evidence=Evidence(rounds=1), remaining=Limits(tokens=5))
    assert await tool.advise(AT) == await tool.advise(later)
    recording.close()
    assert asked.asked == 1


async def test_silence_is_not_kept_and_missing_advice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    recording = Recording(path, "auto")
    at_start = StepContext(CORRIDOR, Corridor().reset(CORRIDOR))
    assert await RecordedTool(MemoryTool(), recording).advise(at_start) is None
    assert recording.store.sizes()["tool_uses"] == 0
    recording.close()
    replay = Recording(path, "replay")
    assert await RecordedTool(MemoryTool(), replay).advise(at_start) is None
    assert await RecordedTool(CalculatorTool(), replay).advise(AT) is None
    with pytest.raises(RecordingError, match="has no advice of tool memory"):
        await RecordedTool(MemoryTool(), replay).advise(AT)
    replay.close()


async def test_a_use_and_an_advice_never_stand_for_each_other(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "pool.sqlite", "auto")
    tool = RecordedTool(SymbolicPlannerTool(), recording)
    assert await tool.use("no call") is None
    assert await tool.advise(AT) is not None
    assert recording.store.sizes()["tool_uses"] == 2
    recording.close()


def test_a_recorded_tool_is_described_as_the_tool_itself(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "pool.sqlite", "auto")
    for make in TOOLS.values():
        tool = make()
        recorded = RecordedTool(tool, recording)
        for name in ("name", "description", "schema", "limits", "cost", "model"):
            assert getattr(recorded, name) == getattr(tool, name)
    recording.close()


class Unsure(MemoryTool):
    """Asks the model which bell it was, and says so."""

    def questions(self, context: StepContext) -> Sequence[Question]:
        return (Question(Prompt((Message("user", "Which bell?"),), 1), "12"),)

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        symbols = {"bell": answers[0]}
        return replace(context, observation=replace(context.observation, symbols=symbols))

    async def advise(self, context: StepContext) -> ToolUse | None:
        return ToolUse(self.name, "", str(context.observation.symbols))


async def test_a_question_of_a_recorded_tool_reaches_the_model_and_is_replayed(
    tmp_path: Path,
) -> None:
    path, said = tmp_path / "pool.sqlite", []
    modes: tuple[Mode, ...] = ("auto", "replay")
    for mode in modes:
        inner = ScriptedModel([""], next_tokens=lambda prompt: {"1": 0.25, "2": 0.75})
        model = RecordedModel(inner, path, mode)
        executor = Executor(PlainPrompts(), {"memory": RecordedTool(Unsure(), model.recording)})
        meter = Meter(model, Ledger(Limits()))
        said.append(await executor.advise(AT, Allocation(tools=frozenset({"memory"})), meter))
        assert meter.ledger.usage.model_calls == 1
        assert len(inner.probes) == (mode == "auto")
        await model.close()
    assert said[0] == said[1]
    assert said[0][0].output == "{'bell': [0.25, 0.75]}"
