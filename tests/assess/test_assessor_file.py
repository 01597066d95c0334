"""Saved and loaded is the same assessor; what was trained for something else is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tests.assess.test_neural import PROJECTION, STATES
from tests.fakes.assessors import network
from tests.fakes.worlds import RIDDLE, context

from amp.assess import features
from amp.assess.base import TERMS, Training, WeightedAssessor
from amp.assess.neural import NeuralAssessor, load_assessor, save_assessor
from amp.assess.text import parse_dependencies
from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.types import Evidence, Probe

TRAINING = Training("small", "gsm8k", "ab" * 32, ("t1", "t2"))
CARD = ModelCard("small", "ab" * 32)
AT = replace(context(RIDDLE), evidence=Evidence(probe=Probe(hidden=tuple(STATES[0].tolist()))))
WEIGHTED = WeightedAssessor(
    0.5, -0.2, 0.1, bias=0.3, typical=dict.fromkeys(TERMS, 0.5), probes=frozenset({"hidden"})
)
NEURAL = replace(network(projection=PROJECTION), probes=frozenset({"hidden", "next_token"}))


@pytest.mark.parametrize("assessor", [WeightedAssessor(), WEIGHTED, NEURAL, network(3)])
def test_what_is_loaded_says_what_was_saved(
    assessor: WeightedAssessor | NeuralAssessor, tmp_path: Path
) -> None:
    save_assessor(assessor, TRAINING, tmp_path / "cam.safetensors")
    loaded, training = load_assessor(tmp_path / "cam.safetensors", model=CARD, environment="gsm8k")
    assert training == TRAINING
    assert loaded.assess(AT) == assessor.assess(AT)
    assert (loaded.probes, loaded.parse) == (assessor.probes, assessor.parse)


def test_the_parser_is_a_part_of_it(tmp_path: Path) -> None:
    save_assessor(replace(NEURAL, parse=parse_dependencies), TRAINING, tmp_path / "cam.safetensors")
    assert load_assessor(tmp_path / "cam.safetensors")[0].parse is parse_dependencies
    with pytest.raises(InvalidInputError, match="own parser"):
        save_assessor(
            replace(NEURAL, parse=lambda text: NEURAL.parse(text)), TRAINING, tmp_path / "x"
        )


@pytest.mark.parametrize(
    ("card", "environment", "said"),
    [
        (ModelCard("other", "ab" * 32), "gsm8k", "trained on model small abababab, this is other"),
        (ModelCard("small", "cd" * 32), "gsm8k", "this is small cdcdcdcd"),
        (CARD, "babyai", "trained on gsm8k, this is babyai"),
    ],
)
def test_another_model_or_environment_is_refused_with_one_line(
    card: ModelCard, environment: str, said: str, tmp_path: Path
) -> None:
    save_assessor(NEURAL, TRAINING, tmp_path / "cam.safetensors")
    with pytest.raises(InvalidInputError, match=said) as refusal:
        load_assessor(tmp_path / "cam.safetensors", model=card, environment=environment)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "amp-policy/1"}, "expected 'amp-assessor/1'"),
        ({"features": "0"}, f"features of version 0, this is version {features.VERSION}"),
        ({"kind": "oracle"}, "kind is 'oracle'"),
        ({"parser": "psychic"}, "unknown parser 'psychic'"),
        ({"names": '["words"]'}, "mean and std"),
        ({"tasks": "not json"}, "does not fit"),
        ({"model": None}, "lacks 'model'"),
    ],
)
def test_another_schema_is_refused_with_one_line(
    change: dict[str, str | None], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "cam.safetensors"
    save_assessor(NEURAL, TRAINING, file)
    with safe_open(file, framework="numpy") as opened:
        header = {**opened.metadata(), **change}
    save_file(load_file(file), file, {k: v for k, v in header.items() if v is not None})
    with pytest.raises(InvalidInputError, match=said) as refusal:
        load_assessor(file)
    assert "\n" not in str(refusal.value)


def test_weights_of_other_terms_and_missing_tensors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cam.safetensors"
    save_assessor(WEIGHTED, TRAINING, file)
    with safe_open(file, framework="numpy") as opened:
        header = opened.metadata()
    tensors = load_file(file)
    save_file(tensors, file, {**header, "names": '["a", "b", "c"]'})
    with pytest.raises(InvalidInputError, match="it weighs a, b, c"):
        load_assessor(file)
    save_file({"bias": np.zeros(1)}, file, header)
    with pytest.raises(InvalidInputError, match="lacks 'weights'"):
        load_assessor(file)


def test_no_file_and_no_safetensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no assessor"):
        load_assessor(tmp_path / "missing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InvalidInputError, match="no safetensors file"):
        load_assessor(tmp_path / "text")
