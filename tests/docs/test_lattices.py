"""The page on a lattice says what the shipped recording gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.files import ROOT

CONFIGS = ROOT / "configs" / "lattices"
PAGES = ROOT / "docs" / "tables" / "lattices"
NETWORKS = "ppo"
"""What takes minutes to learn, and differs in the last digits from machine to machine."""

BENCHMARKS = [
    ("babyai", "minigrid"),
    pytest.param("webshop", "rapidfuzz", marks=pytest.mark.data("webshop")),
    pytest.param("alfworld", "textworld", marks=pytest.mark.data("alfworld")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("benchmark", "module"), BENCHMARKS)
def test_a_table_is_what_its_lattice_gives(tmp_path: Path, benchmark: str, module: str) -> None:
    """All but networks: what is played, tuned and learned there is exact."""
    pytest.importorskip(module)
    config, page = tmp_path / f"{benchmark}.toml", f"{benchmark}.md"
    text = (CONFIGS / config.name).read_text()
    text = text.replace("../../recordings", str(ROOT / "recordings"))
    config.write_text(text.replace(', "ppo"', ""))
    run("amp", "lattices", "compare", str(config), "--out", str(tmp_path))
    made = _rows((tmp_path / page).read_text())
    assert made == [row for row in _rows((PAGES / page).read_text()) if NETWORKS not in row]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "sweep"),
    [
        ("babyai", "ablations"),
        pytest.param("babyai", "transfer", marks=pytest.mark.data("webshop")),
        pytest.param("webshop", "ablations", marks=pytest.mark.data("webshop")),
    ],
)
def test_ablations_are_what_their_lattices_give(tmp_path: Path, benchmark: str, sweep: str) -> None:
    first, *variants = (CONFIGS / f"{sweep}.toml").read_text().split("[[variants]]")
    kept = [each for each in variants if f'learner = "{NETWORKS}"' not in each]
    folder = tmp_path / "lattices"
    shutil.copytree(CONFIGS, folder)
    for config in folder.glob("*.toml"):
        text = config.read_text().replace("../../recordings", str(ROOT / "recordings"))
        config.write_text(text)
    path = folder / f"{sweep}.toml"
    path.write_text("[[variants]]".join([first, *kept]))
    of = folder / f"{benchmark}.toml"
    run("amp", "lattices", "ablate", str(path), "--of", str(of), "--out", str(tmp_path))
    made, shown = (where / f"{benchmark}-{sweep}.md" for where in (tmp_path, PAGES))
    assert _rows(made.read_text()) == [r for r in _rows(shown.read_text()) if NETWORKS not in r]


@pytest.mark.slow
@pytest.mark.parametrize(("benchmark", "module"), BENCHMARKS)
def test_steps_are_what_their_lattices_give(tmp_path: Path, benchmark: str, module: str) -> None:
    pytest.importorskip(module)
    page = f"{benchmark}-steps.md"
    run("experiments.step_scaling", str(CONFIGS / f"{benchmark}.toml"), str(tmp_path / page))
    made, shown = (where / page for where in (tmp_path, PAGES))
    assert _rows(made.read_text()) == _rows(shown.read_text())
    assert made.with_suffix(".svg").read_text() == shown.with_suffix(".svg").read_text()


def run(*command: str) -> None:
    alike = {**os.environ, "OPENBLAS_CORETYPE": "Haswell"}
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True, env=alike)


def _rows(page: str) -> list[str]:
    """Of the tables; what Holm's correction and a front make of all rows is left out."""
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [" | ".join(row[:6]) for row in rows]
