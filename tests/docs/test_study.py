"""The study of the guide: its figures are those of the ratings, and its commands draw its steps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.files import ROOT

from amp.annotations import import_annotations
from amp.report.agreement import MEAN, AgreementReport, agreement_report
from amp.report.validity import Estimate

PAGE = ROOT / "docs" / "guides" / "rate-steps.md"
RATED = ROOT / "recordings" / "babyai-rated.csv"
RULES = ROOT / "recordings" / "babyai-rated-rules.csv"

ROWS = {
    "person:rater-a": "rater A",
    "person:rater-b": "rater B",
    MEAN: "mean of both",
    "rule:complexity": "complexity (weighted sum)",
    "rule:choice_entropy": "entropy of the choice",
    "rule:words": "words of goal and state",
    "rule:plan_steps": "steps so far",
}


def report(against: str) -> AgreementReport:
    found = [a for file in (RATED, RULES) for a in import_annotations(file).good]
    return agreement_report(found, against)


def shown(value: Estimate) -> str:
    assert value.value is not None
    assert value.interval is not None
    return f"{value.value:+.2f} ({value.interval.low:+.2f} to {value.interval.high:+.2f})"


def test_the_table_is_what_the_shipped_ratings_give() -> None:
    columns = [
        {pair.one: f"{shown(pair.correlation)}, {pair.steps}" for pair in report(rule).rules}
        for rule in ("rule:needed", "rule:failure_rate")
    ]
    rows = [f"| {name} | {' | '.join(c[by] for c in columns)} |" for by, name in ROWS.items()]
    assert "\n".join(rows) in PAGE.read_text()


def test_the_agreement_is_what_the_shipped_ratings_give() -> None:
    found = report("rule:needed")
    (pair,) = found.pairs
    text = " ".join(PAGE.read_text().split())
    for name, one in (("Krippendorff's alpha", found.alpha), ("weighted kappa", pair.kappa)):
        assert f"{name} {shown(one).replace('+', '')}" in text
    assert pair.same is not None
    assert f"the same rating in {pair.same:.0%}".replace("%", " %") in text


@pytest.mark.slow
def test_the_commands_of_the_page_draw_the_steps_that_were_rated(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(for mission in .*?)```", PAGE.read_text(), re.DOTALL)
    for name in ("recordings", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    amp = tmp_path / "bin" / "amp"
    amp.parent.mkdir()
    amp.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m amp "$@"\n')
    amp.chmod(0o755)
    path = f"{amp.parent}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-e", "-c", block], cwd=tmp_path, check=True, env=os.environ | {"PATH": path}
    )
    rated = import_annotations(RATED).good
    for name in ("rater-a", "rater-b"):
        sheet = (tmp_path / "sheets" / name / "steps.csv").read_text()
        handed_in = [a for a in rated if a.by == f"person:{name}"]
        assert _tasks(sheet) == [(a.task, a.step) for a in handed_in]
    files = [str(RATED), *(f"{name}.jsonl" for name in ("needed", "scores", "failed"))]
    for against in ("rule:needed", "rule:failure_rate"):
        command = [str(amp), "annotations", "report", *files, "--against", against, "--json"]
        made = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        correlations = {
            pair["one"]: pair["correlation"]["value"] for pair in json.loads(made.stdout)["rules"]
        }
        expected = {pair.one: pair.correlation.value for pair in report(against).rules}
        assert correlations == pytest.approx(expected)


def _tasks(sheet: str) -> list[tuple[str, int]]:
    return [
        (task, int(step))
        for task, step in re.findall(r"^(BabyAI-[^,]+),(\d+),", sheet, re.MULTILINE)
    ]
