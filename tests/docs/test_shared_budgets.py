"""The tables of docs/one-budget.md are what the recordings give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.files import DATA, ROOT

from amp.benchmarks import load_benchmark
from amp.simulate.samples import SampleTable
from experiments import budget_rows, budget_schemes, deadlines, shared_budgets

pytestmark = pytest.mark.data("gsm8k")

PAGE = (ROOT / "docs" / "one-budget.md").read_text(encoding="utf-8")
FILES = [ROOT / "recordings" / f"gsm8k-{name}.sqlite" for name in ("300", "train-500")]
ROUNDING = 0.025
"""Another processor's arithmetic may choose another trade-off of two that are alike in training."""

Problems = tuple[SampleTable, budget_rows.Contexts]


@pytest.fixture(scope="module")
def problems() -> tuple[Problems, Problems]:
    return budget_rows.load(FILES[0], FILES[1], load_benchmark("gsm8k", data=DATA))


def rows(lines: Iterator[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def told(heads: tuple[str, ...]) -> list[list[str]]:
    """The table of the page with these heads."""
    table = PAGE.split(f"| {' | '.join(heads)} |\n")[1].split("\n\n")[0]
    return rows(iter(table.splitlines()[1:]))


def check(made: list[list[str]], page: list[list[str]], exact: int, shares: list[int]) -> None:
    """Compares some cells to the letter, and some as shares."""
    assert len(made) == len(page) > 10
    for mine, theirs in zip(made, page, strict=True):
        assert mine[:exact] == theirs[:exact]
        for at in shares:
            first, second = (re.findall(r"[+-]?\d+\.\d+", row[at])[:1] for row in (mine, theirs))
            assert float(*first or [0.0]) == pytest.approx(float(*second or [0.0]), abs=ROUNDING)


def test_shared_budgets(problems: tuple[Problems, Problems]) -> None:
    made = rows(shared_budgets.study(*problems))
    check(made[2:], told(budget_schemes.HEADS), 2, [3, 5])


def test_deadlines(problems: tuple[Problems, Problems]) -> None:
    law = deadlines.law_of(FILES[0], problems[0][0].card)
    assert deadlines.told(law) in " ".join(PAGE.split())
    check(rows(deadlines.study(*problems, law))[2:], told(deadlines.HEADS), 2, [2, 3, 5, 6, 8])


def test_the_commands_are_those_of_the_page() -> None:
    for study in ("shared_budgets", "deadlines"):
        command = re.search(rf"python -m experiments\.{study} (\S+) \\\n  --train (\S+)", PAGE)
        assert command is not None
        assert [Path(path).name for path in command.groups()] == [path.name for path in FILES]
