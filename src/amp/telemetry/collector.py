"""Where spans go: the application's own tracer provider, or a collector, by OTLP over HTTP.

While something runs, batches are sent in the background, and what a collector does not take is lost
and logged. What was saved is sent batch by batch, and what is not taken is an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from amp.errors import InvalidInputError
from amp.telemetry import ENDPOINTS, Telemetry
from amp.telemetry.spans import Spans

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_USUAL = "http://localhost:4318"
_QUEUE, _BATCH = 16_384, 1_000


@cache
def spans_of(telemetry: Telemetry) -> Spans:
    """Writes spans while something runs; see `Telemetry.spans`."""
    provider = trace.get_tracer_provider()
    if telemetry.endpoint is not None or isinstance(provider, trace.ProxyTracerProvider):
        queue = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE
        processor = BatchSpanProcessor(_exporter(telemetry), max_queue_size=queue)
        provider = _provider(processor)
    return _writer(provider, telemetry)


@contextmanager
def sending(telemetry: Telemetry) -> Iterator[Spans]:
    """Writes what was saved; see `Telemetry.sending`."""
    outbox = _Outbox(_exporter(telemetry), _place(telemetry))
    provider = _provider(outbox, at_exit=False)
    try:
        yield _writer(provider, telemetry)
        outbox.send()
    finally:
        provider.shutdown()


class _Outbox(SpanProcessor):
    """Sends as many spans at a time as a request holds, and waits for the answer."""

    def __init__(self, exporter: SpanExporter, place: str) -> None:
        self._exporter, self._place = exporter, place
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._spans.append(span)
        if len(self._spans) >= _BATCH:
            self.send()

    def send(self) -> None:
        batch, self._spans = self._spans, []
        if batch and self._exporter.export(batch) is not SpanExportResult.SUCCESS:
            raise InvalidInputError(
                f"the collector at {self._place} took no spans, expected one that speaks OTLP over"
                " HTTP; start it, or name another (setting otel_endpoint)"
            )

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _writer(provider: trace.TracerProvider, telemetry: Telemetry) -> Spans:
    tracer = provider.get_tracer("amp", version("adaptive-meta-planning"))
    return Spans(tracer, content=telemetry.content)


def _provider(processor: SpanProcessor, *, at_exit: bool = True) -> TracerProvider:
    """Has spans processed, and the processor shut down at the end of the program or before."""
    named = Resource.create()  # of the standard variables, as far as they say something
    is_named = not str(named.attributes.get("service.name", "")).startswith("unknown_service")
    provider = TracerProvider(
        resource=named if is_named else named.merge(Resource({"service.name": "amp"})),
        shutdown_on_exit=at_exit,
    )
    provider.add_span_processor(processor)
    return provider


def _exporter(telemetry: Telemetry) -> OTLPSpanExporter:
    for name in _PROTOCOLS:
        if (wanted := os.environ.get(name, _HTTP)) != _HTTP:
            raise InvalidInputError(
                f"variable {name} is {wanted!r}, expected {_HTTP!r}, which every collector takes"
            )
    if telemetry.endpoint is None:
        return OTLPSpanExporter()
    return OTLPSpanExporter(f"{telemetry.endpoint.rstrip('/')}/v1/traces")


def _place(telemetry: Telemetry) -> str:
    """The address for errors, without what may be a login in a variable."""
    named = [os.environ[name] for name in ENDPOINTS if os.environ.get(name)]
    return (telemetry.endpoint or (named[0] if named else _USUAL)).rpartition("@")[2]
