"""Spans as a collector gets them: of episodes that run, and of saved ones; and none by default."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import runs
from tests.fakes.files import DATA, ROOT
from tests.fakes.otlp import Collector, collecting
from tests.fakes.recorded import GSM8K, PROGRAM, TASKS, planner_of, record
from tests.fakes.worlds import CORRIDOR, Corridor

from amp.allocate.base import FixedAllocator
from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError
from amp.evaluate import PlannerConfig, build_planner
from amp.methods import AnyPlanner
from amp.models.base import ModelCard
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.settings import Settings
from amp.telemetry import Telemetry, traced
from amp.telemetry.spans import LAID_END_TO_END, TracedPlanner
from amp.types import (
    Allocation,
    Complexity,
    Episode,
    Limits,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

USAGES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read.input_tokens": "cached_prompt_tokens",
    "reasoning.output_tokens": "reasoning_tokens",
}
CARD = ModelCard("gpt-test", dollars_per_million_prompt_tokens=1.0)
STRANGE = Task("my own words", "my own words are secret", {"length": 3})


@pytest.fixture(scope="module")
def shared() -> Iterator[Collector]:
    with collecting() as there:
        yield there


@pytest.fixture
def collector(shared: Collector) -> Collector:
    shared.reset()
    return shared


def assert_adds_up(collector: Collector, usage: Usage) -> None:
    """Calls of models take what the ledger took, and every span is within its parent."""
    chats = collector.named("chat ")
    for name, field in USAGES.items():
        assert sum(span.total(name) for span in chats) == getattr(usage, field), name
    assert sum(span.said["amp.model_calls"] for span in chats) == usage.model_calls
    assert sum(span.said["amp.dollars"] for span in chats) == pytest.approx(usage.dollars)
    assert len(collector.named("execute_tool")) == usage.tool_calls
    assert collector.strays() == []


def planned(planner: AnyPlanner, benchmark: Benchmark, task: Task, telemetry: Telemetry) -> Episode:
    with telemetry.sending() as spans:
        traced = TracedPlanner(planner, spans)
        return asyncio.run(traced.run(task, benchmark.environment(task)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tools"),
    [
        pytest.param("gsm8k", True, marks=pytest.mark.data("gsm8k")),
        pytest.param("babyai", False),
    ],
)
def test_an_episode_of_a_shipped_recording(name: str, tools: bool, collector: Collector) -> None:
    benchmark = load_benchmark(name, data=DATA)
    config = PlannerConfig(allocator="fixed" if tools else "heuristic")
    with RecordedModelHere(name) as model:
        planner = build_planner(config, model, benchmark)
        task = benchmark.tasks(benchmark.splits[0], 1)[0]
        episode = planned(planner, benchmark, task, Telemetry(endpoint=collector.url))
    assert episode.usage.tokens > 100
    assert_adds_up(collector, episode.usage)
    (root,) = collector.named("invoke_agent amp")
    steps = collector.named("plan amp")
    assert len(steps) == len(episode.steps) == root.said["amp.steps"]
    assert all(step.parent == root.id for step in steps)
    assert bool(collector.named("execute_tool")) is tools
    assert root.said["amp.success"] is episode.success
    for span, step in zip(steps, episode.steps, strict=True):
        assert span.said["amp.complexity"] == step.complexity.score
        assert span.said["amp.usage.prompt_tokens"] == step.usage.prompt_tokens
        rounds = [each for each in collector.children(span) if each.name == "round"]
        assert [each.said["amp.allocation.depth"] for each in rounds] == [
            each.allocation.depth for each in step.rounds
        ]


class RecordedModelHere:
    """A shipped recording, opened."""

    def __init__(self, name: str) -> None:
        self._model = RecordedModel(None, ROOT / "recordings" / f"{name}.sqlite", mode="replay")

    def __enter__(self) -> RecordedModel:
        return self._model

    def __exit__(self, *error: object) -> None:
        asyncio.run(self._model.close())


def test_what_a_round_was_allocated_and_brought(collector: Collector, tmp_path: Path) -> None:
    record(tmp_path / "r.sqlite", [PROGRAM], samples=2)
    model = RecordedModel(None, tmp_path / "r.sqlite", mode="replay")
    allocation = replace(PROGRAM.allocation, beam_width=2)
    planner = planner_of(model, FixedAllocator(allocation))
    planner.limits = Limits(steps=1, tokens=100_000)
    episode = planned(planner, GSM8K, TASKS[0], Telemetry(endpoint=collector.url))
    asyncio.run(model.close())
    assert_adds_up(collector, episode.usage)
    (root,) = collector.named("invoke_agent")
    (step,) = collector.children(root)
    (made,) = collector.children(step)
    chat, *tools = collector.children(made)
    assert root.service == "amp"
    assert step.said["gen_ai.operation.name"] == "plan"
    assert step.said["amp.budget.left.tokens"] == 100_000
    assert made.said["amp.budget.left.tokens"] == 100_000
    expected = planner.allocator.bid(StepContext(TASKS[0], Observation()), made_of(episode))
    assert made.said["amp.expected.gain_per_cost"] == expected
    assert made.said["amp.allocation.tools"] == ["python"]
    assert made.said["amp.allocation.beam_width"] == made.said["amp.candidates"] == 2
    assert chat.said["gen_ai.request.choice.count"] == 2
    assert chat.said["gen_ai.prompt.name"] == "gsm8k"
    assert [tool.name for tool in tools] == ["execute_tool python"] * 2
    assert "gen_ai.usage.input_tokens" not in root.said | step.said | made.said


def made_of(episode: Episode) -> Complexity:
    return episode.steps[0].rounds[0].complexity


def in_the_corridor(telemetry: Telemetry, task: Task = STRANGE) -> Episode:
    model = ScriptedModel(lambda prompt, sample: "1. secret thought", card=CARD)
    planner = Planner(model, allocator=FixedAllocator(Allocation(depth=2)), limits={"steps": 2})
    with telemetry.sending() as spans:
        return asyncio.run(TracedPlanner(planner, spans).run(task, Corridor()))


def test_content_and_keys_are_in_no_span(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20the-key")
    episode = in_the_corridor(Telemetry(endpoint=collector.url))
    assert collector.headers["authorization"] == "Bearer the-key"
    sent = b"".join(collector.bodies)
    said = [STRANGE.goal, STRANGE.id, "secret", "cell", "walk", "wait", "the-key", "You "]
    assert [text for text in said if text.encode() in sent] == []
    assert_adds_up(collector, episode.usage)
    assert {span.kind for span in collector.named("chat")} == {3}  # a client of another process


def test_content_is_said_where_it_is_wanted(collector: Collector) -> None:
    in_the_corridor(Telemetry(content=True, endpoint=collector.url))
    (root,), steps = collector.named("invoke_agent"), collector.named("plan")
    assert STRANGE.goal in root.said["gen_ai.input.messages"]
    assert steps[0].said["amp.state"] == "you stand in cell 0 of 3"
    assert "secret thought" in "".join(
        span.said.get("gen_ai.output.messages", "") for span in collector.named("chat")
    )


def test_an_episode_that_an_error_ends_tells_what_it_took(collector: Collector) -> None:
    def breaks(step: object) -> None:
        raise RuntimeError("the user's own")

    model = ScriptedModel(lambda prompt, sample: "1. so", card=CARD)
    planner = Planner(model, allocator=FixedAllocator(Allocation(depth=2)))
    with Telemetry(endpoint=collector.url).sending() as spans, pytest.raises(RuntimeError):
        asyncio.run(TracedPlanner(planner, spans).run(CORRIDOR, Corridor(), breaks))
    (root,) = collector.named("invoke_agent")
    assert root.failed
    assert root.said["error.type"] == "RuntimeError"
    assert sum(span.total("input_tokens") for span in collector.named("chat")) > 0
    assert collector.strays() == []


tokens = st.integers(0, 10**6)
episodes = st.lists(st.tuples(st.integers(0, 3), tokens, st.floats(0, 1e3)), max_size=4)


@pytest.mark.slow
@given(episodes)
@settings(max_examples=20)
def test_spans_of_any_saved_episode_add_up_and_nest(
    shared: Collector, steps: list[tuple[int, int, float]]
) -> None:
    shared.reset()
    made = tuple(_step(*each) for each in steps)
    usage = sum((step.usage for step in made), Usage())
    episode = Episode(Task("t1", "a goal"), made, True, 1.0, usage, "done")
    with Telemetry(endpoint=shared.url).sending() as spans:
        ended = spans.saved(episode, CARD, 10**18)
    assert_adds_up(shared, usage)
    (root,) = shared.named("invoke_agent")
    assert root.said["amp.times"] == LAID_END_TO_END
    assert (root.begun, root.ended) == (10**18, ended)


def _step(rounds: int, prompt_tokens: int, seconds: float) -> StepRecord:
    """A step of so many rounds with a probe before them."""
    step = runs.step(100)
    took = Usage(1, prompt_tokens, prompt_tokens // 3, 7, 0.0, seconds, 0.5, 1, 3)
    made = tuple(replace(step.rounds[0], usage=took) for _ in range(rounds))
    probe = Usage(1, prompt_tokens, seconds=seconds)
    return replace(step, rounds=made, usage=sum((each.usage for each in made), probe))


def test_a_collector_that_takes_nothing_is_an_error(collector: Collector) -> None:
    collector.status = 400
    with (
        pytest.raises(InvalidInputError, match="took no spans, expected one that speaks OTLP"),
        Telemetry(endpoint=collector.url).sending() as spans,
    ):
        spans.saved(runs.episode("t", True, 10), CARD, 10**18)


def test_only_http_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with (
        pytest.raises(InvalidInputError, match="PROTOCOL is 'grpc', expected 'http/protobuf'"),
        Telemetry().sending(),
    ):
        pass


def test_off_is_the_default_and_gives_the_planner_itself() -> None:
    assert Telemetry.of(Settings()) is None
    planner = Planner(ScriptedModel(lambda prompt, sample: ""))
    assert traced(planner) is planner


def test_standard_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    on = Settings(otel="on", otel_endpoint="http://here:1")
    assert Telemetry.of(on) == Telemetry(endpoint="http://here:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://there:2")
    assert Telemetry.of(on) == Telemetry()


OFF = """
import asyncio, sys
from amp import Planner, run_many
from amp.models.scripted import ScriptedModel
from tests.fakes.worlds import CORRIDOR, Corridor
import amp.telemetry
model = ScriptedModel(lambda prompt, sample: "1")
asyncio.run(run_many(Planner(model, limits={"steps": 2}), [CORRIDOR], Corridor))
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["off", "on"])
def test_a_program_sends_all_before_it_ends_or_imports_nothing(
    wanted: str, collector: Collector, tmp_path: Path
) -> None:
    variables = os.environ | {
        "AMP_OTEL": wanted,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "corridors",
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    }
    told = subprocess.run(
        [sys.executable, "-c", OFF], env=variables, cwd=tmp_path, text=True, capture_output=True
    )
    assert told.returncode == 0, told.stderr
    assert (told.stdout.strip() == "[]") is (wanted == "off")
    assert len(collector.named("invoke_agent")) == (wanted == "on")
    assert {span.service for span in collector.spans} == (
        {"corridors"} if wanted == "on" else set()
    )
    assert collector.strays() == []
