"""docs/peers.md: its table, and that the file repeats it without a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from experiments.counted import Answers
from experiments.peers import BASELINE, METHODS, compare, table, with_table
from tests.fakes.files import ROOT

from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError

RECORDING = ROOT / "recordings" / "peers.sqlite"


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(Path(shutil.copy(RECORDING, tmp_path)))


def test_the_table_is_what_the_file_holds(answers: Answers) -> None:
    assert table(answers, list(METHODS)) in (ROOT / "docs" / "peers.md").read_text()
    answers.close()


def test_a_page_gets_the_table_and_keeps_all_else(answers: Answers) -> None:
    page = (ROOT / "docs" / "peers.md").read_text()
    made = table(answers, list(METHODS))
    shorter = "\n".join(made.splitlines()[:4])
    assert with_table(page, made) == page
    assert with_table(page, shorter) == page.replace(made, shorter) != page
    with pytest.raises(InvalidInputError, match="no table"):
        with_table(made[1:], made)
    answers.close()


@pytest.mark.data("gsm8k")
async def test_what_needs_no_rival_comes_out_again_without_a_model(
    answers: Answers, tmp_path: Path
) -> None:
    names = [BASELINE, "AMP gateway, votes of up to 4"]
    before = {name: answers.outcomes(name) for name in names}
    benchmark = load_benchmark("gsm8k")
    tasks = benchmark.tasks("test", len(before[BASELINE]))
    methods = {name: METHODS[name] for name in names}
    await compare(answers, methods, benchmark, tasks, tmp_path, None)
    assert {name: answers.outcomes(name) for name in names} == before
    answers.close()


@pytest.mark.data("gsm8k")
def test_the_file_holds_no_problem(answers: Answers) -> None:
    answers.close()
    content = RECORDING.read_bytes().decode("utf-8", "ignore")
    for task in load_benchmark("gsm8k").tasks("test", 40):
        assert task.goal[:60] not in content
