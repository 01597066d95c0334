"""Programs in environments of their own, beside a gateway in the event loop of a test."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.files import ROOT

PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENTS = ROOT / ".venv" / "clients"
_MOST_SECONDS = 240


def needs(name: str) -> Path:
    """The folder of an environment's programs; skips the test where nobody has built it."""
    folder = ENVIRONMENTS / name / "bin"
    if not (folder.parent / "built").exists():
        pytest.skip(f"no environment {folder.parent}; build it: make test-clients CLIENTS={name}")
    return folder


async def output_of(
    *command: str | Path,
    folder: Path | None = None,
    variables: Mapping[str, str] = {},
) -> str:
    """What a program prints; its errors are the test's."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT / "src"), "NO_PROXY": "127.0.0.1", **variables},
    )
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{out.decode()[-3000:]}\n{errors.decode()[-5000:]}"
    return out.decode()


async def told_by(name: str, program: str, *arguments: str, **variables: str) -> Any:
    """The JSON object that a program prints last."""
    python = needs(name) / "python"
    printed = await output_of(python, PROGRAMS / program, *arguments, variables=variables)
    return json.loads(printed.strip().splitlines()[-1])
