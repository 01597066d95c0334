"""How an answer is sent: its status, its bytes, and when."""

from __future__ import annotations

import json
from typing import Any

from tests.faults.honest import Call, Reply
from tests.faults.quirks.base import QUIRKS, family, quirk

STATUSES = (401, 402, 403, 404, 405, 408, 409, 413, 429, 451, 500, 502, 503, 504, 529)
family(
    "status",
    {str(status): status for status in STATUSES},
    lambda reply, status: reply.refuse(status, {"error": {"message": "no"}}),
)
BODIES: dict[str, bytes] = {
    "empty": b"",
    "html": b"<html><body>captive portal</body></html>",
    "sse": b'data: {"choices": []}\n\ndata: [DONE]\n\n',
    "latin-1": '{"a": "é"}'.encode("latin-1"),
    "deep-list": b"[" * 200_000,
    "deep-object": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "truncated": b'{"choices": [{"mess',
    "two": b"{} {}",
    "long-number": b'{"usage": ' + b"9" * 100_000 + b"}",
    "escapes": b"\x1b[2J\x1b]0;x\x07 no JSON",
}
family("body", BODIES, lambda reply, body: setattr(reply, "body", body))
family("refusal", BODIES, lambda reply, body: reply.refuse(400, body))


@quirk("deep-valid")
def _deep_valid(call: Call, reply: Reply) -> None:
    """Nested too deeply in a place that nobody reads, but valid."""
    begin = json.dumps(reply.body).encode()[:-1]
    reply.body = begin + b', "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"


@quirk("deep-content")
def _deep_content(call: Call, reply: Reply) -> None:
    nested: Any = "#### 84"
    for _ in range(400):
        nested = [{"type": "text", "text": nested}]
    reply.say(nested)


@quirk("bom")
def _bom(call: Call, reply: Reply) -> None:
    reply.body = "\ufeff".encode() + json.dumps(reply.body).encode()


@quirk("gzip-bomb")
def _gzip_bomb(call: Call, reply: Reply) -> None:
    import zlib

    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(b'{"a": "')]
    parts += [packer.compress(b" " * 1_000_000) for _ in range(400)]
    reply.body = b"".join([*parts, packer.flush()])
    reply.headers["Content-Encoding"] = "gzip"


@quirk("gzip-bad")
def _gzip_bad(call: Call, reply: Reply) -> None:
    reply.body = b"no gzip at all"
    reply.headers["Content-Encoding"] = "gzip"


@quirk("endless")
def _endless(call: Call, reply: Reply) -> None:
    reply.body, reply.endless = b" " * 65_536, True


@quirk("endless-refusal")
def _endless_refusal(call: Call, reply: Reply) -> None:
    reply.refuse(400, b" " * 65_536)
    reply.endless = True


@quirk("hangs-up")
def _hangs_up(call: Call, reply: Reply) -> None:
    reply.status = reply.prompt_tokens = reply.completion_tokens = 0


@quirk("broken-off")
def _broken_off(call: Call, reply: Reply) -> None:
    """The answer breaks off in the middle, after it was generated: it is billed."""
    reply.cut = 20


@quirk("broken-off-once")
def _broken_off_once(call: Call, reply: Reply) -> None:
    if call.number == 1:
        reply.cut = 20


@quirk("busy-once")
def _busy_once(call: Call, reply: Reply) -> None:
    if call.number == 1:
        reply.refuse(429, {"error": {"message": "slow down"}})
        reply.headers["retry-after-ms"] = "1"


@quirk("filtered-once")
def _filtered_once(call: Call, reply: Reply) -> None:
    if call.number == 1:
        QUIRKS["filtered"].change(call, reply)


@quirk("retry-after-year")
def _retry_after(call: Call, reply: Reply) -> None:
    reply.refuse(429, {"error": {"message": "slow down"}})
    reply.headers["Retry-After"] = "31536000"


@quirk("drips")
def _drips(call: Call, reply: Reply) -> None:
    reply.drip_seconds = 0.5


@quirk("slow")
def _slow(call: Call, reply: Reply) -> None:
    """Takes a fifth of a second for a token; what there is when the client hangs up is billed."""
    reply.wait_seconds = 0.2 * reply.completion_tokens


@quirk("never")
def _never(call: Call, reply: Reply) -> None:
    reply.wait_seconds = 3600.0


@quirk("redirect")
def _redirect(call: Call, reply: Reply) -> None:
    reply.refuse(307, b"")
    reply.headers["Location"] = "/redirect/v1/chat/completions"


@quirk("redirect-away")
def _redirect_away(call: Call, reply: Reply) -> None:
    reply.refuse(307, b"")
    reply.headers["Location"] = "http://127.0.0.2:9/v1/chat/completions"


@quirk("headers-big")
def _headers_big(call: Call, reply: Reply) -> None:
    reply.headers |= {f"X-{i}": "x" * 60_000 for i in range(20)}
