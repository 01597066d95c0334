"""The server behind the gateway: where a request goes, with which headers, and what it may show.

Headers pass as they are, in both directions, but for those that belong to one connection, those
that are meant for the gateway (``x-amp-...``), and the client's key where the gateway has one of
its own for the upstream.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

from amp.errors import InvalidInputError, did_you_mean
from amp.models.connection import Secrets, read_address
from amp.serve.dialects.apis import CHAT, DIALECTS, EMBEDDINGS, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect
from amp.serve.upstreams.answer import HttpAnswer, UpstreamError, once
from amp.serve.upstreams.replay import RECORDING_URL, RecordedUpstream, recorded_model

Api = Literal["openai", "anthropic", "both", "chat", "responses", "chat+messages"]
"""What an upstream speaks: all that a provider does, all, or some of the APIs for chats alone."""

Headers = Sequence[tuple[str, str]]

_OWN_HOSTS: Mapping[str, Api] = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
_SPOKEN: Mapping[Api, Sequence[Dialect]] = {
    "openai": (CHAT, RESPONSES, EMBEDDINGS),
    "anthropic": (MESSAGES,),
    "both": DIALECTS,
    "chat": (CHAT, EMBEDDINGS),
    "responses": (RESPONSES, EMBEDDINGS),
    "chat+messages": (CHAT, MESSAGES, EMBEDDINGS),
}
_OF_ONE_CONNECTION = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect"),
}
_PARAMETERS = re.compile(r";[^/]*")  # of a part of a path
# Many servers close a connection that was idle for five seconds, and a request that is sent just
# then is lost.
_KEEP_ALIVE_SECONDS = 4.0
_LARGEST_HEADER = 65_536
_ADDED = ("accept", "accept-encoding", "content-type", "user-agent")  # unless it is told not to
_UNREACHED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
_OWN = "x-amp-"
_STATUSES = range(200, 600)
_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "OPTIONS")
_KEYS = ("authorization", "x-api-key", "api-key")


def read_api(name: str | None) -> Api | None:
    """The API of this name.

    Raises:
        InvalidInputError: if there is none; names the nearest and all.
    """
    known: list[Api] = list(get_args(Api))
    for api in known:
        if api == name:
            return api
    if name is None:
        return None
    raise InvalidInputError(
        f"unknown API {name!r}{did_you_mean(name, [*known])} (APIs: {', '.join(known)})"
    )


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """Where the upstream is.

    Attributes:
        url: its address, as clients of its API are given it.
        key: the gateway's own key there; empty for none.
        passes_keys: whether it is sent the client's key, where the gateway has none of its own.
        api: what it speaks; None for what its host is known for, else both.
        timeout_seconds: how long it may say nothing.
        connect_seconds: how long it may take to be reached.
        name: what the gateway calls it.
        models: patterns of the names that it has; empty for all.
        rename: what it calls a model, by the name that clients ask for.
        prices: the table of its prices; None for the settings' one.
        is_free: whether it costs nothing, as a model on this machine.
        recording: file that answers in its place (`amp.serve.upstreams.replay`).
    """

    url: str
    key: str = ""
    passes_keys: bool = True
    api: Api | None = None
    timeout_seconds: float = 600.0
    connect_seconds: float = 10.0
    name: str = "upstream"
    models: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    prices: Path | None = None
    is_free: bool = False
    recording: Path | None = None


def recorded(path: Path) -> UpstreamConfig:
    """A recording in place of a server.

    Raises:
        RecordingError: if it is missing, damaged, empty, or something else.
    """
    model = recorded_model(path)
    return UpstreamConfig(
        RECORDING_URL,
        passes_keys=False,
        api="chat",
        models=(model,),
        is_free=True,
        recording=path,
    )


class Upstream:
    """Connections to one upstream.

    Attributes:
        config: what was said of it.
        api: what it speaks.
        secrets: what nobody is to see of its address and key.
        base: its address, with the version.

    Raises:
        InvalidInputError: if its address is none.
    """

    def __init__(self, config: UpstreamConfig) -> None:
        self.config = config
        self._server = read_address(config.url)
        self.api: Api = config.api or _OWN_HOSTS.get(self._server.host, "both")
        self._key = config.key
        self._hides_keys = not config.passes_keys or bool(config.key or self._server.login)
        self.secrets = Secrets([config.key, *self._server.keys], self._server.passwords)
        # Clients of OpenAI are given an address with a version, those of Anthropic one without.
        base = self._server.url
        has_path = bool(urlsplit(base).path) and self.api != "anthropic"
        self.base = base if has_path or base.endswith("/v1") else f"{base}/v1"
        self._recording = RecordedUpstream(config.recording) if config.recording else None
        self._proxy = proxy_to(self.base)
        self._open: aiohttp.ClientSession | None = None

    @property
    def host(self) -> str:
        """Its machine."""
        return self._server.host

    @property
    def name(self) -> str:
        """What the gateway calls it."""
        return self.config.name

    @property
    def takes_clients_keys(self) -> bool:
        """Whether it is sent the key of a client, who then pays there."""
        return not (self._hides_keys or self.config.is_free)

    @property
    def is_openai(self) -> bool:
        """Whether its chats are those of OpenAI itself."""
        return self.host in _OWN_HOSTS or self.api not in ("chat", "chat+messages")

    @property
    def dialects(self) -> Sequence[Dialect]:
        """What it speaks; what others are translated into comes first."""
        spoken = _SPOKEN[self.api]
        if self.host in _OWN_HOSTS and RESPONSES in spoken:
            # Its models reason and call tools in one call there alone.
            return (RESPONSES, *(each for each in spoken if each is not RESPONSES))
        return spoken

    @asynccontextmanager
    async def asked(
        self, method: str, target: str, headers: Headers, body: bytes, *, plain: bool
    ) -> AsyncIterator[HttpAnswer]:
        """Sends a request, and gives the answer as soon as its headers are there.

        Leaving the block before the end of the answer closes the connection, which is how an
        upstream learns that nobody waits any more.

        Args:
            method: such as POST.
            target: path and query as the client sent them, below ``/v1``.
            headers: as the client sent them.
            body: the request.
            plain: asks for an answer that is not packed, so that it can be read on its way.

        Raises:
            UpstreamError: if it cannot be reached, or breaks off.
        """
        if self._recording is not None:
            yield self._recording.answer(method, target, body)
            return
        begun = False
        # A body of none is left out: the library would announce one of an unknown length.
        data = once(body) if body or method not in _WITHOUT_BODY else None
        try:
            # The library has no bound of its own for a server that does not take what is sent.
            async with asyncio.timeout(self.config.timeout_seconds):
                response = await self._session().request(
                    method,
                    URL(self._address(target), encoded=True),
                    headers=self._sent(method, headers, body, plain),
                    data=data,
                    auto_decompress=plain,
                    allow_redirects=False,
                    proxy=self._proxy,
                )
            try:
                if response.status not in _STATUSES:
                    raise UpstreamError(
                        f"the upstream answers with status {response.status}, which there is not",
                        502,
                        may_be_billed=False,
                    )
                came = [(name.lower(), value) for name, value in response.raw_headers]
                if sum(len(name) + len(value) for name, value in came) > _LARGEST_HEADER:
                    raise UpstreamError(  # the library bounds each alone; no client reads all
                        f"the upstream answers with headers of over {_LARGEST_HEADER:,} bytes",
                        502,
                        may_be_billed=True,
                    )
                begun = True
                yield HttpAnswer(response.status, came, _parts_of(response.content))
            finally:
                response.close()
        except _UNREACHED as error:
            raise UpstreamError(
                f"the upstream cannot be reached ({type(error).__name__})", 502, may_be_billed=False
            ) from None
        except (aiohttp.ServerTimeoutError, TimeoutError):
            raise UpstreamError(
                "the upstream said nothing for too long", 504, may_be_billed=True, begun=begun
            ) from None
        except aiohttp.ClientError as error:
            what = "broke off" if begun else "gave no answer"
            raise UpstreamError(
                f"the upstream {what} ({type(error).__name__})",
                502,
                may_be_billed=True,
                begun=begun,
            ) from None

    def _session(self) -> aiohttp.ClientSession:
        """The connections, which need the event loop that they are made in."""
        if self._open is None:
            is_https = self.base.startswith("https:")
            self._open = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=_KEEP_ALIVE_SECONDS,
                    ssl=httpx2.create_ssl_context() if is_https else True,
                ),
                # What an upstream sets for one client is not to be sent for the next.
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_ADDED,
                timeout=aiohttp.ClientTimeout(
                    connect=self.config.connect_seconds, sock_read=self.config.timeout_seconds
                ),
                max_line_size=_LARGEST_HEADER,
                max_field_size=_LARGEST_HEADER,
            )
        return self._open

    def hidden(self, content: bytes) -> bytes:
        """What it said, which may repeat the key that it was sent, without that."""
        text = content.decode("utf-8", "surrogateescape")
        if not self.secrets.occur(text):
            return content
        return self.secrets.hide(text).encode("utf-8", "surrogateescape")

    def passed_back(
        self, headers: Sequence[tuple[bytes, bytes]], *, unpacked: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """The headers of an answer that the client gets, without the upstream's key.

        Args:
            headers: as the upstream sent them.
            unpacked: whether the body was unpacked on its way.
        """
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        dropped = {*_OF_ONE_CONNECTION, *listed_in_connection(pairs)}
        dropped |= {"content-encoding"} if unpacked else set()
        return [
            (name.encode("latin-1"), self.hidden(value.encode("latin-1")))
            for name, value in pairs
            if name not in dropped and not name.startswith(_OWN)  # of a gateway behind this one
        ]

    async def close(self) -> None:
        """Closes all connections."""
        if self._recording is not None:
            self._recording.close()
        session, self._open = self._open, None  # a shadow may still ask one that was dropped
        if session is not None:
            await session.close()

    def _address(self, target: str) -> str:
        path, _, query = target.partition("?")
        mine = urlencode(self._server.query)
        query = "&".join(part for part in (mine, query) if part)
        return f"{self.base}{path.removeprefix('/v1')}{'?' if query else ''}{query}"

    def _sent(
        self, method: str, headers: Headers, body: bytes, plain: bool
    ) -> list[tuple[str, str]]:
        """The headers of a request.

        Raises:
            InvalidInputError: if one holds bytes that cannot be sent.
        """
        sent = []
        for name, value in self._passed_on(headers, plain):
            try:  # the library sends all as UTF-8
                sent.append((name, value.encode("latin-1").decode()))
            except UnicodeDecodeError:
                raise InvalidInputError(
                    f"header {name} holds bytes that are no UTF-8, expected text"
                ) from None
        if body or method not in _WITHOUT_BODY:
            sent.append(("content-length", str(len(body))))
        return sent

    def _passed_on(self, headers: Headers, plain: bool) -> list[tuple[str, str]]:
        """The headers that the upstream gets."""
        dropped = {*_OF_ONE_CONNECTION, *listed_in_connection(headers)}
        dropped |= {"accept-encoding"} if plain else set()
        dropped |= set(_KEYS) if self._hides_keys else set()
        kept = [(n, v) for n, v in headers if n not in dropped and not n.startswith(_OWN)]
        if not any(name == "accept-encoding" for name, _ in kept):
            kept.append(("accept-encoding", "identity"))
        if self._server.login:
            kept.append(("authorization", self._server.login))
        if self._key:
            kept.append(self._authorization(headers))
            if self._server.takes_key_apart:
                kept.append(("api-key", self._key))
        return kept

    def _authorization(self, headers: Headers) -> tuple[str, str]:
        """The key in the form of the API that the client speaks."""
        names = {name for name, _ in headers}
        is_anthropic = self.api == "anthropic" or (
            self.api == "both" and bool({"x-api-key", "anthropic-version"} & names)
        )
        return (MESSAGES if is_anthropic else CHAT).authorization(self._key)


async def _parts_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """A body as it comes.

    Where a connection breaks, the library by itself drops what came and was not read before; but
    the client is to have it, and to pay for it.
    """
    try:
        while part := await content.readany():
            yield part
    except aiohttp.ClientError:
        if part := content._read_nowait(-1):
            yield part
        raise


def proxy_to(url: str) -> str | None:
    """The proxy that the environment names for an address; None for none.

    Raises:
        InvalidInputError: if it is of a kind that is not spoken here.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    kind, _, place = proxy.rpartition("://")
    if kind not in ("", "http", "https"):
        raise InvalidInputError(
            f"the environment names a proxy of kind {kind[:20]!r} for {parts.hostname}, expected"
            " http or https; set NO_PROXY for this host, or name another"
        )
    return f"{kind or 'http'}://{place}"


def listed_in_connection(headers: Headers) -> set[str]:
    """Names of headers that ``Connection`` says belong to this connection alone."""
    values = [value for name, value in headers if name == "connection"]
    return {word.strip().lower() for value in values for word in value.split(",")}


def client_key(headers: Headers) -> str:
    """The key that a client sent, in either API's header; empty if it sent none."""
    found = dict(headers)
    bearer = found.get("authorization", "")
    scheme, _, token = bearer.partition(" ")
    token = token if scheme.lower() == "bearer" else ""
    return (found.get("x-api-key") or found.get("api-key") or token).strip()


def is_below_v1(target: str) -> bool:
    """Whether a path stays below ``/v1``, however it is written."""
    path = _PARAMETERS.sub("", unquote(target.partition("?")[0]))
    normal = posixpath.normpath(path)
    return normal.startswith("/v1/") and ".." not in path.replace("\\", "/").split("/")


def plain_path(path: str) -> str:
    """A path as a server may read it that is not particular about how it is written."""
    return posixpath.normpath(_PARAMETERS.sub("", unquote(path))).lower()
