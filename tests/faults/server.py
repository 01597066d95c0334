"""A model server with a switch for every fault that servers have, in both API dialects.

It answers, counts, and bills honestly; each `Quirk` then spoils one thing: what is refused and in
which words, what an answer says, what it claims to have cost, or how the bytes are sent. Its bill
is kept apart from what it states, so that a ledger can be held to it.

    with serving() as server:
        OpenAIModel("m", base_url=server.openai("refuses-stop-param"), ...)
        server.bill                    # what was billed, call by call, cancelled calls among them

As a process: ``python -m tests.faults.server [PORT]`` prints its address; several quirks in a path
are joined by ``+``, as in ``http://127.0.0.1:PORT/thinks+usage-null/v1`` (without ``/v1`` for the
Messages API). ``GET /bill`` returns the bill and ``GET /quirks`` the names, as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args

Dialect = Literal["openai", "anthropic"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

PROGRAM = "```python\nanswer = 84\n```\nThat is it."
LINE = "12 * 7 = 84.\n#### 84\nQuestion: and now?"
THOUGHT = "Perhaps\n#### 5\nor rather not."
_MESSAGE_TOKENS = 4


def count(text: str) -> int:
    """Tokens of a text: words and signs with the space before them; at most one a byte."""
    return len(pieces(text))


def pieces(text: str) -> list[str]:
    """The tokens of a text."""
    return re.findall(r"\s?\w+|\s?[^\w\s]|\s", text)


@dataclass(frozen=True)
class Billed:
    """What one call costs at this server, whatever its answer says.

    Attributes:
        quirks: the switches that were on.
        dialect: which API was asked.
        prompt_tokens: of the prompt.
        completion_tokens: generated, thinking among them; of all choices.
        cancelled: whether the client hung up before it had the whole answer.
        status: of the answer; refusals cost nothing.
    """

    quirks: tuple[str, ...]
    dialect: Dialect
    prompt_tokens: int
    completion_tokens: int
    cancelled: bool
    status: int


@dataclass
class Call:
    """A request as a quirk sees it.

    Attributes:
        number: the how manieth of these quirks, from 1.
    """

    dialect: Dialect
    body: dict[str, Any]
    headers: dict[str, str]
    number: int

    @property
    def key(self) -> str:
        """The key that came with it."""
        found = self.headers.get("authorization", "").removeprefix("Bearer ")
        return found or self.headers.get("x-api-key", "")

    @property
    def system(self) -> str:
        """The system text."""
        texts = [as_text(m["content"]) for m in self.body["messages"] if m["role"] == "system"]
        return as_text(self.body.get("system", "")) + "".join(texts)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the whole prompt."""
        texts = [as_text(message["content"]) for message in self.body["messages"]]
        texts.append(as_text(self.body.get("system", "")))
        return sum(count(text) + _MESSAGE_TOKENS for text in texts)

    @property
    def cap(self) -> int:
        """The most tokens of one choice."""
        return int(self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 100)

    @property
    def stop(self) -> list[str]:
        """The stop strings."""
        found = self.body.get("stop") or self.body.get("stop_sequences") or []
        return [found] if isinstance(found, str) else found


@dataclass
class Reply:
    """What is sent, for a quirk to spoil.

    Attributes:
        status: 0 hangs up without an answer.
        body: JSON, or bytes that are sent as they are.
        headers: besides those of the length.
        prompt_tokens: billed, whatever the body says.
        completion_tokens: billed.
        wait_seconds: before anything is sent.
        drip_seconds: between two bytes of the body.
        cut: sends only this many bytes of the body, then hangs up; None sends all.
        endless: sends the body again and again, and never ends.
    """

    status: int
    body: Any
    headers: dict[str, str]
    prompt_tokens: int
    completion_tokens: int
    wait_seconds: float = 0.0
    drip_seconds: float = 0.0
    cut: int | None = None
    endless: bool = False

    def refuse(self, status: int, body: Any) -> None:
        """Becomes a refusal, which costs nothing."""
        self.status, self.body = status, body
        self.prompt_tokens = self.completion_tokens = 0

    @property
    def usage(self) -> dict[str, Any]:
        """The usage that it states."""
        found: dict[str, Any] = self.body["usage"]
        return found

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The choices, or the message as the only one."""
        found: list[dict[str, Any]] = self.body.get("choices", [self.body])
        return found

    def say(self, content: Any) -> None:
        """Puts other content in place of the text of every choice, without its tokens."""
        for choice in self.choices:
            if "message" in choice:
                choice["message"]["content"] = content
                choice["logprobs"] = None
            elif isinstance(content, str):
                choice["content"] = [{"type": "text", "text": content}]
            else:
                choice["content"] = content


def as_text(content: Any) -> str:
    """The text of a message's content, which may be a list of blocks."""
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content)
    return str(content)


