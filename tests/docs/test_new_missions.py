"""What the page says of new missions of BabyAI is what the command there makes, without a model."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest
from tests.fakes.files import ROOT
from typer.testing import CliRunner

from amp.cli import app
from amp.cost import costing
from amp.models.recorded import RecordedModel
from amp.trace import read_episodes
from amp.types import Episode

SECTION = (
    (ROOT / "docs" / "learning.md").read_text().split("{ #new-missions }")[1].split("\n## ")[0]
)
RECORDING = "babyai-new-missions.sqlite"
NETWORK = "recordings/policies/lattice-ppo.safetensors"
LEVELS = ("gotolocal", "pickuploc", "putnext", "unlock", "twodoors", "gotoseq")


@pytest.mark.slow
def test_the_table_of_new_missions_is_what_its_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minigrid")
    monkeypatch.setattr("amp.files.os.fsync", lambda file: None)  # a busy disk takes its time
    needed = ("configs/babyai-new-missions.toml", f"recordings/{RECORDING}", NETWORK)
    for file in needed:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    command = "amp sweep configs/babyai-new-missions.toml"
    assert f"`{command}`" in SECTION
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    runs = tmp_path / "runs" / "babyai-new-missions"

    def played(level: str, allocator: str) -> list[Episode]:
        return list(read_episodes(runs / level / "qwen2.5-coder-1.5b" / allocator / "seed-0"))

    flops = costing("flops", RecordedModel(None, Path("recordings") / RECORDING, "replay").card).of

    def cells(episodes: Sequence[Episode]) -> str:
        solved = sum(episode.success is True for episode in episodes)
        tokens = fmean(episode.usage.tokens for episode in episodes)
        spent = fmean(flops(episode.usage) for episode in episodes) / 1e12
        return f"{solved} of {len(episodes)} | {tokens:,.0f} | {spent:.2f}"

    for allocator in ("act", "plan-then-follow", "learned", "ppo"):
        by_level = {level: played(level, allocator) for level in LEVELS}
        every = [episode for episodes in by_level.values() for episode in episodes]
        assert len(every) == 10
        of_levels = ", ".join(
            f"{sum(e.success is True for e in episodes)} of {len(episodes)}"
            for episodes in by_level.values()
        )
        row = f"| {allocator} | {cells(every)} | {of_levels.replace(', ', ' | ')} |"
        assert row in SECTION, row


@pytest.mark.slow
@pytest.mark.data("webshop")
def test_the_table_of_new_goals_is_what_its_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rapidfuzz")
    page = (ROOT / "docs" / "learning.md").read_text()
    section = page.split("{ #new-goals }")[1].split("\n## ")[0].split("\n### ")[0]
    recording = "recordings/webshop-new-goals.sqlite"
    for file in ("configs/webshop-new-goals.toml", recording):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    command = "amp sweep configs/webshop-new-goals.toml"
    assert f"`{command}`" in section
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    flops = costing("flops", RecordedModel(None, Path(recording), "replay").card).of
    for allocator in ("act", "plan-then-follow"):
        runs = Path("runs/webshop-new-goals/webshop/qwen2.5-coder-1.5b") / allocator / "seed-0"
        episodes = list(read_episodes(runs))
        solved = sum(episode.success is True for episode in episodes)
        score = fmean(episode.score for episode in episodes)
        tokens = fmean(episode.usage.tokens for episode in episodes)
        spent = fmean(flops(episode.usage) for episode in episodes) / 1e12
        cells = f"{solved} of {len(episodes)} | {score:.2f} | {tokens:,.0f} | {spent:.2f}"
        assert f"| {allocator} | {cells} |" in section
