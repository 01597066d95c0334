"""The votes, needs and missions in docs/serve.md are what was recorded."""

from __future__ import annotations

import pytest
from tests.fakes.files import ROOT

from experiments import gateway_needs, gateway_votes

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


@pytest.mark.data("gsm8k")
def test_the_table_of_votes_is_what_the_recording_gives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recording = ROOT / "recordings" / "gsm8k-300.sqlite"  # it grows
    gateway_votes.main([str(recording), "--limit", "220"])
    said = capsys.readouterr().out
    for line in (line for line in said.splitlines() if line.startswith("| ")):
        assert f"\n{line}\n" in PAGE
    assert "gained +5.7% (+2.5% to +9.0%), paired" in said


@pytest.mark.data("pools/alfworld_knowagent")
def test_the_table_of_needs_is_what_the_pool_gives(capsys: pytest.CaptureFixture[str]) -> None:
    gateway_needs.main([])
    for line in capsys.readouterr().out.splitlines():
        assert f"\n{line}\n" in PAGE


def test_the_table_of_an_agent_is_that_of_the_missions_played() -> None:
    pytest.importorskip("minigrid")
    from experiments import agent

    played = agent.read(ROOT / "recordings" / "agent-episodes.jsonl")
    assert {row["policy"] for row in played} == set(agent.POLICIES)
    count, *lines = agent.table(played, "qwen2.5-coder-1.5b")
    assert f"--episodes {count.split()[0]}`" in PAGE.replace("\n", " ")
    for line in lines:
        assert f"\n{line}\n" in PAGE
