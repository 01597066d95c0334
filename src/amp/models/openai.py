"""Any server that speaks the OpenAI API: OpenAI, vLLM, SGLang, Ollama, llama.cpp's server.

Servers differ, and tell so only by refusing. What a server refuses is not asked for again, and the
capabilities say so from then on; `amp.models.refusals` has the list of what stands for it. Besides:

- `n`, where it is ignored: the samples are asked for one by one, side by side. Each is a call and
  is charged as one.
- Log-probabilities that are left out are empty from then on, and `next_token` fails.
- A prefix (an assistant's last message) is continued only where the option `prefix` says that the
  server does it. Elsewhere, and in an answer that is thought about, the user's message asks to
  continue exactly after it.
- Texts end before a stop string, whether the server knows it or not.

Sample i is asked for with the server seed `base(seed) + i`. Servers that honour seeds (llama.cpp,
vLLM) give equal samples to equal requests; none promises it. A recording makes a run repeatable.

What is malformed in an answer counts as not told. Thinking is no part of a text, whether the server
or `amp.models.answer_text` takes it out; a model that thinks first cannot be probed.

Log-probabilities are those of the text, never of thinking, and as the server reports them: before
temperature at OpenAI, llama.cpp, and vLLM in its default mode.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from amp.errors import InvalidInputError, ModelError
from amp.models import openai_response
from amp.models.base import (
    Capabilities,
    Completion,
    LogProbs,
    ModelCard,
    NextToken,
    Prompt,
    Request,
)
from amp.models.bill import Spent, begin_call
from amp.models.chat import (
    OPENAI_STYLES,
    Call,
    OpenAIStyle,
    as_messages,
    base_seed,
    deadline_of,
    merged,
    one_by_one,
    openai_fields,
    require_budget,
    require_style,
    upper_bound,
    within,
)
from amp.models.refusals import Refusals
from amp.models.sdk import UNEXPECTED, Api, SdkClient
from amp.types import Usage

OPENAI = Api(
    name="OpenAI",
    package="openai",
    client="AsyncOpenAI",
    errors="OpenAIError",
    resource="chat.completions",
    address="https://api.openai.com/v1",
    variable="OPENAI",
)

_COUNT_TIMEOUT_SECONDS = 5.0


class OpenAIClient(SdkClient):
    """The SDK's client for one model; see `SdkClient` for its arguments and errors."""

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
        self._counts_exactly = not self.is_providers_own

    async def count_tokens(
        self, messages: list[dict[str, str]], extra: dict[str, Any]
    ) -> int | None:
        """Returns the tokens of these messages if the server is llama.cpp's, else None.

        Args:
            messages: the chat.
            extra: further fields of the request that the template may read.
        """
        if not self._counts_exactly:
            return None
        root = self.address.removesuffix("/v1")
        try:
            templated = await self._post(f"{root}/apply-template", {**extra, "messages": messages})
            body = {"content": templated["prompt"], "add_special": True, "parse_special": True}
            return len((await self._post(f"{root}/tokenize", body))["tokens"])
        except self._sdk.APITimeoutError:
            self._counts_exactly = False
            return None
        except self._sdk.APIConnectionError:
            return None  # it may be back later
        except (self._sdk.OpenAIError, TimeoutError, KeyError, *UNEXPECTED):
            self._counts_exactly = False
            return None

    async def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        client = (await self.connected()).with_options(
            timeout=_COUNT_TIMEOUT_SECONDS, max_retries=0
        )
        async with asyncio.timeout(_COUNT_TIMEOUT_SECONDS):  # the SDK's begins anew with every byte
            answer = await client.post(url, body=body, cast_to=object)
        if not isinstance(answer, dict):
            raise TypeError("no JSON object")
        return answer


