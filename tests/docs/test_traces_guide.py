"""The guide's commands and its program run as they stand there, before a real collector."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.files import ROOT
from tests.fakes.otlp import Collector, collecting
from tests.fakes.worlds import CORRIDOR, Corridor

from amp import Planner, cli
from amp.models.scripted import ScriptedModel
from amp.settings import load_settings
from amp.telemetry import Telemetry

GUIDE = (ROOT / "docs" / "guides" / "traces.md").read_text(encoding="utf-8")
COMMANDS = [line.partition(" #")[0] for line in re.findall(r"^amp .*$", GUIDE, re.MULTILINE)]
(SETTINGS,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
(PROGRAM,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def flush(telemetry: Telemetry) -> None:
    tracer = telemetry.spans().tracer
    tracer.span_processor.force_flush()  # type: ignore[attr-defined]  # the SDK's own has one


def called(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command.replace("recordings/", f"{ROOT}/recordings/"))
    monkeypatch.setattr("sys.argv", words)
    cli.main()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Collector]:
    with collecting() as there:
        monkeypatch.chdir(tmp_path)
        yield there


def test_a_run_and_its_export(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    run, serve, _, export, inspect = COMMANDS
    assert (serve.split()[1], inspect.split()[3:5]) == ("serve", ["--to", "inspect"])
    Path("amp.toml").write_text(SETTINGS.replace("http://localhost:4318", collector.url))
    called(f"{run} --out runs/fixed", monkeypatch)
    flush(Telemetry(endpoint=collector.url))
    lived = collector.named("invoke_agent")
    assert len(lived) == 2
    assert collector.strays() == []
    called(export, monkeypatch)
    saved = [span for span in collector.named("invoke_agent") if span not in lived]
    assert [span.said["amp.task.id"] for span in saved] == [
        span.said["amp.task.id"] for span in lived
    ]
    for name in ("amp.usage.prompt_tokens", "amp.steps", "amp.success"):
        assert [span.said[name] for span in saved] == [span.said[name] for span in lived]
    assert collector.strays() == []


def test_the_run_of_the_picture(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("amp.toml").write_text(SETTINGS.replace("http://localhost:4318", collector.url))
    called(COMMANDS[2], monkeypatch)
    flush(Telemetry(endpoint=collector.url))
    third = collector.named("invoke_agent")[2].said
    tokens = third["amp.usage.prompt_tokens"] + third["amp.usage.completion_tokens"]
    assert (third["amp.steps"], third["amp.usage.model_calls"], tokens) == (5, 1, 689)
    assert "its five steps" in GUIDE
    assert "Its 689\ntokens" in GUIDE


def test_the_program(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    model = ScriptedModel(lambda prompt, sample: "1")
    names = {"planner": Planner(model, limits={"steps": 2}), "task": CORRIDOR}
    body = "".join(f"    {line}\n" for line in PROGRAM.splitlines())
    exec(f"async def main(planner, task, environment):\n{body}    return episode", names)
    main = names["main"]
    assert callable(main)
    episode = asyncio.run(main(names["planner"], CORRIDOR, Corridor()))
    flush(Telemetry())
    (root,) = collector.named("invoke_agent")
    assert root.said["amp.usage.prompt_tokens"] == episode.usage.prompt_tokens


def test_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("amp.toml").write_text(SETTINGS)
    found = load_settings()
    assert (found.otel, found.otel_endpoint) == ("on", "http://localhost:4318")
