"""What the tests of learning share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.learn.trails import lattice_of

from amp.learn.networks import one_thread
from amp.simulate.lattice_recording import Lattice


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in training: two threads that wait for each other are slow on a busy machine."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lattice") / "it.sqlite"


@pytest.fixture(scope="module")
def lattice(path: Path) -> Lattice:
    return lattice_of(path, "train", 12)
