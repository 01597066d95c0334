"""Anthropic's Messages API, and any server that speaks it (llama.cpp's does).

What the API lacks, and what stands for it:

- `n`: the samples are asked for one by one. Each is a call and is charged as one. Where the prompt
  is long enough for the API's cache, the first sample goes ahead, and the others, side by side,
  find the prompt in the cache.
- Seeds: there are none, and equal requests differ. A recording makes a run repeatable.
- Log-probabilities, scores, grammars: none.
- A temperature above 1 is sent as 1, the most that the API takes.
- temperature and top_p: models since Opus 4.1 take only one of the two, those since Opus 4.7
  neither. What a model refuses, it is not sent again (`amp.models.refusals`); the log says so
  once, as it does for a temperature above 1. Without temperature a model uses its own sampling,
  even if greedy was asked for. An answer that is thought about never has a temperature: the API
  forbids it.
- Stop strings of white space, which the API refuses, are not sent. Texts end before a stop string,
  whether the server knows it or not.
- A prefix (an assistant's last message) is continued only where the option `prefix` says that the
  model does it: those before Opus 4.6 do. Elsewhere, and in an answer that is thought about, the
  user's message asks to continue exactly after it.

Prompt tokens are those read anew, read from the cache, and written to it, together. Writing costs
a quarter more than reading anew, which no price of a `ModelCard` says.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from amp.errors import InvalidInputError, ModelError
from amp.models.answer_text import answer_text, cut_at_stop, finish_reason
from amp.models.base import (
    Capabilities,
    Completion,
    LogProbs,
    ModelCard,
    NextToken,
    Prompt,
    Request,
)
from amp.models.bill import Came, Spent, Stated, believed, number, size, table
from amp.models.chat import (
    ANTHROPIC_STYLES,
    AnthropicStyle,
    anthropic_budget,
    anthropic_fields,
    as_messages,
    deadline_of,
    estimated_tokens,
    one_by_one,
    require_budget,
    require_style,
    upper_bound,
    within,
    without_prefix,
)
from amp.models.refusals import Refusals
from amp.models.sdk import Api, SdkClient
from amp.types import Usage


def read(request: Request, answer: Mapping[str, Any], usage: Usage, seconds: float) -> Completion:
    """Returns the sample of an answer.

    Thinking counts as the API states it. Where it states only the sum, the tokens are split by the
    lengths of the texts; models that hide what they think, then count none.

    Raises:
        ValueError: if it is no message.
    """
    if answer.get("content") is None or "stop_reason" not in answer:
        raise ValueError("it has no content, or no stop_reason")
    part = answer_text(answer["content"])
    reasoned = usage.reasoning_tokens or estimated_tokens(
        usage.completion_tokens, part.thought, part.text
    )
    whole = without_prefix(part.text, request.prompt)
    text = cut_at_stop(whole, request.prompt)
    reason = finish_reason(answer, part, is_cut=text != whole)
    return Completion(
        "" if reason == "filtered" else text,
        reason,
        dataclasses.replace(usage, reasoning_tokens=reasoned, seconds=seconds),
    )


def usage_of(request: Request, answer: Mapping[str, Any], prompt_bound: int, model: str) -> Usage:
    """Returns what the call cost, whatever else the answer lacks.

    Args:
        request: what was asked for.
        answer: the answer.
        prompt_bound: tokens that the prompt has at most.
        model: its name, for the log.
    """
    usage = table(answer, "usage")
    # Tokens read from the cache or written to it are stated beside the others, not among them.
    parts = [usage.get("input_tokens")]
    parts += [
        usage.get(name) or 0 for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
    ]
    counts = [number(part) for part in parts]
    stated = Stated(
        None if None in counts else sum(count or 0 for count in counts),
        usage.get("cache_read_input_tokens"),
        usage.get("output_tokens"),
        table(usage, "output_tokens_details").get("thinking_tokens"),
    )
    found = answer.get("content")
    blocks = found if isinstance(found, list) else [found]
    thought = sum(size(block.get("thinking")) for block in blocks if isinstance(block, dict))
    said = size(found) - thought
    return believed(stated, Came(1, said, thought), request, prompt_bound, model)


_log = logging.getLogger(__name__)

ANTHROPIC = Api(
    name="Anthropic",
    package="anthropic",
    client="AsyncAnthropic",
    errors="AnthropicError",
    resource="messages",
    address="https://api.anthropic.com",
    variable="ANTHROPIC",
    version="v1/",
)

_MAX_TEMPERATURE = 1.0
# The API caches prompts of 1024 tokens and more, which are 4 bytes of English each.
_CACHED_BYTES = 4096
_CACHED = {"cache_control": {"type": "ephemeral"}}


class AnthropicModel:
    """A model behind Anthropic's Messages API.

    Args:
        model: its name at the server.
        base_url: address of the server, with or without ``/v1``; None takes ANTHROPIC_BASE_URL,
            else Anthropic's own.
        api_key: the key; None takes ANTHROPIC_API_KEY. A server of one's own may do without.
        card: who the model is; None takes its name at the server and no price.
        timeout_seconds: how long an answer may take, all tries and waits among it.
        max_retries: how often the SDK tries again when the server is busy or unreachable.
        prefix: whether the model continues an assistant's last message.
        thinking: how the model takes a budget of thinking: ``adaptive`` since Opus 4.6, ``budget``
            before, None not at all; see `amp.models.chat`.
        extra: further fields of every request; they win over all others.

    Raises:
        MissingDependencyError: if the package anthropic is missing; says what to run.
        InvalidInputError: if Anthropic's own server is meant and there is no key, or the style of
            thinking is unknown.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        card: ModelCard | None = None,
        timeout_seconds: float = 300.0,
        max_retries: int = 4,
        prefix: bool = False,
        thinking: AnthropicStyle | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        require_style(thinking, ANTHROPIC_STYLES)
        self._client = SdkClient(
            ANTHROPIC,
            model,
            base_url=base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
        )
        self._model = model
        self._card = card or ModelCard(name=model)
        self._thinking: AnthropicStyle | None = thinking
        self._extra = dict(extra or {})
        self._capabilities = Capabilities(
            prefix=prefix, thinking_budget=thinking is not None, max_temperature=_MAX_TEMPERATURE
        )
        self._refusals = Refusals(model)
        self._clamped = False

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do, as far as it has shown by now."""
        return self._refusals.capabilities(self._capabilities)

    async def generate(self, request: Request) -> list[Completion]:
        """Returns `request.n` samples.

        A call that times out is charged with the bounds of its prompt and of its sample.

        Raises:
            ModelError: if the server is unreachable, refuses the request or answers garbage.
            InvalidInputError: if the request has a grammar, or a budget of thinking and the model
                does not take one.
        """
        if request.grammar is not None:
            raise InvalidInputError(f"model {self._model} takes no grammar; the API has none")
        require_budget(request, self._model, supported=self._capabilities.thinking_budget)
        deadline = deadline_of(request)
        shared = request.n > 1 and _bytes(request.prompt) >= _CACHED_BYTES

        async def call(part: Request) -> list[Completion]:
            async def ask(part: Request, spent: Spent) -> list[Completion]:
                return [await self._sample(part, spent, cached=shared)]

            return await within(deadline, ask, part, self.count_tokens)

        if not shared:
            return await one_by_one(request, call)
        # What one call writes to the cache, others can read only when it has been answered.
        ahead = await call(dataclasses.replace(request, n=1))
        first = request.first_sample + 1
        rest = dataclasses.replace(request, n=request.n - 1, first_sample=first)
        return ahead + await one_by_one(rest, call)

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Not possible with this API.

        Raises:
            ModelError: always; `capabilities.scoring` is False.
        """
        raise ModelError(f"model {self._model} cannot score: the API gives no log-probabilities")

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Not possible with this API.

        Raises:
            ModelError: always; `capabilities.log_probs` is False.
        """
        raise ModelError(
            f"model {self._model} cannot be probed: the API gives no log-probabilities"
        )

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns an upper bound: the bytes of the text, and an allowance for the template.

        The API could count, but that is a call over the network for every prompt.
        """
        prefixes = {self._capabilities.prefix}
        if self._capabilities.thinking_budget:
            prefixes.add(False)
        return max(upper_bound(as_messages(prompt, prefix=prefix)) for prefix in prefixes)

    async def close(self) -> None:
        await self._client.close()

    async def _sample(self, request: Request, spent: Spent, *, cached: bool) -> Completion:
        begun = time.monotonic()
        answer = await self._ask(request, spent, cached=cached)
        bound = spent.prompt_bound(await self.count_tokens(request.prompt))
        usage = spent.told(usage_of(request, answer, bound, self._model))
        seconds = time.monotonic() - begun
        try:
            return read(request, answer, usage, seconds)
        except ValueError as error:
            raise self._client.garbage(error) from error

    async def _ask(self, request: Request, spent: Spent, *, cached: bool) -> dict[str, Any]:
        """Asks again without what the model turns out to refuse."""
        thinks = request.thinking_tokens > 0

        async def send(body: dict[str, Any], retry: bool) -> dict[str, Any]:
            return await self._client.ask(body, spent, retry=retry)

        def body_without(refused: Collection[str]) -> dict[str, Any]:
            return self._body(request, refused, cached=cached)

        ways = anthropic_fields(self._thinking, request.thinking_tokens)
        answer, _ = await self._refusals.ask(body_without, send, thinks=thinks, ways=ways)
        return answer

    def _body(self, request: Request, refused: Collection[str], *, cached: bool) -> dict[str, Any]:
        thinks = request.thinking_tokens > 0
        chat = as_messages(
            request.prompt,
            prefix=self._capabilities.prefix and not thinks,
            system="system" not in refused,
        )
        system = "\n\n".join(m["content"] for m in chat if m["role"] == "system")
        messages: list[dict[str, Any]] = [m for m in chat if m["role"] != "system"]
        marked = "cache_control" not in refused
        if cached and marked:
            asked = [message for message in messages if message["role"] == "user"]
            for message in asked[-1:]:
                message["content"] = _block(message["content"])
        budget = anthropic_budget(self._thinking, request.thinking_tokens)
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": request.prompt.max_tokens + budget,
            "messages": messages,
            # Not in the arguments of the SDK: they come and go with its versions.
            "extra_body": self._extra_body(request, refused),
        }
        if system:  # marked always: it is what the prompts of all steps have in common
            body["system"] = _block(system) if marked else system
        # The API refuses those of white space; texts are cut on this side, whatever it knows.
        stops = [text for text in request.prompt.stop if text.strip()]
        if stops and "stop" not in refused:
            body["stop_sequences"] = stops
        return body

    def _extra_body(self, request: Request, refused: Collection[str]) -> dict[str, Any]:
        ways = anthropic_fields(self._thinking, request.thinking_tokens)
        fields = dict(ways[min(self._refusals.least, len(ways) - 1)])
        if request.thinking_tokens == 0:
            sampling = self._sampling(request)
            fields |= {name: value for name, value in sampling.items() if name not in refused}
        return {**fields, **self._extra}

    def _sampling(self, request: Request) -> dict[str, float]:
        if request.temperature > _MAX_TEMPERATURE and not self._clamped:
            self._clamped = True
            _log.warning(
                "model %s is sent temperature 1 instead of %g, the most that its API takes",
                self._model,
                request.temperature,
            )
        fields = {"temperature": min(request.temperature, _MAX_TEMPERATURE)}
        if request.top_p < 1.0 and request.temperature > 0.0:  # a greedy answer has no nucleus
            fields["top_p"] = request.top_p
        return fields


def _block(text: str) -> list[dict[str, Any]]:
    """One block of text up to which the API caches the prompt."""
    return [{"type": "text", "text": text, **_CACHED}]


def _bytes(prompt: Prompt) -> int:
    return sum(len(message.content.encode()) for message in prompt.messages)
