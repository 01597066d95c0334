"""Profiles by their laws, of a model that is not there."""

from __future__ import annotations

from amp.latency import Profile
from amp.models.base import ModelCard

CARD = ModelCard("a/model", "ab" * 32, parameters=1000)
BATCHES = (1, 2, 4, 8)


def law(
    call: float, prompt: float, prompt_pair: float, completion_pair: float, steps: list[float]
) -> Profile:
    return Profile(
        "law", "", "", 1, call, prompt, prompt_pair, completion_pair, BATCHES, tuple(steps), 0.0, ()
    )  # fmt: skip
