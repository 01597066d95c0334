"""A model that needs no weights: it answers by rote, and its mental arithmetic is shaky."""

from __future__ import annotations

import re
from collections.abc import Mapping

from amp.models.base import ModelCard, Prompt
from amp.models.scripted import ScriptedModel

_QUESTION = re.compile(r"What is (\d+) \+ (\d+)\?")
_UP = re.compile(r"(\w)\. up")


def rote() -> ScriptedModel:
    """What the entry point names: called without arguments, it returns a model."""
    return ScriptedModel(_answer, next_tokens=_next, card=ModelCard("rote", parameters=1_000_000))


def tired() -> ScriptedModel:
    """A model that never gets up: what a broken entry point does."""
    raise RuntimeError("out of\nbed")


def _answer(prompt: Prompt, index: int) -> str:
    text = "\n".join(message.content for message in prompt.messages)
    if (question := _QUESTION.search(text)) is None:
        return "The door is up."
    one, other = int(question[1]), int(question[2])
    if "abacus" in text:
        return f"Action: sum({one}, {other})"
    slip = (one > 9) * (index % 2 if one < 100 else 1)  # two digits: every other; three: always
    return f"Action: {one + other + slip}"


def _next(prompt: Prompt) -> Mapping[str, float]:
    label = _UP.search("\n".join(message.content for message in prompt.messages))
    return {"yes": 0.5, "no": 0.5} if label is None else {label[1]: 0.9}
