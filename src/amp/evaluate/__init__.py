"""Running plans on benchmarks: one run, sweeps of runs, recordings, and data sets of episodes.

A run from Python::

    from amp.evaluate import PlannerConfig, build_planner
    planner = build_planner(PlannerConfig(allocator="fixed"), model, benchmark)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amp.plugins import exported_later

if TYPE_CHECKING:
    from amp.evaluate.assembly import Assembly, build_planner
    from amp.evaluate.config import PlannerConfig, RunConfig, TaskConfig
    from amp.evaluate.many import report_runs, run_many, save_run
    from amp.evaluate.record import EpisodeDataset, Grid, arms_of, complete_tasks, record_grid
    from amp.evaluate.run import manifest, run_episodes, run_tasks
    from amp.evaluate.sweep import Sweep, Trial, load_sweep, prepare, run_trials, summaries


__all__ = [
    "Assembly",
    "EpisodeDataset",
    "Grid",
    "PlannerConfig",
    "RunConfig",
    "Sweep",
    "TaskConfig",
    "Trial",
    "arms_of",
    "build_planner",
    "complete_tasks",
    "load_sweep",
    "manifest",
    "prepare",
    "record_grid",
    "report_runs",
    "run_episodes",
    "run_many",
    "run_tasks",
    "run_trials",
    "save_run",
    "summaries",
]

__getattr__ = exported_later(
    __name__,
    {
        "assembly": ("Assembly", "build_planner"),
        "config": ("PlannerConfig", "RunConfig", "TaskConfig"),
        "many": ("report_runs", "run_many", "save_run"),
        "record": ("EpisodeDataset", "Grid", "arms_of", "complete_tasks", "record_grid"),
        "run": ("manifest", "run_episodes", "run_tasks"),
        "sweep": ("Sweep", "Trial", "load_sweep", "prepare", "run_trials", "summaries"),
    },
)
