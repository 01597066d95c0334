"""Small tools that the tests use."""

from __future__ import annotations

from amp.execute.base import Tool, ToolLimits
from amp.types import StepContext, ToolUse


class FakeTool(Tool):
    """A tool that does nothing; what it can do, a child says."""

    name = "fake"
    description = "does nothing"
    limits = ToolLimits(seconds=1.0, output_bytes=1000)


class ShoutingTool(FakeTool):
    """Upper-cases a text with an exclamation mark; others are no call to it."""

    name = "shout"

    async def use(self, text: str) -> ToolUse | None:
        return ToolUse("shout", text, text.upper(), seconds=0.5) if "!" in text else None


class CorrectingTool(FakeTool):
    """Has the model go on after a corrected beginning."""

    name = "correct"

    async def use(self, text: str) -> ToolUse | None:
        if "=5" not in text:
            return None
        return ToolUse("correct", text, "4", resume=text.partition("=5")[0] + "=4")


class AdvisingTool(FakeTool):
    """Knows something about every step, or fails."""

    name = "almanac"

    def __init__(self, error: str | None = None) -> None:
        self.error = error

    async def advise(self, context: StepContext) -> ToolUse | None:
        output = "" if self.error else "spiders have eight legs"
        return ToolUse(self.name, context.task.goal, output, self.error, seconds=0.25)
