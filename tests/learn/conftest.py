"""What the tests of learning share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from amp.learn.networks import one_thread


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in training: two threads that wait for each other are slow on a busy machine."""
    with one_thread():
        yield
