"""The address of a model's server: what people write, read once, and shown without its secrets."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from amp.errors import InvalidInputError
from amp.models.secret import login_secrets

_ENDPOINT = re.compile(r"/(?:chat/completions|completions|messages|models)\Z")
_PLAIN = re.compile(r"[\w.-]+(?::\w*)?(?:/[\w./-]*)?\Z")
_AZURE = (".azure.com", ".azure.us", ".azure.cn")
_LONGEST_SHOWN = 100
_PUBLIC_PARAMETERS = {"api-version", "api_version", "version"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        url: without a user, a query and an endpoint; fit to be shown.
        host: the name or number of its machine.
        query: parameters of every request, such as Azure's ``api-version``.
        login: user and password, if the address has them, as the header sends them.
        keys: what is secret in the query, and the user of the login, if it is long.
        passwords: what is secret in the login, however short.
    """

    url: str
    host: str
    query: dict[str, str] = field(default_factory=dict)
    login: str | None = field(default=None, repr=False)
    keys: tuple[str, ...] = field(default=(), repr=False)
    passwords: tuple[str, ...] = field(default=(), repr=False)

    @property
    def takes_key_apart(self) -> bool:
        """Whether the server reads a key in the header ``api-key``, as Azure's do."""
        return self.host.endswith(_AZURE)


def read_address(text: str) -> Address:
    """Reads a base_url.

    White space around it, the letter case of ``http``, a fragment and an endpoint that was copied
    along do no harm.

    Raises:
        InvalidInputError: if it is no address of a server; shows neither password nor query.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise _wrong(text, str(error)) from None
    if parts.scheme not in ("http", "https"):
        raise _wrong(text, "it does not begin with http:// or https://")
    if not host or re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise _wrong(text, "it names no server" if not host else "it holds white space")
    if port == 0:
        raise _wrong(text, "port 0 is no port")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    user, password = parts.username, parts.password
    login = base64.b64encode(f"{unquote(user or '')}:{unquote(password or '')}".encode()).decode()
    long, always = login_secrets(parts.netloc.rpartition("@")[0])
    shown = f"[{host}]" if ":" in host else host
    path = _ENDPOINT.sub("", parts.path.rstrip("/"))
    return Address(
        url=f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{path}",
        host=host,
        query=query,
        login=None if user is None else f"Basic {login}",
        keys=(
            *(v or name for name, v in query.items() if name.lower() not in _PUBLIC_PARAMETERS),
            *long,
        ),
        passwords=tuple(always),
    )


def _wrong(text: str, reason: str) -> InvalidInputError:
    """The error for what is no address; a key that was put here by mistake is not shown."""
    shown = re.sub(r"//.*@", "//", text).partition("?")[0]
    plain = "@" not in text and bool(_PLAIN.match(text)) and re.search(r"[:/]", text)
    found = (
        f"is {shown[:_LONGEST_SHOWN]!r}"
        if re.match(r"https?://", text, re.IGNORECASE) or plain
        else "is wrong"
    )
    reason = re.sub(r"([\'\"]).*\1", "what stands there", reason)
    return InvalidInputError(f"base_url {found} ({reason}), expected http://... or https://...")
