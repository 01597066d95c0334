"""Other projects' gateways behind the counting upstream, in environments of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiments.counted import Answers
from experiments.peers import CHEAP, DEAR, METHODS, compare
from tests.clients.running import ENVIRONMENTS, needs
from tests.experiments.test_peers import scripted

from amp.benchmarks import load_benchmark

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("environment", "method", "calls"),
    [
        ("optillm", "OptiLLM self_consistency", 5),
        ("optillm", "OptiLLM bon", 4),  # three answers in one call, and a rating of each
        ("optillm", "OptiLLM moa", 3),
        ("its-hub", "its-hub self-consistency", 4),
        ("litellm-proxy", "LiteLLM router, dear from MEDIUM", 1),
    ],
)
async def test_a_rival_runs_and_is_counted(
    tmp_path: Path, environment: str, method: str, calls: int
) -> None:
    needs(environment)
    answers = Answers(tmp_path / "answers.sqlite")
    benchmark = load_benchmark("gsm8k")
    methods = {method: METHODS[method]}
    tasks = benchmark.tasks("demo", 1)
    await compare(answers, methods, benchmark, tasks, ENVIRONMENTS, scripted([]))
    (outcome,) = answers.outcomes(method).values()
    answers.close()
    assert sum(outcome.get(f"{model} calls", 0) for model in (CHEAP, DEAR)) == calls
    assert sum(outcome.get(f"{model} prompt", 0) for model in (CHEAP, DEAR)) > 0
    assert outcome["told"] is not None
