"""The votes and needs in docs/serve.md are what the gateway makes of recorded answers."""

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
