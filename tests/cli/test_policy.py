"""What `amp policy show` says is what the policy does."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.allocate.test_mlp_policy import SPACE, trained
from tests.fakes.command import amp
from tests.fakes.worlds import context
from typer.testing import CliRunner

from amp.allocate.mlp_policy import INPUTS_VERSION, MlpPolicy
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.policy_file import save_policy
from amp.allocate.space import Space, sigmoid
from amp.cli import app
from amp.cli.policy import COMPLEXITIES, TRADE_OFFS, policy_view
from amp.errors import InvalidInputError
from amp.types import Complexity

NETWORK = replace(trained(), max_rounds=3)
LINES = SigmoidPolicy.initial(SPACE)


def saved(policy: SigmoidPolicy | MlpPolicy, directory: Path) -> Path:
    path = directory / "policy.safetensors"
    save_policy(policy, path)
    return path


@settings(max_examples=20)
@given(st.integers(0, 99))
def test_a_point_is_what_the_policy_decides_at_that_complexity(seed: int) -> None:
    policy = trained(seed)
    typical = dict(zip(policy.features, policy.mean.tolist(), strict=False))
    view = policy_view(policy)
    assert [curve.trade_off for curve in view.curves] == list(TRADE_OFFS)
    for curve in view.curves:
        assert [point.complexity for point in curve.points] == list(COMPLEXITIES)
        here = replace(policy, trade_off=curve.trade_off or 0.0, deterministic=True)
        for point in curve.points:
            complexity = Complexity(point.complexity, typical)
            assert here.inputs(context(), complexity)[: len(typical)].tolist() == [0.0, 0.0]
            assert point.allocation == here.allocate(context(), complexity).allocation
            chosen = {name for name, p in point.tools.items() if p >= 0.5}
            assert chosen == point.allocation.tools
            assert min(point.stop_agreed, point.stop_split) >= 0.0
            assert max(point.stop_agreed, point.stop_split) <= 1.0


def test_lines_have_one_curve_and_stop_whatever_the_votes_say() -> None:
    (curve,) = policy_view(LINES).curves
    assert curve.trade_off is None
    for point in curve.points:
        stop = sigmoid(LINES.lines[0](point.complexity))
        assert (point.stop_agreed, point.stop_split) == pytest.approx((stop, stop))
    assert [point.allocation.depth for point in curve.points][:: len(COMPLEXITIES) - 1] == [0, 4]


def test_a_network_tells_agreement_from_a_split_vote_and_one_round_ends_in_a_stop() -> None:
    points = [point for curve in policy_view(NETWORK).curves for point in curve.points]
    assert any(point.stop_agreed != point.stop_split for point in points)
    points = [p for c in policy_view(replace(NETWORK, max_rounds=1)).curves for p in c.points]
    assert {stop for p in points for stop in (p.stop_agreed, p.stop_split)} == {1.0}


@pytest.mark.parametrize("policy", [NETWORK, LINES], ids=["mlp", "sigmoid"])
def test_json_says_what_the_policy_is_and_does(
    policy: SigmoidPolicy | MlpPolicy, tmp_path: Path
) -> None:
    told: dict[str, Any] = json.loads(amp("policy", "show", saved(policy, tmp_path), "--json"))
    network = isinstance(policy, MlpPolicy)
    assert told["kind"] == ("mlp" if network else "sigmoid")
    assert Space.from_json(json.dumps(told["space"])) == SPACE
    assert told["max_rounds"] == policy.max_rounds
    assert told["features"] == (list(policy.features) if isinstance(policy, MlpPolicy) else [])
    assert told["inputs"] == (INPUTS_VERSION if network else None)
    assert len(told["curves"]) == (len(TRADE_OFFS) if network else 1)
    first = told["curves"][0]["points"][0]
    assert set(first["tools"]) == SPACE.tools
    assert first["allocation"]["beam_width"] >= 1
    assert math.isfinite(first["stop_agreed"])


def test_the_terminal_shows_a_picture_and_a_row_for_each_complexity(tmp_path: Path) -> None:
    shown = amp("policy", "show", saved(LINES, tmp_path))
    assert "▁" in shown
    assert "█" in shown
    starts = [line.split()[0] for line in shown.splitlines() if line.strip()]
    assert all(f"{complexity:.1f}" in starts for complexity in COMPLEXITIES)
    shown = amp("policy", "show", saved(NETWORK, tmp_path))
    assert all(f"trade-off {trade_off:g}" in shown for trade_off in TRADE_OFFS)
    assert "Features are at their means in training" in " ".join(shown.split())


def test_a_resource_without_a_choice_is_a_flat_line(tmp_path: Path) -> None:
    policy = SigmoidPolicy.initial(Space(beam_width=(2, 2)))
    lines = amp("policy", "show", saved(policy, tmp_path)).splitlines()
    (beams,) = [line for line in lines if line.startswith("beam width")]
    assert beams.split()[2:] == ["2", "─" * len(COMPLEXITIES)]


def test_the_picture_is_saved_and_fetches_nothing(tmp_path: Path) -> None:
    picture = tmp_path / "policy.svg"
    amp("policy", "show", saved(NETWORK, tmp_path), "--svg", picture)
    text = picture.read_text("utf-8")
    assert text.startswith("<svg")
    assert "@font-face" not in text
    json.loads(amp("policy", "show", saved(NETWORK, tmp_path), "--svg", picture, "--json"))
    with pytest.raises(InvalidInputError, match="svg/p.svg cannot be written: Not a directory"):
        amp("policy", "show", saved(NETWORK, tmp_path), "--svg", picture / "p.svg")


def test_what_is_no_policy_is_refused(tmp_path: Path) -> None:
    path = saved(NETWORK, tmp_path)
    whole = path.read_bytes()
    with pytest.raises(InvalidInputError, match="there is no policy .*none"):
        amp("policy", "show", tmp_path / "none")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match="policy.safetensors is no safetensors file"):
        amp("policy", "show", path)
    path.write_bytes(whole.replace(b"amp-policy/1", b"amp-policy/0"))
    with pytest.raises(InvalidInputError, match="has the schema 'amp-policy/0', expected"):
        amp("policy", "show", path)


def test_a_router_is_shown_by_its_ways_to_ask() -> None:
    file = Path(__file__).parents[2] / "recordings" / "policies" / "router.safetensors"
    shown = CliRunner().invoke(app, ["policy", "show", str(file)])
    assert shown.exit_code == 0, shown.output
    assert all(word in shown.output for word in ("program", "chain", "python", "at most 4"))
    told = json.loads(CliRunner().invoke(app, ["policy", "show", str(file), "--json"]).output)
    assert (told["kind"], told["samples"]) == ("router", [4, 4])
    assert list(told["arms"]) == ["program", "chain"]


def test_a_file_of_another_kind_is_not_to_be_trained_again() -> None:
    file = Path(__file__).parents[2] / "recordings" / "policies" / "correctness.safetensors"
    refused = CliRunner().invoke(app, ["policy", "show", str(file)])
    assert isinstance(refused.exception, InvalidInputError)
    assert str(refused.exception).endswith("expected 'amp-policy/1'; name a policy")
