"""Adaptive Meta-Planning: gives each planning step of a language model the compute it needs.

The loop is in `amp.planner`; read that first. What is exported here is what a planner of your own
needs, and `run_many`, `save_run` and `report_runs` for many tasks; benchmarks, evaluation and the
command line are modules of their own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from amp.allocate.base import Allocator, FixedAllocator, RandomAllocator
from amp.allocate.rules import EscalatingAllocator, HeuristicAllocator
from amp.allocate.space import Space
from amp.assess.base import Assessor, WeightedAssessor
from amp.environment import AsyncEnvironment, Environment
from amp.errors import (
    AmpError,
    EnvironmentFailedError,
    InvalidInputError,
    LimitReachedError,
    MissingDependencyError,
    ModelError,
    RecordingError,
)
from amp.execute.base import PlainPrompts, Prompts, Tool
from amp.execute.boundary import GymEnvironment
from amp.execute.executor import Executor
from amp.models.base import LanguageModel
from amp.models.registry import load_model
from amp.planner import Planner
from amp.types import (
    STOP,
    Allocation,
    Complexity,
    Decision,
    Episode,
    Limits,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Transition,
    Usage,
)

if TYPE_CHECKING:
    from amp.evaluate.many import report_runs, run_many, save_run

__all__ = [
    "STOP",
    "Allocation",
    "Allocator",
    "AmpError",
    "Assessor",
    "AsyncEnvironment",
    "Complexity",
    "Decision",
    "Environment",
    "EnvironmentFailedError",
    "Episode",
    "EscalatingAllocator",
    "Executor",
    "FixedAllocator",
    "GymEnvironment",
    "HeuristicAllocator",
    "InvalidInputError",
    "LanguageModel",
    "LimitReachedError",
    "Limits",
    "MissingDependencyError",
    "ModelError",
    "Observation",
    "PlainPrompts",
    "Planner",
    "Prompts",
    "RandomAllocator",
    "RecordingError",
    "Space",
    "StepContext",
    "StepRecord",
    "Task",
    "Tool",
    "Transition",
    "Usage",
    "WeightedAssessor",
    "load_model",
    "report_runs",
    "run_many",
    "save_run",
]


def __getattr__(name: str) -> Any:
    """Exports what needs more than planning does, without importing it yet."""
    if name in ("report_runs", "run_many", "save_run"):
        return getattr(import_module("amp.evaluate.many"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
