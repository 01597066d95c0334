"""Train, save, refuse, run and report from the command line, on tasks that chance plays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.command import amp
from tests.fakes.files import DATA, ROOT
from typer.testing import CliRunner

from amp.annotations.store import read_annotations, write_annotations
from amp.cli import app
from amp.errors import InvalidInputError, MissingDependencyError
from amp.trace import read_episodes
from amp.types import STOP
from amp.votes import vote, weighted_vote

pytestmark = pytest.mark.slow

runner = CliRunner()


def refused(*arguments: object) -> str:
    result = runner.invoke(app, [str(a) for a in arguments])
    assert isinstance(result.exception, InvalidInputError | MissingDependencyError)
    return str(result.exception)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four test missions, looked at and played by chance, and recorded."""
    root = tmp_path_factory.mktemp("runs")
    for split, limit in (("train", 8), ("test", 4)):
        common = ("babyai", "--model", "random", "--allocator", "fixed", "--probe", "options")
        more = ("--split", split, "--limit", limit, "--max-steps", 4, "--json")
        record = ("--record", root / f"{split}.sqlite", "--out", root / split)
        amp("run", *common, *more, *record)
    return root


@pytest.fixture(scope="module")
def cam(runs: Path) -> Path:
    path = runs / "cam.safetensors"
    told = json.loads(amp("assess", "train", runs / "train", "--out", path, "--json"))
    assert told["tasks"] == 8
    assert told["error"] > 0
    return path


def test_a_run_looks_where_it_is_told_to(runs: Path) -> None:
    lines = (runs / "test" / "episodes.jsonl").read_text().splitlines()
    steps = [step for line in lines for step in json.loads(line)["steps"]]
    seen = 0
    for step in steps:
        offered = step["observation"]["tool_actions"]["path_finder"]
        if len(offered) > 1:
            assert set(step["probe"]["options"]) == set(offered)
            seen += 1
    assert seen
    config = json.loads((runs / "test" / "run.json").read_text())["config"]
    assert config["planner"]["probes"] == ["options"]


def test_a_report_has_every_score_with_its_interval(runs: Path, cam: Path) -> None:
    page = runs / "page.html"
    arguments = ("--train", runs / "train", "--assessor", cam, "--html", page)
    told: dict[str, Any] = json.loads(amp("assess", "report", runs / "test", *arguments, "--json"))
    stage = told["stages"][0]
    lines = {line["name"]: line for line in stage["lines"]}
    assert {"cam", "words", "constant", "choice_entropy", "uncertainty"} <= set(lines)
    assert lines["cam"]["auroc"]["interval"] is not None
    assert "cam" in stage["reliability"]
    assert stage["importances"]
    assert page.read_text().startswith("<!doctype html>")
    shown = amp("assess", "report", runs / "test", "--train", runs / "train", "--assessor", cam)
    assert "before the first round" in shown


def test_without_an_assessor_both_kinds_are_trained(runs: Path) -> None:
    told = json.loads(amp("assess", "report", runs / "test", "--train", runs / "train", "--json"))
    kinds = {line["name"]: line["kind"] for line in told["stages"][0]["lines"]}
    assert kinds["neural"] == kinds["weighted"] == "scorer"


def test_without_training_runs_a_third_of_the_tasks_is_held_out(runs: Path) -> None:
    told = json.loads(amp("assess", "report", runs / "train", "--json"))
    assert told["stages"][0]["tasks"] == 2


def test_a_recording_is_as_good_as_its_run(runs: Path, cam: Path) -> None:
    recorded = ("--probe", "options", "--limit", 20, "--max-steps", 4)

    def report(suffix: str, *more: object) -> object:
        sides = (runs / f"test{suffix}", "--train", runs / f"train{suffix}")
        return json.loads(amp("assess", "report", *sides, "--assessor", cam, "--json", *more))

    assert report(".sqlite", *recorded) == report("")


def test_a_trained_assessor_runs_and_is_named_in_the_run(runs: Path, cam: Path) -> None:
    out = runs / "used"
    common = ("babyai", "--model", "random", "--split", "dev", "--limit", 2, "--max-steps", 2)
    amp("run", *common, "--assessor", cam, "--out", out, "--json")
    manifest = json.loads((out / "run.json").read_text())
    assert len(manifest["sha256"]["assessor"]) == 64
    first = json.loads((out / "episodes.jsonl").read_text().splitlines()[0])["steps"][0]
    assert first["probe"]["options"]
    assert 0 < first["complexity"]["score"] < 1


