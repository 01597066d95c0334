"""A web server on the loopback address that answers as a test tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Question:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What the server answers.

    Attributes:
        status: 0 hangs up without an answer.
        stated_length: where the body is shorter, the connection breaks off in the middle.
        pause_seconds: before every byte of the body; the server drips.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stated_length: int | None = None
    pause_seconds: float = 0.0


@contextmanager
def serving(respond: Callable[[Question], Answer]) -> Iterator[str]:
    """Runs the server and yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            question = Question(
                self.command, self.path, dict(self.headers.items()), self.rfile.read(size)
            )
            answer = respond(question)
            if not answer.status:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            length = len(answer.body) if answer.stated_length is None else answer.stated_length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                with suppress(ConnectionError):  # a client that lost patience
                    if answer.pause_seconds:
                        for byte in answer.body:
                            time.sleep(answer.pause_seconds)
                            self.wfile.write(bytes([byte]))
                    else:
                        self.wfile.write(answer.body)

        do_GET = do_POST = do_HEAD = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
