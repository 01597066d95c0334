"""Tools: what helps with a plan step besides the base model; a file each, the simple ones here.

`TOOLS` holds those that need no argument; other packages add theirs by the entry points
"amp.tools", each a callable without arguments that returns a `Tool`. `LargerModelTool` needs a
model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from amp.cost import dollars, flops
from amp.errors import InvalidInputError, did_you_mean
from amp.execute.base import Question, Tool, ToolLimits
from amp.execute.tools.calculator import CalculatorTool
from amp.execute.tools.python import PythonTool
from amp.execute.tools.symbolic_planner import SymbolicPlannerTool
from amp.models.base import LanguageModel
from amp.models.recording import Recording
from amp.plugins import make_plugin, plugin_names
from amp.types import StepContext, ToolUse, Usage

__all__ = [
    "TOOLS",
    "CalculatorTool",
    "LargerModelTool",
    "MemoryTool",
    "PythonTool",
    "RecordedTool",
    "SymbolicPlannerTool",
    "TriedTool",
    "load_tool",
    "plugin_tools",
]

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


class TriedTool(Tool):
    """Says what was done in this very state before: all of it has led back here, or to nothing.

    So a model that takes the likeliest action in every state does not go in circles unawares. The
    newest come first, each once.
    """

    name = "tried"
    description = "says what was done in this very state before, since it led back here"
    limits = ToolLimits(seconds=1.0, output_bytes=1_000)

    async def advise(self, context: StepContext) -> ToolUse | None:
        """Names the actions; None if this state is new."""
        started = time.perf_counter()
        now = context.observation.state
        here = [s.action for s in reversed(context.steps) if s.observation.state == now]
        output, separator = "Done here before, without success: ", ""
        for action in dict.fromkeys(filter(None, here)):
            if len(f"{output}{separator}{action}".encode()) > self.limits.output_bytes:
                break
            output, separator = f"{output}{separator}{action}", "; "
        if not separator:
            return None
        asked = f"what was done in this state in {len(context.steps)} earlier steps"
        return ToolUse(self.name, asked, output, None, time.perf_counter() - started)


TYPICAL_CALL = Usage(model_calls=1, prompt_tokens=1000, completion_tokens=250)
"""The call that `LargerModelTool.cost` is the price of."""


class LargerModelTool(Tool):
    """Lends a second language model to the rounds that it is allocated to.

    Its `cost` is that of `TYPICAL_CALL` by the model's card: a yardstick by which two models can be
    compared before a call whose length is not known yet. Price and FLOPs are 0 where the card has
    no prices or parameters; seconds are 0, since no card has them.

    Args:
        model: the larger model.
    """

    name = "larger_model"
    description = "asks a larger language model instead of the base model"
    limits = ToolLimits(seconds=1.0, output_bytes=1)  # of the tool; its calls keep the episode's

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.cost = replace(
            TYPICAL_CALL,
            flops=flops([TYPICAL_CALL], model.card),
            dollars=dollars(TYPICAL_CALL, model.card),
        )


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


TOOLS: Mapping[str, Callable[[], Tool]] = {
    "calculator": CalculatorTool,
    "python": PythonTool,
    "symbolic_planner": SymbolicPlannerTool,
    "memory": MemoryTool,
    "tried": TriedTool,
}


def load_tool(name: str) -> Tool:
    """Makes a tool by its name.

    Args:
        name: of `TOOLS`, or of `plugin_tools`.

    Raises:
        InvalidInputError: if there is none, the message names the nearest and all; or if another
            package's cannot be made or has another name.
        MissingDependencyError: if another package's cannot be imported.
    """
    if name in TOOLS:
        return TOOLS[name]()
    plugins = plugin_tools()
    if name not in plugins:
        names = sorted((*TOOLS, *plugins))
        raise InvalidInputError(
            f"unknown tool {name!r}{did_you_mean(name, names)} (tools: {', '.join(names)})"
        )
    tool: Tool = make_plugin("amp.tools", name, Tool)
    if tool.name != name:
        raise InvalidInputError(
            f"{name!r} of amp.tools calls itself {tool.name!r}, expected the name of its entry"
            " point"
        )
    return tool


def plugin_tools() -> tuple[str, ...]:
    """Names of the tools that installed packages register."""
    return plugin_names("amp.tools", (*TOOLS, LargerModelTool.name))
