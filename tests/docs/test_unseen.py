"""The table of what the default costs in worlds that no policy has seen is what is recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.fakes.files import ROOT

from experiments import unseen

PAGE = (ROOT / "docs" / "guides" / "own-environment.md").read_text(encoding="utf-8")


async def test_the_table_of_the_default_is_what_the_recording_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "recordings" / "unseen.sqlite", tmp_path)
    await unseen.main([str(tmp_path / "unseen.sqlite")])
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + 2 * (len(unseen.WORLDS) + 1)
    assert "\n".join(["", *table, ""]) in PAGE


@pytest.mark.parametrize("doubt", ["3", "1.1"])
async def test_what_doubt_was_chosen_by_is_what_the_recording_gives(
    doubt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "recordings" / "unseen.sqlite", tmp_path)
    path = str(tmp_path / "unseen.sqlite")
    await unseen.main([path, "--split", "train", "--tasks", "12", "--doubt", doubt])
    *_, act, other = capsys.readouterr().out.splitlines()
    assert f"| doubt {doubt} |" in other
    assert act in PAGE
    assert other in PAGE
