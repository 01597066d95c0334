"""A tool whose runs are kept in a recording: replays run no code and repeat every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amp.execute.base import AskingTool, Question, Tool, ToolLimits
from amp.models.recording import Recording
from amp.types import StepContext, ToolUse, Usage


class RecordedTool:
    """Wraps a tool; what it did once with a text or a state, it does again without running."""

    def __init__(self, tool: Tool, recording: Recording) -> None:
        self._tool = tool
        self._recording = recording

    @property
    def name(self) -> str:
        return self._tool.name

    @property
    def description(self) -> str:
        return self._tool.description

    @property
    def schema(self) -> Mapping[str, Any]:
        return self._tool.schema

    @property
    def limits(self) -> ToolLimits:
        return self._tool.limits

    @property
    def cost(self) -> Usage:
        return self._tool.cost

    def questions(self, context: StepContext) -> Sequence[Question]:
        """Asks what the tool asks; the model's recording keeps the answers."""
        return self._tool.questions(context) if isinstance(self._tool, AskingTool) else ()

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        """Informs as the tool does; its advice is then recorded for these answers."""
        if not isinstance(self._tool, AskingTool):
            return context
        return self._tool.informed(context, answers)

    async def advise(self, context: StepContext) -> ToolUse | None:
        """Advises as recorded for the same task, state and history."""
        return await self._recording.advise(
            self.name, _known(context), lambda: self._tool.advise(context)
        )

    async def use(self, text: str) -> ToolUse | None:
        return await self._recording.use(self.name, text, lambda: self._tool.use(text))


def _known(context: StepContext) -> dict[str, object]:
    """All that advice may depend on. What rounds of this step brought is not a part of it."""
    return {
        "task": [context.task.id, context.task.goal],
        "state": context.observation.state,
        "symbols": context.observation.symbols,
        "history": [[s.observation.state, s.action, s.feedback] for s in context.steps],
    }
