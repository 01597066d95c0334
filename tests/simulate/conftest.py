"""A recorded lattice for the tests of what is visited and of what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.simulate.lattices import record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lattice") / "lattice.sqlite"
    assert record(path) == {}
    return path
