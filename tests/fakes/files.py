"""Where the tests find what ships with the repository, and the data of benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("AMP_DATA") or ROOT.parent / "shared" / "data")
"""Folders named after benchmarks; tests marked ``data("NAME")`` are skipped without theirs."""
