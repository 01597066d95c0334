"""What a server turns out to refuse of a request, and is not asked for again.

Servers and models tell what they cannot do only by refusing it. A field that stood for something
the caller asked for is given up with a warning in the log, once a model: nothing is silent.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from typing import Any

from amp.models.base import Capabilities

_log = logging.getLogger(__name__)

# A value out of range is the caller's mistake, and no refusal of the field as such.
_AS_SUCH = re.compile(
    r"unsupported|deprecated|not (?:be )?(?:supported|allowed|compatible)|n[o']t support"
    r"|cannot both|only the default",
    re.IGNORECASE,
)
# In the order in which they are given up where a server wants one of two.
_SAMPLING = ("top_p", "temperature")


class Refusals:
    """The fields that one model refused, with thinking and without it apart.

    Many models take temperature, top_p and log-probabilities only as long as they do not think.

    Args:
        model: the model's name, for the log.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._fields: set[tuple[str, bool]] = set()

    def learn(self, reason: str, sent: Mapping[str, Any], *, thinks: bool) -> None:
        """Takes note of what was sent and is refused for this reason; at most one field."""
        if "logprobs" in sent and "logprobs" in reason:
            self._fields.add(("logprobs", thinks))
            return
        for name in _SAMPLING:
            if name in sent and name in reason and _AS_SUCH.search(reason):
                if (name, thinks) not in self._fields:
                    when = " while it thinks" if thinks else ""
                    _log.warning(
                        "model %s refuses %s%s; from now on it samples as it likes",
                        self._model, name, when,
                    )  # fmt: skip
                self._fields.add((name, thinks))
                return

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """Returns what is claimed, less the ways of sampling that were refused."""
        return dataclasses.replace(
            claimed,
            temperature=not self.refused("temperature", thinks=False),
            top_p=not self.refused("top_p", thinks=False),
        )

    def refused(self, name: str, *, thinks: bool) -> bool:
        """Whether this field is not to be sent."""
        return (name, thinks) in self._fields