def test_annotations_train_an_assessor(runs: Path) -> None:
    from amp.annotations.collect import annotation_items

    notes = runs / "notes.jsonl"
    items = annotation_items(read_episodes(runs / "train"), 0)
    from amp.annotations.store import Annotation

    write_annotations(
        notes,
        [
            Annotation(i.task, i.step, (number % 5) / 4, "person:ann", i.goal, i.state)
            for number, i in enumerate(items)
        ],
    )
    with notes.open("a") as file:
        file.write("not json\n")
    out = runs / "own.safetensors"
    result = runner.invoke(
        app,
        ["assess", "train", str(runs / "train"), "--annotations", str(notes), "--out", str(out),
         "--kind", "weighted"],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0
    assert out.exists()
    assert len(read_annotations(notes).bad) == 1
    assert f"line {len(items) + 1}" in result.output


def test_what_does_not_go_together_is_refused_with_one_line(runs: Path, cam: Path) -> None:
    on_training_tasks = refused(
        "assess", "report", runs / "train", "--train", runs / "test", "--assessor", cam
    )
    assert "was trained on 8 of these tasks" in on_training_tasks
    assert "4 of these tasks are in --train, too, such as " in refused(
        "assess", "report", runs / "test", "--train", runs / "test"
    )
    assert "trained on babyai, this is gsm8k" in refused(
        "run", "gsm8k", "--split", "demo", "--model", "random", "--assessor", cam,
        "--out", runs / "no",
    )  # fmt: skip
    assert "--probe is 'hiden', expected 'options', " in refused(
        "run", "gsm8k", "--split", "demo", "--probe", "hiden"
    )
    assert "unknown kind 'neurl'; did you mean 'neural'?" in refused(
        "assess", "train", runs / "train", "--out", runs / "x", "--kind", "neurl"
    )
    assert "comes twice" in refused(
        "assess", "train", runs / "train", runs / "train", "--out", runs / "x"
    )


@pytest.mark.parametrize("rule", ["failure_rate", "cheapest", "settling"])
def test_outcomes_become_annotations_and_those_an_assessor(
    rule: str, runs: Path, tmp_path: Path
) -> None:
    notes, out = tmp_path / "notes.jsonl", tmp_path / "cam.safetensors"
    amp("annotations", "outcomes", runs / "train", "--rule", rule, "--out", notes)
    found = read_annotations(notes).good
    assert {note.by for note in found} == {f"rule:{rule}"}
    assert len({note.task for note in found}) == 8
    amp("assess", "train", runs / "train", "--annotations", notes, "--out", out, "--json")
    assert out.exists()
    assert "did you mean 'cheapest'?" in refused(
        "annotations", "outcomes", runs / "train", "--rule", "cheapst", "--out", notes
    )


def test_heads_need_enough_candidates_and_options_that_go_together(runs: Path, cam: Path) -> None:
    heads = ("assess", "train", runs / "train", "--out", runs / "heads", "--of")
    assert "8 tasks with judged candidates, expected at least 10" in refused(*heads, "candidates")
    assert "--of is 'candidate', expected steps or candidates" in refused(*heads, "candidate")
    assert "unknown kind 'logistics'; did you mean 'logistic'?" in refused(
        *heads, "candidates", "--kind", "logistics"
    )
    assert "unknown kind 'logistic' (of steps: neural, weighted)" in refused(
        *heads, "steps", "--kind", "logistic"
    )
    assert "--samples is for heads" in refused(*heads, "steps", "--samples", 2)
    assert "--arm is for heads" in refused(*heads, "steps", "--arm", "chain")
    assert "--annotations is for complexity" in refused(
        *heads, "candidates", "--annotations", runs / "notes.jsonl"
    )
    report = ("assess", "report", runs / "test", "--train", runs / "train", "--assessor", cam)
    told = json.loads(amp(*report, "--json"))
    assert told["candidates"] == []
    assert "8 tasks with judged candidates" in told["candidates_note"]
    shown = amp(*report)
    assert "candidates are not examined: 8 tasks" in " ".join(shown.split())


RECORDINGS = ROOT / "recordings"
HERE = ("--data", DATA)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 40 recorded training problems of GSM8K."""
    path = tmp_path_factory.mktemp("heads") / "heads.safetensors"
    source = RECORDINGS / "gsm8k-train-500.sqlite"
    found = ("assess", "train", "--of", "candidates", source, "--limit", 40, "--out", path, *HERE)
    told = json.loads(amp(*found, "--arm", "chain", "--json"))
    assert set(told["ways"]) == {"text"}
    told = json.loads(amp(*found, "--json"))
    assert set(told["ways"]) == {"python", "text"}
    assert told["ways"]["text"]["tasks"] == 40
    return path


@pytest.mark.data("gsm8k")
def test_heads_rate_candidates_of_a_run_which_names_them(heads: Path, tmp_path: Path) -> None:
    replay = ("--replay", RECORDINGS / "gsm8k.sqlite", "--limit", 3, "--allocator", "fixed")
    rated = ("run", "gsm8k", *replay, *HERE, "--correctness", heads)
    shown = amp(*rated, "--vote", "plain", "--out", tmp_path / "plain")
    assert "candidates rated by heads, votes plain" in shown
    told = json.loads(amp(*rated, "--out", tmp_path / "weighted", "--json"))
    assert told["correctness"] == "heads"
    for name in ("plain", "weighted"):
        manifest = json.loads((tmp_path / name / "run.json").read_text())
        assert (manifest["correctness"], manifest["config"]["planner"]["vote"]) == ("heads", name)
        for episode in read_episodes(tmp_path / name):
            (step,) = episode.steps
            candidates = [one for made in step.rounds for one in made.candidates]
            assert all(one.p_right is not None and one.tokens for one in candidates)
            best = (vote if name == "plain" else weighted_vote)(candidates)
            assert step.action == (None if best is None else best.action)
    assert "P(right) 0." in amp("trace", "show", tmp_path / "weighted", "--full")
    assert "trained on gsm8k, this is babyai" in refused(
        "run", "babyai", "--model", "random", "--correctness", heads, "--out", tmp_path / "no"
    )
    assert "it was trained on model qwen2.5-coder-1.5b" in refused(
        "run", "gsm8k", "--split", "demo", "--model", "random", "--correctness", heads,
        "--sandbox", "unsafe", "--out", tmp_path / "no",
    )  # fmt: skip


@pytest.mark.data("gsm8k")
def test_a_plain_vote_settles_steps_of_the_router_that_ships_too(tmp_path: Path) -> None:
    replay = ("--replay", RECORDINGS / "gsm8k-300.sqlite", "--limit", 25, *HERE)
    amp("run", "gsm8k", *replay, "--vote", "plain", "--out", tmp_path / "plain")
    amp("run", "gsm8k", *replay, "--out", tmp_path / "own")
    for one, other in zip(*map(read_episodes, (tmp_path / "plain", tmp_path / "own")), strict=True):
        (plain,), (own,) = one.steps, other.steps
        assert plain.rounds == own.rounds
        candidates = [candidate for made in plain.rounds for candidate in made.candidates]
        best = vote(candidates)
        assert plain.stop == STOP != own.stop
        assert plain.action == (None if best is None else best.action)


@pytest.mark.data("gsm8k")
def test_a_report_has_candidates_for_each_way_to_ask(tmp_path: Path) -> None:
    sides = (RECORDINGS / "gsm8k.sqlite", "--train", RECORDINGS / "gsm8k-train-500.sqlite")
    page, cam = tmp_path / "page.html", tmp_path / "cam.safetensors"
    amp("assess", "train", sides[-1], "--kind", "weighted", "--limit", 20, "--out", cam, *HERE)
    more = ("--limit", 40, "--assessor", cam, *HERE, "--html", page, "--json")
    told = json.loads(amp("assess", "report", *sides, *more))
    programs, chains = told["candidates"]
    assert (programs["name"], chains["name"]) == ("candidates: python", "candidates: text")
    for stage in (programs, chains):
        lines = {line["name"]: line["auroc"] for line in stage["lines"]}
        assert {"logistic", "network", "tokens alone", "looks alone", "agreement alone"} <= set(
            lines
        )
        assert lines["logistic"]["value"] > 0.7
        assert lines["logistic"]["interval"] is not None
        assert stage["tasks"] == 40
        reliability = stage["reliability"]["logistic"]
        assert reliability["brier"] < reliability["constant_brier"]
    assert "candidates: python" in page.read_text()
