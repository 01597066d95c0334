"""No key and no password in anything that a command writes: output, traces, recordings, pages."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.faults.forks import SECONDS, seconds_of
from tests.faults.honest import DIALECTS, Dialect
from tests.faults.quirks import of
from tests.faults.quirks.echoes import forms
from tests.faults.server import serving

from amp.cli import main

MARK = "KEYMARK"
KEY = f"sk-{MARK}/9f31+'7\"c\\x"
SHARE_IN_CI = 150
RUNS_A_PAGE = 20
"""A page takes as long as a run, so runs share one."""

RUN = ("run", "gsm8k", "--split", "demo", "--limit", "2", "--allocator", "fixed")
LIMITS = ("--max-seconds", "4", "--jobs", "2", "--out", "run", "--record", "recording.sqlite")
SECRETS = [MARK, *forms(KEY).split(" | ")]


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code of a command and all that it wrote to the terminal; it has to end in time."""
    began = seconds_of(os.getpid())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["amp", *arguments])
        try:
            main()
            code = 0
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else 1
    seconds = seconds_of(os.getpid()) - began
    assert seconds <= SECONDS, f"{arguments} took {seconds:.1f} s"
    said = capsys.readouterr()
    return code, said.out + said.err


def written(folder: Path, pattern: str = "*") -> str:
    """The content of all files below a folder."""
    files = [path for path in folder.rglob(pattern) if path.is_file()]
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


def session(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    dialect: Dialect,
    address: str,
    key: str,
    *,
    has_page: bool = True,
) -> str:
    """Runs, reports and shows with one server; returns everything that came of it."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AMP_BASE_URL", address)
        patch.setenv("AMP_API_KEY", key)
        patch.setenv("AMP_SANDBOX", "unsafe")
        patch.setattr(f"{dialect}._base_client.INITIAL_RETRY_DELAY", 0.01)
        code, said = command(capsys, *RUN, "--model", f"{dialect}:m", *LIMITS)
        assert code in (0, 1, 2, 4), said
        if (folder / "run").is_dir():
            said += page(capsys, folder, ["run"]) if has_page else ""
            said += command(capsys, "trace", "show", "run")[1]
    assert "Traceback" not in said
    return said + written(folder)


def page(capsys: pytest.CaptureFixture[str], folder: Path, runs: list[str]) -> str:
    """A report on runs, in the terminal and as a page; on each alone where they don't fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, said = command(capsys, "report", *runs, "--html", "page.html")
    if code and len(runs) > 1:
        return "".join(page(capsys, folder, [run]) for run in runs)
    assert "Traceback" not in said
    return said + written(folder, "page.html")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_behaviour_of_a_server_gets_a_key_out(
    dialect: Dialect, thorough: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole run, its record and its page, with everything that servers do."""
    names = of(dialect)
    if not thorough:
        chosen = [name for name in names if not zlib.crc32(name.encode()) % SHARE_IN_CI]
        names = [*chosen, "echoes-key-answer", "echoes-key-401", "text-surrogate"]
    faults = []
    with serving() as server:
        for name in names:
            try:
                address = server.of(dialect, name)
                all_of_it = session(capsys, tmp_path / name, dialect, address, KEY, has_page=False)
            except Exception as error:  # any is a finding, and the others are wanted as well
                faults.append((name, f"{type(error).__name__}: {error}"[:300]))
                continue
            faults += [(name, secret) for secret in SECRETS if secret in all_of_it]
    runs = [f"{name}={name}/run" for name in names if (tmp_path / name / "run").is_dir()]
    for start in range(0, len(runs), RUNS_A_PAGE):
        some = runs[start : start + RUNS_A_PAGE]
        shown = page(capsys, tmp_path, some)
        faults += [(" ".join(some), secret) for secret in SECRETS if secret in shown]
    assert not faults


ODD_KEYS = [
    *(f"{MARK}-9f31\r", f"{MARK}-9f31\n", f"{MARK}\r\n9f31", f"{MARK}\t9f31", f" {MARK}-9f31 "),
    *(f"\ufeff{MARK}-9f31", f"{MARK}\u20139f31", f"{MARK}\x019f31", f"{MARK}\xe99f31"),
]


def test_withheld_answers_are_an_outcome_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        all_of_it = session(
            capsys, tmp_path / "x", "openai", server.openai("reason-content_filter"), KEY
        )
    assert "answers were withheld by the provider's filter" in all_of_it
    assert "withheld by the provider's filter" in written(tmp_path / "x" / "run")


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_odd_key_is_cleaned_or_refused_in_words(
    dialect: Dialect, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        folder = tmp_path / "odd"
        all_of_it = session(capsys, folder, dialect, server.of(dialect), key)
        assert MARK not in all_of_it
        if not server.asked:
            assert "expected printable ASCII" in all_of_it


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["", "echoes-key-500"])
def test_a_login_and_a_query_in_the_address_are_shown_nowhere(
    dialect: Dialect, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    password = f"{MARK}%/7"
    with serving() as server:
        plain = server.of(dialect, name)
        login = plain.replace("://", f"://user:{quote(password, safe='')}@")
        for number, address in enumerate([login, f"{plain}?api_key={MARK}123&api-version=1"]):
            all_of_it = session(capsys, tmp_path / str(number), dialect, address, "ollama")
            assert MARK not in all_of_it
        assert server.asked
