"""Bodies within their bounds, and failures inside of answers."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from tests.models.test_answer_text import odd

from amp.models.reply import (
    CUT_OFF,
    FAILED,
    WITHHELD,
    BodyError,
    end_of,
    failure_in,
    parse,
    read_body,
    reason_of,
)

MOST = 10_000


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), 100):
        yield content[begin : begin + 100]


@pytest.mark.parametrize("size", [0, 1, MOST])
async def test_a_body_is_what_was_sent(size: int) -> None:
    content = b"x" * size
    assert await read_body(chunks(content), "", MOST) == content
    assert await read_body(chunks(content), "identity", MOST) == content
    assert await read_body(chunks(gzip.compress(content)), "gzip", MOST) == content
    assert await read_body(chunks(zlib.compress(content)), "deflate", MOST) == content


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (b"x" * (MOST + 1), "", "more than"),
        (gzip.compress(b"x" * 10**7), "gzip", "more than"),
        (b"no gzip", "gzip", "not packed"),
        (b"x", "br", "encoding 'br'"),
        (gzip.compress(gzip.compress(b"x")), "gzip, gzip", "encoding"),
    ],
    ids=["too long", "too long unpacked", "not packed", "brotli", "packed twice"],
)
async def test_what_is_too_large_or_packed_otherwise_is_refused(
    content: bytes, encoding: str, expected: str
) -> None:
    with pytest.raises(BodyError, match=expected):
        await read_body(chunks(content), encoding, MOST)


@pytest.mark.parametrize("content", [b"[" * 10**5, b'{"a":' * 10**5, b"", b"<p>"])
def test_what_is_no_json_is_told(content: bytes) -> None:
    with pytest.raises(BodyError, match="JSON"):
        parse(content, str)


@settings(max_examples=30)
@given(odd)
def test_any_error_has_a_reason(body: Any) -> None:
    reason, places = reason_of(body)
    assert isinstance(reason, str)
    assert all(isinstance(place, str) for place in places)
    if isinstance(body, dict):
        failure_in(body)
        failure_in({"error": body})
        failure_in({"choices": body})


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, 429),
        ({"error": {"code": "503", "message": "x"}}, 503),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529),
        ({"error": {"type": "invalid_request_error", "message": "no seed"}}, 400),
        ({"error": "no"}, None),
        ({"choices": [{"finish_reason": "error", "error": {"code": 502}}]}, 502),
        ({"choices": [{"finish_reason": "abort", "message": {"content": "half"}}]}, 502),
        ({"choices": [{"finish_reason": "insufficient_system_resource"}]}, 503),
        ({"stop_reason": "error", "content": []}, 502),
    ],
)
def test_a_failure_in_an_answer_has_the_status_that_it_names(
    answer: dict[str, Any], status: int | None
) -> None:
    failure = failure_in(answer)
    assert failure is not None
    assert failure.status == status
    assert failure.reason


@pytest.mark.parametrize(
    "answer",
    [
        {"error": None, "choices": [{"finish_reason": "stop"}]},
        {"choices": [{"finish_reason": "stop"}, {"finish_reason": "error"}]},
        {"choices": [{"finish_reason": "content_filter"}]},
        {"choices": []},
        {"content": [], "stop_reason": "end_turn"},
    ],
)
def test_an_answer_is_no_failure(answer: dict[str, Any]) -> None:
    assert failure_in(json.loads(json.dumps(answer))) is None


@pytest.mark.parametrize(
    ("ended", "pattern"),
    [
        *((word, CUT_OFF) for word in ("length", "max_tokens", "FinishReason.MAX_TOKENS")),
        *(
            (word, CUT_OFF)
            for word in ("maxTokens", "model_context_window_exceeded", "token-limit")
        ),
        *(
            (word, WITHHELD)
            for word in ("content_filter", "content-filter", "FINISH_REASON_SAFETY")
        ),
        *((word, WITHHELD) for word in ("PROHIBITED_CONTENT", "refusal", "guardrail_intervened")),
        *((word, FAILED) for word in ("error", "ABORTED", "network_error", "rate_limit_error")),
    ],
)
def test_an_end_is_known_in_every_spelling(ended: str, pattern: re.Pattern[str]) -> None:
    assert pattern.search(end_of({"finish_reason": ended}))
    for other in ("stop", "STOP", "end_turn", "stop_sequence", "eos_token", "tool_calls", None):
        assert not pattern.search(end_of({"finish_reason": other}))


def test_a_number_too_long_to_read_spoils_nothing_else() -> None:
    assert parse(b'{"a": 7, "b": ' + b"9" * 5000 + b"}", str) == {"a": 7, "b": math.inf}


@pytest.mark.parametrize("ended", [{"type": "abort", "message": "x"}, ["error"], "killed"])
def test_an_end_that_failed_is_known_in_every_form(ended: Any) -> None:
    failure = failure_in({"choices": [{"finish_reason": ended, "message": {"content": "5"}}]})
    assert failure is not None
    assert failure.may_be_billed


def test_an_error_beside_an_answer_is_a_failure_that_may_be_billed() -> None:
    choice = {"message": {"content": "5", "error": {"message": "upstream"}}}
    for body in ({"choices": [choice]}, {"choices": [{}], "error": {"message": "x", "code": 400}}):
        failure = failure_in(body)
        assert failure is not None
        assert failure.may_be_billed
