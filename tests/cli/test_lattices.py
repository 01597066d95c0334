"""The command that learns on a lattice and compares."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.simulate.lattices import player, record_babyai
from typer.testing import CliRunner, Result

from amp import cli
from amp.allocate.plan_state import plan_rules
from amp.allocate.policy_file import load_arm_values
from amp.annotations.store import read_annotations
from amp.benchmarks.babyai import BabyAI
from amp.errors import AmpError, InvalidInputError, RecordingError
from amp.models.base import NextToken
from amp.models.scripted import ScriptedModel
from amp.simulate.lattice_recording import Survey
from amp.simulate.lattice_states import Arms, lattice_arms

LEVELS = ("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0")
CONFIG = """
benchmark = "babyai"
source = "lattice"
recording = "lattice.sqlite"
arms = ["act", "follow", "plan 2"]
limit = 1
learner = "values"
[lattice]
max_steps = 3
levels = ["BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0"]
[compare]
limit = 1
seeds = 1
learners = ["values"]
[ppo]
reference_cost = 2000
"""

SWEEP = """
of = "babyai.toml"
seeds = 1
[[variants]]
part = "2.7.4 reward"
name = "success alone"
trade_off = 1.0
"""


def amp(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, [*arguments])
    if isinstance(result.exception, AmpError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("babyai.toml").write_text(CONFIG)
    return tmp_path


@pytest.mark.slow
def test_one_command_gives_the_policies_and_the_table(folder: Path) -> None:
    arms = Arms(lattice_arms(BabyAI(), ("act", "follow", "plan 2")))
    for level in LEVELS:
        benchmark = BabyAI(level)
        survey = Survey(benchmark, arms, 1000, max_steps=3)
        for split in ("train", "test"):
            record_babyai(folder / "lattice.sqlite", survey, benchmark.tasks(split, 1))
    labelled = amp(
        "lattices", "label", "babyai.toml", "--split", "train", "--out", "needed.jsonl"
    ).stdout
    assert re.match(
        r"added to needed.jsonl: [1-9]\d* annotations of 2 tasks, by what pays at", labelled
    )
    assert "tasks left out: 0" in labelled  # beyond the limit none is looked for
    assert {n.by for n in read_annotations(Path("needed.jsonl")).good} == {"rule:needed"}
    amp("train", "babyai.toml", "--out", "policy")
    shown = amp("policy", "show", "policy/policy.safetensors").stdout
    assert "kind: arm values" in shown
    done = amp("lattices", "compare", "babyai.toml", "--out", "out")
    assert "learned and tuned on 2 tasks, tested on 2 others; seeds: 1" in done.stdout
    found = json.loads((folder / "out" / "babyai.json").read_text())
    rules = plan_rules(arms.named)
    told = {run["name"].partition(" tuned")[0] for run in found["runs"]}
    assert {"act", "plan 2", "values at 0.9", *rules} == told
    page = (folder / "out" / "babyai.md").read_text()
    assert "amp lattices compare babyai.toml --out out" in page
    assert "## Allocated against needed, by step" in page
    assert "## The values that were learned\n\n```\ngive up\n```" in page
    assert "- values at 0.9 has no controls: it gave up every task at once" in page
    plans = (folder / "out" / "babyai.html").read_text()
    assert "<h1>Plans on babyai of " in plans
    assert all(plan["episode"]["task"]["id"] in plans for plan in found["plans"])
    assert load_arm_values(folder / "out" / "values-0" / "policy.safetensors").max_rounds == 1
    assert "## By group of tasks" in page
    assert f"| {LEVELS[0]} | 1 | fixed | act | " in page
    Path("sweep.toml").write_text(SWEEP)
    Path("other.toml").write_text(CONFIG)
    done = amp("lattices", "ablate", "sweep.toml", "--of", "other.toml", "--out", "out")
    page = (folder / "out" / "other-sweep.md").read_text()
    assert page.startswith("# Ablations and transfer: babyai, ")
    assert "\n    amp lattices ablate sweep.toml --of other.toml --out out\n" in page
    assert "| 2.7.4 reward | success alone | 2 | " in page
    assert "the whole:\n  give up\n" in page
    assert "written: " in done.stdout


def cut_off(path: Path, train: int) -> None:
    """Records tasks of which all but a few states are missing."""
    arms = Arms(lattice_arms(BabyAI(), ("act", "follow", "plan 2")))
    for level in LEVELS:
        benchmark = BabyAI(level)
        for split, states in (("train", train), ("test", 2)):
            survey = Survey(benchmark, arms, states, max_steps=3)
            record_babyai(path, survey, benchmark.tasks(split, 1))


def played_by(model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> ScriptedModel:
    monkeypatch.setattr("amp.cli.lattices.open_model", lambda *_, **__: model)
    return model


COMPARE = ("lattices", "compare", "babyai.toml", "--out", "out")


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
def test_with_a_model_the_table_is_whole_and_then_needs_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, train: bool
) -> None:
    cut_off(folder / "lattice.sqlite", 2 if train else 1000)
    with pytest.raises(InvalidInputError, match=r"left? the lattice|leaves the lattice.*--model"):
        amp(*COMPARE)
    model = played_by(player(), monkeypatch)
    amp(*COMPARE, "--model", "scripted", *(["--train"] if train else []))
    assert model.closed
    assert model.requests
    page = (folder / "out" / "babyai.md").read_text()
    found = json.loads((folder / "out" / "babyai.json").read_text())
    assert not any("left the lattice" in note for note in found["notes"])
    rules = plan_rules(lattice_arms(BabyAI(), ("act", "follow", "plan 2")))
    told = {run["name"].partition(" tuned")[0] for run in found["runs"]}
    assert {"act", "plan 2", "values at 0.9", *rules} <= told
    amp(*COMPARE)
    assert (folder / "out" / "babyai.md").read_text() == page
    again = played_by(player(), monkeypatch)
    amp(*COMPARE, "--model", "scripted", *(["--train"] if train else []))
    assert not again.requests
    assert not again.probes
    names = ("babyai.md", "babyai.json", "babyai.html", "lattice.sqlite")
    assert not [path for path in folder.rglob("*sqlite*") if path.name not in names]


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_asked_and_the_same_command_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(folder / "lattice.sqlite", 1000)
    whole = player()
    begun = player()
    asks = begun.next_token

    async def interrupted(*arguments: Any, **named: Any) -> NextToken:
        token = await asks(*arguments, **named)
        if len(begun.probes) == 3:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(1)
        return token

    monkeypatch.setattr(begun, "next_token", interrupted)
    played_by(begun, monkeypatch)
    ended = CliRunner().invoke(cli.app, [*COMPARE, "--model", "scripted"])
    assert ended.exit_code == cli.INTERRUPTED
    assert "interrupted; go on with the same command" in ended.output
    assert begun.closed
    played_by(whole, monkeypatch)
    amp(*COMPARE, "--model", "scripted")
    asked = [repr(prompt) for prompt in begun.probes[:2]]
    assert not set(asked) & {repr(prompt) for prompt in whole.probes}


def test_training_tasks_are_visited_with_a_model_alone(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="--train is for states visited with a model"):
        amp(*COMPARE, "--train")


def test_what_is_no_lattice_is_refused_in_one_line(folder: Path) -> None:
    with pytest.raises(RecordingError, match=r"no recording at lattice\.sqlite"):
        amp(*COMPARE)
    (folder / "lattice.sqlite").write_bytes(b"no recording")
    with pytest.raises(RecordingError, match="lattice.sqlite"):
        amp(*COMPARE)
    Path("babyai.toml").write_text('benchmark = "babyai"\nrecording = "lattice.sqlite"\n')
    with pytest.raises(InvalidInputError, match="source is 'samples', expected \"lattice\""):
        amp(*COMPARE)
