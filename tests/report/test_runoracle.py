"""The oracle over runs means what the oracle over a table of recorded samples means."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.recorded import CHAIN, GSM8K, PROGRAM, TASKS, record

from amp.report.runs import Run, oracle_of
from amp.simulate.build import table_from_recording
from amp.simulate.policies import fixed, fixed_plans, oracle


def test_over_the_runs_of_all_fixed_plans_it_is_the_oracle_of_the_table(tmp_path: Path) -> None:
    record(tmp_path / "r.sqlite", (PROGRAM, CHAIN))
    table = table_from_recording(tmp_path / "r.sqlite", GSM8K, TASKS, [PROGRAM, CHAIN], 4)
    runs = [
        Run(str(number), tuple(came.episode for came in fixed(table, plan)), adaptive=False)
        for number, plan in enumerate(fixed_plans(table))
    ]
    found = oracle_of(runs, lambda episode: float(episode.usage.tokens))
    assert found is not None
    assert [(e.task.id, e.success, e.usage.tokens) for e in found.episodes] == [
        (came.task, came.success, came.usage.tokens) for came in oracle(table)
    ]
