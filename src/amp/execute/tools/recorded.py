"""A tool whose runs are kept in a recording: replays run no code and repeat every figure."""

from __future__ import annotations

from amp.execute.base import Tool
from amp.models.recording import Recording
from amp.types import ToolUse


class RecordedTool:
    """Wraps a tool; what it did once with a text, it does again without running."""

    def __init__(self, tool: Tool, recording: Recording) -> None:
        self._tool = tool
        self._recording = recording

    @property
    def name(self) -> str:
        return self._tool.name

    @property
    def description(self) -> str:
        return self._tool.description

    async def use(self, text: str) -> ToolUse | None:
        return await self._recording.use(self.name, text, lambda: self._tool.use(text))
