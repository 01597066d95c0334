"""Opens an SDK's client as the address and the environment want it, and without a word of a key.

The environment may name proxies and certificates, and what it names may not exist. A server that
goes without a proxy (``NO_PROXY``) is not to suffer from a proxy that cannot be used.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from amp.errors import AmpError, InvalidInputError, MissingDependencyError
from amp.models.address import Address
from amp.models.secret import Secrets

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
