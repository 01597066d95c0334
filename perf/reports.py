"""Measures how long `amp report` takes on 50,000 steps, and how large its page is.

The runs are made up: ten of 500 tasks of ten steps, each step a choice among a dozen actions after
a look, as in BabyAI. CPU seconds are those of the whole command, reading and writing included; what
BabyAI takes to tell how hard a mission is, some milliseconds each, comes on top there.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from amp.trace import RunDirectory
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Observation,
    Probe,
    Round,
    StepRecord,
    Task,
    Usage,
)

RUNS, TASKS, STEPS = 10, 500, 10
ACTIONS = tuple(f"go to the {colour} {kind} in the next room" for colour in
                ("red", "green", "blue") for kind in ("ball", "box", "key", "door"))  # fmt: skip


def reports() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [made_run(Path(folder) / f"run-{number}", number) for number in range(RUNS)]
        html = Path(folder) / "report.html"
        command = [sys.executable, "-m", "amp", "report", *map(str, runs), "--html", str(html)]
        before = seconds_of_children()
        subprocess.run([*command, "--no-judge"], check=True, stdout=subprocess.DEVNULL)
        seconds = seconds_of_children() - before
        megabytes = html.stat().st_size / 1e6
    return [
        ("amp report on 50,000 steps, in CPU-s", seconds, "<", 10.0),
        ("its page, in MB", megabytes, "<", 10.0),
    ]


def made_run(path: Path, number: int, count: int = TASKS) -> Path:
    """A run of so many tasks, of which the first half are fixed."""
    rng, tasks = random.Random(number), [f"task {place}" for place in range(count)]
    manifest = {
        "benchmark": "gsm8k",
        "prompts": [],
        "model": {"name": "made up"},
        "allocator": "fixed" if number < RUNS / 2 else "heuristic",
        "tasks": tasks,
    }
    directory = RunDirectory.create(path, manifest)
    for place in range(count):
        directory.append(_episode(rng, place))
    directory.finish(tasks)
    return path


def _episode(rng: random.Random, place: int) -> Episode:
    steps = tuple(_step(rng) for _ in range(STEPS))
    usage = sum((step.usage for step in steps), Usage())
    task = Task(f"task {place}", "put the red ball next to the blue box", {"steps": place % 8})
    return Episode(task, steps, rng.random() < 0.6, 0.0, usage, "done")


def _step(rng: random.Random) -> StepRecord:
    options = {action: rng.random() for action in ACTIONS}
    features = {f"feature {number}": rng.random() for number in range(20)}
    complexity = Complexity(rng.random(), features, ("structure of the text for a parse",))
    chosen = rng.choice(ACTIONS)
    candidates = tuple(
        Candidate(chosen, chosen, log_prob=-1.0, entropy=0.5, probability=0.4)
        for _ in range(rng.randint(1, 4))
    )
    usage = Usage(2, rng.randint(200, 900), 100, 0, 1e12, 0.5)
    probe = Probe(options=options)
    made = Round(complexity, Allocation(beam_width=len(candidates)), 0.0, candidates, usage)
    state = "You are in a room. " + " ".join(f"You see a {action[10:]}." for action in ACTIONS)
    observation = Observation(state, ACTIONS, {"subgoals": ACTIONS}, rng.random())
    spent = replace(usage, prompt_tokens=usage.prompt_tokens + 50)
    return StepRecord(
        observation, (made,), complexity, chosen, spent, feedback="Nothing new.", probe=probe
    )


def seconds_of_children() -> float:
    """CPU seconds of the programs that this one has run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    for name, value, sign, bound in reports():
        Console().print(f"{name}: {value:.2f} (promised {sign} {bound:g})")
