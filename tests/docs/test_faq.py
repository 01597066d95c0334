"""The page of questions: its commands run, one after the other, without a model and a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.files import ROOT

PAGE = ROOT / "docs" / "faq.md"


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path) -> None:
    pytest.importorskip("minigrid")
    amp = tmp_path / "bin" / "amp"
    amp.parent.mkdir()
    amp.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m amp "$@"\n')
    amp.chmod(0o755)
    (tmp_path / "recordings").symlink_to(ROOT / "recordings")
    nowhere = "http://127.0.0.1:9"  # where nobody listens
    env = os.environ | {"PATH": f"{amp.parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    env |= {"HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "AMP_MODELS": str(tmp_path / "models")}
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 4
    done = subprocess.run(
        ["bash", "-e", "-c", "".join(blocks)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^babyai fixed +0/3 ", done.stdout, re.MULTILINE)
    assert re.search(r"^babyai plan_then_follow +3/3 ", done.stdout, re.MULTILINE)
    assert re.search(r"^ *clerk\b", done.stdout, re.MULTILINE)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_every_answer_leads_further() -> None:
    answers = re.findall(r"^\*\*[^*]+\?\*\*.*?(?=^\*\*|^## |\Z)", PAGE.read_text(), re.S | re.M)
    assert len(answers) >= 18
    leading_nowhere = [one[:40] for one in answers if "](" not in one and "`" not in one]
    assert leading_nowhere == []
