"""One door to the official SDKs: every failure becomes one line that never holds the key.

The SDKs of OpenAI and Anthropic are made by the same generator and fail alike. They try again on
their own what may pass the second time: connections that fail or break off, and the statuses 408,
409, 429 and 5xx (529, "overloaded", among them), with jittered exponential waits from half a second
to eight, or as long as the server's Retry-After says. All of that is left to them. What they lack
is an end: the time of a try begins anew with every byte, a try that was too slow is made again,
and Retry-After may be days. So one deadline holds for a request with all its tries.

A try that the server refused, and one that never reached it, cost nothing. What it generated for a
try that broke off or was too slow is not known: the bound stands for it, and a try that could
exceed a limit is not made (`amp.models.bill`).

Where base_url names several servers, each try goes to the one that the episode has its home at
(`amp.models.replicas`), so what the SDKs try again is tried elsewhere if that one is not there.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import os
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from amp.errors import InvalidInputError, LimitReachedError, MissingDependencyError, ModelError
from amp.models.answer_text import clean, mended
from amp.models.bill import Spent
from amp.models.connection import (
    Secrets,
    clean_key,
    header_secrets,
    login_secrets,
    open_client,
    proxy_logins,
)
from amp.models.refusals import blames_a_field
from amp.models.replicas import (
    LAST_STATUS_OF_A_SERVER,
    SESSION_HEADER,
    Replicas,
    Session,
    Tries,
    current_session,
    read_addresses,
)
from amp.models.reply import (
    BodyError,
    Failure,
    RefusedError,
    cause_of,
    failure_in,
    parse,
    read_body,
    reason_of,
)

# Every token may be listed with twenty others, their bytes and their log-probabilities.
_BYTES_A_TOKEN = 8_000
_BYTES_OF_ANY_ANSWER = 8_000_000
# Statuses that are no refusal of a field, whatever the server says; others from 403 to 501 may be.
_NO_REFUSAL = (408, 429)
# A gateway gave up waiting for an answer that the server behind it was at work on.
_GAVE_UP_WAITING = (504, 524)
_CONNECT_SECONDS = 10.0
_CHECK_SECONDS = 5.0


UNEXPECTED = (ValueError, TypeError, RecursionError, OverflowError, ExceptionGroup)
"""What the HTTP library raises beside its own errors: for a redirect to port 99999, for one."""


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
        version: what the SDK itself puts between the address and the resource.
    """

    name: str
    package: str
    client: str
    errors: str
    resource: str
    address: str
    variable: str
    version: str = ""


