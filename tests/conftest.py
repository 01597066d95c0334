"""What several tests share."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from amp.models import catalog

# A shell's background job ignores Ctrl-C, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

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