def honest_text(call: Call) -> tuple[str, bool]:
    """What the model says, and whether it was cut off at the cap."""
    asked = " ".join(as_text(m["content"]) for m in call.body["messages"])
    whole = "A" if call.cap == 1 else PROGRAM if "```python" in asked or "rogram" in asked else LINE
    for stop in call.stop:
        whole = whole.split(stop)[0]
    kept = pieces(whole)[: call.cap]
    return "".join(kept), len(kept) < count(whole)


def honest(call: Call) -> Reply:
    """What a server without any fault answers."""
    text, cut = honest_text(call)
    each = max(1, count(text))
    if call.dialect == "anthropic":
        body: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": call.body.get("model"),
            "content": [{"type": "text", "text": text}] if text else [],
            "stop_reason": "max_tokens" if cut else "end_turn",
            "usage": {"input_tokens": call.prompt_tokens, "output_tokens": each},
        }
        return Reply(200, body, {}, call.prompt_tokens, each)
    n = int(call.body.get("n") or 1)
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "length" if cut else "stop",
            "logprobs": {"content": log_probs(text)} if call.body.get("logprobs") else None,
        }
        for i in range(n)
    ]
    usage = {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": n * each,
        "total_tokens": call.prompt_tokens + n * each,
    }
    body = {"id": "chat_1", "object": "chat.completion", "choices": choices, "usage": usage}
    return Reply(200, body, {}, call.prompt_tokens, n * each)


def log_probs(text: str) -> list[dict[str, Any]]:
    """The tokens of a text as a chat completion lists them."""
    return [
        {
            "token": piece,
            "logprob": -0.1,
            "top_logprobs": [
                {"token": piece, "logprob": -0.1},
                {"token": "B" if piece != "B" else "A", "logprob": -3.0},
            ],
        }
        for piece in pieces(text)
    ]


Change = Callable[[Call, Reply], object]


@dataclass(frozen=True)
class Quirk:
    """One switch.

    Attributes:
        name: as it stands in a path.
        change: spoils a reply; does nothing where the request gives no cause.
        dialects: where servers have it.
    """

    name: str
    change: Change
    dialects: tuple[Dialect, ...] = DIALECTS


QUIRKS: dict[str, Quirk] = {}


def quirk(name: str, *dialects: Dialect) -> Callable[[Change], Change]:
    """Registers a function as the quirk of that name."""

    def register(change: Change) -> Change:
        QUIRKS[name] = Quirk(name, change, dialects or DIALECTS)
        return change

    return register


def of(dialect: Dialect) -> list[str]:
    """Names of all quirks of a dialect."""
    return [name for name, quirk in QUIRKS.items() if dialect in quirk.dialects]


# ------------------------------------------------------------------ what is refused, in which words

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


# ------------------------------------------------------------------------- what an answer says

ODD: dict[str, Any] = {
    "null": None,
    "number": 7,
    "float": 0.5,
    "string": "many",
    "true": True,
    "list": [1, {"a": 2}],
    "object": {"a": [1]},
    "negative": -2000,
    "nan": math.nan,
    "infinite": math.inf,
    "minus-infinite": -math.inf,
    "huge": 10**19,
    "vast": 10**400,
    "float-huge": 1e308,
}
"""Values of the wrong type or out of every range, by name."""


_DETAILS = ("completion_tokens_details", "prompt_tokens_details", "output_tokens_details")


def _family(
    name: str, values: dict[str, Any], put: Callable[[Reply, Any], object], *dialects: Dialect
) -> None:
    """One quirk for each value that is put into one place of an answer."""

    def putting(value: Any) -> Change:
        return lambda call, reply: reply.status == 200 and put(reply, value)

    for label, value in values.items():
        QUIRKS[f"{name}-{label}"] = Quirk(f"{name}-{label}", putting(value), dialects or DIALECTS)


def _choices(change: Callable[[dict[str, Any], Any], object]) -> Callable[[Reply, Any], object]:
    return lambda reply, value: [change(choice, value) for choice in reply.choices]


def _tokens(change: Callable[[dict[str, Any], Any], object]) -> Callable[[Reply, Any], object]:
    return lambda reply, value: [
        change(token, value)
        for choice in reply.choices
        for token in (choice.get("logprobs") or {}).get("content") or ()
    ]


def _cached(reply: Reply, value: Any) -> None:
    details = {"cached_tokens": value}
    reply.usage.update(prompt_tokens_details=details, cache_read_input_tokens=value)


