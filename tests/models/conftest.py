"""The smallest real model, loaded once for all tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from amp.errors import MissingDependencyError
from amp.models import catalog
from amp.models.llamacpp import LlamaCppModel

SMOL = "smollm2-135m"


@pytest.fixture(scope="session")
def smol() -> Iterator[LlamaCppModel]:
    """SmolLM2 in this process, pulled if it is not on this machine."""
    try:
        path = catalog.resolve(SMOL)
    except MissingDependencyError:
        path = catalog.pull(SMOL, progress=lambda done, total: None)
    card = catalog.find(SMOL).card
    model = LlamaCppModel(path, card=card, threads=1, context_tokens=4096, hidden_states=True)
    yield model
    asyncio.run(model.close())
