"""The pages are for strangers: a short README, true layers, links that lead somewhere."""

from __future__ import annotations

import configparser
import re

import pytest
from tests.fakes.files import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/*.py", "recordings/*.md")
    for path in ROOT.glob(pattern)
)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140


def test_the_page_on_design_has_the_layers_that_the_linter_holds() -> None:
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    held = [
        {name.removeprefix("amp.") for name in re.findall(r"amp\.\w+", layer)}
        for layer in linter["importlinter:contract:layers"]["layers"].strip().splitlines()
    ]
    section = (ROOT / "docs" / "design.md").read_text().split("\n## Layers\n")[1]
    lines = re.findall(r"^\d+\. (.*)$", section.partition("\n## ")[0], re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", line)) for line in lines] == held


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_no_place_of_the_developers(page: str) -> None:
    assert not re.search(r"\.\./shared|/work/|/tmp/", (ROOT / page).read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".md")])
def test_a_link_to_a_file_leads_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
