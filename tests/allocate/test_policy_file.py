"""Policies come back from disk bit by bit, and only where they fit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from tests.allocate.test_mlp_policy import FEATURES, SPACE, trained
from tests.fakes.worlds import context

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.policy_file import load_policy, save_policy
from amp.allocate.space import Line
from amp.errors import InvalidInputError
from amp.mlp import content_hash
from amp.types import Complexity

SIGMOID = SigmoidPolicy.initial(SPACE)
finite = st.floats(-1e30, 1e30)
POLICIES: list[SigmoidPolicy | MlpPolicy] = [SIGMOID, trained()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_sigmoid_policy_comes_back_equal(data: st.DataObject, tmp_path: Path) -> None:
    policy = SigmoidPolicy(
        space=SPACE,
        lines=tuple(Line(data.draw(finite), data.draw(finite)) for _ in SPACE.dims),
        log_stds=data.draw(st.tuples(*(st.floats(-20, 5) for _ in SIGMOID.log_stds))),
        max_rounds=data.draw(st.integers(1, 99)),
        max_samples=data.draw(st.none() | st.integers(1, 99)),
    )
    save_policy(policy, tmp_path / "p.safetensors")
    assert load_policy(tmp_path / "p.safetensors", space=SPACE) == policy


def test_a_network_comes_back_bit_by_bit(tmp_path: Path) -> None:
    policy = replace(trained(), max_rounds=7, max_samples=5)
    save_policy(policy, tmp_path / "p.safetensors")
    again = load_policy(tmp_path / "p.safetensors", space=SPACE, features=FEATURES)
    assert isinstance(again, MlpPolicy)
    for name in ("space", "features", "log_stds", "max_rounds", "max_samples"):
        assert getattr(again, name) == getattr(policy, name)
    pairs = [(again.mean, policy.mean), (again.std, policy.std)]
    for ours, theirs in zip(again.layers, policy.layers, strict=True):
        pairs += [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]
    for one, other in pairs:
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    complexity = Complexity(0.3, {"entropy": 0.1})
    assert again.allocate(context(), complexity) == policy.allocate(context(), complexity)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(7)), policy=st.sampled_from(POLICIES))
def test_equal_policies_are_equal_files_and_have_one_hash_in_any_order(
    order: list[int], policy: SigmoidPolicy | MlpPolicy, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("one", "two", "shuffled")]
    for file in files[:2]:
        save_policy(policy, file)
    content = files[0].read_bytes()
    assert files[1].read_bytes() == content
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    words = list(header["__metadata__"].items())
    header["__metadata__"] = dict(words[i] for i in order if i < len(words))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    files[2].write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    assert [content_hash(file) for file in files] == [hashlib.sha256(content).hexdigest()] * 3
    assert type(load_policy(files[2])) is type(policy)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff" * 9, b"\2\0\0\0\0\0\0\0[]"])
def test_what_holds_no_policy_has_a_hash_too(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.safetensors").write_bytes(content)
    assert len(content_hash(tmp_path / "p.safetensors")) == 64


@pytest.mark.parametrize("policy", POLICIES)
def test_saving_again_replaces_the_file_and_leaves_nothing_else(
    policy: SigmoidPolicy | MlpPolicy, tmp_path: Path
) -> None:
    path = tmp_path / "p.safetensors"
    save_policy(SIGMOID, path)
    save_policy(policy, path)
    assert type(load_policy(path)) is type(policy)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_for_another_space_is_refused(
    policy: SigmoidPolicy | MlpPolicy, tmp_path: Path
) -> None:
    path = tmp_path / "p.safetensors"
    save_policy(policy, path)
    with pytest.raises(
        InvalidInputError, match=r"made for beam_width \(1, 4\), this space has \(1"
    ):
        load_policy(path, space=replace(SPACE, beam_width=(1, 8)))
    with pytest.raises(
        InvalidInputError, match="made for tools calculator, python, this space has none"
    ):
        load_policy(path, space=replace(SPACE, tools=frozenset()))


def test_a_network_for_other_features_is_refused(tmp_path: Path) -> None:
    save_policy(trained(), tmp_path / "p.safetensors")
    with pytest.raises(
        InvalidInputError, match="features entropy, distance, the assessor gives distance, entropy"
    ):
        load_policy(tmp_path / "p.safetensors", features=("distance", "entropy"))


def header() -> dict[str, str]:
    return {
        "schema": "amp-policy/1",
        "kind": "sigmoid",
        "space": SPACE.to_json(),
        "max_rounds": "4",
        "max_samples": "null",
    }


TENSORS = {"w": np.zeros(8), "b": np.zeros(8), "log_stds": np.zeros(5)}


def test_the_header_of_these_tests_is_one_that_loads(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(save(TENSORS, metadata=header()))
    assert isinstance(load_policy(tmp_path / "p"), SigmoidPolicy)


@pytest.mark.parametrize(
    ("changes", "tensors", "message"),
    [
        ({"schema": "amp-policy/0"}, {}, "schema 'amp-policy/0', expected 'amp-policy/1'; train"),
        ({"space": "{}"}, {}, "not the JSON of an allocation space"),
        ({"max_rounds": "many"}, {}, "does not fit: invalid literal"),
        ({"max_rounds": "0"}, {}, "max_rounds is 0"),
        ({"kind": "tree"}, {}, "kind is 'tree', expected 'sigmoid' or 'mlp'"),
        ({"kind": "mlp"}, {}, "lacks 'inputs'"),
        (
            {"kind": "mlp", "inputs": "0", "features": "[]"},
            {},
            "reads inputs of version 0, this is version 2",
        ),
        ({}, {"w": np.zeros(7), "b": np.zeros(7)}, "has 7 lines, expected 8"),
        ({}, {"w": np.zeros(7)}, "does not fit: zip"),
        ({}, {"log_stds": np.full(5, np.nan)}, "expected 5 numbers from -20 to 5"),
    ],
)
def test_a_file_that_says_something_else_is_refused_in_one_line(
    changes: dict[str, str], tensors: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(save(TENSORS | tensors, metadata=header() | changes))
    with pytest.raises(InvalidInputError, match=message) as caught:
        load_policy(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no policy .*none"):
        load_policy(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InvalidInputError, match="text is no safetensors file"):
        load_policy(tmp_path / "text")
    (tmp_path / "bare").write_bytes(save(TENSORS))
    with pytest.raises(InvalidInputError, match="bare has the schema None, expected"):
        load_policy(tmp_path / "bare")


def test_nothing_of_where_it_runs_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_policy(replace(trained(), deterministic=True, seed=3, trade_off=0.9), path)
    again = load_policy(path)
    assert isinstance(again, MlpPolicy)
    assert (again.deterministic, again.seed, again.trade_off) == (False, 0, 0.85)
    assert set(load(path.read_bytes())) == {
        "log_stds",
        "mean",
        "std",
        *(f"layers.{n}.{part}" for n in range(3) for part in ("weight", "bias")),
    }
