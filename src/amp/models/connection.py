"""How a model's server is reached: its address, the keys for it, and an SDK's client for both.

An address is what people write, read once, and shown without its secrets. Servers and libraries
like to repeat a key: as it is, in quotes with escapes, percent-encoded, in base64. So a secret is
looked for in all of these forms, mixed ones among them, and not only as the text that it is.

The environment may name proxies and certificates, and what it names may not exist. A server that
goes without a proxy (``NO_PROXY``) is not to suffer from a proxy that cannot be used.

NOT covered: a secret that is torn into pieces, and one that a server encrypts or hashes.
"""

from __future__ import annotations

import base64
import html
import importlib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from amp.errors import AmpError, InvalidInputError, MissingDependencyError

HIDDEN = "[key]"

SHORTEST = 8
"""Characters. Whatever is shorter is a word that messages need, and no secret."""

DUMMIES = {"lm-studio", "no-key-needed", "no-key-required", "not-needed", "sk-no-key-required"}
"""Words of eight characters and more that stand where a server needs no key."""

_LONG = 12
# A longer one is recognised by its beginning, as the pattern grows with every character.
_COMPARED = 64
_REST = r"[\w\-.~+/=%\\&#;]*"


def clean_key(key: str, name: str) -> str:
    """Returns a key without the white space around it, which files and clipboards add.

    Args:
        key: as it was read.
        name: where it comes from, for the error.

    Raises:
        InvalidInputError: if it holds a character that no key has; never shows the key.
    """
    key = key.strip().strip("\ufeff").strip()
    for position, character in enumerate(key, start=1):
        if character.isascii() and character.isprintable():
            continue
        kind = "a line break" if character in "\r\n" else f"U+{ord(character):04X}"
        raise InvalidInputError(
            f"{name} holds {kind} at character {position} of {len(key)}, expected printable ASCII;"
            " copy the key again"
        )
    return key


class Secrets(logging.Filter):
    """Hides secrets in texts, and as a filter in the log.

    Args:
        keys: what may be secret; words that stand for no key are left out.
        passwords: hidden also if they are shorter, as words of their own.
    """

    def __init__(self, keys: Iterable[str], passwords: Iterable[str] = ()) -> None:
        super().__init__()
        forms: list[str] = []
        begins: set[str] = set()
        always = set(passwords)
        for secret in {*keys, *always}:
            if len(secret) >= SHORTEST and secret.lower() not in DUMMIES:
                forms += _forms(secret) + _inside_base64(secret)
            elif secret in always and secret:
                forms += [rf"(?<!\w){form}(?!\w)" for form in _forms(secret)]
            else:
                continue
            begins |= _begins(secret)
        # Most characters begin no secret, which is found out at once, not form by form.
        begin = f"(?=[{re.escape(''.join(sorted(begins)))}])"
        self._pattern = (
            re.compile(f"{begin}(?:{'|'.join(forms)})", re.IGNORECASE) if forms else None
        )

    def hide(self, text: str) -> str:
        """Returns the text with a mark in place of every secret."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def occur(self, text: str) -> bool:
        """Whether the text holds a secret."""
        return bool(self._pattern and self._pattern.search(text))

    def __eq__(self, other: object) -> bool:
        """A logger keeps only one of equal filters."""
        return isinstance(other, Secrets) and self._pattern == other._pattern

    def __hash__(self) -> int:
        return hash(self._pattern)

    def filter(self, record: logging.LogRecord) -> bool:
        """Hides the secrets of a record; every record passes."""
        message = record.getMessage()
        if self.occur(message):
            record.msg, record.args = self.hide(message), ()
        return True


def login_secrets(login: str) -> tuple[list[str], list[str]]:
    """Returns what is secret in the login of an address, as `Secrets` wants it.

    A token often stands in the place of the user, alone or beside a password that stands for none.

    Args:
        login: ``user:password`` as the address has it, without the ``@``.

    Returns:
        What is hidden if it is long, and what is hidden always: also as the header sends it, and as
        a server reads it that knows only Latin-1.
    """
    user, _, password = login.partition(":")
    header = f"{unquote(user)}:{unquote(password)}".encode()
    secret = password or user
    read = unquote(secret)
    shown = [secret, read, read.encode().decode("latin-1"), base64.b64encode(header).decode()]
    return [user, unquote(user)], shown if secret else []


def header_secrets(headers: str) -> list[str]:
    """Returns what may be secret in headers as the SDKs' variables have them, one a line."""
    values = [line.partition(":")[2].strip() for line in headers.splitlines()]
    return [*values, *(word for value in values for word in value.split())]


def proxy_logins() -> list[str]:
    """Returns the logins of the proxies that the environment names."""
    return [proxy.rpartition("@")[0].rpartition("//")[2] for proxy in getproxies().values()]


