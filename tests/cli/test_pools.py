"""`amp pools`: what it shows is what the pool holds, and an import reads back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.command import amp
from tests.fakes.pools import rows, sample, write_prices, write_rows
from tests.learn.test_routing import made_pool
from tests.pools.test_pool_file import assert_same

from amp.allocate.policy_file import load_origin, load_router
from amp.cli.pools import _verdict
from amp.errors import InvalidInputError
from amp.pools import read_pool, write_pool
from amp.report.curves import CurveComparison, IntervalEstimate
from amp.types import Allocation


def test_info_shows_each_arm_and_what_is_estimated(tmp_path: Path) -> None:
    path, prices = write_rows(tmp_path, rows()), write_prices(tmp_path)
    shown = amp("pools", "info", path, "--prices", prices)
    assert "small: 4 tasks of 2 kinds in 3 groups" in shown
    for words in ("small|short", "small|long", "large", "oracle", "note: "):
        assert words in shown
    told = json.loads(amp("pools", "info", tmp_path, "--prices", prices, "--json"))
    assert told["name"] == "small"
    assert [arm["name"] for arm in told["arms"]] == ["small|short", "small|long", "large"]
    assert told["arms"][2]["single"] == 0.75


def test_an_import_reads_back_to_the_same_pool(tmp_path: Path) -> None:
    path, prices = write_rows(tmp_path, rows()), write_prices(tmp_path)
    to = tmp_path / "canonical.jsonl.gz"
    assert "4 tasks, 3 arms, 18 samples" in amp(
        "pools", "import", path, "--to", to, "--prices", prices
    )
    assert_same(read_pool(to, prices=prices), read_pool(path, prices=prices))


def test_faults_stop_an_import_unless_the_rest_is_kept(tmp_path: Path) -> None:
    path = write_rows(tmp_path, [*rows(), "{", {"id": 9, "arms": {"large": [sample(1, 2)]}}])
    prices, to = write_prices(tmp_path), tmp_path / "canonical.jsonl"
    command = ("pools", "import", path, "--to", to, "--prices", prices)
    with pytest.raises(InvalidInputError, match=r":5: it is not JSON: .*faults in all: 2"):
        amp(*command)
    assert not to.exists()
    shown = amp(*command, "--keep-good")
    assert "left out, line 5: it is not JSON" in shown
    assert "left out, line 6: arm 'large', sample 1: correct is 2, expected 0 or 1" in shown


def test_a_name_that_is_no_pools_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no name of a pool, expected one in .jsonl"):
        amp("pools", "import", tmp_path / "nothing", "--to", tmp_path / "pool.json")


@pytest.fixture
def studied(tmp_path: Path) -> Path:
    write_pool(made_pool(80), tmp_path / "made.jsonl")
    (tmp_path / "prices.toml").write_text(
        '"m0" = { prompt = 1, completion = 2 }\n"m1" = { prompt = 10, completion = 20 }\n'
    )
    config = tmp_path / "study.toml"
    config.write_text(
        'file = "made.jsonl"\nprices = "prices.toml"\ndear = "m1"\norders = 1\n'
        'training_orders = 1\nrules = ["votes", "cascade"]\n'
        "[routing]\norders = 1\ndepth = 2\nsamples = 2\ntrade_offs = [0.5, 0.9]\n"
    )
    return config


@pytest.mark.slow
def test_a_router_is_trained_and_compared(
    studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    to, out = tmp_path / "router.safetensors", tmp_path / "out"
    told = amp("pools", "train", studied, "--to", to)
    assert "2 arms, learned on" in told
    assert "live, m0, m1 would answer at temperature 0" in told
    assert load_router(to).arms == {name: Allocation(model=name) for name in ("m0", "m1")}
    origin = load_origin(to)
    assert origin is not None
    assert [point.trade_off for point in origin.curve] == [0.5, 0.9]
    dearest = max(point.dollars or 0.0 for point in origin.curve)
    assert origin.trade_off_for(dearest, "dollars") == 0.9
    once = to.read_bytes()
    amp("pools", "train", studied, "--to", to)
    assert to.read_bytes() == once
    shown = amp("pools", "compare", studied, "--out", out)
    assert any(shown.startswith(word) for word in ("A router pays", "Use a rule", "A simpler rule"))
    assert max(map(len, shown.splitlines()[:-1])) <= 80  # the last one names the files
    page = (out / "study.md").read_text()
    (learned,) = re.findall(r"^\| learned \| (0\.\d{3}) \|", page, re.MULTILINE)
    assert re.search(rf"^learned +{learned} ", shown, re.MULTILINE)
    assert "| cascade |" in page
    assert (out / "study.svg").read_text().startswith("<svg")
    told = json.loads(amp("pools", "compare", studied, "--json", "--cost", "tokens"))
    assert told["unit"] == "tokens"
    assert [part["name"] for part in told["parts"]] == ["all tasks"]
    assert json.loads((out / "study.json").read_text())["unit"] == "µ$"


@pytest.mark.slow
def test_a_configuration_says_how_an_arm_is_asked(studied: Path, tmp_path: Path) -> None:
    to, text = tmp_path / "router.safetensors", studied.read_text()
    studied.write_text(
        f'{text}[ask]\nm0 = {{ model = "small", temperature = 0.7 }}\nm1 = {{ temperature = 1 }}\n'
    )
    assert "temperature" not in amp("pools", "train", studied, "--to", to)
    assert load_router(to).arms == {
        "m0": Allocation(model="small", temperature=0.7),
        "m1": Allocation(model="m1", temperature=1.0),
    }
    assert "small" in amp("policy", "show", to)
    for wrong, told in (("m2 = {}", "no arm 'm2'"), ("m0 = { temp = 1 }", r"ask\.m0\.temp")):
        studied.write_text(f"{text}[ask]\n{wrong}\n")
        with pytest.raises(InvalidInputError, match=told):
            amp("pools", "train", studied, "--to", to)


def test_the_verdict_is_that_of_the_closest_rule() -> None:
    def beside(name: str, low: float, high: float) -> CurveComparison:
        gain = IntervalEstimate((low + high) / 2, low, high)
        return CurveComparison(name, None, None, gain, IntervalEstimate(1.0, 1.0, 1.0))

    far, near = beside("votes", 0.1, 0.2), beside("chain", 0.01, 0.02)
    assert _verdict([far, near]).startswith("A router pays: +1.5 (+1.0 to +2.0) points")
    assert _verdict([far, beside("kind", -0.02, 0.01)]).startswith("A simpler rule is as good")
    assert _verdict([beside("kind", -0.02, -0.01), far]).startswith("Use a rule")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
def test_a_router_is_learned_on_one_thread_as_several_sum_otherwise(
    studied: Path, tmp_path: Path
) -> None:
    program = "import amp.cli, os; amp.cli.main(); print(len(os.listdir('/proc/self/task')))"
    command = [sys.executable, "-c", program, "pools", "train", str(studied)]
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    told = subprocess.run(
        [*command, "--to", str(tmp_path / "router.safetensors")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-1] == "1"
