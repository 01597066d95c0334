"""Execution: carries an allocation out with prompts, tools and verification.

`executor` does it, with `base` (prompts and tools) and `meter` (all calls, within the limits). A
step is one of three: `open_step`, `choice_step`, or one of `plans`. `checks` verifies candidates,
`boundary` is where other people's environments meet the loop, and `program`, `sandbox` and `tools`
are what models may use. `observing` tells others what is done.
"""

from __future__ import annotations

from amp.execute.base import PlainPrompts, Prompts, Question, Tool, ToolLimits
from amp.execute.executor import Executor, step_prompt
from amp.execute.meter import Meter

__all__ = [
    "Executor",
    "Meter",
    "PlainPrompts",
    "Prompts",
    "Question",
    "Tool",
    "ToolLimits",
    "step_prompt",
]
