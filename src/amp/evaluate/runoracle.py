"""What choosing among the fixed runs could reach at best: the oracle, which knows the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from amp.evaluate.runs import Run
from amp.types import Episode

ORACLE = "oracle (of the fixed runs)"


def oracle_of(runs: Sequence[Run], cost_of: Callable[[Episode], float]) -> Run | None:
    """The cheapest fixed run that succeeds, task by task; the cheapest if none does.

    As `amp.evaluate.policies.oracle` chooses from a table of draws: no policy that chooses among
    these runs reaches it. It picks the luckiest of several samples, too, so it is a bound and no
    goal.

    Args:
        runs: on the same tasks and seeds.
        cost_of: cost of an episode.

    Returns:
        None with fewer than two fixed runs, where there is nothing to choose.
    """
    fixed = [run for run in runs if not run.adaptive]
    if len(fixed) < 2:
        return None
    done = [{(e.task.id, e.task.seed): e for e in run.episodes} for run in fixed]
    chosen = (
        min((of_run[key] for of_run in done), key=lambda e: (e.success is not True, cost_of(e)))
        for key in done[0]
    )
    return replace(fixed[0], name=ORACLE, episodes=tuple(chosen), adaptive=True, paths=())
