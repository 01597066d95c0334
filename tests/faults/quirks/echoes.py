"""Answers that repeat the key of whoever asks."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

from tests.faults.honest import Call, Reply
from tests.faults.quirks.base import quirk


def forms(key: str) -> str:
    """The key in every form in which servers and libraries quote it."""
    encoded = base64.b64encode(key.encode()).decode()
    found = [key, repr(key), json.dumps(key), quote(key, safe=""), quote_plus(key), encoded]
    return " | ".join([*found, f"Bearer {key}", repr(f"Bearer {key}".encode())])


@quirk("echoes-key-400")
def _echoes_400(call: Call, reply: Reply) -> None:
    reply.refuse(400, {"error": {"message": f"Your key {forms(call.key)} is bad"}})


@quirk("echoes-key-401")
def _echoes_401(call: Call, reply: Reply) -> None:
    reply.refuse(401, {"error": {"message": f"Incorrect API key: {forms(call.key)}"}})


@quirk("echoes-key-500")
def _echoes_500(call: Call, reply: Reply) -> None:
    reply.refuse(500, {"error": {"message": f"headers: {call.headers}"}})


@quirk("echoes-key-text")
def _echoes_text(call: Call, reply: Reply) -> None:
    reply.refuse(400, forms(call.key).encode())


@quirk("echoes-key-answer")
def _echoes_answer(call: Call, reply: Reply) -> None:
    reply.say(f"{forms(call.key)}\n#### 84")


@quirk("echoes-key-garbage")
def _echoes_garbage(call: Call, reply: Reply) -> None:
    reply.body = {"choices": forms(call.key), "usage": forms(call.key), "content": forms(call.key)}


@quirk("echoes-key-in-200")
def _echoes_error(call: Call, reply: Reply) -> None:
    reply.refuse(200, {"error": {"message": forms(call.key)}})


@quirk("echoes-key-finish")
def _echoes_finish(call: Call, reply: Reply) -> None:
    for choice in reply.choices:
        choice.update(finish_reason=call.key, stop_reason=call.key)
