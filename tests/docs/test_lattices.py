"""The page on a lattice says what the shipped recording gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.files import ROOT

CONFIGS = ROOT / "configs" / "lattices"
PAGES = ROOT / "docs" / "tables" / "lattices"
NETWORKS = "ppo"
"""What takes minutes to learn, and differs in the last digits from machine to machine."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["babyai", "babyai-departures"])
def test_a_table_of_babyai_is_what_its_lattice_gives(tmp_path: Path, name: str) -> None:
    """All but networks: what is played, tuned and learned there is exact."""
    config, page = tmp_path / f"{name}.toml", f"{name}.md"
    text = (CONFIGS / config.name).read_text()
    text = text.replace("../../recordings", str(ROOT / "recordings"))
    assert "[compare]\n" in text
    if "learners" not in text:
        text = text.replace("[compare]\n", '[compare]\nlearners = ["values"]\n')
    config.write_text(text)
    arguments = ["lattices", "compare", str(config), "--out", str(tmp_path)]
    alike = {**os.environ, "OPENBLAS_CORETYPE": "Haswell"}
    subprocess.run([sys.executable, "-m", "amp", *arguments], cwd=ROOT, check=True, env=alike)
    made = _rows((tmp_path / page).read_text())
    assert made == [row for row in _rows((PAGES / page).read_text()) if NETWORKS not in row]


def _rows(page: str) -> list[str]:
    """Of the tables; what Holm's correction and a front make of all rows is left out."""
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [" | ".join(row[:6]) for row in rows]
