"""The memory: tells what was seen earlier in the episode and can't be seen any more."""

from __future__ import annotations

import time
from collections.abc import Iterator

from amp.execute.base import Tool, ToolLimits
from amp.types import StepContext, ToolUse

_LONGEST_LINE = 200  # characters


class MemoryTool(Tool):
    """Recalls lines of earlier states and feedback that the present state doesn't hold.

    The newest come first, each once, with its age: what was seen before the last action is one step
    old, and so is the feedback to that action. It works for any environment whose state is text.

    Args:
        max_lines: lines that are recalled at most.
        max_bytes: length at which recalling ends.
    """

    name = "memory"
    description = "recalls what was seen in earlier steps and can't be seen any more"

    def __init__(self, max_lines: int = 12, max_bytes: int = 1_000) -> None:
        self.limits = ToolLimits(seconds=1.0, output_bytes=max_bytes)
        self._max_lines = max_lines

    async def advise(self, context: StepContext) -> ToolUse | None:
        """Recalls what is out of sight; None if there is nothing."""
        started = time.perf_counter()
        output = "Seen earlier:"
        for number, (line, age) in enumerate(_out_of_sight(context)):
            entry = f"\n- {age} step{'' if age == 1 else 's'} ago: {line}"
            if (
                number == self._max_lines
                or len((output + entry).encode()) > self.limits.output_bytes
            ):
                break
            output += entry
        if "\n" not in output:
            return None
        asked = f"what was seen in {len(context.steps)} earlier steps"
        return ToolUse(self.name, asked, output, None, time.perf_counter() - started)


def _out_of_sight(context: StepContext) -> Iterator[tuple[str, int]]:
    """Yields each line that is not in the present state with its age in steps, newest first."""
    known = set(_lines(context.observation.state))
    for age, step in enumerate(reversed(context.steps), 1):
        for line in (*_lines(step.feedback), *_lines(step.observation.state)):
            if line not in known:
                known.add(line)
                yield line, age


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if words := " ".join(line.split()):
            yield words if len(words) <= _LONGEST_LINE else words[: _LONGEST_LINE - 3] + "..."
