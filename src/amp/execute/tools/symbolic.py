"""The symbolic planner: finds a plan for a problem that is stated in symbols."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from amp.errors import AmpError
from amp.execute.base import ToolLimits
from amp.execute.tools.strips import solve
from amp.execute.tools.symbols import SCHEMA, read_problem
from amp.types import StepContext, ToolUse, Usage

_FIRST = re.compile(r"Plan: 1\. (.+?)(?: 2\. |$)")
_FENCED = re.compile(r"```json[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


class SymbolicPlannerTool:
    """Plans from the environment's symbols before the model writes, or from those it wrote.

    Both are STRIPS problems in the JSON form of `amp.execute.tools.symbols`. In a model's text that
    is the last block fenced as ``json``, or an object from the first brace to the last one; it
    counts as a call if it has the fields ``init`` and ``goal``. The output is
    ``Plan: 1. take key 2. open door``; any plan, usually a cheap one.

    Args:
        seconds: time that one search may take.
        max_states: states that one search expands at most; within the time, its outcome doesn't
            depend on the machine.
    """

    name = "symbolic_planner"
    description = "plans for a problem in a ```json block with init, goal and actions (STRIPS)"
    cost = Usage(seconds=0.03, tool_calls=1)

    def __init__(self, seconds: float = 5.0, max_states: int = 100_000) -> None:
        self.limits = ToolLimits(seconds, output_bytes=10_000)
        self._max_states = max_states

    @property
    def schema(self) -> Mapping[str, Any]:
        return SCHEMA

    async def advise(self, context: StepContext) -> ToolUse | None:
        """Plans from the state at hand; None where the environment offers no symbols."""
        symbols = context.observation.symbols
        return None if symbols is None else await self._plan("the state in symbols", symbols)

    async def use(self, text: str) -> ToolUse | None:
        """Plans for the problem in a text; None if it holds none."""
        if fenced := _FENCED.findall(text):
            try:
                problem = json.loads(fenced[-1])
            except (ValueError, RecursionError) as error:
                return ToolUse(self.name, fenced[-1], "", f"invalid JSON: {error}")
        else:
            try:
                problem = json.loads(text[text.find("{") : text.rfind("}") + 1])
            except (ValueError, RecursionError):
                return None
        if not isinstance(problem, dict) or not {"init", "goal"} <= set(problem):
            return None
        return await self._plan(json.dumps(problem), problem)

    async def _plan(self, given: str, symbols: Mapping[str, Any]) -> ToolUse:
        started = time.perf_counter()
        # In a thread, so that other episodes go on meanwhile.
        output, error = await asyncio.to_thread(self._outcome, symbols)
        return ToolUse(self.name, given, output, error, time.perf_counter() - started)

    def _outcome(self, symbols: Mapping[str, Any]) -> tuple[str, str | None]:
        """The output and the error; exactly one of them says something."""
        try:
            problem = read_problem(symbols)
            plan = solve(problem, max_states=self._max_states, seconds=self.limits.seconds)
        except AmpError as error:
            return "", str(error)
        if plan is None:
            return "", "there is no plan: the goal can't be reached from here"
        steps = " ".join(f"{number}. {step.name}" for number, step in enumerate(plan, 1))
        output = f"Plan: {steps or 'nothing to do, the goal holds already'}"
        if len(output.encode()) > self.limits.output_bytes:
            return "", f"the plan has more than {self.limits.output_bytes} bytes"
        return output, None


def first_step(output: str) -> str | None:
    """Returns the first step of a plan that the tool found; None where there is nothing to do."""
    found = _FIRST.match(output)
    return None if found is None else found[1]
