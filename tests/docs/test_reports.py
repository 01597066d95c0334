"""What the pages of docs/ report, from recordings and without a model."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path
from statistics import fmean

import pytest
from experiments.success_figure import draw, read
from scipy.stats import spearmanr
from tests.fakes.files import DATA, ROOT

from amp import cli
from amp.allocate.policy_file import load_origin
from amp.assess.text import structural
from amp.benchmarks import load_benchmark
from amp.benchmarks.labels import label_steps, settling
from amp.evaluate import EpisodeDataset
from amp.learn.candidates import CandidateDataset, candidate_stages
from amp.learn.correctness import CorrectnessSettings
from amp.learn.pretrain import train_assessor
from amp.report.stats import auroc
from amp.report.validity import Row
from amp.report.validity_report import score_rows, stage_name
from amp.types import ProbeKind

PAGE = (ROOT / "docs" / "assessment.md").read_text()
ROUNDING = 0.015
"""Half of the last digit, and what another processor's arithmetic changes in training."""


def table(section: str) -> dict[str, list[float]]:
    """Of each row: AUROC of the network, the weighted sum, the best feature and the length."""
    text = PAGE.split(f"### {section}\n", 1)[1].split("\n### ", 1)[0]
    found = {}
    for line in re.findall(r"^\| (before|with \d)(.*)\|$", text, re.MULTILINE):
        figures = re.findall(r"(\d\.\d\d) \(", line[1])
        if len(figures) == 4:
            found[line[0]] = [float(figure) for figure in figures]
    return found


def value(made: list[Row], name: str) -> float:
    found = auroc([row.scores[name] for row in made], [row.failed for row in made])
    assert found is not None
    return found


def check(section: str, train: EpisodeDataset, held_out: EpisodeDataset) -> None:
    inside, outside = (
        [note for e in of.episodes for note in settling(e, label_steps(e, of.benchmark))]
        for of in (train, held_out)
    )
    assessors = {
        kind: train_assessor(kind, train.episodes, inside, structural).assessor
        for kind in ("neural", "weighted")
    }
    told = table(section)
    assert told
    for stage, (neural, weighted, single, length) in told.items():
        candidates = 0 if stage == "before" else int(stage.removeprefix("with "))
        made = score_rows(held_out.episodes, outside, assessors, candidates)
        assert value(made, "neural") == pytest.approx(neural, abs=ROUNDING), stage_name(candidates)
        assert value(made, "weighted") == pytest.approx(weighted, abs=ROUNDING)
        assert value(made, "words") in (
            pytest.approx(length, abs=ROUNDING),
            pytest.approx(1 - length, abs=ROUNDING),
        )
        assert neural > max(single, length)


@pytest.mark.data("gsm8k")
def test_the_table_of_gsm8k_is_what_the_recordings_give() -> None:
    benchmark = load_benchmark("gsm8k", data=DATA)
    probes: frozenset[ProbeKind] = frozenset({"next_token", "hidden"})
    train, held_out = (
        EpisodeDataset.from_recording(
            ROOT / "recordings" / name, benchmark, benchmark.tasks(split, limit), probes
        )
        for name, split, limit in (
            ("gsm8k-train.sqlite", "train", 150),
            ("gsm8k.sqlite", "test", 75),
        )
    )
    assert (len(train.episodes), len(held_out.episodes)) == (150, 75)
    check("GSM8K", train, held_out)


