"""Writes spans of calls: what a client asked for and was decided to get, and each attempt at it.

    POST /v1/chat/completions        a client's call, below the span that its traceparent names
      chat MODEL                     an attempt at an upstream

They say no content, whatever the settings say: what is to be kept of it is kept as traffic.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from amp.models.bill import table
from amp.serve.decide.desk import Ruling
from amp.serve.dialects.apis import EMBEDDINGS
from amp.serve.dialects.base import Dialect, Told
from amp.serve.exchange import Exchange
from amp.telemetry.attributes import Attributes, of_chat, of_usage
from amp.usage import Usage

if TYPE_CHECKING:
    from amp.serve.chats import Attempt

_CAPS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_NUMBERS = {
    "gen_ai.request.temperature": "temperature",
    "gen_ai.request.top_p": "top_p",
    "gen_ai.request.top_k": "top_k",
    "gen_ai.request.seed": "seed",
}
_MOST = 2**62
_EXPECTED = ("success", "dollars", "most_dollars", "lost_dollars")


class CallSpans:
    """Writes spans of calls.

    Args:
        tracer: where.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def call(self, exchange: Exchange, dialect: Dialect, ruling: Ruling) -> Iterator[None]:
        """The span of a call that is answered inside, which is that of its attempts' parent."""
        waited = time.monotonic() - exchange.started
        span = self._tracer.start_span(
            f"{exchange.method} {dialect.path}",
            context=extract(dict(exchange.headers)),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": exchange.method, "http.route": dialect.path},
            start_time=time.time_ns() - round(waited * 1e9),
        )
        status, error = 0, ""
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        except BaseException as ended_by:
            status, error = getattr(ended_by, "status", 0), type(ended_by).__name__
            raise
        finally:
            status = exchange.status or status
            span.set_attributes(_of_ruling(exchange, ruling))
            if status:
                span.set_attribute("http.response.status_code", status)
            if status >= 500 or (error and not status):
                span.set_attribute("error.type", error or str(status))
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    def attempt(
        self,
        attempt: Attempt,
        begun: int,
        status: int,
        charge: Usage | None,
        told: Told,
        tried: int,
    ) -> None:
        """Writes the span of an attempt that has just ended.

        Args:
            attempt: what was asked of which upstream.
            begun: when, in nanoseconds since 1970.
            status: of the answer; 0 if there was none.
            charge: what it cost; None if nothing.
            told: what the upstream told of it.
            tried: attempts of this call, this one among them.
        """
        said = _of_attempt(attempt) | {"amp.attempt": tried}
        if charge is not None:
            said |= of_chat(charge, told.written)
        if not 0 < status < 300:
            said["error.type"] = str(status or "no_answer")
        span = self._tracer.start_span(
            f"{said['gen_ai.operation.name']} {attempt.asked.model}",
            kind=SpanKind.CLIENT,
            attributes=said,
            start_time=begun,
        )
        if "error.type" in said:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _of_attempt(attempt: Attempt) -> Attributes:
    upstream, dialect, fields = attempt.place.upstream, attempt.dialect, attempt.asked.fields
    place = urlsplit(upstream.base)
    said: Attributes = {
        "gen_ai.operation.name": "embeddings" if dialect is EMBEDDINGS else "chat",
        "gen_ai.provider.name": dialect.name,
        "gen_ai.system": dialect.name,
        "gen_ai.request.model": attempt.asked.model,
        "server.address": place.hostname or "",
        "server.port": place.port or (443 if place.scheme == "https" else 80),
        "amp.upstream": upstream.name,
    }
    for name, field in _NUMBERS.items():
        if (value := _number(fields.get(field))) is not None:
            said[name] = value
    caps = [cap for name in _CAPS if (cap := _number(fields.get(name))) is not None]
    if caps:
        said["gen_ai.request.max_tokens"] = caps[0]
    if (count := _number(fields.get("n"))) not in (None, 1):
        said["gen_ai.request.choice.count"] = count or 0
    if fields.get("stream") is True:
        said["gen_ai.request.stream"] = True
    if level := _level(fields):
        said["gen_ai.request.reasoning.level"] = level
    return said


def _of_ruling(exchange: Exchange, ruling: Ruling) -> Attributes:
    conversation, decision = ruling.conversation, ruling.decision
    arm, forecast = decision.arm, decision.forecast
    said: Attributes = {
        "amp.episode": conversation.episode,
        "amp.step": conversation.step,
        "amp.route": ruling.route,
        "amp.asked": ruling.asked_model,
        "amp.policy": decision.policy,
        "amp.why": decision.why,
        "amp.allocation.model": arm.model,
        "amp.allocation.samples": arm.samples,
        **of_usage(ruling.usage),
        **{f"amp.feature.{name}": value for name, value in decision.features.items()},
    }
    if exchange.header("x-amp-episode"):
        said["gen_ai.conversation.id"] = conversation.episode
    if ruling.key:
        said["amp.account"] = ruling.key
    if arm.effort:
        said["amp.allocation.effort"] = arm.effort
    expected = {name: getattr(forecast, name) for name in _EXPECTED}
    said |= {f"amp.expected.{name}": v for name, v in expected.items() if v is not None}
    known = [each for each in decision.forecasts if not each.masked and each.dollars is not None]
    if forecast.success is not None and known:
        cheapest = min(known, key=lambda each: each.dollars or 0.0)
        if cheapest.success is not None:
            said["amp.expected.gain"] = forecast.success - cheapest.success
    return said


def _level(fields: Mapping[str, Any]) -> str:
    """The effort that an upstream is asked for, in the words of its API."""
    levels = (
        fields.get("reasoning_effort"),
        table(fields, "reasoning").get("effort"),
        table(fields, "output_config").get("effort"),
    )
    return next((level[:20] for level in levels if isinstance(level, str)), "")


def _number(value: object) -> int | float | None:
    """A number of a request, if it is one that a span can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _MOST else None