_tries: ContextVar[Tries] = ContextVar("_tries")


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
        base_url: address of the server, or of several with the same model, apart by commas; None
            takes the SDK's environment variable, else the provider's own.
        api_key: the key; None takes the SDK's environment variable.
        timeout_seconds: how long an answer may take, all tries and waits among it.
        max_retries: how often the SDK tries again.

    Attributes:
        address: where the server is; of several, the first.

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
        addresses = read_addresses(
            base_url or os.environ.get(f"{api.variable}_BASE_URL") or api.address
        )
        self._server = addresses[0]
        self._replicas = Replicas(addresses)
        self.address = self._server.url
        if api.version:  # the SDK adds it
            self.address = self.address.removesuffix(f"/{api.version.rstrip('/')}")
        named = "api_key" if api_key else f"{api.variable}_API_KEY"
        self._key = clean_key(api_key or os.environ.get(f"{api.variable}_API_KEY") or "", named)
        if self.is_providers_own and not self._key:
            raise InvalidInputError(
                f"model {model} at {api.name} needs a key; set {api.variable}_API_KEY or pass"
                " api_key"
            )
        names = ("AUTH_TOKEN", "ORG_ID", "PROJECT_ID")
        others = [os.environ.get(f"{api.variable}_{name}", "") for name in names]
        others += header_secrets(os.environ.get(f"{api.variable}_CUSTOM_HEADERS", ""))
        logins = [login_secrets(login) for login in proxy_logins()]
        self._secrets = Secrets(
            [self._key, *others, *self._server.keys, *(key for keys, _ in logins for key in keys)],
            [*self._server.passwords, *(word for _, words in logins for word in words)],
        )
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        self._connection: _Connection | None = None
        self._closed = False

    @property
    def is_providers_own(self) -> bool:
        """Whether this is the provider's own server."""
        return self.address == self._api.address

    async def ask(
        self, body: dict[str, Any], spent: Spent, *, retry: bool = True
    ) -> dict[str, Any]:
        """Returns the JSON object that the server answers to a prompt.

        Args:
            body: the request.
            spent: where its tries are written down; of a good answer, the caller knows the cost.
            retry: whether to try again where the server is busy or broken.

        Raises:
            LimitReachedError: if one more try could exceed a limit.
            RefusedError: if the server refuses this request, or breaks on it.
            ModelError: if it is unreachable, too slow, busy for too long, or answers no JSON
                object.
        """
        sdk = self._sdk
        tokens = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        most_bytes = _BYTES_OF_ANY_ANSWER + body.get("n", 1) * tokens * _BYTES_A_TOKEN
        tries = Tries(spent, body, most_bytes, session=current_session() or Session())
        create: Any = await self.connected()
        await self._replicas.check(self._is_there)
        if not retry:
            create = create.with_options(max_retries=0)
        for name in self._api.resource.split("."):
            create = getattr(create, name)
        token = _tries.set(tries)
        # Causes are cut off (from None): they repeat what the server said, and that may be the key.
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await create.with_raw_response.create(**body)
        except asyncio.CancelledError:
            tries.settle()
            raise
        except _StoppedError:
            assert tries.stopped is not None
            raise tries.stopped from None
        except (TimeoutError, sdk.APITimeoutError):
            tries.settle()
            self._not_there(tries)
            raise self.error(
                f"gave no answer within {self._timeout_seconds:g} seconds ({tries}); allow more or"
                " ask for fewer tokens"
            ) from None
        except sdk.APIConnectionError as error:
            tries.settle()
            self._not_there(tries)
            why = f"({tries}: {self._clean(cause_of(error))})"
            if len(self._replicas.all) > 1:
                raise self.error(f"cannot be reached {why}; are the servers running?") from None
            raise self.error(f"cannot be reached {why}; is the server running?") from None
        except sdk.APIStatusError as error:
            failure = tries.failure or Failure(error.status_code, str(error))
            if not failure.may_be_billed:
                spent.free()
            raise self._refused(failure, tries) from None
        except (getattr(sdk, self._api.errors), *UNEXPECTED) as error:
            raise self.error(f"failed ({self._clean(cause_of(error))})") from None
        finally:
            _tries.reset(token)
        if tries.failure is not None:
            raise self.error(f"answered {self._clean(tries.failure.reason)}") from None
        if not isinstance(tries.answer, dict):
            raise self.error("answered JSON that is no object; check base_url")
        answer: dict[str, Any] = tries.answer
        return answer

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
            # A server that is gone is not waited for where there are others.
            several = len(self._replicas.all) > 1
            connect = min(_CONNECT_SECONDS if several else math.inf, self._timeout_seconds)
            client = open_client(
                self._sdk,
                self._api.client,
                self._server,
                self._key,
                self._secrets,
                base_url=self.address,
                timeout=self._sdk.Timeout(self._timeout_seconds, connect=connect),
                max_retries=self._max_retries,
                hooks={"request": [_count_try, self._send_home], "response": [self._receive]},
            )
            self._connection = _Connection(client, loop, _kept_open(client))
            await anext(self._connection.keeper)
        return self._connection.client

    async def _send_home(self, request: Any) -> None:
        """Before a try is sent: names the session, and has the try go to its home."""
        session, tries = current_session(), _tries.get(None)
        if session is not None and not self.is_providers_own:
            request.headers[SESSION_HEADER] = session.id
        if tries is None:
            self._replicas.send(request, session or Session())
            return
        self._not_there(tries)  # of the try before this one nothing came
        tries.replica = self._replicas.send(request, tries.session)

    def _not_there(self, tries: Tries) -> None:
        """Takes note that nothing came of the last try, whose server may be gone."""
        replica, tries.replica = tries.replica, None
        if replica is not None:
            self._replicas.failed(tries.session, replica)

    async def _is_there(self) -> bool:
        """Whether the server that is asked is there: it lists its models."""
        client = (await self.connected()).with_options(timeout=_CHECK_SECONDS, max_retries=0)
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await client.get(f"{self.address}/{self._api.version}models", cast_to=object)
        except self._sdk.APIStatusError as error:
            return bool(error.status_code <= LAST_STATUS_OF_A_SERVER)
        except (getattr(self._sdk, self._api.errors), TimeoutError, *UNEXPECTED):
            return False
        return True

    async def _receive(self, response: Any) -> None:
        """Reads an answer within its bounds, before the SDK does, and says whether it is one."""
        tries = _tries.get(None)
        http = importlib.import_module(type(response).__module__.partition(".")[0])
        status: int = response.status_code
        failure, parsed, content = None, None, b""
        try:
            encoding = response.headers.pop("content-encoding", "")
            most_bytes = tries.most_bytes if tries else _BYTES_OF_ANY_ANSWER
            content = await read_body(response.stream, encoding, most_bytes)
            parsed = parse(content, self._clean)
        except BodyError as error:
            hint = "; check base_url" if "no JSON" in str(error) else ""
            failure = Failure(None, f"{error}{hint}", may_be_billed=True)
        finally:
            await response.stream.aclose()
        response.stream = http.ByteStream(content)
        if status >= 300:
            text = content[:10_000].decode(errors="replace")
            reason, places = reason_of(text if parsed is None else parsed)
            billed = status in _GAVE_UP_WAITING or (isinstance(parsed, dict) and "usage" in parsed)
            failure = Failure(status, reason or response.reason_phrase, places, billed)
        elif isinstance(parsed, dict):
            text = content.decode(errors="replace")
            if self._secrets.occur(text) or "\\ud" in text.lower():
                parsed = clean(parsed, lambda each: mended(self._secrets.hide(each)))
            failure = failure_in(parsed)
        if tries is None:
            return
        if status > LAST_STATUS_OF_A_SERVER:
            self._not_there(tries)
        elif tries.replica is not None:
            self._replicas.answered(tries.replica)
            tries.replica = None
        tries.status, tries.answer, tries.failure = status, parsed, failure
        if failure is None:
            return
        if not failure.may_be_billed:
            tries.spent.free()
        if failure.status is not None and status < 300:
            response.status_code = tries.status = failure.status  # so the SDK tries again
        if failure.status in (409, 500, 501) and blames_a_field(
            failure.reason, failure.places, tries.body
        ):
            response.headers["x-should-retry"] = "false"

    def error(self, what: str) -> ModelError:
        """Returns an error that says which model it is about."""
        return ModelError(f"model {self._model} at {self._replicas} {what}")

    def garbage(self, error: Exception) -> ModelError:
        """Returns the error for an answer that lacks what it needs."""
        found = self._clean(f"{type(error).__name__}: {error}")
        return self.error(
            f"answered something that is no answer to a chat ({found}); check base_url"
        )

    def _refused(self, failure: Failure, tries: Tries) -> ModelError:
        status, reason = failure.status or 0, self._clean(failure.reason)
        known = status in (400, 422, 500)
        if not known and 403 <= status <= 501 and status not in _NO_REFUSAL:
            known = blames_a_field(reason, failure.places, tries.body) or "parameter" in reason
        if status in (401, 403) and not known:
            return self.error(
                f"refused the key (status {status}: {reason}); check {self._api.variable}_API_KEY"
            )
        if status in (404, 405) and not known:
            path = self._api.resource.replace(".", "/")
            return self.error(
                f"has no model or path of this name (status {status}: {reason}); check the model's"
                f" name and base_url, to which /{self._api.version}{path} is added"
            )
        if status == 429 or status >= 500:
            message = f"is busy or broken (status {status}, {tries}): {reason}"
        else:
            message = f"refused the request (status {status}): {reason}"
        if known:
            return RefusedError(str(self.error(message)), reason, status, failure.places)
        return self.error(message)

    def _clean(self, text: str) -> str:
        """One line, not too long, without the key: servers like to repeat it."""
        text = " ".join(self._secrets.hide(mended(text)).split())
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
