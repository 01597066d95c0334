"""Any server that speaks the OpenAI API: OpenAI, vLLM, SGLang, Ollama, llama.cpp's server.

Servers differ, and tell so only by refusing. What a server refuses is not asked for again, and the
capabilities say so from then on:

- `n`: refused or ignored, the samples are asked for one by one, side by side. Each is a call and is
  charged as one.
- log-probabilities: refused or left out, they are empty from then on, and `next_token` fails.
- temperature and top_p: refused by many models that think, they are left out from then on. The log
  says so once; see `amp.models.chat`.
- A prefix (an assistant's last message) is continued only where the option `prefix` says that the
  server does it. Elsewhere, and in an answer that is thought about, the user's message asks to
  continue exactly after it.

Sample i is asked for with the server seed `base(seed) + i`. Servers that honour seeds (llama.cpp,
vLLM) give equal samples to equal requests; none promises it. A recording makes a run repeatable.

Log-probabilities are those of the text, never of thinking, and as the server reports them: before
temperature at OpenAI, llama.cpp, and vLLM in its default mode.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Mapping, Sequence
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
from amp.models.chat import (
    OPENAI_STYLES,
    Call,
    OpenAIStyle,
    Refusals,
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
from amp.models.sdk import Api, RefusedError, SdkClient
from amp.models.tab import Spent, begin_call
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

_COUNT_TIMEOUT_SECONDS = 10.0


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
        except self._sdk.APIConnectionError:
            return None  # it may be back later
        except (self._sdk.OpenAIError, ValueError, KeyError, TypeError):
            self._counts_exactly = False
            return None

    async def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        client = (await self.connected()).with_options(
            timeout=_COUNT_TIMEOUT_SECONDS, max_retries=0
        )
        answer = await client.post(url, body=body, cast_to=object)
        if not isinstance(answer, dict):
            raise TypeError("no JSON object")
        return answer


_TOP = 20  # the most that the API allows
_REFUSES_N = re.compile(
    r"""['"`]n['"`]|\bparameter:? n\b|\bn (?:[<>=]|must|should|is not)|\bn[<>=]""", re.IGNORECASE
)


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
        self._refused_thinking = 0
        # OpenAI's own newer models refuse max_tokens; everybody else knows only max_tokens.
        own = self._client.is_providers_own
        self._cap_field = "max_completion_tokens" if own else "max_tokens"

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
        if not self._capabilities.log_probs:
            raise ModelError(f"model {self._model} gives no log-probabilities; it cannot be probed")
        masses: dict[str, list[float]] = {}
        try:
            for token in openai_response.tokens(answer["choices"][0])[0]["top_logprobs"]:
                masses.setdefault(token["token"], []).append(math.exp(token["logprob"]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._client.garbage(error) from error
        totals = {text: math.fsum(parts) for text, parts in masses.items()}
        return NextToken(
            {text: min(0.0, math.log(mass)) for text, mass in totals.items() if mass > 0.0},
            usage + Usage(seconds=time.monotonic() - begun),
        )

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns the exact figure where the server tells it (llama.cpp), else an upper bound.

        The bound is the bytes of the text, since no token is less than a byte, and an allowance for
        the template. Where a prompt may be thought about or not, the longer form counts.
        """
        counts = []
        for thinking in (0, 1) if self._capabilities.thinking_budget else (0,):
            messages = self._messages(prompt, thinks=thinking > 0)
            exact = await self._client.count_tokens(messages, self._extra_body(thinking))
            counts.append(upper_bound(messages) if exact is None else exact)
        return max(counts)

    async def close(self) -> None:
        await self._client.close()

    async def _samples(self, request: Request, call: Call) -> list[Completion]:
        """In one call where the server takes n, else one by one."""
        got: list[Completion] = []
        if request.n == 1 or self._capabilities.parallel_samples:
            try:
                got = await call(request)
            except RefusedError as error:
                if request.n == 1 or not _REFUSES_N.search(error.reason):
                    raise
        if len(got) == request.n:
            return got
        self._capabilities = dataclasses.replace(self._capabilities, parallel_samples=False)
        n, first = request.n - len(got), request.first_sample + len(got)
        return got + await one_by_one(dataclasses.replace(request, n=n, first_sample=first), call)

    async def _call(self, request: Request, spent: Spent) -> list[Completion]:
        begun = time.monotonic()
        answer, usage = await self._ask(request, spent)
        seconds = time.monotonic() - begun
        try:
            return openai_response.read(request, answer, usage, seconds)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._client.garbage(error) from error

    async def _ask(self, request: Request, spent: Spent) -> tuple[dict[str, Any], Usage]:
        """Returns an answer and its cost; asks again without what the server refuses."""
        body = self._body(request)
        while True:
            try:
                answer = await self._client.ask(body, spent)
                break
            except RefusedError as error:
                self._learn(error.reason, body, thinks=request.thinking_tokens > 0)
                refused, body = body, self._body(request)
                if body == refused:
                    raise
        bound = spent.prompt_bound(upper_bound(body["messages"]))
        usage = spent.told(openai_response.usage_of(request, answer, bound, self._model))
        try:
            has_text, has_tokens = openai_response.contents(answer)
        except ValueError as error:
            raise self._client.garbage(error) from error
        if has_text and not has_tokens and not request.thinking_tokens:
            self._capabilities = dataclasses.replace(self._capabilities, log_probs=False)
        return answer, usage

    def _learn(self, reason: str, body: dict[str, Any], *, thinks: bool) -> None:
        """Gives up what the server refuses."""
        self._refusals.learn(reason, body, thinks=thinks)
        if self._refusals.refused("logprobs", thinks=False):
            self._capabilities = dataclasses.replace(self._capabilities, log_probs=False)
        if self._cap_field == "max_tokens" and "max_completion_tokens" in reason:
            self._cap_field = "max_completion_tokens"
        level = body["extra_body"].get("reasoning_effort")
        levels = [fields.get("reasoning_effort") for fields in openai_fields(self._thinking, 0)]
        if "reasoning_effort" in reason and not thinks and level in levels:
            self._refused_thinking = min(levels.index(level) + 1, len(levels) - 1)

    def _body(self, request: Request) -> dict[str, Any]:
        prompt, thinks = request.prompt, request.thinking_tokens > 0
        body: dict[str, Any] = {
            "model": self._model,
            "messages": self._messages(prompt, thinks=thinks),
            self._cap_field: prompt.max_tokens + request.thinking_tokens,
            "seed": base_seed(request.seed) + request.first_sample,
            "extra_body": self._extra_body(request.thinking_tokens),
        }
        sampling = {"temperature": request.temperature, "top_p": request.top_p}
        body |= {
            name: value
            for name, value in sampling.items()
            if not self._refusals.refused(name, thinks=thinks)
        }
        if request.n > 1:
            body["n"] = request.n
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        if self._capabilities.log_probs and not self._refusals.refused("logprobs", thinks=thinks):
            body |= {"logprobs": True, "top_logprobs": _TOP}
        if request.grammar is not None:
            body["extra_body"]["grammar"] = request.grammar
        return body

    def _messages(self, prompt: Prompt, *, thinks: bool) -> list[dict[str, str]]:
        # An answer that has begun is not thought about any more.
        return as_messages(prompt, prefix=self._capabilities.prefix and not thinks)

    def _extra_body(self, thinking_tokens: int) -> dict[str, Any]:
        ways = openai_fields(self._thinking, thinking_tokens)
        fields = ways[min(self._refused_thinking, len(ways) - 1)]
        return merged(fields, self._extra)
