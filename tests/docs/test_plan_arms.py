"""The table of arms in docs/benchmarks.md is what the recordings give."""

from __future__ import annotations

import pytest
from tests.fakes.files import ROOT

from experiments import plan_arms

MORE_ARMS = ("act", "act unaided", "think 1", "plan 4", "plan 8")
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


async def test_the_table_of_more_arms_of_babyai_is_what_the_recordings_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("minigrid")
    names = ("babyai-steps", "babyai-plans", "babyai-pilot")
    recordings = [str(ROOT / "recordings" / f"{name}.sqlite") for name in names]
    arms = [part for arm in MORE_ARMS for part in ("--arm", arm)]
    await plan_arms.main([*recordings, "--tasks", "4", *arms])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 6 * len(MORE_ARMS)
    whole = (ROOT / "docs" / "tables" / "plan-arms-babyai.md").read_text(encoding="utf-8")
    assert "\n".join(["", *table, ""]) in whole
    assert "\n".join(["", *table[:2], *table[-len(MORE_ARMS) :], ""]) in PAGE


@pytest.mark.parametrize(
    ("benchmark", "module", "names"),
    [
        ("babyai", "minigrid", ["babyai-steps.sqlite", "babyai-plans.sqlite"]),
        pytest.param(
            *("webshop", "rapidfuzz", ["webshop-lattice.sqlite"]), marks=pytest.mark.data("webshop")
        ),
        pytest.param(
            *("alfworld", "textworld", ["alfworld-lattice.sqlite"]),
            marks=[pytest.mark.data("alfworld"), pytest.mark.slow],
        ),
    ],
)
async def test_a_table_of_arms_is_what_the_recordings_give(
    capsys: pytest.CaptureFixture[str], benchmark: str, module: str, names: list[str]
) -> None:
    pytest.importorskip(module)
    recordings = [str(ROOT / "recordings" / name) for name in names]
    await plan_arms.main(["--benchmark", benchmark, *recordings])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) > 6
    for line in table:
        assert f"\n{line}\n" in PAGE
