"""The report on complexity scores: its rows, its stages, directions learned in training alone."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from tests.fakes.assessors import network
from tests.learn.test_examples import CANDIDATES, EPISODE

from amp.annotations.store import Annotation
from amp.assess.base import WeightedAssessor
from amp.assess.neural import Projection
from amp.report.validity import Importance, Oriented, Row, auroc_on, difference_on
from amp.report.validity_report import (
    CONSTANT,
    LENGTH,
    Kind,
    ValidityReport,
    importances,
    measure_stage,
    score_kinds,
    score_rows,
    stage_name,
)
from amp.trace import to_json
from amp.types import Probe

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
    stage = measure_stage("before a round", train, held_out, NAMES, resamples=FEW)
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
    stage = measure_stage("s", make("train", 120), make("held out", 60, -1.0), NAMES, resamples=FEW)
    (entropy,) = (line for line in stage.lines if line.name == "entropy")
    assert entropy.direction == 1
    assert entropy.auroc.value is not None
    assert entropy.auroc.value < 0.45


def test_scorers_are_compared_with_baselines_the_best_feature_and_each_other() -> None:
    train, held_out = make("train", 120), make("held out", 60)
    stage = measure_stage("s", train, held_out, NAMES, resamples=FEW)
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
    stage = measure_stage("s", train, make("held out", 60), {"learned": "scorer"}, resamples=FEW)
    assert stage.lines[0].direction == 1
    assert stage.lines[0].auroc.value is not None
    assert stage.lines[0].auroc.value > 0.6


def test_a_task_on_both_sides_is_refused() -> None:
    rows = make("same", 3)
    with pytest.raises(ValueError, match="task same-0 is in the training rows and in the held-out"):
        measure_stage("s", rows, rows[:1], NAMES)


@pytest.mark.parametrize("held_out", [[], [Row("a", True, {"learned": 0.5, "entropy": 1.0})]])
def test_nothing_is_invented_where_rows_are_missing(held_out: list[Row]) -> None:
    stage = measure_stage("s", [], held_out, NAMES, resamples=FEW)
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
            measure_stage("one", make("train", 20), make("held out", 20), NAMES, importances, FEW),
            measure_stage("two", [], [], NAMES),
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


ASSESSORS = {"weighted": WeightedAssessor()}


def settled(complexity: float, *candidates: int) -> Annotation:
    goal, state = EPISODE.task.goal, EPISODE.steps[0].observation.state
    return Annotation(EPISODE.task.id, 0, complexity, "rule:settling", goal, state, candidates)


NOTES = [settled(0.5), settled(0.0, 0), settled(1.0, 1), settled(1.0, 0, 1)]


def test_before_a_round_each_candidate_is_a_row_of_its_own() -> None:
    made = score_rows([EPISODE], NOTES, ASSESSORS, 0)
    assert [row.failed for row in made] == [True, False]
    assert made[0].scores == made[1].scores
    assert "agreement" not in made[0].scores


def test_after_it_each_set_of_candidates_is_one() -> None:
    assert [row.failed for row in score_rows([EPISODE], NOTES, ASSESSORS, 1)] == [False, True]
    (both,) = score_rows([EPISODE], NOTES, ASSESSORS, 2)
    assert both.failed
    assert both.scores["agreement"] == 0.5
    assert both.scores["answer_tokens"] == sum(c.completion_tokens for c in CANDIDATES) / 2
    assert score_rows([EPISODE], NOTES, ASSESSORS, 3) == []


def test_every_score_has_a_kind() -> None:
    names = score_kinds(ASSESSORS)
    for candidates in (0, 1, 2):
        for row in score_rows([EPISODE], NOTES, ASSESSORS, candidates):
            assert set(row.scores) <= set(names)
    assert names["weighted"] == "scorer"
    assert names[LENGTH] == names[CONSTANT] == "baseline"


def test_the_coordinates_of_the_hidden_state_are_shuffled_together() -> None:
    projection = Projection.fit(np.random.default_rng(0).normal(size=(9, 2)), 1)
    other = replace(EPISODE.steps[0], probe=Probe(entropy=0.2, hidden=(3.0, -1.0)))
    second = replace(EPISODE, task=replace(EPISODE.task, id="second"), steps=(other,))
    notes = [*NOTES, replace(settled(0.0, 0), task="second")]
    drops = importances(network(projection=projection), [EPISODE, second], notes, 1)
    groups = [drop.group for drop in drops]
    assert groups.count("hidden") == 1
    assert not any(group.startswith("hidden_") for group in groups)
    assert all(drop.drop is not None for drop in drops)


def test_what_is_the_same_in_all_states_is_not_shuffled() -> None:
    groups = {drop.group for drop in importances(network(), [EPISODE], NOTES, 1)}
    assert "log_prob" in groups
    assert not groups & {"words", "distance", "candidates", "p_correct"}


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (0, "before the first round"),
        (1, "with 1 candidate known"),
        (2, "with 2 candidates known"),
    ],
)
def test_stages_are_named_by_what_is_known(count: int, name: str) -> None:
    assert stage_name(count) == name
