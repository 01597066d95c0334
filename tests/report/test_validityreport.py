"""A whole report: what is learned where, and what it says of too few rows."""

from __future__ import annotations

import json
import random

import pytest

from amp.report.validity import Importance, Oriented, Row, auroc_on, difference_on
from amp.report.validity_report import Kind, ValidityReport, examine
from amp.trace import to_json

FEW = 100
NAMES: dict[str, Kind] = {
    "learned": "scorer",
    "weighted": "scorer",
    "prompt_length": "baseline",
    "constant": "baseline",
    "entropy": "feature",
    "rare": "feature",
}


def make(side: str, tasks: int, shift: float = 1.0) -> list[Row]:
    rng, rows = random.Random(side), []
    for task in range(tasks):
        for _ in range(2):
            failed = rng.random() < 0.4
            scores = {
                "learned": min(1.0, max(0.0, rng.gauss(0.4 + 0.2 * failed, 0.15))),
                "weighted": rng.random(),
                "prompt_length": rng.gauss(-failed * shift, 1),
                "constant": 0.5,
                "entropy": rng.gauss(0.5 * failed * shift, 1),
            }
            rows.append(Row(f"{side}-{task}", failed, scores))
    return rows


def test_a_stage_measures_on_held_out_rows_what_it_learned_on_training_rows() -> None:
    train, held_out = make("train", 120), make("held out", 60)
    stage = examine("before a round", train, held_out, NAMES, resamples=FEW)
    assert (stage.tasks, stage.rows, stage.train_rows) == (60, 120, 240)
    assert stage.failures == sum(row.failed for row in held_out)
    assert stage.base_rate == sum(row.failed for row in train) / 240
    lines = {line.name: line for line in stage.lines}
    assert lines["prompt_length"].direction == -1
    assert lines["prompt_length"].auroc == auroc_on(held_out, Oriented("prompt_length", -1), FEW)
    assert lines["learned"].direction == 1
    assert lines["constant"].auroc.value == 0.5
    assert lines["rare"].auroc.note == "not defined: no row has it"
    values = [line.auroc.value for line in stage.lines]
    assert values[-1] is None
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=True)


def test_a_direction_that_turns_is_reported_as_worse_than_chance() -> None:
    stage = examine("s", make("train", 120), make("held out", 60, -1.0), NAMES, resamples=FEW)
    (entropy,) = (line for line in stage.lines if line.name == "entropy")
    assert entropy.direction == 1
    assert entropy.auroc.value is not None
    assert entropy.auroc.value < 0.45


def test_scorers_are_compared_with_baselines_the_best_feature_and_each_other() -> None:
    train, held_out = make("train", 120), make("held out", 60)
    stage = examine("s", train, held_out, NAMES, resamples=FEW)
    pairs = [(one.first.name, one.second) for one in stage.comparisons]
    rivals = [Oriented("prompt_length", -1), Oriented("constant"), Oriented("entropy")]
    assert pairs == [
        *(("learned", rival) for rival in rivals),
        *(("weighted", rival) for rival in rivals),
        ("learned", Oriented("weighted")),
    ]
    assert stage.comparisons[0] == difference_on(held_out, Oriented("learned"), rivals[0], FEW)
    assert set(stage.reliability) == {"learned", "weighted"}
    assert sum(b.rows for b in stage.reliability["learned"].bins) == 120


def test_a_scorer_points_up_whatever_the_training_rows_say() -> None:
    train = [Row(r.task, not r.failed, r.scores) for r in make("train", 60)]
    stage = examine("s", train, make("held out", 60), {"learned": "scorer"}, resamples=FEW)
    assert stage.lines[0].direction == 1
    assert stage.lines[0].auroc.value is not None
    assert stage.lines[0].auroc.value > 0.6


def test_a_task_on_both_sides_is_refused() -> None:
    rows = make("same", 3)
    with pytest.raises(ValueError, match="task same-0 is in the training rows and in the held-out"):
        examine("s", rows, rows[:1], NAMES)


@pytest.mark.parametrize("held_out", [[], [Row("a", True, {"learned": 0.5, "entropy": 1.0})]])
def test_nothing_is_invented_where_rows_are_missing(held_out: list[Row]) -> None:
    stage = examine("s", [], held_out, NAMES, resamples=FEW)
    assert stage.base_rate is None
    assert all(line.auroc.value is None for line in stage.lines)
    assert all(line.auroc.note.startswith("not defined: ") for line in stage.lines)
    assert [one.estimate.value for one in stage.comparisons] == [None]
    if held_out:
        notes = {line.name: line.auroc.note for line in stage.lines}
        assert notes["entropy"].endswith("the training rows do not tell which way it points")


def test_a_report_is_json_and_the_same_twice() -> None:
    def report() -> ValidityReport:
        importances = (Importance("hidden", 0.1), Importance("x", None, note="not defined: no"))
        stages = (
            examine("one", make("train", 20), make("held out", 20), NAMES, importances, FEW),
            examine("two", [], [], NAMES),
        )
        return ValidityReport("a model", "gsm8k", stages)

    text = to_json(report())
    assert text == to_json(report())
    plain = json.loads(text)
    assert plain["model"] == "a model"
    assert [stage["name"] for stage in plain["stages"]] == ["one", "two"]
    line = plain["stages"][0]["lines"][0]
    assert line["auroc"]["interval"]["low"] <= line["auroc"]["value"]
    assert plain["stages"][0]["importances"][1]["drop"] is None
    assert plain["stages"][1]["reliability"]["learned"]["bins"] == []