def _forms(secret: str) -> list[str]:
    """Patterns of one secret: written out with any escapes, in base64, in hexadecimal."""
    compared = secret[:_COMPARED]
    written = _written(compared) + (_REST if compared != secret else "")
    data = secret.encode()
    encoded = {base64.b64encode(data), base64.urlsafe_b64encode(data)}
    # Servers that mean well show a part of a key: two thirds of it and more are hidden.
    least = -(-2 * len(compared) // 3) if len(secret) >= _LONG else len(compared)
    after = ""
    for character in reversed(compared[least:]):
        after = f"(?:{_any_escape(character)}{after})?"
    return [
        written,
        _written(compared[:least]) + after,
        _written(compared[-least:]),
        *(re.escape(text.decode().rstrip("=")) for text in sorted(encoded)),
        data.hex(),
    ]


def _begins(secret: str) -> set[str]:
    """The characters with which a form of a secret can begin."""
    compared = secret[:_COMPARED]
    data = secret.encode()
    in_base64 = "".join(_inside_base64(secret)) + base64.b64encode(data).decode()
    return {*compared, *in_base64, *data.hex(), *"\\%&+-_"}


def _inside_base64(secret: str) -> list[str]:
    """Patterns of a secret in the base64 of a longer text, wherever it begins there."""
    found = []
    for before, begin in enumerate((0, 2, 3)):
        data = bytes(before) + secret.encode()
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(data).decode().rstrip("=")
            found.append(re.escape(whole[begin : -1 if len(data) % 3 else None]))
    return sorted(set(found))


def _written(text: str) -> str:
    """A pattern of a text in any escapes; backslashes before its first character stay."""
    first = _any_escape(text[0], most=0)
    return first + "".join(map(_any_escape, text[1:]))


def _any_escape(character: str, most: int = 8) -> str:
    """A pattern of one character as it is, with backslashes, percent-encoded, or as an entity.

    Repetitions are bounded, so that a text of nothing but backslashes takes linear time.
    """
    code, data = ord(character), character.encode()
    named = {html.escape(character), "&apos;" if character == "'" else character} - {character}
    ways = [
        rf"\\{{0,{most}}}{re.escape(character)}",
        "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in data),
        "".join(rf"\\{{1,{most or 1}}}x{byte:02x}" for byte in data),
        rf"\\{{1,{most or 1}}}(?:u{{?0{{0,6}}|x0{{0,6}}){code:x}\}}?",
        f"&#0{{0,6}}{code};",
        f"&#x0{{0,6}}{code:x};",
        *map(re.escape, sorted(named)),
        *([r"\+"] if character == " " else []),
        *([] if character.isprintable() else [r"\\{0,7}" + re.escape(repr(character)[1:-1])]),
    ]
    return f"(?:{'|'.join(ways)})"


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


_NO_KEY = "no-key-needed"
_LOGGERS = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic")


def open_client(
    sdk: Any,
    name: str,
    server: Address,
    key: str,
    secrets: Secrets,
    *,
    hooks: Mapping[str, list[Any]],
    **options: Any,
) -> Any:
    """Returns a new client.

    Args:
        sdk: the SDK's module.
        name: of the class of its client.
        server: where to.
        key: empty for none.
        secrets: what no log may show.
        hooks: called with every request and every response.
        options: further arguments of the client.

    Raises:
        MissingDependencyError, InvalidInputError: if the environment names a proxy or certificates
            that cannot be used.
    """
    # Nothing that only the HTTP library could unpack, without a bound.
    plain = {"event_hooks": hooks, "headers": {"Accept-Encoding": "gzip, deflate"}}
    wrong: tuple[type[Exception], ...] = (ImportError, ValueError, OSError, *_invalid_urls(sdk))
    try:
        _check_ports()
        http = sdk.DefaultAsyncHttpxClient(**plain)
    except wrong as error:
        if not proxy_bypass(server.host):
            raise _unusable(error, secrets) from None
        http = sdk.DefaultAsyncHttpxClient(**plain, trust_env=False)
    headers = {"Authorization": server.login} if server.login is not None else {}
    if server.takes_key_apart and key:
        headers["api-key"] = key
    try:
        client = getattr(sdk, name)(
            api_key=key or _NO_KEY,
            http_client=http,
            default_headers=headers,
            default_query=server.query,
            **options,
        )
    except wrong as error:
        said = secrets.hide(str(error))
        raise InvalidInputError(
            f"base_url is {server.url!r}, expected an address ({said})"
        ) from None
    for logger in list(logging.root.manager.loggerDict):
        if logger.partition(".")[0] in _LOGGERS:
            logging.getLogger(logger).addFilter(secrets)
    return client


def _check_ports() -> None:
    """The HTTP library takes any number for a port and fails only when it connects.

    Raises:
        ValueError: if the port of a proxy is no port.
    """
    proxies = getproxies()
    for proxy in filter(None, map(proxies.get, ("http", "https", "all"))):
        _ = urlsplit(proxy if "://" in proxy else f"http://{proxy}").port


def _unusable(error: Exception, secrets: Secrets) -> AmpError:
    """The error for what the environment says of the network and cannot be used."""
    names = [name for name, proxy in getproxies().items() if name != "no" and proxy]
    variables = " and ".join(f"{name.upper()}_PROXY" for name in names) or "its settings"
    if isinstance(error, ImportError):
        return MissingDependencyError(
            f"the environment names a SOCKS proxy ({variables}), which needs a package;"
            " run: pip install socksio, or unset it"
        )
    said = " ".join(secrets.hide(str(error)).split())
    return InvalidInputError(
        f"the network cannot be used as the environment says ({variables}: {said}); mend or"
        " unset it"
    )


def _invalid_urls(sdk: Any) -> tuple[type[Exception], ...]:
    """The error of the SDK's HTTP library for an address that it does not take."""
    names = {base.__module__.partition(".")[0] for base in sdk.DefaultAsyncHttpxClient.__mro__}
    modules = [importlib.import_module(name) for name in sorted(names) if name.startswith("httpx")]
    return tuple(module.InvalidURL for module in modules)
