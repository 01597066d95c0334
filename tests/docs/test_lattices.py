"""The page on a lattice says what the shipped recording gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.files import ROOT

CONFIG = ROOT / "configs" / "lattices" / "babyai.toml"
PAGE = ROOT / "docs" / "tables" / "lattices" / "babyai.md"
NETWORKS = "ppo"
"""What takes minutes to learn, and differs in the last digits from machine to machine."""


@pytest.mark.slow
def test_the_table_of_babyai_is_what_its_lattice_gives(tmp_path: Path) -> None:
    """All but networks: what is played, tuned and learned there is exact."""
    config = tmp_path / CONFIG.name
    text = CONFIG.read_text().replace("../../recordings", str(ROOT / "recordings"))
    assert "[compare]\n" in text
    config.write_text(text.replace("[compare]\n", '[compare]\nlearners = ["values"]\n'))
    arguments = ["lattices", "compare", str(config), "--out", str(tmp_path)]
    alike = {**os.environ, "OPENBLAS_CORETYPE": "Haswell"}
    subprocess.run([sys.executable, "-m", "amp", *arguments], cwd=ROOT, check=True, env=alike)
    made = _rows((tmp_path / PAGE.name).read_text())
    assert made == [row for row in _rows(PAGE.read_text()) if NETWORKS not in row]


def _rows(page: str) -> list[str]:
    """Of the tables; what Holm's correction and a front make of all rows is left out."""
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [" | ".join(row[:6]) for row in rows]
