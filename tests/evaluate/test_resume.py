"""kill -9 in the middle of a recording run: resumed, no sample is lost and none is doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from amp.evaluate import Assembly, PlannerConfig, RunConfig, manifest, run_tasks
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.trace import EPISODES, RunDirectory
from amp.types import Episode

CONFIG = RunConfig(benchmark="gsm8k", split="demo", planner=PlannerConfig(allocator="heuristic"))


def record(folder: Path, log: Path, delay_seconds: float) -> list[Episode]:
    """Runs the shipped problems on a slow scripted model behind a recording; logs every answer."""
    benchmark = CONFIG.load_benchmark()
    tasks = CONFIG.load_tasks(benchmark)

    def answer(prompt: Prompt, sample: int) -> str:
        with log.open("a") as file:
            file.write(f"{hash((prompt.messages, sample))}\n")
        return f"```python\nanswer = {len(prompt.messages[1].content) + sample % 3}\n```"

    async def go() -> list[Episode]:
        scripted = ScriptedModel(answer, delay_seconds=delay_seconds)
        model = RecordedModel(scripted, folder / "pool.sqlite", "record")
        try:
            assembly = Assembly.of(CONFIG.planner, benchmark)
            told = manifest(CONFIG, assembly, model, tasks)
            directory = RunDirectory.resume(folder / "run", told)
            planner = assembly.planner(model)
            return list(await run_tasks(planner, benchmark, tasks, directory, jobs=2))
        finally:
            await model.close()

    return asyncio.run(go())


def samples(folder: Path) -> list[tuple[bytes, int, str]]:
    with sqlite3.connect(folder / "pool.sqlite") as database:
        return database.execute("SELECT key, idx, text FROM samples ORDER BY key, idx").fetchall()


def test_a_killed_recording_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    log = killed / "log"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.evaluate.test_resume", str(killed), str(log)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    trace = killed / "run" / EPISODES
    deadline = time.monotonic() + 60
    while not (trace.exists() and trace.read_text().count("\n") >= 2):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept, asked = samples(killed), log.read_text().count("\n")
    assert kept, "the run was killed before it had recorded anything"
    assert 2 <= trace.read_text().count("\n") < 6

    resumed = record(killed, log, 0.0)
    uninterrupted = record(whole, whole / "log", 0.0)
    assert [e.task.id for e in resumed] == [e.task.id for e in uninterrupted]
    assert [e.plan for e in resumed] == [e.plan for e in uninterrupted]
    after = samples(killed)
    assert set(kept) <= set(after)
    assert after == samples(whole)
    # Asked for twice was only what was under way at the kill: 2 jobs of 4 beams at most.
    assert asked + len(after) - len(kept) <= log.read_text().count("\n") <= len(after) + 2 * 4


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]), 0.15)
