"""The guide to plans of many steps: its configuration is read, and what it prints is printed."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from pathlib import Path

import pytest
from tests.fakes.files import ROOT

from amp.learn.config import load_train_config

GUIDE = (ROOT / "docs" / "guides" / "plans-of-many-steps.md").read_text(encoding="utf-8")


def test_its_configuration_is_one(tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "lattice.sqlite").touch()
    (tmp_path / "it.toml").write_text(toml)
    config = load_train_config(tmp_path / "it.toml")
    assert (config.source, config.learner, config.compare.limit) == ("lattice", "values", 10)
    assert (config.lattice.max_steps, config.ppo.cost) == (16, "flops")


def test_the_configuration_that_it_names_is_one(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "lattices" / "babyai.toml").read_text(encoding="utf-8")
    (tmp_path / "lattice.sqlite").touch()
    (tmp_path / "it.toml").write_text(text.replace("../../lattice.sqlite", "lattice.sqlite"))
    assert len(load_train_config(tmp_path / "it.toml").lattice.levels) == 6


@pytest.mark.slow
def test_its_output_is_what_the_example_prints() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(ROOT / "examples" / "learn_on_a_lattice.py"), run_name="__main__")
    assert f"```\n{printed.getvalue()}```" in GUIDE
