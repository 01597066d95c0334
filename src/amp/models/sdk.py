"""One door to the official SDKs: every failure becomes one line that never holds the key.

The SDKs of OpenAI and Anthropic are made by the same generator and fail alike. They try again on
their own what may pass the second time: connections that fail or break off, and the statuses 408,
409, 429 and 5xx (529, "overloaded", among them), with jittered exponential waits from half a second
to eight, or as long as the server's Retry-After says. All of that is left to them. What they lack
is an end: the time of a try begins anew with every byte, a try that was too slow is made again,
and Retry-After may be days. So one deadline holds for a request with all its tries.

A try that the server refused, and one that never reached it, cost nothing. What it generated for a
try that broke off or was too slow is not known: the bound stands for it, and a try that could
exceed a limit is not made (`amp.models.tab`).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from amp.errors import InvalidInputError, LimitReachedError, MissingDependencyError, ModelError
from amp.models.tab import Spent

_NO_KEY = "no-key-needed"


class RefusedError(ModelError):
    """The server refused the request as such (status 400 or 422); something else may pass.

    Attributes:
        reason: what the server said.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Api:
    """What distinguishes the SDKs.

    Attributes:
        name: how people call the API.
        package: the SDK's package, and the extra that installs it.
        client: its client class.
        errors: the class of all its exceptions.
        resource: the path of the resource whose `create` answers a prompt.
        address: the provider's own server.
        variable: prefix of its environment variables.
    """

    name: str
    package: str
    client: str
    errors: str
    resource: str
    address: str
    variable: str


@dataclass(slots=True)
class _Tries:
    """The tries of one request.

    Attributes:
        spent: what they cost.
        sent: how many were sent.
        arrived: whether the last one reached the server.
        status: of the last answer.
        stopped: why no further try may be made.
    """

    spent: Spent
    sent: int = 0
    arrived: bool = False
    status: int | None = None
    stopped: LimitReachedError | None = None

    def settle(self) -> None:
        """Notes that the last try cost nothing if it never arrived."""
        if not self.arrived:
            self.spent.free()

    def __str__(self) -> str:
        times = "once" if self.sent == 1 else f"{self.sent} times"
        return f"tried {times}" + (f", last status {self.status}" if self.status else "")


_tries: ContextVar[_Tries] = ContextVar("_tries")


@dataclass(slots=True)
class _Connection:
    """The SDK's client, the event loop that its connections belong to, and who closes it."""

    client: Any
    loop: asyncio.AbstractEventLoop
    keeper: AsyncGenerator[None, None]


