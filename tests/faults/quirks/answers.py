"""What an answer says, and what it claims to have cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from tests.faults.honest import Call, Reply, count, honest, log_probs
from tests.faults.quirks.base import family, quirk

THOUGHT = "Perhaps\n#### 5\nor rather not."
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


family("usage", ODD, lambda r, v: r.body.update(usage=v))
family("completion", ODD, lambda r, v: r.usage.update(completion_tokens=v, output_tokens=v))
family("prompt", ODD, lambda r, v: r.usage.update(prompt_tokens=v, input_tokens=v))
family("cached", ODD, _cached)
family("reasoning", ODD, _reasoning)
family("details", ODD, lambda r, v: r.usage.update(dict.fromkeys(_DETAILS, v)))
family("content", ODD, lambda r, v: r.say(v))
family("error", ODD, lambda r, v: r.body.update(error=v))
family("answer", ODD, lambda r, v: setattr(r, "body", v))
family("finish", ODD, _choices(lambda c, v: c.update(finish_reason=v, stop_reason=v)))
family("block-type", ODD, lambda r, v: r.say([{"type": v, "text": "#### 84"}]))
family("block-text", ODD, lambda r, v: r.say([{"type": "text", "text": v}]))
family("choices", ODD, lambda r, v: r.body.update(choices=v), "openai")
family("choice", ODD, lambda r, v: r.body.update(choices=[v]), "openai")
family("message", ODD, _choices(lambda c, v: c.update(message=v)), "openai")
family("index", ODD, _choices(lambda c, v: c.update(index=v)), "openai")
family("choice-error", ODD, _choices(lambda c, v: c.update(error=v)), "openai")
family("thought", ODD, _choices(lambda c, v: c["message"].update(reasoning_content=v)), "openai")
family("logprobs", ODD, _choices(lambda c, v: c.update(logprobs=v)), "openai")
family("listed", ODD, _choices(lambda c, v: c.update(logprobs={"content": v})), "openai")
family("logprob", ODD, _tokens(lambda t, v: t.update(logprob=v)), "openai")
family("top", ODD, _tokens(lambda t, v: t.update(top_logprobs=v)), "openai")
family("top-one", ODD, _tokens(lambda t, v: t["top_logprobs"][-1].update(logprob=v)), "openai")
family("token", ODD, _tokens(lambda t, v: t.update(token=v)), "openai")


def _finish(choice: dict[str, Any], reason: str) -> None:
    choice["finish_reason" if "message" in choice else "stop_reason"] = reason


FINISH = (
    *("stop", "length", "max_tokens", "MAX_TOKENS", "model_length", "end_turn", "eos"),
    *("error", "ERROR", "abort", "network_error", "insufficient_system_resource"),
    *("content_filter", "SAFETY", "refusal", "tool_calls", "pause_turn", "brand_new"),
)
family("reason", {name: name for name in FINISH}, _choices(_finish))

family(
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
family(
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
