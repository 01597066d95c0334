"""A study in the browser: one page, four requests, and nothing but the standard library.

The page is a file that never changes, and holds no text of a model: its script asks for a step as
JSON and sets it as text. The policy of the page allows this script and this style alone, by their
hashes, and no HTML that is made of text.

Each person has an address with a token behind its ``#``. Browsers send that part to nobody, so no
log and no other site gets it; the script sends the token in a header, which a page of another site
can't add. So the token says who rates, and nobody rates in another's name. Requests from pages of
other origins are refused, and requests for a host by a foreign name, which may lead anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any
from urllib.parse import urlsplit

from amp.annotations.store import SCALE, json_object
from amp.annotations.study import MAX_WHY, UNDO, Study, StudyView
from amp.errors import InvalidInputError

MAX_BODY = 16 * 1024
"""Bytes of a request; a reason of `MAX_WHY` characters fits in any writing."""

_SECONDS = 30
_PAGE = Path(__file__).parent / "page.html"

_log = logging.getLogger(__name__)


class _RefusedError(Exception):
    """A request that is not answered as it wishes: a status, and why in one line."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class StudyServer(ThreadingHTTPServer):
    """Serves a study until `shutdown`, from `serve_forever`.

    Args:
        study: what is rated.
        host: address to listen at.
        port: 0 for any that is free.

    Raises:
        InvalidInputError: if it cannot listen there.
    """

    daemon_threads = True

    def __init__(self, study: Study, host: str = "127.0.0.1", port: int = 0) -> None:
        self.study, self.host = study, host
        self.tokens = {secrets.token_urlsafe(24): name for name in study.names}
        self.address_family = AF_INET6 if ":" in host else AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInputError(
                f"cannot listen at {host} port {port}: {reason}; choose another --host or --port"
            ) from None

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each person's page, by name."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        root = f"http://{host}:{self.server_port}/"
        return {name: f"{root}#{token}" for token, name in self.tokens.items()}

    def rater(self, token: str) -> str | None:
        """Whose token this is. Takes equally long whatever is right of it."""
        given, found = token.encode("utf-8", "replace"), None
        for known, name in self.tokens.items():
            if hmac.compare_digest(known.encode(), given):
                found = name
        return found

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Mostly a browser that went away. The study is in order: what is rated is on disk.
        _log.debug("a request of %s broke off", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer
    protocol_version = "HTTP/1.0"  # one request a connection, so nothing is left of one for another
    timeout = _SECONDS
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain;charset=utf-8"

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(self._page)
        else:
            self._answer(lambda: self._view({"/view": self._look}))

    def do_POST(self) -> None:
        changes = {"/rate": self._rate, "/skip": self._skip, "/undo": self._undo}
        self._answer(lambda: self._view(changes))

    def _answer(self, make: Callable[[], tuple[bytes, str]]) -> None:
        status, policy = HTTPStatus.OK, "default-src 'none'; frame-ancestors 'none'"
        kind = "application/json"
        try:
            self._check_origin()
            body, found = make()
            if found:
                kind, policy = "text/html; charset=utf-8", found
        except _RefusedError as error:
            status, body = error.status, _error(error)
        except ValueError as error:
            status, body = HTTPStatus.BAD_REQUEST, _error(error)
        except InvalidInputError as error:  # of the file, as nothing else is read here
            status, body = HTTPStatus.INTERNAL_SERVER_ERROR, _error(error)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def _check_origin(self) -> None:
        """Refuses what a page of another site may have asked for.

        Raises:
            _RefusedError: if one may have.
        """
        host = self.headers.get("Host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if name not in ("localhost", self.server.host) and not _is_address(name):
            raise _RefusedError(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"host is {host!a:.80}, expected localhost, an IP address or the name of --host",
            )
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, f"http://{host}") or site not in ("none", "same-origin"):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "requests from other origins are refused")

    def _page(self) -> tuple[bytes, str]:
        return page()

    def _view(self, ways: Mapping[str, Callable[[str], StudyView]]) -> tuple[bytes, str]:
        if self.path not in ways:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        rater = self.server.rater(token)
        if scheme != "Bearer" or rater is None:
            raise _RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "this address is not of this study; open the one that amp annotate printed last",
            )
        view = asdict(ways[self.path](rater)) | {"scale": SCALE, "undo": UNDO, "max_why": MAX_WHY}
        return json.dumps(view, allow_nan=False).encode(), ""

    def _look(self, rater: str) -> StudyView:
        return self.server.study.view(rater)

    def _rate(self, rater: str) -> StudyView:
        body = self._body()
        rating, why = _integer(body, "rating"), body.get("why", "")
        if not isinstance(why, str):
            raise ValueError(f"why is {why!a:.60}, expected text")
        return self.server.study.rate(rater, _integer(body, "at"), rating, why)

    def _skip(self, rater: str) -> StudyView:
        return self.server.study.skip(rater, _integer(self._body(), "at"))

    def _undo(self, rater: str) -> StudyView:
        return self.server.study.undo(rater, _integer(self._body(), "at"))

    def _body(self) -> dict[str, object]:
        """The JSON object of a request.

        Raises:
            _RefusedError: if its type or its length is not told, or it is too long.
            ValueError: if it is no JSON object.
        """
        if self.headers.get_content_type() != "application/json":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length) or "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > MAX_BODY:
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BODY} bytes"
            )
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise ValueError(f"the request ends after {len(content)} of {length} bytes")
        return json_object(content.decode("utf-8"))

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def version_string(self) -> str:
        return "amp"

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)


def _error(error: Exception) -> bytes:
    return json.dumps({"error": str(error)}).encode()


def _integer(body: Mapping[str, object], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!a:.60}, expected an integer")
    return value


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@cache
def page() -> tuple[bytes, str]:
    """The page, and the policy that a browser is to hold it to."""
    html = _PAGE.read_text("utf-8")
    hashes = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in re.findall(r"<(script|style)>(.*?)</\1>", html, re.DOTALL)
    }
    return html.encode(), (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}';"
        f" style-src 'sha256-{hashes['style']}'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
        " trusted-types 'none'"
    )
