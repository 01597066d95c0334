"""The pages on pools say what the pools give: each is made again and compared to the byte."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.fakes.files import DATA, ROOT

from amp import cli
from amp.learn.pool_config import load_pool_study

PAGES = ROOT / "docs" / "tables" / "pools"
STUDIES = sorted(path.stem for path in (ROOT / "configs" / "pools").glob("*.toml"))
QUICK = ("zeroeval", "planbench", "planbench_unchecked")
"""Studies that take seconds; `--thorough` makes the others, too."""


@pytest.mark.data("pools")
@pytest.mark.parametrize("name", sorted(page.stem for page in PAGES.glob("*.md")))
def test_the_tables_of_a_pool_are_what_its_answers_give(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    if name not in QUICK and not thorough:
        pytest.skip("takes a minute; --thorough makes it")
    monkeypatch.chdir(ROOT)
    study, elsewhere, _ = name.partition("_transfer")
    arguments = ["amp", "pools", "compare", f"configs/pools/{study}.toml"]
    arguments += ["--transfer"] if elsewhere else []
    arguments += ["--out", str(tmp_path), "--data", str(DATA)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
        raise SystemExit(0)
    assert not exit_info.value.code
    told = (PAGES / f"{name}.md").read_text()
    assert _rows((tmp_path / f"{name}.md").read_text()) == _rows(told)


def _rows(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", STUDIES)
def test_every_configuration_of_a_pool_is_read_and_has_its_page(name: str) -> None:
    assert load_pool_study(ROOT / "configs" / "pools" / f"{name}.toml").pool
    assert (PAGES / f"{name}.svg").is_file()
    assert f"configs/pools/{name}.toml" in (PAGES / f"{name}.md").read_text()


def test_the_page_on_orchestration_quotes_the_tables() -> None:
    page = (ROOT / "docs" / "orchestration.md").read_text()
    quoted = re.findall(r"^\| \[.*?\]\(tables/pools/(\w+)\.md\) \|(.*)\|$", page, re.MULTILINE)
    assert len(quoted) >= 10
    for name, cells in quoted:
        told = (PAGES / f"{name}.md").read_text()
        for figure in re.findall(r"[+-]?\d[\d.,]* \([^)]* to [^)]*\)|\b0\.\d{3}\b", cells):
            assert figure in told, (name, figure)
