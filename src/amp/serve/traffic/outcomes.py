"""What a client says came of its calls: ``POST /v1/amp/outcome``.

    {"episode": "ticket-17", "success": 1}
    {"episode": "ticket-17", "step": 3, "success": 0.5, "note": "half of the tests pass"}

The episode is the name that the client gave its calls (``x-amp-episode``). Only the key that made
them may say what came of them.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field

from amp.errors import InvalidInputError
from amp.serve.accounts.base import Accounts, Refusal
from amp.serve.dialects.base import fields_of
from amp.serve.exchange import Exchange, RefusedCallError, length_of
from amp.serve.traffic.tables import WHOLE_EPISODE
from amp.serve.traffic.writer import Traffic
from amp.serve.upstreams.upstream import client_key
from amp.settings import Config, checked

OUTCOME_PATH = "/v1/amp/outcome"
_LONGEST_EPISODE, _LONGEST_NOTE = 200, 1_000
_LARGEST = 10_000


class _Outcome(Config):
    """What came of an episode, or of one of its steps."""

    episode: Annotated[str, Field(min_length=1, max_length=_LONGEST_EPISODE)]
    success: Annotated[float, Field(ge=0.0, le=1.0)]
    step: Annotated[int, Field(ge=0, le=2**31)] | None = None
    note: Annotated[str, Field(max_length=_LONGEST_NOTE)] = ""


async def take_outcome(
    exchange: Exchange, body: bytes, accounts: Accounts, traffic: Traffic | None
) -> None:
    """Keeps an outcome, and says so.

    Raises:
        RefusedCallError: if nothing is kept here, the key is none, or has no such episode.
        InvalidInputError: if it is no outcome; names the field.
    """
    if exchange.method != "POST":
        raise RefusedCallError(405, "an outcome is posted: POST {episode, success, step, note}")
    if traffic is None:
        raise RefusedCallError(404, "no traffic is kept here (amp serve --traffic FILE)")
    key = await accounts.name_of(client_key(exchange.headers))
    if isinstance(key, Refusal):
        raise RefusedCallError(key.status, key.reason, key.retry_after_seconds)
    if len(body) > _LARGEST:
        raise RefusedCallError(413, f"the outcome is larger than {_LARGEST:,} bytes")
    fields = fields_of(body)
    if fields is None:
        raise InvalidInputError("the outcome is no JSON object, expected episode and success")
    said = checked(_Outcome, fields, "outcome")
    step = WHOLE_EPISODE if said.step is None else said.step
    found = await traffic.outcome(key, said.episode, step, said.success, said.note)
    if found is None:
        raise RefusedCallError(503, "the outcome cannot be kept now; send it again", 5.0)
    if not found:
        what = "episode" if said.step is None else f"step {said.step} of an episode"
        raise RefusedCallError(404, f"there is no {what} {said.episode!r} of this key")
    content = json.dumps({"object": "amp.outcome", **said.model_dump()}).encode()
    await exchange.begin(200, [(b"content-type", b"application/json"), length_of(content)])
    await exchange.end(content)
