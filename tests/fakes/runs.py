"""Runs for the tests of reports: small, with known figures, and with hostile texts."""

from __future__ import annotations

from collections.abc import Sequence

from amp.report.runs import Kind, Run
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Observation,
    Round,
    StepRecord,
    Task,
    ToolUse,
    Usage,
)

EVIL = "</script><img src=x onerror=alert(1)>|`=1+1"


def step(tokens: int, text: str = "so 4", verification: int = 0) -> StepRecord:
    """A step of one round; a fifth of its tokens and half a second are the probe."""
    complexity = Complexity(0.25, {"entropy": 0.5}, (f"agreement for entropy {text}",))
    candidate = Candidate(
        text,
        text,
        probability=0.75,
        completion_tokens=5,
        tool_uses=(ToolUse("python", "x", text, seconds=0.25),),
    )
    spent = Usage(prompt_tokens=tokens - tokens // 5, seconds=1.0)
    allocation = Allocation(2, 0.7, 0.95, 1, frozenset({"python"}), verification)
    made = Round(complexity, allocation, 0.0, (candidate,), spent)
    usage = spent + Usage(prompt_tokens=tokens // 5, seconds=0.5)
    return StepRecord(Observation(text), (made,), complexity, text, usage, feedback=text)


def episode(task: str, success: bool | None, tokens: int, seed: int = 0) -> Episode:
    """An episode of one step."""
    made = step(tokens)
    return Episode(Task(task, "a goal", seed=seed), (made,), success, 0.0, made.usage, "done")


def run(name: str, successes: Sequence[bool], tokens: int, kind: Kind = "fixed") -> Run:
    """One task a success, all of the same cost."""
    episodes = [episode(f"t{i}", won, tokens) for i, won in enumerate(successes)]
    return Run(name, tuple(episodes), kind)


def evil() -> Run:
    """A run all of whose names and texts are hostile."""
    made = (step(100, EVIL),)
    episodes = [
        Episode(Task(f"{EVIL}{i}", EVIL), made, i == 0, 0.0, made[0].usage, EVIL) for i in range(3)
    ]
    return Run(EVIL, tuple(episodes), benchmark=EVIL, model=EVIL)
