"""All faults that the model server can be told to have, by name."""

from tests.faults.quirks import answers, echoes, refusals, sending  # noqa: F401 - they register
from tests.faults.quirks.base import QUIRKS, of

__all__ = ["QUIRKS", "of"]
