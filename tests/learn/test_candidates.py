"""Figures of heads: laws on candidates of which the truth is known."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from amp.errors import InvalidInputError
from amp.learn.candidates import (
    AGREEMENT,
    WITH_AGREEMENT,
    CandidateDataset,
    JudgedStep,
    candidate_stages,
)
from amp.learn.correctness import CorrectnessSettings
from amp.models.base import ModelCard
from amp.report.validity_report import Stage
from amp.tokens import TokenFigures
from amp.types import Candidate, Observation, StepContext, Task

RIGHT = "7"
QUICK = CorrectnessSettings(folds=3, penalties=(1e-2,), epochs=60)


def stages(train: list[JudgedStep], held_out: list[JudgedStep]) -> tuple[Stage, ...]:
    return candidate_stages(train, held_out, QUICK, resamples=20)


def steps(tasks: int, seed: int, told: bool = True) -> list[JudgedStep]:
    """Four candidates a task: a right one is surer of its tail, and wrong ones seldom agree."""
    rng, made = random.Random(seed), []
    for number in range(tasks):
        candidates = []
        for _ in range(4):
            right = rng.random() < 0.5
            action = RIGHT if right else str(rng.randint(100, 120))
            tail = -abs(rng.gauss(0.3 if right and told else 0.9, 0.3))
            looks = {"odd": float(rng.random() < 0.5)}
            figures = TokenFigures(tail=tail)
            candidates.append(Candidate("x", action, tokens=figures, looks=looks))
        context = StepContext(Task(f"{seed}/{number}", "How many?"), Observation(""))
        right_ones = tuple(candidate.action == RIGHT for candidate in candidates)
        made.append(JudgedStep(context, tuple(candidates), right_ones))
    return made


TRAIN, HELD_OUT = steps(60, 1), steps(40, 2)


def aurocs(stage: Stage) -> dict[str, float]:
    return {ln.name: ln.auroc.value for ln in stage.lines if ln.auroc.value is not None}


@pytest.fixture(scope="module")
def stage() -> Stage:
    (one,) = stages(TRAIN, HELD_OUT)
    return one


def test_each_part_tells_what_it_knows_and_all_together_the_most(stage: Stage) -> None:
    found = aurocs(stage)
    assert (stage.name, stage.rows, stage.tasks) == ("candidates: text", 160, 40)
    assert found["constant"] == 0.5
    assert found["looks alone"] == pytest.approx(0.5, abs=0.12)
    for name in ("logistic", "network", "tokens alone", AGREEMENT):
        assert found[name] > 0.75, name
    assert found[WITH_AGREEMENT] > max(found["logistic"], found[AGREEMENT])


def test_risks_are_calibrated_and_beat_the_constant(stage: Stage) -> None:
    for kind in ("logistic", "network"):
        told = stage.reliability[kind]
        assert told.brier is not None
        assert told.constant_brier is not None
        assert told.brier < told.constant_brier
        assert len(told.bins) > 1


def test_where_nothing_tells_heads_do_not_either() -> None:
    (one,) = stages(steps(60, 3, told=False), steps(40, 4, told=False))
    assert aurocs(one)["logistic"] == pytest.approx(0.5, abs=0.12)


def test_verdicts_on_held_out_tasks_move_no_score() -> None:
    turned = [replace(s, right=tuple(not right for right in s.right)) for s in HELD_OUT]
    (one,), (other,) = stages(TRAIN, HELD_OUT), stages(TRAIN, turned)
    for name, value in aurocs(one).items():
        assert aurocs(other)[name] == pytest.approx(1.0 - value)


def test_what_has_no_action_or_no_verdict_is_no_row() -> None:
    first = HELD_OUT[0]
    silent = replace(first.candidates[0], action=None)
    known = replace(first, candidates=(silent, *first.candidates[1:]))
    unknown = replace(HELD_OUT[1], right=(None,) * 4)
    (one,) = stages(TRAIN, [known, unknown, *HELD_OUT[2:]])
    assert one.rows == 160 - 1 - 4


def test_a_model_that_tells_nothing_has_looks_alone() -> None:
    def silent(side: list[JudgedStep]) -> list[JudgedStep]:
        return [
            replace(s, candidates=tuple(replace(c, tokens=None) for c in s.candidates))
            for s in side
        ]

    (one,) = stages(silent(TRAIN), silent(HELD_OUT))
    assert "tokens alone" not in aurocs(one)
    assert "looks alone" in aurocs(one)


def test_one_candidate_a_step_has_nothing_to_agree_with() -> None:
    def first(side: list[JudgedStep]) -> list[JudgedStep]:
        return [replace(s, candidates=s.candidates[:1], right=s.right[:1]) for s in side]

    (one,) = stages(first(TRAIN), first(HELD_OUT))
    assert {"logistic", "network", "constant"} <= aurocs(one).keys()
    assert not {AGREEMENT, WITH_AGREEMENT} & aurocs(one).keys()


def test_too_few_candidates_are_refused_in_one_line() -> None:
    with pytest.raises(
        InvalidInputError, match="2 tasks with judged candidates, expected at least 3"
    ):
        stages(TRAIN[:2], HELD_OUT)


def test_what_does_not_go_together_is_not_merged() -> None:
    one = CandidateDataset(tuple(TRAIN), "sums", ModelCard("m"))
    other = replace(one, steps=tuple(HELD_OUT))
    assert len(CandidateDataset.merge([one, other]).judged()) == 400
    for wrong, said in (
        (replace(other, environment="words"), "candidates of sums and of words"),
        (replace(other, card=ModelCard("n")), "candidates of model m and of n"),
        (one, "task 1/0 comes twice"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            CandidateDataset.merge([one, wrong])


def test_a_third_of_the_tasks_is_held_out_whole() -> None:
    inside, outside = CandidateDataset(tuple(TRAIN), "sums", ModelCard("m")).train_test_split()
    assert (len(inside.tasks), len(outside.tasks)) == (40, 20)
    assert not set(inside.tasks) & set(outside.tasks)
    assert inside.training.tasks == inside.tasks
