"""Execution: carries an allocation out with prompts, tools and verification."""

from __future__ import annotations

from amp.execute.base import PlainPrompts, Prompts, Question, Tool, ToolLimits
from amp.execute.executor import Executor, step_prompt
from amp.execute.meter import Meter
from amp.execute.select import most_likely, vote

__all__ = [
    "Executor",
    "Meter",
    "PlainPrompts",
    "Prompts",
    "Question",
    "Tool",
    "ToolLimits",
    "most_likely",
    "step_prompt",
    "vote",
]