@pytest.mark.data("gsm8k")
def test_the_results_of_gsm8k_are_what_the_recordings_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = LONG.read_text()
    (block,) = re.findall(r"```sh\n(amp simulate .*?)```", page, re.DOTALL)
    shutil.copytree(ROOT / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    commands = block.replace("\\\n", "").strip().splitlines()
    assert len(commands) == 2
    for command in commands:
        monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--data", str(DATA)])
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
            raise SystemExit(0)
        assert not exit_info.value.code
    made = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(made) > 100
    assert [line for line in page.splitlines() if line.startswith("| ")] == made


LONG = ROOT / "docs" / "tables" / "gsm8k.md"


@pytest.mark.parametrize(
    ("page", "start", "count"), [("learning.md", "{ #rated }", 16), ("results.md", "# Results", 8)]
)
def test_a_summary_repeats_rows_of_the_long_table(page: str, start: str, count: int) -> None:
    rated, plain = (rows_of(text) for text in LONG.read_text().split("\n## Plain votes\n"))
    section = (ROOT / "docs" / page).read_text().split(start, 1)[1].partition("\n## ")[0]
    told = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(told) == count
    for line in told:
        name, success, written, flops, saved, above = (
            cell.strip() for cell in line.split("|")[1:-1]
        )
        source = plain if name.endswith(", plain votes") else rated
        found = source[name.removesuffix(", plain votes")]
        assert [success, written, flops] == [found[2], found[3], found[5]], name
        assert saved in ("", found[9]), name
        assert above == found[7], name


@pytest.mark.data("gsm8k")
def test_tuned_rules_reach_what_the_page_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    thorough: bool,
) -> None:
    if not thorough:
        pytest.skip("takes five minutes; --thorough runs it")
    section = (ROOT / "docs" / "learning.md").read_text().split("{ #tuned }")[1].split("\n## ")[0]
    (command,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    shutil.copytree(ROOT / "recordings", tmp_path / "recordings")
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command.replace("\\\n", ""))
    monkeypatch.setattr(sys, "argv", [*arguments, "--markdown", "--data", str(DATA)])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
        raise SystemExit(0)
    assert not exit_info.value.code
    made = rows_of(capsys.readouterr().out)
    told = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(told) == sum("tuned at" in name for name in made) > 20
    for line in told:
        name, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        assert cells == [made[name][at] for at in (2, 3, 5, 9, 7)], name


