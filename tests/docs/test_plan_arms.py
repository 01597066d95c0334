"""The table of arms in docs/benchmarks.md is what the recordings give."""

from __future__ import annotations

import pytest
from tests.fakes.files import ROOT

from experiments import plan_arms

PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


async def test_the_table_of_arms_is_what_the_recordings_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("minigrid")
    names = ("babyai-steps.sqlite", "babyai-plans.sqlite")
    await plan_arms.main([str(ROOT / "recordings" / name) for name in names])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) > 6
    for line in table:
        assert f"\n{line}\n" in PAGE
