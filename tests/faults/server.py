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
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.faults.honest import Call, Dialect, Reply, honest
from tests.faults.quirks import QUIRKS


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