class SdkClient:
    """An SDK's client for one model.

    Args:
        api: which SDK.
        model: the model's name, for messages.
        base_url: address of the server; None takes the SDK's environment variable, else the
            provider's own.
        api_key: the key; None takes the SDK's environment variable.
        timeout_seconds: how long an answer may take, all tries and waits among it.
        max_retries: how often the SDK tries again.

    Attributes:
        address: where the server is.

    Raises:
        MissingDependencyError: if the SDK is missing.
        InvalidInputError: if the provider's own server is meant and there is no key.
    """

    def __init__(
        self,
        api: Api,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        timeout_seconds: float,
        max_retries: int,
    ) -> None:
        try:
            self._sdk: Any = importlib.import_module(api.package)
        except ImportError as error:
            raise MissingDependencyError(
                f"models behind the {api.name} API need its SDK;"
                f" run: pip install 'adaptive-meta-planning[{api.package}]'"
            ) from error
        self._api = api
        self._model = model
        address = base_url or os.environ.get(f"{api.variable}_BASE_URL") or api.address
        self.address = address.rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise InvalidInputError(
                f"base_url is {self.address!r}, expected http://... or https://..."
            )
        self._key = api_key or os.environ.get(f"{api.variable}_API_KEY") or ""
        if self.is_providers_own and not self._key:
            raise InvalidInputError(
                f"model {model} at {api.name} needs a key; set {api.variable}_API_KEY or pass"
                " api_key"
            )
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        self._connection: _Connection | None = None
        self._closed = False

    @property
    def is_providers_own(self) -> bool:
        """Whether this is the provider's own server."""
        return self.address == self._api.address

    async def ask(self, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        """Returns the JSON object that the server answers to a prompt.

        Args:
            body: the request.
            spent: where its tries are written down; of a good answer, the caller knows the cost.

        Raises:
            LimitReachedError: if one more try could exceed a limit.
            RefusedError: if the server refuses this request.
            ModelError: if it is unreachable, too slow, busy for too long, or answers no JSON
                object.
        """
        sdk, tries = self._sdk, _Tries(spent)
        _tries.set(tries)
        create: Any = await self.connected()
        for name in self._api.resource.split("."):
            create = getattr(create, name)
        # Causes are cut off (from None): they repeat what the server said, and that may be the key.
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await create.with_raw_response.create(**body)
                content: bytes = answer.http_response.content
        except _StoppedError:
            assert tries.stopped is not None
            raise tries.stopped from None
        except (TimeoutError, sdk.APITimeoutError):
            tries.settle()
            raise self.error(
                f"gave no answer within {self._timeout_seconds:g} seconds ({tries}); allow more or"
                " ask for fewer tokens"
            ) from None
        except sdk.APIConnectionError as error:
            tries.settle()
            raise self.error(
                f"cannot be reached ({tries}: {self._clean(_cause(error))}); is the server running?"
            ) from None
        except sdk.APIStatusError as error:
            spent.free()
            raise self._refused(error, tries) from None
        except getattr(sdk, self._api.errors) as error:
            raise self.error(f"failed ({self._clean(str(error))})") from None
        try:
            parsed = json.loads(content)
        except ValueError:
            begin = self._clean(content.decode(errors="replace"))[:40]
            raise self.error(
                f"answered something that is no JSON ({begin!r}); check base_url"
            ) from None
        if not isinstance(parsed, dict):
            raise self.error("answered JSON that is no object; check base_url")
        if parsed.get("error"):
            raise self.error(f"answered an error: {self._clean(str(parsed['error']))}")
        return parsed

    async def close(self) -> None:
        """Closes the connections for good."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None and connection.loop is asyncio.get_running_loop():
            await connection.keeper.aclose()

    async def connected(self) -> Any:
        """Returns the SDK's client.

        Raises:
            ModelError: if it was closed.
        """
        if self._closed:
            raise ModelError(f"model {self._model} is closed; load it again")
        # Connections belong to the event loop that opened them: a new loop gets new ones.
        loop = asyncio.get_running_loop()
        if self._connection is None or self._connection.loop is not loop:
            http = self._sdk.DefaultAsyncHttpxClient(
                event_hooks={"request": [_count_try], "response": [_keep_status]}
            )
            client = getattr(self._sdk, self._api.client)(
                base_url=self.address,
                api_key=self._key or _NO_KEY,
                timeout=self._timeout_seconds,
                max_retries=self._max_retries,
                http_client=http,
            )
            self._connection = _Connection(client, loop, _kept_open(client))
            await anext(self._connection.keeper)
        return self._connection.client

    def error(self, what: str) -> ModelError:
        """Returns an error that says which model it is about."""
        return ModelError(f"model {self._model} at {self._clean(self.address)} {what}")

    def garbage(self, error: Exception) -> ModelError:
        """Returns the error for an answer that lacks what it needs."""
        found = self._clean(f"{type(error).__name__}: {error}")
        return self.error(
            f"answered something that is no answer to a chat ({found}); check base_url"
        )

    def _refused(self, error: Any, tries: _Tries) -> ModelError:
        status, reason = error.status_code, self._clean(_reason(error))
        if status in (401, 403):
            return self.error(
                f"refused the key (status {status}: {reason}); check {self._api.variable}_API_KEY"
            )
        if status == 429 or status >= 500:
            return self.error(f"is busy or broken (status {status}, {tries}): {reason}")
        message = f"refused the request (status {status}): {reason}"
        if status in (400, 422):
            return RefusedError(str(self.error(message)), reason)
        return self.error(message)

    def _clean(self, text: str) -> str:
        """One line, not too long, without the key: servers like to repeat it."""
        if self._key:
            text = text.replace(self._key, "[key]")
        text = " ".join(text.split())
        return text if len(text) <= 300 else text[:297] + "..."


async def _kept_open(client: Any) -> AsyncGenerator[None, None]:
    """Closes the client when it is closed itself, which the end of its event loop sees to."""
    try:
        yield
    finally:
        await client.close()


class _StoppedError(BaseException):
    """No try may follow. Not an Exception, since the SDKs take those for a broken connection."""


async def _count_try(request: Any) -> None:
    """Before a try is sent."""
    if tries := _tries.get(None):
        tries.settle()
        try:
            tries.spent.send()
        except LimitReachedError as error:
            tries.stopped = error
            raise _StoppedError from None
        tries.sent += 1
        tries.arrived = False

        async def watch(event: str, info: object) -> None:
            if event.endswith("send_request_headers.complete"):
                tries.arrived = True

        request.extensions = {**request.extensions, "trace": watch}


async def _keep_status(response: Any) -> None:
    if tries := _tries.get(None):
        tries.status = response.status_code
        if response.status_code >= 300:
            tries.spent.free()


def _reason(error: Any) -> str:
    """What the server said, with the name of the parameter if it gives one."""
    body = error.body
    if not isinstance(body, dict):
        return str(error.response.text) or str(error)
    # OpenAI's SDK unwraps the error, Anthropic's does not.
    details = body["error"] if isinstance(body.get("error"), dict) else body
    message = str(details.get("message") or details)
    parameter = details.get("param")
    return f"{message} (parameter: {parameter})" if parameter else message


def _cause(error: BaseException) -> str:
    """The innermost reason: the SDK says only "Connection error."."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