def rows_of(text: str) -> dict[str, list[str]]:
    """The rows of the table of policies, by their names."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return {row[1].removesuffix(" (reference)"): row for row in rows if len(row) > 9}


def test_what_ships_is_what_was_trained_and_the_page_says_what_it_reaches() -> None:
    bundled, shipped = ROOT / "src" / "amp" / "data", ROOT / "recordings" / "policies"
    names = (f"{of}-qwen2.5-coder-1.5b" for of in ("alfworld", "babyai", "gsm8k", "webshop"))
    files = [bundled / "policies" / name / "learned.safetensors" for name in names]
    assert sorted((bundled / "policies").rglob("*.safetensors")) == files
    on_games, on_plans, policy, on_goals = files
    (heads,) = (bundled / "correctness").glob("*.safetensors")
    assert policy.read_bytes() == (shipped / "router.safetensors").read_bytes()
    assert heads.read_bytes() == (shipped / "correctness.safetensors").read_bytes()
    assert on_plans.read_bytes() == (shipped / "lattice.safetensors").read_bytes()
    assert on_goals.read_bytes() == (shipped / "webshop-lattice.safetensors").read_bytes()
    assert on_games.read_bytes() == (shipped / "alfworld-lattice.safetensors").read_bytes()
    learned, bought, played = map(load_origin, (on_plans, on_goals, on_games))
    origin = load_origin(policy)
    assert learned is not None
    assert bought is not None
    assert played is not None
    assert origin is not None
    (point,) = (one for one in origin.curve if one.trade_off == origin.trade_off)
    page = " ".join((ROOT / "docs" / "learning.md").read_text().split())
    told = page.partition("## What ships")[2]
    assert f"{len(origin.tasks)} training problems" in told
    assert f"trade-off {origin.trade_off:g}" in told
    assert f"right on {point.success:.3f}" in told
    assert f"{len(learned.tasks)} training missions" in told
    assert f"{len(bought.tasks)} training goals" in told
    assert f"{len(played.tasks)} training games" in told


@pytest.mark.data("gsm8k")
def test_failures_of_gsm8k_rise_with_difficulty_as_the_page_says() -> None:
    benchmark = load_benchmark("gsm8k", data=DATA)
    source = EpisodeDataset.from_recording(
        ROOT / "recordings" / "gsm8k-train.sqlite", benchmark, benchmark.tasks("train", 150)
    )
    hard = [benchmark.difficulty(episode.task) for episode in source.episodes]
    failed = []
    for episode in source.episodes:
        (step,) = label_steps(episode, benchmark)
        failed.append(fmean(mistaken is not False for mistaken in step.mistaken))
    parts = [[f for d, f in zip(hard, failed, strict=True) if d.tercile == t] for t in (0, 1, 2)]
    assert [len(part) for part in parts] == [35, 42, 73]
    assert [f"{fmean(part):.2f}" for part in parts] == ["0.29", "0.36", "0.45"]
    rank = spearmanr([d.score for d in hard], failed).statistic
    assert f"{rank:.2f}" == "0.24"


def test_missions_of_babyai_fail_by_difficulty_as_the_page_says() -> None:
    pytest.importorskip("minigrid")
    failed, missions = [0, 0, 0], [0, 0, 0]
    for name in ("GoToLocal", "OpenTwoDoors", "PickupLoc", "PutNextLocalS5N3", "UnlockLocal"):
        benchmark = load_benchmark("babyai", level=f"BabyAI-{name}-v0")
        recording = ROOT / "recordings" / "babyai-steps.sqlite"
        probes: frozenset[ProbeKind] = frozenset({"options"})
        tasks = benchmark.tasks("train", 14)
        for episode in EpisodeDataset.from_recording(
            recording, benchmark, tasks, probes, 12
        ).episodes:
            third = benchmark.difficulty(episode.task).tercile
            missions[third] += 1
            failed[third] += episode.success is not True
    assert (failed, missions) == ([9, 34, 4], [21, 45, 4])


def test_the_picture_of_the_results_is_drawn_from_the_long_table() -> None:
    assert draw(read(LONG.read_text())) == (ROOT / "docs" / "success.svg").read_text()


@pytest.mark.data("gsm8k")
def test_the_tables_of_heads_are_what_the_recordings_give() -> None:
    benchmark = load_benchmark("gsm8k", data=DATA)
    train, held_out = (
        CandidateDataset.from_recording(
            ROOT / "recordings" / name, benchmark, tasks, arms=("program", "chain")
        )
        for name, tasks in (
            ("gsm8k-train-500.sqlite", benchmark.tasks("train", 500)),
            ("gsm8k-300.sqlite", benchmark.tasks("test", 300)),
        )
    )
    assert (len(train.steps), len(held_out.steps)) == (500, 300)
    programs, chains = candidate_stages(
        train.steps, held_out.steps, CorrectnessSettings(), resamples=200
    )
    text = PAGE.partition("\n## Is this candidate right?\n")[2]
    rows = {
        name: [re.findall(r"[\d.]+", cell) for cell in cells]
        for name, *cells in (
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in text.splitlines()
            if line.startswith("| ")
        )
    }
    told = text.split("| Brier score", 1)
    for place, stage in enumerate((programs, chains)):
        assert rows["candidates, wrong"][place] == [str(stage.rows), str(stage.failures)]
        for line in stage.lines:
            if line.name == "constant":
                continue
            (row,) = re.findall(rf"^\| {line.name} \|(.*)\|$", told[0], re.MULTILINE)
            value, low, high = map(float, re.findall(r"\d\.\d+", row.split("|")[place]))
            assert line.auroc.value == pytest.approx(value, abs=ROUNDING), line.name
            assert line.auroc.interval is not None
            assert line.auroc.interval.low == pytest.approx(low, abs=0.03)
            assert line.auroc.interval.high == pytest.approx(high, abs=0.03)
        for name, found in stage.reliability.items():
            (row,) = re.findall(rf"^\| {name} \|(.*)\|$", told[1], re.MULTILINE)
            brier, error = map(float, re.findall(r"\d\.\d+", row.split("|")[place]))
            assert found.brier == pytest.approx(brier, abs=0.005)
            assert found.calibration_error == pytest.approx(error, abs=ROUNDING)
            constant = float(rows["constant"][place][0])
            assert found.constant_brier == pytest.approx(constant, abs=0.0006)
