"""Execution: carries an allocation out with prompts, tools and verification."""

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
