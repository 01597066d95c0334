"""Rows of a report: one for each way in which acting could have failed, with every score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.fakes.assessors import network
from tests.learn.test_examples import CANDIDATES, EPISODE

from amp.annotations.store import Annotation
from amp.assess.neural import Projection
from amp.assess.weighted import WeightedAssessor
from amp.report.validity_report import CONSTANT, LENGTH, importances, kinds, rows, stage_name
from amp.types import Probe

ASSESSORS = {"weighted": WeightedAssessor()}


def settled(complexity: float, *candidates: int) -> Annotation:
    goal, state = EPISODE.task.goal, EPISODE.steps[0].observation.state
    return Annotation(EPISODE.task.id, 0, complexity, "rule:settling", goal, state, candidates)


NOTES = [settled(0.5), settled(0.0, 0), settled(1.0, 1), settled(1.0, 0, 1)]


def test_before_a_round_each_candidate_is_a_row_of_its_own() -> None:
    made = rows([EPISODE], NOTES, ASSESSORS, 0)
    assert [row.failed for row in made] == [True, False]
    assert made[0].scores == made[1].scores
    assert "agreement" not in made[0].scores


def test_after_it_each_set_of_candidates_is_one() -> None:
    assert [row.failed for row in rows([EPISODE], NOTES, ASSESSORS, 1)] == [False, True]
    (both,) = rows([EPISODE], NOTES, ASSESSORS, 2)
    assert both.failed
    assert both.scores["agreement"] == 0.5
    assert both.scores["answer_tokens"] == sum(c.completion_tokens for c in CANDIDATES) / 2
    assert rows([EPISODE], NOTES, ASSESSORS, 3) == []


def test_every_score_has_a_kind() -> None:
    names = kinds(ASSESSORS)
    for candidates in (0, 1, 2):
        for row in rows([EPISODE], NOTES, ASSESSORS, candidates):
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
