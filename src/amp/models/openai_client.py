"""What servers tell beside their answers: how long a prompt is, and what else they can do.

Servers that are made of FastAPI (vLLM, SGLang, Ray Serve LLM) describe themselves in
``/openapi.json``. So what one of them offers beyond the OpenAI API is read, once a model, and not
guessed from its name or its version:

| field or path | used for |
|---|---|
| ``continue_final_message`` of a chat | an answer that has begun is continued |
| ``prompt_logprobs``, ``return_token_ids`` of a chat | given texts are scored |
| ``logprob_token_ids`` of a chat | options are weighed by the tokens that name them, all of them |
| ``messages`` of ``/tokenize`` | prompts are counted exactly, which the three above need, too |
| ``/apply-template`` (llama.cpp) | prompts are counted exactly |

A server that describes nothing (OpenAI's own; ``--disable-fastapi-docs``) is asked for none of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amp.models.reply import RefusedError
from amp.models.sdk import UNEXPECTED, Api, SdkClient

OPENAI = Api(
    name="OpenAI",
    package="openai",
    client="AsyncOpenAI",
    errors="OpenAIError",
    resource="chat.completions",
    address="https://api.openai.com/v1",
    variable="OPENAI",
)

LABELS, PROMPTS = "logprob_token_ids", "prompt_logprobs"
"""Fields of vLLM for the log-probabilities of chosen tokens, and of a prompt's."""

_CONTINUING = {"add_generation_prompt": False, "continue_final_message": True}
_OF_THE_TEMPLATE = ("chat_template", "chat_template_kwargs", *_CONTINUING)
_ASIDE_SECONDS = 5.0
_CHAT, _TOKENIZE = "/v1/chat/completions", "/tokenize"
_MOST_REFERENCES = 20
_MOST_LABELS = 128  # vLLM takes no more token ids

Fields = dict[str, Any]
Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class ServerOffers:
    """What a server says that it has.

    Attributes:
        chat: names of the fields of a chat completion's request.
        counts_chats: whether it tells the tokens of a chat.
    """

    chat: frozenset[str] = frozenset()
    counts_chats: bool = False

    @property
    def continues(self) -> bool:
        """Whether it continues an answer that has begun."""
        return set(_CONTINUING) <= self.chat

    @property
    def scores(self) -> bool:
        """Whether it tells the log-probabilities of given texts."""
        scoring = {PROMPTS, "return_token_ids"} <= self.chat
        return scoring and self.continues and self.counts_chats

    @property
    def weighs_labels(self) -> bool:
        """Whether it tells the log-probabilities of chosen tokens."""
        return LABELS in self.chat and self.counts_chats


def read_offers(description: Mapping[str, Any]) -> ServerOffers:
    """Reads what a server offers from its ``/openapi.json``; nothing from what is none."""
    return ServerOffers(
        frozenset(_fields_of(description, _CHAT)),
        "messages" in _fields_of(description, _TOKENIZE),
    )


def _fields_of(description: Mapping[str, Any], path: str) -> set[str]:
    """The fields that a request to a path may have, whichever of several forms it takes."""
    names: set[str] = set()
    at = ("paths", path, "post", "requestBody", "content", "application/json", "schema")
    waiting, seen = [_below(description, at)], 0
    while waiting and seen < _MOST_REFERENCES:
        schema, seen = waiting.pop(), seen + 1
        names |= set(_below(schema, ("properties",)))
        reference = schema.get("$ref")
        if isinstance(reference, str):
            waiting.append(_below(description, reference.removeprefix("#/").split("/")))
        for form in ("anyOf", "oneOf", "allOf"):
            forms = schema.get(form)
            waiting += [each for each in forms if isinstance(each, dict)] if forms else []
    return names


def _below(value: Any, path: Sequence[str]) -> dict[str, Any]:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


