"""What several tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from amp.models import catalog

# A busy machine is no failure: what is promised about speed is measured in benchmarks/.
settings.register_profile("amp", deadline=None)
settings.load_profile("amp")

SMALL = "smollm2-135m"


@pytest.fixture(scope="session")
def smollm2() -> str:
    """Name of the small real model; it is pulled if it is not on this machine."""
    if SMALL not in {model.name for model in catalog.installed()}:
        catalog.pull(SMALL)
    return SMALL
