"""The command that learns a policy, from a recording or online."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes.recorded import CARD, CHAIN, PROGRAM, TASKS, record, replayed
from tests.learn.test_trainer import stored
from tests.simulate.test_table_env import network
from typer.testing import CliRunner, Result

from amp import cli
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import load_policy
from amp.assess.base import Training
from amp.assess.neural import NeuralAssessor, load_assessor, save_assessor
from amp.errors import AmpError, InvalidInputError
from amp.learn.trainer import ASSESSOR, METRICS, POLICY

RECIPE = """
benchmark = "gsm8k"
split = "demo"
recording = "pool.sqlite"
samples = 2
demonstrations = 60
epochs = 2
features = ["unread"]
{more}
[ppo]
decisions = 400
episodes = 64
reference_tokens = 200
curriculum = false
"""

Write = Callable[[str], None]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("pool") / "pool.sqlite"
    record(path, [PROGRAM, CHAIN], samples=2)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def write(pool: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the config with more lines in it."""
    monkeypatch.chdir(tmp_path)
    Path("pool.sqlite").write_bytes(pool)

    def written(more: str) -> None:
        Path("config.toml").write_text(RECIPE.format(more=more))

    written("")
    return written


def amp(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, ["train", "config.toml", "--out", "out", *arguments])
    if isinstance(result.exception, AmpError):
        raise result.exception
    return result


@pytest.mark.slow
def test_another_cost_is_charged_with_a_reference_of_its_own() -> None:
    with pytest.raises(InvalidInputError, match=r"--cost is written, .* add --reference-cost"):
        amp("--cost", "written")
    done = amp("--cost", "written", "--reference-cost", "100", "--json")
    assert json.loads(done.stdout)["cost"] == "written"
    with pytest.raises(InvalidInputError, match="setting cost was written, now it is tokens"):
        amp("--resume")


def failed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """The exit code of the command as a person runs it, and what it says."""
    monkeypatch.setattr(sys, "argv", ["amp", "train", "config.toml", "--out", "out"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0), capsys.readouterr().err.strip()


@pytest.mark.parametrize("events", [True, False])
def test_a_recording_becomes_a_policy(events: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amp.learn.trainer.has_tensorboard", lambda: events)
    done = amp()
    assert done.exit_code == 0, done.output
    written = Path("out")
    assert list(written.glob("events.*")) != [] if events else not list(written.glob("events.*"))
    told = "and event files for" if events else "and no event files: TensorBoard is not installed"
    assert f"metrics: {written / METRICS}, {told}" in done.output
    assert f"on its {len(TASKS)} training tasks" in done.output
    policy = load_policy(written / POLICY)
    assert isinstance(policy, MlpPolicy)
    assert (policy.features, policy.max_samples) == (("unread",), 2)
    assert len(replayed(Path("pool.sqlite"), policy)) == len(TASKS)


def test_what_is_learned_is_told_as_json_too() -> None:
    (line,) = amp("--json").stdout.splitlines()
    told = json.loads(line)
    assert told["tasks"] == [task.id for task in TASKS]
    assert (told["model"], told["benchmark"]) == (CARD.name, "gsm8k")
    assert [point["trade_off"] for point in told["curve"]][-1] == 1.0


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ('split = "train"\nrecording = "pool.sqlite"', 3, "no data of gsm8k: "),
        ('split = "demo"\nrecording = "none.sqlite"', 5, "no recording at "),
    ],
)
def test_what_lacks_is_told_before_pytorch_is_loaded(line: str, code: int, message: str) -> None:
    Path("lacks.toml").write_text(f'benchmark = "gsm8k"\n{line}\n')
    begin = "import sys; sys.modules['torch'] = None; from amp.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", begin, "train", "lacks.toml", "--out", "new"],
        env=os.environ | {"AMP_DATA": "nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith(f"amp: {message}")
    assert not Path("new").exists()


def test_a_training_that_is_there_is_gone_on_with_or_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    amp()
    noted, kept = Path("out", METRICS).read_bytes(), stored(Path("out", POLICY))
    code, said = failed(capsys, monkeypatch)
    assert code == 2
    assert said == "amp: out has a policy already; resume it or choose another --out"
    assert amp("--resume").exit_code == 0
    assert Path("out", METRICS).read_bytes() == noted
    assert stored(Path("out", POLICY)) == kept
    longer = Path("config.toml").read_text().replace("400", "600")
    Path("config.toml").write_text(longer)
    amp("--resume")
    assert Path("out", METRICS).read_bytes().startswith(noted)
    assert Path("out", METRICS).read_bytes() != noted


def test_a_network_learns_with_the_policy_and_lies_beside_it(write: Write) -> None:
    scorer = network(0)
    save_assessor(scorer, Training(CARD.name, "gsm8k", CARD.sha256, ("gsm8k/x",)), Path("cam.st"))
    write('assessor = "cam.st"\nend_to_end = true')
    done = amp()
    assert f"assessor: {Path('out', ASSESSOR)}" in done.output
    learned, trained_on = load_assessor(Path("out", ASSESSOR), model=CARD, environment="gsm8k")
    assert isinstance(learned, NeuralAssessor)
    assert (learned.layers[0].weight != scorer.layers[0].weight).any()
    assert trained_on.tasks == tuple(sorted(["gsm8k/x", *(task.id for task in TASKS)]))
    policy = load_policy(Path("out", POLICY))
    assert len(replayed(Path("pool.sqlite"), policy, learned)) == len(TASKS)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("arm = 1", "config.toml: unknown key 'arm'; did you mean 'arms'"),
        ('arms = ["program"]', "no arm is without tools (program), but a policy here may ask"),
        (
            "end_to_end = true",
            "config.toml: end_to_end is true and no assessor is named",
        ),
        ('assessor = "none.st"', "there is no assessor none.st"),
        ('features = ["divergence"]', "config.toml is not TOML"),
    ],
)
def test_a_config_that_cannot_be_followed_is_one_line(
    more: str,
    message: str,
    write: Write,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(more)
    code, said = failed(capsys, monkeypatch)
    assert message in said
    assert code == 2
    assert not Path("out").exists()


ONLINE = """
benchmark = "babyai"
limit = 5
rounds = 1
samples = 2
[online]
level = "BabyAI-GoToRedBall-v0"
[ppo]
decisions = 20
episodes = 5
hidden = 8
curriculum = false
"""


@pytest.mark.slow
def test_online_episodes_can_be_recorded_and_replayed(tmp_path: Path) -> None:
    Path("config.toml").write_text(ONLINE)
    live = amp("--online", "--model", "random", "--record", "r.sqlite")
    assert live.exit_code == 0, live.output
    assert "calls" in live.output
    policy = Path("out", POLICY)
    first = load_policy(policy)
    told = Path("out", METRICS).read_text().splitlines()
    Path("out").rename("live")
    assert amp("--replay", "r.sqlite").exit_code == 0
    assert _same(load_policy(policy), first)
    again = Path("out", METRICS).read_text().splitlines()
    assert [json.loads(line)["cost"] for line in again] == [
        json.loads(line)["cost"] for line in told
    ]


def _same(one: Any, other: Any) -> bool:
    pairs = zip(one.layers, other.layers, strict=True)
    return all(np.array_equal(a.weight, b.weight) for a, b in pairs)


def test_a_model_is_for_training_online(tmp_path: Path) -> None:
    with pytest.raises(AmpError, match="--model is for training online; add --online"):
        amp("--model", "random")
