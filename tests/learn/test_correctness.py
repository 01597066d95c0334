"""Training of the correctness heads: laws on candidates of which the truth is known."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from amp.assess.base import Training
from amp.assess.correctness import SCHEMA, Correctness, load_correctness, save_correctness
from amp.errors import InvalidInputError
from amp.learn.correctness import CorrectnessSettings, JudgedCandidate, train_correctness
from amp.mlp import read_tensors, write_tensors
from amp.models.base import ModelCard

TASKS = 250
QUICK = CorrectnessSettings(folds=3, penalties=(1e-3, 1e-1), epochs=120)


def drawn(seed: int = 2, slope: float = 1.5, way: str = "text") -> list[JudgedCandidate]:
    """Candidates, right with probability sigmoid(slope * tail - 0.5); `cut_off` is noise."""
    rng = np.random.default_rng(seed)
    made = []
    for task in range(TASKS):
        for _ in range(4):
            x, noise = rng.normal(size=2)
            right = rng.random() < 1.0 / (1.0 + math.exp(0.5 - slope * x))
            made.append(
                JudgedCandidate(f"t{task}", way, {"tail": x, "cut_off": noise}, bool(right))
            )
    return made


@pytest.mark.parametrize("kind", ["logistic", "network"])
def test_what_decides_is_found_and_what_does_not_is_left(kind: str) -> None:
    trained = train_correctness(drawn(), replace(QUICK, kind=kind))  # type: ignore[arg-type]
    head = trained.correctness.heads["text"]
    for x in (-1.0, 0.0, 1.0):
        truth = 1.0 / (1.0 + math.exp(0.5 - 1.5 * x))
        assert head.p_right({"tail": x, "cut_off": 0.0}) == pytest.approx(truth, abs=0.08)
    swing = head.p_right({"tail": 0.0, "cut_off": 1.0}) - head.p_right({"tail": 0.0, "cut_off": -1})
    assert abs(swing) < 0.15
    fit = trained.fits["text"]
    assert fit.brier < 0.9 * fit.constant_brier


def test_where_nothing_decides_the_share_of_right_ones_is_said() -> None:
    trained = train_correctness(drawn(slope=0.0), QUICK)
    fit = trained.fits["text"]
    assert fit.brier == pytest.approx(fit.constant_brier, rel=0.03)
    p = trained.correctness.heads["text"].p_right({"tail": 1.0, "cut_off": 1.0})
    assert p == pytest.approx(fit.right, abs=0.1)


def test_what_is_said_of_tasks_left_out_is_calibrated() -> None:
    candidates = drawn()
    trained = train_correctness(candidates, QUICK)
    assert not np.isnan(trained.held_out).any()
    right = np.mean([one.right for one in candidates])
    assert trained.held_out.mean() == pytest.approx(right, abs=1e-3)


def test_the_verdict_on_a_task_does_not_reach_what_is_said_of_it_when_left_out() -> None:
    candidates = drawn()
    other = [replace(one, right=not one.right) if one.task == "t0" else one for one in candidates]
    fixed = replace(QUICK, penalties=(1e-2,))
    before = train_correctness(candidates, fixed).held_out
    after = train_correctness(other, fixed).held_out
    mine = [index for index, one in enumerate(candidates) if one.task == "t0"]
    # Only the calibration, two numbers of all candidates, has seen it.
    np.testing.assert_allclose(before[mine], after[mine], atol=0.03)
    rest = [index for index in range(len(candidates)) if index not in mine]
    assert np.abs(before[rest] - after[rest]).max() > 1e-4


def test_the_same_candidates_give_the_same_heads() -> None:
    one, other = (train_correctness(drawn(), QUICK).correctness.heads["text"] for _ in range(2))
    assert all(
        np.array_equal(a.weight, b.weight) for a, b in zip(one.layers, other.layers, strict=True)
    )


def test_a_way_with_too_few_has_no_head_and_its_candidates_no_rating() -> None:
    few = [replace(one, way="python") for one in drawn(1)[:30]]
    trained = train_correctness([*drawn(), *few], QUICK)
    assert set(trained.correctness.heads) == {"text"}
    assert np.isnan(trained.held_out[-30:]).all()
    with pytest.raises(InvalidInputError, match="no way to ask has 20 right"):
        train_correctness(few, QUICK)


def test_too_few_tasks_and_an_unknown_kind_are_refused() -> None:
    with pytest.raises(
        InvalidInputError, match="1 tasks with judged candidates, expected at least"
    ):
        train_correctness(drawn()[:4], QUICK)
    with pytest.raises(InvalidInputError, match="unknown kind 'logistics'; did you mean"):
        CorrectnessSettings(kind="logistics")  # type: ignore[arg-type]


def test_a_group_that_is_excluded_is_not_read() -> None:
    trained = train_correctness(drawn(), replace(QUICK, exclude=frozenset({"looks"})))
    assert trained.correctness.heads["text"].names == ("tail",)


@pytest.mark.parametrize("kind", ["logistic", "network"])
def test_heads_come_back_from_their_file(kind: str, tmp_path: Path) -> None:
    made = train_correctness(drawn(), replace(QUICK, kind=kind)).correctness  # type: ignore[arg-type]
    path, training = tmp_path / "heads.safetensors", Training("m", "gsm8k", "ab", ("t0",))
    save_correctness(made, training, path)
    read, trained_on = load_correctness(
        path, model=ModelCard("m", sha256="ab"), environment="gsm8k"
    )
    assert (read.kind, trained_on) == (kind, training)
    features = {"tail": 0.3}
    assert read.heads["text"].p_right(features) == made.heads["text"].p_right(features)


def test_heads_of_something_else_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    made: Correctness = train_correctness(drawn(), QUICK).correctness
    save_correctness(made, Training("m", "gsm8k", "ab"), path)
    with pytest.raises(InvalidInputError, match="it was trained on gsm8k, this is babyai"):
        load_correctness(path, environment="babyai")
    with pytest.raises(InvalidInputError, match="it was trained on model m ab, this is other cd"):
        load_correctness(path, model=ModelCard("other", sha256="cd"))
    header, tensors = read_tensors(path, "correctness head", SCHEMA)
    for change, said in (
        ({"features": "0"}, "features of version 0, this is version 1; train it again"),
        ({"kind": "tree"}, "kind is 'tree', expected logistic or network"),
        ({"ways": "[]"}, "does not fit"),
        ({"ways": "{}"}, "for no way to ask"),
        ({"ways": "not json"}, "does not fit"),
    ):
        write_tensors(path, {**header, **change}, tensors)
        with pytest.raises(InvalidInputError, match=said) as refused:
            load_correctness(path)
        assert "\n" not in str(refused.value)
    write_tensors(path, {key: header[key] for key in header if key != "kind"}, tensors)
    with pytest.raises(InvalidInputError, match="lacks 'kind'; train it again"):
        load_correctness(path)
    save_correctness(made, Training("m", "gsm8k", "ab"), path)
    whole = path.read_bytes()
    for cut in (0, 7, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidInputError, match=re.escape(str(path))) as refused:
            load_correctness(path)
        assert "\n" not in str(refused.value)
    path.write_text("nothing")
    with pytest.raises(InvalidInputError, match="no safetensors file"):
        load_correctness(path)
