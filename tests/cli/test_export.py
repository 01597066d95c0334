"""`amp export`: what a saved run becomes, and what is refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.fakes.files import ROOT
from tests.fakes.otlp import collecting
from typer.testing import CliRunner

from amp.cli import app
from amp.errors import InvalidInputError, MissingDependencyError
from amp.trace import read_episodes

RUN = ROOT / "tests" / "data" / "run-0.1"


def invoke(*arguments: str | Path) -> str:
    told = CliRunner().invoke(app, ["export", *map(str, arguments)])
    if told.exception is not None and not isinstance(told.exception, SystemExit):
        raise told.exception
    return told.output


@pytest.mark.slow
@pytest.mark.parametrize("content", [False, True])
def test_a_saved_run_is_sent_as_spans(content: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = list(read_episodes(RUN))
    with collecting() as collector:
        monkeypatch.setenv("AMP_OTEL_ENDPOINT", collector.url)
        told = invoke(RUN, "--to", "otlp", *(["--content"] if content else []))
    steps = sum(len(episode.steps) for episode in episodes)
    assert f"sent: {len(episodes)} episodes, {steps} steps" in told
    chats = collector.named("chat ")
    tokens = sum(span.total("input_tokens") + span.total("output_tokens") for span in chats)
    assert tokens == sum(episode.usage.tokens for episode in episodes) > 0
    assert len(collector.named("plan amp")) == steps
    assert collector.strays() == []
    goals = [episode.task.goal.encode() in b"".join(collector.bodies) for episode in episodes]
    assert goals == [content] * len(episodes)


def test_what_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"--to is 'otpl'; did you mean 'otlp'\?"):
        invoke(RUN, "--to", "otpl")
    with pytest.raises(InvalidInputError, match="--content is for --to otlp, not for inspect"):
        invoke(RUN, "--to", "inspect", "--content")


@pytest.mark.skipif(find_spec("inspect_ai") is not None, reason="inspect_ai is here")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(MissingDependencyError, match=r"adaptive-meta-planning\[inspect\]"):
        invoke(RUN, "--to", "inspect")
