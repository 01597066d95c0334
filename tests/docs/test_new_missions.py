"""What the page says of new missions and goals is what its commands make, without a model."""

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

PAGE = (ROOT / "docs" / "learning.md").read_text()
NETWORK = "recordings/policies/lattice-ppo.safetensors"
LEVELS = ("gotolocal", "pickuploc", "putnext", "unlock", "twodoors", "gotoseq")


class Replayed:
    """A section of the page, and the runs of its command, in a folder of their own.

    Args:
        name: of the configuration and the recording.
        section: its anchor.
        monkeypatch: enters the folder.
        folder: for the runs.
        more: files that the command needs besides.
    """

    def __init__(
        self, name: str, section: str, monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str
    ) -> None:
        monkeypatch.setattr("amp.files.os.fsync", lambda file: None)  # a busy disk takes its time
        recording = f"recordings/{name}.sqlite"
        for file in (f"configs/{name}.toml", recording, *more):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        monkeypatch.chdir(folder)
        self.section = PAGE.split(f"{{ #{section} }}")[1].split("\n## ")[0].split("\n### ")[0]
        command = f"amp sweep configs/{name}.toml"
        assert f"`{command}`" in self.section
        done = CliRunner().invoke(app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        self._runs = folder / "runs" / name
        self._flops = costing("flops", RecordedModel(None, Path(recording), "replay").card).of

    def played(self, benchmark: str, allocator: str) -> list[Episode]:
        """The episodes of an allocator."""
        runs = self._runs / benchmark / "qwen2.5-coder-1.5b" / allocator / "seed-0"
        return list(read_episodes(runs))

    def spent(self, episodes: Sequence[Episode]) -> str:
        """Cells of the means of tokens and of 10^12 FLOPs."""
        tokens = fmean(episode.usage.tokens for episode in episodes)
        return f"{tokens:,.0f} | {fmean(self._flops(e.usage) for e in episodes) / 1e12:.2f}"


def solved(episodes: Sequence[Episode]) -> str:
    """A cell such as 3 of 10."""
    return f"{sum(episode.success is True for episode in episodes)} of {len(episodes)}"


@pytest.mark.slow
def test_the_table_of_new_missions_is_what_its_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minigrid")
    made = Replayed("babyai-new-missions", "new-missions", monkeypatch, tmp_path, NETWORK)
    for allocator in ("act", "plan-then-follow", "learned", "ppo"):
        by_level = [made.played(level, allocator) for level in LEVELS]
        every = [episode for episodes in by_level for episode in episodes]
        assert len(every) == 10
        cells = (allocator, solved(every), made.spent(every), *map(solved, by_level))
        row = f"| {' | '.join(cells)} |"
        assert row in made.section, row


@pytest.mark.slow
@pytest.mark.data("alfworld")
def test_the_table_of_new_alfworld_games_is_what_its_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("textworld")
    made = Replayed("alfworld-new-games", "new-games", monkeypatch, tmp_path)
    for allocator in ("act", "learned"):
        episodes = made.played("alfworld", allocator)
        assert len(episodes) == 10
        row = f"| {allocator} | {solved(episodes)} | {made.spent(episodes)} |"
        assert row in made.section, row


@pytest.mark.slow
@pytest.mark.data("webshop")
def test_the_table_of_new_goals_is_what_its_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rapidfuzz")
    made = Replayed("webshop-new-goals", "new-goals", monkeypatch, tmp_path)
    for allocator in ("act", "plan-then-follow", "learned"):
        episodes = made.played("webshop", allocator)
        assert len(episodes) == 10
        score = f"{fmean(episode.score for episode in episodes):.2f}"
        row = f"| {allocator} | {solved(episodes)} | {score} | {made.spent(episodes)} |"
        assert row in made.section, row
