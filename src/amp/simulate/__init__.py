"""Recorded samples without the model: tables of them, replay, policies to compare, and lattices.

A policy on a recording::

    from amp.simulate import replay_allocator, table_from_recording
    table = table_from_recording(path, benchmark, tasks, arms, samples=4)
    episodes = replay_allocator(table, allocator)

The modules by what they are about:

- samples of tasks of few steps: `samples` is the table, `build` makes it of a recording, `replay`
  plays an allocator on it, `policies` and `tuning` have what one is compared with, and `compare`
  sets all side by side;
- ``lattice_*``: plans of many steps, of which every arm was asked in every state;
- ``table_*``: what learners play on, as arrays; `sample_env`, `node_env` and `lattice_table` make
  it of samples, of nodes and edges, and of a recorded lattice;
- ``pool_*``: answers of many models that others recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amp.plugins import exported_later

if TYPE_CHECKING:
    from amp.simulate.build import opening_contexts, table_from_recording
    from amp.simulate.compare import Adaptive, simulate, simulated_run
    from amp.simulate.lattice_recording import (
        Survey,
        lattice_from_recording,
        record_lattice,
    )
    from amp.simulate.lattice_states import lattice_arms
    from amp.simulate.lattice_table import lattice_env
    from amp.simulate.node_env import Edge, Node, env_from_lattice
    from amp.simulate.policies import (
        Price,
        best_fixed,
        fixed,
        fixed_plans,
        learn_threshold,
        reward_oracle,
        vote_rules,
    )
    from amp.simulate.replay import Plan, Pull, State, replay_allocator, replay_plan, replay_plans
    from amp.simulate.sample_env import env_from_samples
    from amp.simulate.samples import (
        Arm,
        ArmSamples,
        RecordedSample,
        SampleTable,
        StepSamples,
        TaskSamples,
        merged,
    )
    from amp.simulate.table_env import (
        BatchObservation,
        StepResult,
        TableEnv,
        VectorEnv,
        VectorEpisodes,
    )
    from amp.simulate.table_oracle import oracle


__all__ = [
    "Adaptive",
    "Arm",
    "ArmSamples",
    "BatchObservation",
    "Edge",
    "Node",
    "Plan",
    "Price",
    "Pull",
    "RecordedSample",
    "SampleTable",
    "State",
    "StepResult",
    "StepSamples",
    "Survey",
    "TableEnv",
    "TaskSamples",
    "VectorEnv",
    "VectorEpisodes",
    "best_fixed",
    "env_from_lattice",
    "env_from_samples",
    "fixed",
    "fixed_plans",
    "lattice_arms",
    "lattice_env",
    "lattice_from_recording",
    "learn_threshold",
    "merged",
    "opening_contexts",
    "oracle",
    "record_lattice",
    "replay_allocator",
    "replay_plan",
    "replay_plans",
    "reward_oracle",
    "simulate",
    "simulated_run",
    "table_from_recording",
    "vote_rules",
]

__getattr__ = exported_later(
    __name__,
    {
        "build": ("opening_contexts", "table_from_recording"),
        "compare": ("Adaptive", "simulate", "simulated_run"),
        "sample_env": ("env_from_samples",),
        "lattice_recording": ("Survey", "lattice_from_recording", "record_lattice"),
        "lattice_states": ("lattice_arms",),
        "lattice_table": ("lattice_env",),
        "node_env": ("Edge", "Node", "env_from_lattice"),
        "table_oracle": ("oracle",),
        "policies": (
            "Price",
            "best_fixed",
            "fixed",
            "fixed_plans",
            "learn_threshold",
            "reward_oracle",
            "vote_rules",
        ),
        "replay": ("Plan", "Pull", "State", "replay_allocator", "replay_plan", "replay_plans"),
        "samples": (
            "Arm",
            "ArmSamples",
            "RecordedSample",
            "SampleTable",
            "StepSamples",
            "TaskSamples",
            "merged",
        ),
        "table_env": ("BatchObservation", "StepResult", "TableEnv", "VectorEnv", "VectorEpisodes"),
    },
)