class OpenAIClient(SdkClient):
    """The SDK's client for one model; see `SdkClient` for its arguments and errors.

    Attributes:
        offers: what the server offers, as far as it is known by now; see `find_offers`.
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
        super().__init__(
            OPENAI,
            model,
            base_url=base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
        )
        self.offers = ServerOffers()
        self._found = self.is_providers_own
        self._counts_exactly = not self.is_providers_own
        self._label_ids: dict[str, tuple[int, ...]] = {}

    @property
    def _root(self) -> str:
        return self.address.removesuffix("/v1")

    async def find_offers(self) -> ServerOffers:
        """Returns what the server offers, and asks it the first time."""
        if not self._found:
            try:
                self.offers = read_offers(await self._aside("GET", "/openapi.json", {}))
                self._found = True
            except self._sdk.APITimeoutError:
                self._found = True
            except self._sdk.APIConnectionError:
                pass  # it may be back later
            except (self._sdk.OpenAIError, TimeoutError, *UNEXPECTED):
                self._found = True
        return self.offers

    def withdraws(self, field: str, error: RefusedError) -> bool:
        """Whether a refusal names a field, which is then no longer offered."""
        named = field in error.reason or field in error.places
        if named:
            self.offers = replace(self.offers, chat=self.offers.chat - {field})
        return named

    def continuing(self, messages: Messages) -> Fields:
        """The fields that have an answer that has begun continued; none for another chat."""
        begun = self.offers.continues and messages[-1]["role"] == "assistant"
        return dict(_CONTINUING) if begun else {}

    async def count_tokens(self, messages: Messages, extra: Fields) -> int | None:
        """Returns the tokens of these messages if the server tells, else None.

        Args:
            messages: the chat.
            extra: further fields of the request that the template may read.
        """
        if not self._counts_exactly:
            return None
        try:
            if (await self.find_offers()).counts_chats:
                return len(await self._tokens(messages, extra))
            templated = await self._aside(
                "POST", "/apply-template", {**extra, "messages": messages}
            )
            body = {"content": templated["prompt"], "add_special": True, "parse_special": True}
            return len((await self._aside("POST", _TOKENIZE, body))["tokens"])
        except self._sdk.APITimeoutError:
            self._counts_exactly = False
            return None
        except self._sdk.APIConnectionError:
            return None  # it may be back later
        except (self._sdk.OpenAIError, TimeoutError, KeyError, *UNEXPECTED):
            self._counts_exactly = False
            return None

    async def label_ids(self, labels: Sequence[str]) -> list[int]:
        """Returns the ids of the tokens that name labels, alone and after a space.

        Empty where the server does not tell them, one label is no token, or they are too many.
        """
        try:
            for label in labels:
                if label not in self._label_ids:
                    self._label_ids[label] = await self._ids_of(label)
        except (self._sdk.OpenAIError, TimeoutError, KeyError, *UNEXPECTED):
            return []
        ids = list(dict.fromkeys(each for label in labels for each in self._label_ids[label]))
        alone = all(self._label_ids[label] for label in labels)
        return ids if alone and len(ids) <= _MOST_LABELS else []

    async def _ids_of(self, label: str) -> tuple[int, ...]:
        ids = []
        for text in (label, f" {label}"):
            body = {"model": self._model, "prompt": text, "add_special_tokens": False}
            tokens = (await self._aside("POST", _TOKENIZE, body))["tokens"]
            if len(tokens) == 1 and isinstance(tokens[0], int):
                ids.append(tokens[0])
        return tuple(ids)

    async def scored(self, messages: Messages, text: str, extra: Fields) -> tuple[Fields, int]:
        """Makes the request that scores a text after a chat, and tells where the text begins.

        Raises:
            ModelError: if the template writes an answer that has begun otherwise than a new one.
        """
        whole = [*messages, {"role": "assistant", "content": text}]
        try:
            before = await self._tokens(messages, extra)
            tokens = await self._tokens(whole, extra)
        except (self._sdk.OpenAIError, TimeoutError, KeyError, *UNEXPECTED):
            raise self.error("tells no tokens, so it cannot score given text") from None
        if tokens[: len(before)] != before or len(tokens) == len(before):
            raise self.error(
                "writes an answer that has begun otherwise than a new one (its chat template), so"
                " it cannot score given text"
            )
        asked = {**extra, **_CONTINUING, PROMPTS: 1, "return_token_ids": True}
        body = {"model": self._model, "messages": whole, "max_tokens": 1, "extra_body": asked}
        return {**body, "temperature": 0.0}, len(before)

    async def _tokens(self, messages: Messages, extra: Fields) -> list[int]:
        template = {name: extra[name] for name in _OF_THE_TEMPLATE if name in extra}
        body = {**template, **self.continuing(messages), "model": self._model, "messages": messages}
        tokens = (await self._aside("POST", _TOKENIZE, body))["tokens"]
        if not isinstance(tokens, list):
            raise TypeError("no list of tokens")
        return tokens

    async def _aside(self, method: str, path: str, body: Fields) -> Fields:
        """Asks for something else than an answer, which takes neither long nor a second try."""
        client = (await self.connected()).with_options(timeout=_ASIDE_SECONDS, max_retries=0)
        url = f"{self._root}{path}"
        async with asyncio.timeout(_ASIDE_SECONDS):  # the SDK's begins anew with every byte
            asked = (
                client.get(url, cast_to=object)
                if method == "GET"
                else client.post(url, body=body, cast_to=object)
            )
            answer = await asked
        if not isinstance(answer, dict):
            raise TypeError("no JSON object")
        return answer
