"""The votes in docs/serve.md are what the gateway makes of the recording."""

from __future__ import annotations

import pytest
from tests.fakes.files import ROOT

from experiments import gateway_votes

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


@pytest.mark.data("gsm8k")
def test_the_table_of_votes_is_what_the_recording_gives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway_votes.main([str(ROOT / "recordings" / "gsm8k-300.sqlite")])
    said = capsys.readouterr().out
    for line in (line for line in said.splitlines() if line.startswith("| ")):
        assert f"\n{line}\n" in PAGE
    assert "gained +5.7% (+2.5% to +9.0%), paired" in said
