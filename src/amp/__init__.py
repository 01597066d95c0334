"""Adaptive Meta-Planning: gives each planning step of a language model the compute it needs.

The loop is in `amp.planner`; read that first. What is exported here is what a planner of your own
needs; benchmarks, evaluation and the command line are modules of their own.
"""

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
]
