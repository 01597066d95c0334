"""A disk that is full ends a command in one line; what was written stays, and it goes on later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.faults import forks
from tests.faults.test_kills import Job, Record, Run, Sweep, Train, answer

from amp.models import scripted
from amp.models.scripted import ScriptedModel

JOBS: list[type[Job]] = [Run, Record, Sweep, Train]


@pytest.fixture(scope="module", autouse=True)
def model() -> None:
    forks.load()


@pytest.mark.parametrize("kilobytes", [0, 2, 12, 40])
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__.lower())
def test_a_full_disk_is_one_line_and_the_command_goes_on(
    job: type[Job],
    kilobytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    thorough: bool,
) -> None:
    if not thorough and (job not in (Run, Record) or kilobytes not in (2, 40)):
        pytest.skip("only with --thorough")
    monkeypatch.setattr(scripted, "random_model", lambda: ScriptedModel(answer))
    made = job()
    made.prepare(tmp_path)
    monkeypatch.setattr(forks, "FILE_BYTES", kilobytes << 10)
    code = os.waitstatus_to_exitcode(os.waitpid(made.start(tmp_path, "0"), 0)[1])
    out, error = forks.said(tmp_path, "0")
    told = out + error
    assert "Traceback" not in told
    if code != 0:
        assert code in (1, 2, 5), told
        if kilobytes:  # or nothing can be told
            assert "cannot be written" in told or "cannot be used" in told, told
    kept = made.kept(tmp_path)
    monkeypatch.setattr(forks, "FILE_BYTES", 64 << 20)
    assert os.waitpid(made.start(tmp_path, "0"), 0)[1] == 0, forks.said(tmp_path, "0")
    assert kept <= made.kept(tmp_path)
