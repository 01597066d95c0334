"""The pages on pools say what the pools give: each is made again and compared to the byte."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.files import DATA, ROOT

from amp.learn.pool_config import load_pool_study

PAGES = ROOT / "docs" / "tables" / "pools"
STUDIES = sorted(path.stem for path in (ROOT / "configs" / "pools").glob("*.toml"))
QUICK = ("zeroeval", "planbench", "planbench_unchecked")
"""Studies that take seconds; `--thorough` makes the others, too."""


@pytest.mark.data("pools")
@pytest.mark.parametrize("name", sorted(page.stem for page in PAGES.glob("*.md")))
def test_the_tables_of_a_pool_are_what_its_answers_give(
    name: str, tmp_path: Path, thorough: bool
) -> None:
    if name not in QUICK and not thorough:
        pytest.skip("takes a minute; --thorough makes it")
    study, elsewhere, _ = name.partition("_transfer")
    arguments = ["pools", "compare", f"configs/pools/{study}.toml"]
    arguments += ["--transfer"] if elsewhere else []
    arguments += ["--out", str(tmp_path), "--data", str(DATA)]
    # A process of its own, as numpy reads the number of threads when it is loaded; and with the
    # kernels that the pages were made with, since others sum in another order.
    alike = {**os.environ, "OPENBLAS_CORETYPE": "Haswell"}
    subprocess.run([sys.executable, "-m", "amp", *arguments], cwd=ROOT, check=True, env=alike)
    told = (PAGES / f"{name}.md").read_text()
    assert _rows((tmp_path / f"{name}.md").read_text()) == _rows(told)


def _rows(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", STUDIES)
def test_every_configuration_of_a_pool_is_read_and_has_its_page(name: str) -> None:
    assert load_pool_study(ROOT / "configs" / "pools" / f"{name}.toml").pool
    assert (PAGES / f"{name}.svg").is_file()
    assert f"configs/pools/{name}.toml" in (PAGES / f"{name}.md").read_text()


def test_the_configuration_on_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "orchestration.md").read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "study.toml").write_text(block)
    config = load_pool_study(tmp_path / "study.toml")
    assert [config.allocation(arm).model for arm in config.arms] == ["gpt-4o-mini", "gpt-4o"]
    assert config.file == tmp_path / "logs.jsonl.gz"


def test_the_page_on_orchestration_quotes_the_tables() -> None:
    page = (ROOT / "docs" / "orchestration.md").read_text()
    quoted = re.findall(r"^\| \[.*?\]\(tables/pools/(\w+)\.md\) \|(.*)\|$", page, re.MULTILINE)
    assert len(quoted) >= 10
    for name, cells in quoted:
        told = (PAGES / f"{name}.md").read_text()
        for figure in re.findall(r"[+-]?\d[\d.,]* \([^)]* to [^)]*\)|\b0\.\d{3}\b", cells):
            assert figure in told, (name, figure)
