"""Adaptive Meta-Planning: gives each planning step of a language model the compute it needs.

The loop is in `amp.planner`; read that first. What is exported here is what a planner of your own
needs, `run_many`, `save_run` and `report_runs` for many tasks, and `wrap` and `episode` for agents
that have a loop of their own; benchmarks, evaluation and the command line are modules of their own.
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
    from amp.serve.episodes import episode
    from amp.serve.in_process import wrap
    from amp.shared_budget import SharedBudget

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
    "SharedBudget",
    "Space",
    "StepContext",
    "StepRecord",
    "Task",
    "Tool",
    "Transition",
    "Usage",
    "WeightedAssessor",
    "episode",
    "load_model",
    "report_runs",
    "run_many",
    "save_run",
    "wrap",
]

_LATER = {
    "SharedBudget": "amp.shared_budget",
    "report_runs": "amp.evaluate.many",
    "run_many": "amp.evaluate.many",
    "save_run": "amp.evaluate.many",
    "episode": "amp.serve.episodes",
    "wrap": "amp.serve.in_process",
}


def __getattr__(name: str) -> Any:
    """Exports what needs more than planning does, without importing it yet."""
    if name in _LATER:
        try:
            return getattr(import_module(_LATER[name]), name)
        except ModuleNotFoundError as error:
            package = "pip install 'adaptive-meta-planning[serve]'"
            raise MissingDependencyError(f"this needs {error.name}; run: {package}") from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
