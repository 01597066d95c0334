"""A collector: takes spans by OTLP over HTTP, and decodes what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True)
class Received:
    """A span as it arrived; times are nanoseconds since 1970."""

    name: str
    trace: bytes
    id: bytes
    parent: bytes
    kind: int
    begun: int
    ended: int
    failed: bool
    said: dict[str, Any]
    service: str

    def total(self, what: str) -> int:
        return int(self.said.get(f"gen_ai.usage.{what}", 0))


@dataclass
class Collector:
    """Where it is, and what came.

    Attributes:
        url: its address, as ``otel_endpoint`` has it.
        spans: that came.
        bodies: what was sent, undecoded.
        headers: of the last request.
        status: what it answers.
    """

    url: str
    spans: list[Received] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200

    def reset(self) -> None:
        """Forgets what came."""
        self.spans, self.bodies, self.headers, self.status = [], [], {}, 200

    def named(self, begin: str) -> list[Received]:
        return [span for span in self.spans if span.name.startswith(begin)]

    def children(self, span: Received) -> list[Received]:
        return [each for each in self.spans if each.parent == span.id]

    def strays(self) -> list[str]:
        """Spans that lack the parent that they name, or are not within its times and its trace."""
        known = {span.id: span for span in self.spans}
        found = []
        for span in self.spans:
            above = known.get(span.parent)
            if not span.parent:
                continue
            if above is None or above.trace != span.trace:
                found.append(f"{span.name}: no parent")
            elif not above.begun <= span.begun <= span.ended <= above.ended:
                found.append(f"{span.name}: not within {above.name}")
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            there.headers = {name.lower(): value for name, value in self.headers.items()}
            if there.status == 200 and self.path == "/v1/traces":
                there.bodies.append(body)
                there.spans += _decoded(body)
            self.send_response(there.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _decoded(body: bytes) -> list[Received]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Received(
            span.name,
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code == 2,
            {each.key: _value(each.value) for each in span.attributes},
            next(_value(a.value) for a in of.resource.attributes if a.key == "service.name"),
        )
        for of in request.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
