"""What docs/assessment.md says of correctness heads in choice steps, from the recordings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.fakes.files import DATA, ROOT

from amp.benchmarks import load_benchmark
from experiments import choice_heads

RECORDINGS = ROOT / "recordings"
PAGE = (ROOT / "docs" / "assessment.md").read_text().split("\n## Which choices are right\n")[1]
ROUNDING = 0.015
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def figures(line: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(line.replace("95 %", ""))]


def test_the_tables_of_babyai_are_what_the_recording_gives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("minigrid")
    kept = RECORDINGS / "babyai-steps-judged.jsonl"
    before = kept.read_bytes()
    choice_heads.babyai(RECORDINGS / "babyai-steps.sqlite", kept)
    assert kept.read_bytes() == before  # nothing had to be judged
    made = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    told = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(made) == len(told) > 15
    for mine, theirs in zip(made, told, strict=True):
        assert NUMBER.sub("", mine) == NUMBER.sub("", theirs)
        assert figures(mine) == pytest.approx(figures(theirs), abs=ROUNDING)


@pytest.mark.data("webshop")
def test_the_purchases_of_webshop_are_what_the_recording_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rapidfuzz")
    choice_heads.webshop(RECORDINGS / "webshop.sqlite", tmp_path / "judged.jsonl", DATA)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "20 purchases, 6 mistaken"
    page = " ".join(PAGE.split())
    assert "20 in its recording, of which 6 are mistaken" in page
    told = dict(re.findall(r"\| (\w+) \| (.*) \|", "\n".join(lines)))
    for name in ("options_left", "option_entropy", "words_missing"):
        assert told[name] in page


def test_the_kept_verdicts_are_the_judges(thorough: bool) -> None:
    pytest.importorskip("minigrid")
    lines = (RECORDINGS / "babyai-steps-judged.jsonl").read_text().splitlines()
    kept = {one["task"]: one["mistaken"] for one in map(json.loads, lines)}
    assert len(kept) == 105
    for level in choice_heads.LEVELS if thorough else ("GoToLocal",):
        benchmark = load_benchmark("babyai", level=f"BabyAI-{level}-v0")
        limit = choice_heads.SEEDS["test"] if thorough else 3
        for episode in choice_heads.episodes_of(
            RECORDINGS / "babyai-steps.sqlite", benchmark, "test", limit
        ):
            assert choice_heads.judge(episode, benchmark) == kept[episode.task.id]
