"""One door to the official SDK: every failure becomes one line that never holds the key."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from typing import Any

from amp.errors import InvalidInputError, MissingDependencyError, ModelError

_OPENAI = "https://api.openai.com/v1"
_NO_KEY = "no-key-needed"
_COUNT_TIMEOUT_SECONDS = 10.0


class RefusedError(ModelError):
    """The server refused the request as such (status 400 or 422); something else may pass.

    Attributes:
        reason: what the server said.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Client:
    """The SDK's client for one model.

    Args:
        model: the model's name, for messages.
        base_url: address of the server; None takes OPENAI_BASE_URL, else OpenAI's own.
        api_key: the key; None takes OPENAI_API_KEY.
        timeout_seconds: how long one HTTP request may take.
        max_retries: how often the SDK tries again.

    Raises:
        MissingDependencyError: if the package openai is missing.
        InvalidInputError: if OpenAI's own server is meant and there is no key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        timeout_seconds: float,
        max_retries: int,
    ) -> None:
        try:
            self._sdk: Any = importlib.import_module("openai")
        except ImportError as error:
            raise MissingDependencyError(
                "models behind the OpenAI API need its SDK;"
                " run: pip install 'adaptive-meta-planning[openai]'"
            ) from error
        self._model = model
        self.address = (base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI).rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise InvalidInputError(
                f"base_url is {self.address!r}, expected http://... or https://..."
            )
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or ""
        if self.is_openai and not self._key:
            raise InvalidInputError(
                f"model {model} at OpenAI needs a key; set OPENAI_API_KEY or pass api_key"
            )
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._counts_exactly = not self.is_openai

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own server."""
        return self.address == _OPENAI

    async def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the JSON object that the server answers to a chat completion.

        Raises:
            RefusedError: if the server refuses this request.
            ModelError: if it is unreachable, too slow, or answers no JSON object.
        """
        sdk = self._sdk
        try:
            create = self._connected().chat.completions.with_raw_response.create
            content = (await create(**body)).http_response.content
        except sdk.APITimeoutError as error:
            raise self._error(
                f"gave no answer within {self._timeout_seconds:g} seconds; allow more or ask for"
                " fewer tokens"
            ) from error
        except sdk.APIConnectionError as error:
            raise self._error(
                f"cannot be reached ({_cause(error)}); is the server running?"
            ) from error
        except sdk.APIStatusError as error:
            raise self._refused(error) from error
        except sdk.OpenAIError as error:
            raise self._error(f"failed ({self._clean(str(error))})") from error
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise self._error(
                f"answered something that is no JSON ({content[:40]!r}); check base_url"
            ) from error
        if not isinstance(answer, dict):
            raise self._error("answered JSON that is no object; check base_url")
        if "choices" not in answer and "error" in answer:
            raise self._error(f"answered an error: {self._clean(str(answer['error']))}")
        return answer

    async def count_tokens(self, messages: list[dict[str, str]]) -> int | None:
        """Returns the tokens of these messages if the server is llama.cpp's, else None."""
        if not self._counts_exactly:
            return None
        root = self.address.removesuffix("/v1")
        try:
            text = (await self._post(f"{root}/apply-template", {"messages": messages}))["prompt"]
            body = {"content": text, "add_special": True, "parse_special": True}
            return len((await self._post(f"{root}/tokenize", body))["tokens"])
        except self._sdk.APIConnectionError:
            return None  # it may be back later
        except (self._sdk.OpenAIError, ValueError, KeyError, TypeError):
            self._counts_exactly = False
            return None

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    async def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        client = self._connected().with_options(timeout=_COUNT_TIMEOUT_SECONDS, max_retries=0)
        answer = await client.post(url, body=body, cast_to=object)
        if not isinstance(answer, dict):
            raise TypeError("no JSON object")
        return answer

    def _connected(self) -> Any:
        # Connections belong to the event loop that opened them: a new loop gets new ones.
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = self._sdk.AsyncOpenAI(
                base_url=self.address,
                api_key=self._key or _NO_KEY,
                timeout=self._timeout_seconds,
                max_retries=self._max_retries,
            )
        return self._client

    def _refused(self, error: Any) -> ModelError:
        status, reason = error.status_code, _reason(error)
        if status in (401, 403):
            return self._error(
                f"refused the key (status {status}: {self._clean(reason)}); check OPENAI_API_KEY"
            )
        message = f"refused the request (status {status}): {self._clean(reason)}"
        if status in (400, 422):
            return RefusedError(str(self._error(message)), reason)
        return self._error(message)

    def _error(self, what: str) -> ModelError:
        return ModelError(f"model {self._model} at {self._clean(self.address)} {what}")

    def _clean(self, text: str) -> str:
        """One line, not too long, without the key: servers like to repeat it."""
        if self._key:
            text = text.replace(self._key, "[key]")
        text = " ".join(text.split())
        return text if len(text) <= 300 else text[:297] + "..."


def _reason(error: Any) -> str:
    """What the server said, with the name of the parameter if it gives one."""
    body = error.body
    if not isinstance(body, dict):
        return str(error)
    said = str(body.get("message") or body)
    parameter = body.get("param")
    return f"{said} (parameter: {parameter})" if parameter else said


def _cause(error: BaseException) -> str:
    """The innermost reason: the SDK says only "Connection error."."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
