"""What a server refuses, and in which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.faults.honest import DIALECTS, Call, Reply
from tests.faults.quirks.base import QUIRKS, Change, Quirk

Wording = Callable[[str, Any], tuple[int, Any]]

WORDINGS: dict[str, Wording] = {
    "param": lambda name, _: (
        400,
        {"error": {"message": f"Unsupported parameter: '{name}' is not supported.", "param": name}},
    ),
    "argument": lambda name, _: (
        400,
        {"error": {"message": f"Unrecognized request argument supplied: {name}"}},
    ),
    "loc": lambda name, value: (
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", name],
                    "msg": "Extra inputs are not permitted",
                    "input": value,
                }
            ]
        },
    ),
    "list": lambda name, _: (
        400,
        [{"error": {"code": 400, "message": f'Unknown name "{name}": Cannot find field.'}}],
    ),
    "drop": lambda name, _: (
        400,
        {"error": {"message": f"m does not support parameters: ['{name}'], set drop_params=True"}},
    ),
    "nested": lambda name, _: (
        400,
        {"error": {"error": {"message": f"{name}: unknown field", "type": "bad_request"}}},
    ),
    "message": lambda name, _: (
        422,
        {"object": "error", "message": f"The field {name} is not permitted", "code": 422},
    ),
    "text": lambda name, _: (400, f"unexpected keyword argument '{name}'".encode()),
    "500": lambda name, _: (500, {"error": {"message": f"got an unexpected argument '{name}'"}}),
    "wordless": lambda name, _: (400, {"error": {"message": "Bad Request"}}),
}
OPENAI_FIELDS = ("stop", "seed", "n", "temperature", "top_p", "logprobs", "top_logprobs")
ANTHROPIC_FIELDS = ("stop_sequences", "temperature", "top_p", "system", "thinking", "cache_control")


def _refusing(name: str, wording: Wording) -> Change:
    def change(call: Call, reply: Reply) -> None:
        if name in call.body or f'"{name}":' in json.dumps(call.body):
            reply.refuse(*wording(name, call.body.get(name)))

    return change


for _field in dict.fromkeys(OPENAI_FIELDS + ANTHROPIC_FIELDS):
    _known = (_field in OPENAI_FIELDS, _field in ANTHROPIC_FIELDS)
    _where = tuple(dialect for dialect, known in zip(DIALECTS, _known, strict=True) if known)
    for _label, _wording in WORDINGS.items():
        _name = f"refuses-{_field}-{_label}"
        QUIRKS[_name] = Quirk(_name, _refusing(_field, _wording), _where)


def _has(name: str) -> Callable[[Call], object]:
    return lambda call: name in call.body


def _many(call: Call) -> bool:
    return bool(call.body.get("n", 1) > 1)


def _blank_stops(call: Call) -> list[str]:
    return [text for text in call.stop if not text.strip()]


def _both(call: Call) -> bool:
    return {"temperature", "top_p"} <= set(call.body)


def _over_5(call: Call) -> bool:
    return bool(call.body.get("top_logprobs", 0) > 5)


OWN_WORDS: dict[str, tuple[int, str, Callable[[Call], object]]] = {
    "one-choice": (400, "Only one completion choice is allowed", _many),
    "one-choice-500": (500, "Only one completion choice is allowed", _many),
    "no-system": (400, "System role not supported", lambda call: call.system),
    "no-system-role": (400, "messages[0].role does not support 'system'", lambda call: call.system),
    "alternate": (400, "Conversation roles must alternate user/assistant", lambda c: c.system),
    "no-probabilities": (400, "This model does not return log probabilities", _has("logprobs")),
    "probabilities-500": (
        500,
        "Out of range float values are not JSON compliant",
        _has("logprobs"),
    ),
    "max-tokens": (400, "max_tokens: use max_completion_tokens instead", _has("max_tokens")),
    "top-5": (400, "top_logprobs must be at most 5", _over_5),
    "one-of-two": (400, "temperature and top_p cannot both be specified", _both),
    "blank-stop": (400, "each stop sequence must contain non-whitespace", _blank_stops),
    "context": (400, "This model's maximum context length is 5 tokens", lambda call: True),
    "filtered": (400, "The response was filtered by the content policy", lambda call: True),
}


def _in_own_words(status: int, message: str, when: Callable[[Call], object]) -> Change:
    def change(call: Call, reply: Reply) -> None:
        if when(call):
            reply.refuse(status, {"error": {"message": message}})

    return change


for _name, _words in OWN_WORDS.items():
    QUIRKS[_name] = Quirk(_name, _in_own_words(*_words))