def _reasoning(reply: Reply, value: Any) -> None:
    reply.usage.update(
        completion_tokens_details={"reasoning_tokens": value},
        output_tokens_details={"thinking_tokens": value},
    )


_family("usage", ODD, lambda r, v: r.body.update(usage=v))
_family("completion", ODD, lambda r, v: r.usage.update(completion_tokens=v, output_tokens=v))
_family("prompt", ODD, lambda r, v: r.usage.update(prompt_tokens=v, input_tokens=v))
_family("cached", ODD, _cached)
_family("reasoning", ODD, _reasoning)
_family("details", ODD, lambda r, v: r.usage.update(dict.fromkeys(_DETAILS, v)))
_family("content", ODD, lambda r, v: r.say(v))
_family("error", ODD, lambda r, v: r.body.update(error=v))
_family("answer", ODD, lambda r, v: setattr(r, "body", v))
_family("finish", ODD, _choices(lambda c, v: c.update(finish_reason=v, stop_reason=v)))
_family("block-type", ODD, lambda r, v: r.say([{"type": v, "text": "#### 84"}]))
_family("block-text", ODD, lambda r, v: r.say([{"type": "text", "text": v}]))
_family("choices", ODD, lambda r, v: r.body.update(choices=v), "openai")
_family("choice", ODD, lambda r, v: r.body.update(choices=[v]), "openai")
_family("message", ODD, _choices(lambda c, v: c.update(message=v)), "openai")
_family("index", ODD, _choices(lambda c, v: c.update(index=v)), "openai")
_family("choice-error", ODD, _choices(lambda c, v: c.update(error=v)), "openai")
_family("thought", ODD, _choices(lambda c, v: c["message"].update(reasoning_content=v)), "openai")
_family("logprobs", ODD, _choices(lambda c, v: c.update(logprobs=v)), "openai")
_family("listed", ODD, _choices(lambda c, v: c.update(logprobs={"content": v})), "openai")
_family("logprob", ODD, _tokens(lambda t, v: t.update(logprob=v)), "openai")
_family("top", ODD, _tokens(lambda t, v: t.update(top_logprobs=v)), "openai")
_family("top-one", ODD, _tokens(lambda t, v: t["top_logprobs"][-1].update(logprob=v)), "openai")
_family("token", ODD, _tokens(lambda t, v: t.update(token=v)), "openai")


def _finish(choice: dict[str, Any], reason: str) -> None:
    choice["finish_reason" if "message" in choice else "stop_reason"] = reason


FINISH = (
    *("stop", "length", "max_tokens", "MAX_TOKENS", "model_length", "end_turn", "eos"),
    *("error", "ERROR", "abort", "network_error", "insufficient_system_resource"),
    *("content_filter", "SAFETY", "refusal", "tool_calls", "pause_turn", "brand_new"),
)
_family("reason", {name: name for name in FINISH}, _choices(_finish))