class OpenAIModel:
    """A model behind the OpenAI API.

    Args:
        model: its name at the server.
        base_url: address of the server, such as ``http://127.0.0.1:8000/v1``; None takes
            OPENAI_BASE_URL, else OpenAI's own.
        api_key: the key; None takes OPENAI_API_KEY. A server of one's own (with base_url) may do
            without.
        card: who the model is; None takes its name at the server and no price.
        timeout_seconds: how long an answer may take, all tries and waits among it.
        max_retries: how often the SDK tries again when the server is busy or unreachable.
        prefix: whether the server continues an assistant's last message, as llama.cpp's does.
        grammar: whether the server takes GBNF in the field ``grammar``, as llama.cpp's does.
        thinking: how the server takes a budget of thinking: ``effort`` as OpenAI does, ``budget``
            as llama.cpp's server and vLLM do, None not at all; see `amp.models.chat`.
        extra: further fields of every request, as the server knows them; they win over all others.

    Raises:
        MissingDependencyError: if the package openai is missing; says what to run.
        InvalidInputError: if OpenAI's own server is meant and there is no key, or the style of
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
        grammar: bool = False,
        thinking: OpenAIStyle | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        require_style(thinking, OPENAI_STYLES)
        self._client = OpenAIClient(
            model,
            base_url=base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
        )
        self._model = model
        self._card = card or ModelCard(name=model)
        self._extra = dict(extra or {})
        self._thinking: OpenAIStyle | None = thinking
        self._capabilities = Capabilities(
            log_probs=True,
            parallel_samples=True,
            prefix=prefix,
            grammar=grammar,
            thinking_budget=thinking is not None,
        )
        self._refusals = Refusals(model)
        # OpenAI's own newer models refuse max_tokens; everybody else knows only max_tokens.
        self._is_own = self._client.is_providers_own

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do, as far as it has shown by now."""
        return self._refusals.capabilities(self._capabilities)

    async def generate(self, request: Request) -> list[Completion]:
        """Returns `request.n` samples.

        A call that times out is charged with the bounds of its prompt and of its samples.

        Raises:
            ModelError: if the server is unreachable, refuses the request or answers garbage.
            InvalidInputError: if the request has a grammar or a budget of thinking and the model
                does not take one.
        """
        if request.grammar is not None and not self._capabilities.grammar:
            raise InvalidInputError(
                f"model {self._model} takes no grammar; construct it with grammar=True if it does"
            )
        require_budget(request, self._model, supported=self._capabilities.thinking_budget)
        deadline = deadline_of(request)

        async def call(part: Request) -> list[Completion]:
            return await within(deadline, self._call, part, self.count_tokens)

        return await self._samples(request, call)

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Not possible with this API.

        Raises:
            ModelError: always; `capabilities.scoring` is False.
        """
        raise ModelError(
            f"model {self._model} cannot score given text: chat completions tell only of what they"
            " generate; use probe, or a local model"
        )

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the 20 most likely next tokens; never a hidden state.

        Raises:
            ModelError: also if the server gives no log-probabilities.
        """
        begun, spent = time.monotonic(), begin_call()
        capped = dataclasses.replace(prompt, max_tokens=1, stop=())
        answer, usage = await self._ask(Request(capped), spent)
        if not self.capabilities.log_probs:
            raise ModelError(f"model {self._model} gives no log-probabilities; it cannot be probed")
        try:
            hides = usage.reasoning_tokens > 0  # thinking, which its log-probabilities are of
            log_probs = None if hides else openai_response.next_token(answer["choices"][0])
        except ValueError as error:
            raise self._client.garbage(error) from error
        if not log_probs:
            why = "thinks before it answers" if log_probs is None else "gives no log-probabilities"
            self._capabilities = dataclasses.replace(self._capabilities, log_probs=False)
            raise ModelError(f"model {self._model} {why}; it cannot be probed")
        return NextToken(log_probs, usage + Usage(seconds=time.monotonic() - begun))

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns the exact figure where the server tells it (llama.cpp), else an upper bound.

        The bound is the bytes of the text, since no token is less than a byte, and an allowance for
        the template. Where a prompt may be thought about or not, the longer form counts.
        """
        counts = []
        for thinking in (0, 1) if self._capabilities.thinking_budget else (0,):
            refused = self._refusals.refused_fields(thinks=thinking > 0)
            messages = self._messages(prompt, refused, thinks=thinking > 0)
            exact = await self._client.count_tokens(messages, self._extra_body(thinking))
            counts.append(upper_bound(messages) if exact is None else exact)
        return max(counts)

    async def close(self) -> None:
        await self._client.close()

    async def _samples(self, request: Request, call: Call) -> list[Completion]:
        """In one call where the server takes n, else one by one."""
        got: list[Completion] = []
        if request.n == 1 or self.capabilities.parallel_samples:
            got = await call(request)
        if len(got) == request.n:
            return got
        n, first = request.n - len(got), request.first_sample + len(got)
        return got + await one_by_one(dataclasses.replace(request, n=n, first_sample=first), call)

    async def _call(self, request: Request, spent: Spent) -> list[Completion]:
        begun = time.monotonic()
        answer, usage = await self._ask(request, spent)
        seconds = time.monotonic() - begun
        try:
            return openai_response.read(request, answer, usage, seconds)
        except ValueError as error:
            raise self._client.garbage(error) from error

    async def _ask(self, request: Request, spent: Spent) -> tuple[dict[str, Any], Usage]:
        """Returns an answer and its cost; asks again without what the server refuses."""
        thinks = request.thinking_tokens > 0

        async def send(body: dict[str, Any], retry: bool) -> dict[str, Any]:
            return await self._client.ask(body, spent, retry=retry)

        def body_without(refused: Collection[str]) -> dict[str, Any]:
            return self._body(request, refused)

        ways = openai_fields(self._thinking, request.thinking_tokens)
        answer, body = await self._refusals.ask(body_without, send, thinks=thinks, ways=ways)
        bound = spent.prompt_bound(upper_bound(body["messages"]))
        usage = spent.told(openai_response.usage_of(request, answer, bound, self._model))
        try:
            has_text, has_tokens = openai_response.contents(answer)
        except ValueError as error:
            raise self._client.garbage(error) from error
        if has_text and not has_tokens and not thinks and "logprobs" in body:
            self._capabilities = dataclasses.replace(self._capabilities, log_probs=False)
        if len(answer["choices"]) < body.get("n", 1):
            self._capabilities = dataclasses.replace(self._capabilities, parallel_samples=False)
        return answer, usage

    def _body(self, request: Request, refused: Collection[str]) -> dict[str, Any]:
        prompt, thinks = request.prompt, request.thinking_tokens > 0
        cap = "max_completion_tokens" if self._is_own else "max_tokens"
        if cap in refused:
            cap = "max_tokens" if self._is_own else "max_completion_tokens"
        body: dict[str, Any] = {
            "model": self._model,
            "messages": self._messages(prompt, refused, thinks=thinks),
            cap: prompt.max_tokens + request.thinking_tokens,
            "extra_body": self._extra_body(request.thinking_tokens),
        }
        wishes: dict[str, Any] = {
            "seed": base_seed(request.seed) + request.first_sample,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.n > 1:
            wishes["n"] = request.n
        if prompt.stop:
            wishes["stop"] = list(prompt.stop)
        if self._capabilities.log_probs:
            wishes["logprobs"] = True
        body |= {name: value for name, value in wishes.items() if name not in refused}
        if "logprobs" in body:
            body["top_logprobs"] = self._refusals.most_top
        if request.grammar is not None:
            body["extra_body"]["grammar"] = request.grammar
        return body

    def _messages(
        self, prompt: Prompt, refused: Collection[str], *, thinks: bool
    ) -> list[dict[str, str]]:
        # An answer that has begun is not thought about any more.
        return as_messages(
            prompt,
            prefix=self._capabilities.prefix and not thinks,
            system="system" not in refused,
        )

    def _extra_body(self, thinking_tokens: int) -> dict[str, Any]:
        ways = openai_fields(self._thinking, thinking_tokens)
        fields = ways[min(self._refusals.least, len(ways) - 1)]
        return merged(fields, self._extra)
