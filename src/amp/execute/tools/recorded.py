"""A tool whose runs are kept in a recording: replays run no code and repeat every figure."""

from __future__ import annotations

from collections.abc import Sequence

from amp.execute.base import Question, Tool
from amp.models.recording import Recording
from amp.types import StepContext, ToolUse


class RecordedTool(Tool):
    """Wraps a tool; what it did once with a text or a state, it does again without running."""

    def __init__(self, tool: Tool, recording: Recording) -> None:
        self.name, self.description, self.schema = tool.name, tool.description, tool.schema
        self.limits, self.cost, self.model = tool.limits, tool.cost, tool.model
        self._tool = tool
        self._recording = recording

    def questions(self, context: StepContext) -> Sequence[Question]:
        """Asks what the tool asks; the model's recording keeps the answers."""
        return self._tool.questions(context)

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        """Informs as the tool does; its advice is then recorded for these answers."""
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