_family(
    "text",
    {
        "empty": "",
        "blank": " \n\t",
        "nul": "an\0swer 84",
        "escapes": "\x1b[2J\x1b]0;title\x07\x1b]52;c;AAAA\x07\u202e\x9b31m#### 84",
        "surrogate": "```python\n# \ud83d\nanswer = 84\n```\n",
        "low-surrogate": "\udc80#### 84",
        "markup": "[red]#### 84[/red] [/] [link=file:///etc/passwd]x[/link]",
        "script": "<script>alert(1)</script>#### 84",
        "megabyte": "84 " * 350_000,
        "fences": "```python\n```\n" * 20_000,
        "think": f"<think>\n{THOUGHT}\n</think>\n\n#### 84",
        "think-end": f"{THOUGHT}\n</think>\n#### 84",
        "think-open": f"<think>\n{THOUGHT}",
        "thinking": f"<thinking>{THOUGHT}</thinking>#### 84",
        "special": "#### 84<|im_end|>",
    },
    lambda reply, text: reply.say(text),
)
_family(
    "parts",
    {
        "text": [{"type": "text", "text": "#### "}, {"type": "text", "text": "84"}],
        "thinking": [
            {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
            {"type": "text", "text": "#### 84"},
        ],
        "reasoning": [
            {"type": "reasoning", "text": THOUGHT},
            {"type": "output_text", "text": "#### 84"},
        ],
        "strings": ["#### ", "84"],
        "odd": [None, 7, {"type": None}, {"type": "text", "text": None}, {"type": "image_url"}],
        "empty": [],
    },
    lambda reply, parts: reply.say(parts),
)


@quirk("thinks")
def _thinks(call: Call, reply: Reply) -> None:
    """Thinks first, in a part of its own, and bills it."""
    for choice in reply.choices if reply.status == 200 else ():
        if call.dialect == "openai":
            choice["message"]["reasoning_content"] = THOUGHT
            listed = (choice["logprobs"] or {}).get("content")
            if listed:
                choice["logprobs"]["content"] = log_probs(THOUGHT) + listed
        else:
            choice["content"].insert(0, {"type": "thinking", "thinking": THOUGHT, "signature": "x"})
        reply.completion_tokens += count(THOUGHT)
        for name in ("completion_tokens", "output_tokens"):
            if name in reply.usage:
                reply.usage[name] += count(THOUGHT)


@quirk("thinks-only")
def _thinks_only(call: Call, reply: Reply) -> None:
    _thinks(call, reply)
    reply.say("" if call.dialect == "openai" else reply.body["content"][:1])


@quirk("choice-error-502", "openai")
def _choice_error(call: Call, reply: Reply) -> None:
    for choice in reply.choices:
        choice.update(finish_reason="error", error={"code": 502, "message": "Upstream died"})
        choice["message"]["content"] = ""


@quirk("error-429-in-200")
def _error_in_answer(call: Call, reply: Reply) -> None:
    reply.refuse(200, {"error": {"code": 429, "message": "Rate limited"}})


@quirk("no-usage")
def _no_usage(call: Call, reply: Reply) -> None:
    del reply.body["usage"]


@quirk("usage-zero")
def _usage_zero(call: Call, reply: Reply) -> None:
    for name, value in reply.usage.items():
        reply.usage[name] = 0 if isinstance(value, int) else value


@quirk("usage-of-one-choice", "openai")
def _usage_of_one(call: Call, reply: Reply) -> None:
    reply.usage["completion_tokens"] //= len(reply.choices)


@quirk("cached-over-prompt")
def _cached_over(call: Call, reply: Reply) -> None:
    reply.usage.update(prompt_tokens_details={"cached_tokens": 5000}, cache_read_input_tokens=5000)
    if call.dialect == "anthropic":  # that dialect states them beside the prompt's: a lie upward
        reply.usage["input_tokens"] = -10


@quirk("claims-prompt")
def _claims_prompt(call: Call, reply: Reply) -> None:
    reply.usage.update(prompt_tokens=1_000_000, input_tokens=1_000_000)


@quirk("claims-completion")
def _claims_completion(call: Call, reply: Reply) -> None:
    reply.usage.update(completion_tokens=1_000_000, output_tokens=1_000_000)


@quirk("n-ignored", "openai")
def _n_ignored(call: Call, reply: Reply) -> None:
    n = len(reply.choices)
    del reply.choices[1:]
    reply.completion_tokens //= n
    reply.usage["completion_tokens"] = reply.completion_tokens


@quirk("more-choices", "openai")
def _more_choices(call: Call, reply: Reply) -> None:
    extra = [dict(reply.choices[0], index=len(reply.choices))]
    each = reply.completion_tokens // len(reply.choices)
    reply.choices.extend(extra)
    reply.completion_tokens += each
    reply.usage["completion_tokens"] += each


@quirk("indexes-equal", "openai")
def _indexes_equal(call: Call, reply: Reply) -> None:
    for choice in reply.choices:
        choice["index"] = 0


@quirk("stop-ignored")
def _stop_ignored(call: Call, reply: Reply) -> None:
    name = "stop" if call.dialect == "openai" else "stop_sequences"
    whole = honest(dataclasses.replace(call, body={**call.body, name: []}))
    reply.body, reply.completion_tokens = whole.body, whole.completion_tokens


# ------------------------------------------------------------------------- how it is sent

STATUSES = (401, 402, 403, 404, 405, 408, 409, 413, 429, 451, 500, 502, 503, 504, 529)
_family(
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
_family("body", BODIES, lambda reply, body: setattr(reply, "body", body))
_family("refusal", BODIES, lambda reply, body: reply.refuse(400, body))


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


# ------------------------------------------------------------------------- what repeats the key


def forms(key: str) -> str:
    """The key in every form in which servers and libraries quote it."""
    import base64
    from urllib.parse import quote, quote_plus

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


# ------------------------------------------------------------------------- the server


class Server:
    """A running server.

    Attributes:
        address: where it listens, without a quirk.
        asked: the bodies that were sent to it, in order.
        text: what it says in place of its own text; None for that.
    """

    def __init__(self, text: str | None = None) -> None:
        self.address = ""
        self.text = text
        self._billed: list[Billed] = []
        self._pending = 0
        self.asked: list[dict[str, Any]] = []
        self._numbers: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Condition()

    def openai(self, *quirks: str) -> str:
        """The base_url of the OpenAI API with these quirks."""
        return f"{self.anthropic(*quirks)}/v1"

    def anthropic(self, *quirks: str) -> str:
        """The base_url of the Messages API with these quirks."""
        return "/".join([self.address, *filter(None, ["+".join(quirks)])])

    def of(self, dialect: Dialect, *quirks: str) -> str:
        """The base_url of a dialect with these quirks."""
        return self.openai(*quirks) if dialect == "openai" else self.anthropic(*quirks)

    @property
    def billed(self) -> list[Billed]:
        """What each call costs, in the order in which they ended; waits a little for the last."""
        with self._lock:
            self._lock.wait_for(lambda: not self._pending, timeout=30.0)
            return list(self._billed)

    @property
    def bill(self) -> tuple[int, int]:
        """Prompt and completion tokens of all calls together."""
        billed = self.billed
        prompts = sum(each.prompt_tokens for each in billed)
        return prompts, sum(each.completion_tokens for each in billed)

    def reply(self, dialect: Dialect, quirks: tuple[str, ...], call: Call) -> Reply:
        """The spoiled reply to a call."""
        reply = honest(call)
        if self.text is not None and call.cap > 1:
            reply.say(self.text)
        for name in quirks:
            if dialect in QUIRKS[name].dialects and isinstance(reply.body, dict):
                QUIRKS[name].change(call, reply)
        return reply

    def next_number(self, quirks: tuple[str, ...], body: dict[str, Any]) -> int:
        """Counts a call."""
        with self._lock:
            self._numbers[quirks] += 1
            self._pending += 1
            self.asked.append(body)
            return self._numbers[quirks]

    def charge(self, billed: Billed) -> None:
        """Puts a call on the bill."""
        with self._lock:
            self._billed.append(billed)
            self._pending -= 1
            self._lock.notify_all()


def _gone(connection: socket.socket, seconds: float) -> float | None:
    """Waits; returns after how many seconds the client hung up, or None if it did not."""
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        ready, _, _ = select.select([connection], [], [], min(0.05, seconds - passed))
        if ready:
            try:
                if connection.recv(1, socket.MSG_PEEK) == b"":
                    return time.monotonic() - begun
            except OSError:
                return time.monotonic() - begun
            time.sleep(0.01)
    return None


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found: Any = list(QUIRKS)
            if self.path == "/bill":
                found = [dataclasses.asdict(each) for each in server.billed]
            self._send(Reply(200, found, {}, 0, 0))

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.split("?")[0]
            dialect: Dialect = "anthropic" if path.endswith("/messages") else "openai"
            if not path.endswith(("/chat/completions", "/messages")):
                self._send(Reply(404, {"error": {"message": "no such path"}}, {}, 0, 0))
                return
            first = path.strip("/").split("/")[0]
            quirks = () if first == "v1" else tuple(first.split("+"))
            body = json.loads(data)
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(dialect, body, headers, server.next_number(quirks, body))
            reply = server.reply(dialect, quirks, call)
            prompt, generated, cancelled = reply.prompt_tokens, reply.completion_tokens, True
            gone = _gone(self.connection, reply.wait_seconds)
            if gone is None:
                cancelled = not self._send(reply)
            else:
                generated = int(generated * gone / reply.wait_seconds)
            server.charge(Billed(quirks, dialect, prompt, generated, cancelled, reply.status))

        def _send(self, reply: Reply) -> bool:
            """Returns whether everything could be sent."""
            self.close_connection = True
            if not reply.status:
                return True
            raw = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            if not reply.endless:
                self.send_header("Content-Length", str(len(raw)))
            try:
                self.end_headers()
                if reply.drip_seconds:
                    for byte in raw:
                        if _gone(self.connection, reply.drip_seconds) is not None:
                            return False
                        self.wfile.write(bytes([byte]))
                self.wfile.write(b"" if reply.drip_seconds else raw[: reply.cut])
                while reply.endless:
                    self.wfile.write(raw)
            except OSError:
                return False
            return True

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that lost patience is no news."""


@contextmanager
def serving(text: str | None = None, port: int = 0) -> Iterator[Server]:
    """Runs the server in threads of this process.

    Args:
        text: what it says; None for a program or a line, by what the prompt asks for.
        port: where; 0 for any.
    """
    server = Server(text)
    web = _Quiet(("127.0.0.1", port), _handler(server))
    server.address = f"http://127.0.0.1:{web.server_address[1]}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with serving(port=wanted) as running, suppress(KeyboardInterrupt):
        print(running.address, flush=True)
        threading.Event().wait()
