"""The whole loop on a game: who copies what prompts suggest reaches the goal with the planner."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.benchmarks.alfworld import playhouse

from amp.allocate.base import FixedAllocator
from amp.benchmarks.alfworld import ALFWorld
from amp.evaluate.run import RunSettings, make_planner
from amp.execute.executor import Executor
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import Allocation, Limits

pytest.importorskip("textworld")
pytest.importorskip("alfworld")


def copied(prompt: Prompt) -> dict[str, float]:
    """The label that stands behind the words that the answer begins with; else the first."""
    user, lead = (message.content for message in prompt.messages[-2:])
    wanted = re.split(r"Now: |Planned: ", lead)[-1].removesuffix(" (")
    found = re.search(rf"- {re.escape(wanted)} \((\w)\)", user) or re.search(r"\((\w)\)", user)
    assert found is not None
    return {found[1]: 1.0}


@pytest.mark.parametrize(
    ("tools", "wins"),
    [
        ({"symbolic_planner"}, True),
        ({"symbolic_planner_random"}, True),
        ({"symbolic_planner_table"}, True),
        (set(), False),
    ],
)
async def test_a_model_that_copies_wins_with_the_planner(
    tmp_path: Path, tools: set[str], wins: bool
) -> None:
    playhouse.write(tmp_path)
    benchmark = ALFWorld(tmp_path)
    (task,) = benchmark.tasks("train")
    planner = Planner(
        ScriptedModel("no words", next_tokens=copied),
        Executor(benchmark.prompts, benchmark.tools),
        allocator=FixedAllocator(Allocation(tools=frozenset(tools))),
        limits=Limits(steps=16),
    )
    episode = await planner.run(task, benchmark.environment(task))
    benchmark.close()
    assert episode.success is wins, episode.plan
    if wins:
        assert episode.plan[-1].startswith("move apple ")
        assert len(episode.plan) <= 12


@pytest.mark.parametrize(("method", "calls"), [("llm_dp", 1), ("llm_dp_random", 0)])
async def test_llm_dp_reaches_the_goal_and_asks_only_where_the_apple_is(
    tmp_path: Path, method: str, calls: int
) -> None:
    playhouse.write(tmp_path)
    benchmark = ALFWorld(tmp_path)
    (task,) = benchmark.tasks("train")
    model = ScriptedModel("no words", next_tokens=copied)
    settings = RunSettings("train", 0, "fixed", {}, Limits(), method=method)
    episode = await make_planner(model, benchmark, settings).run(task, benchmark.environment(task))
    benchmark.close()
    assert episode.success, episode.plan
    assert episode.usage.model_calls == len(model.probes) == calls
    assert "apple" in str([probe.messages[-1] for probe in model.probes]) or not calls
