"""Any server that speaks the OpenAI API: OpenAI, vLLM, SGLang, Ollama, llama.cpp's server.

Servers differ, and tell so only by refusing. What a server refuses is not asked for again, and the
capabilities say so from then on; `amp.models.refusals` has the list of what stands for it. Besides:

- `n`, where it is ignored: the samples are asked for one by one, side by side. Each is a call and
  is charged as one.
- Log-probabilities that are left out are empty from then on, and `next_token` fails.
- A prefix (an assistant's last message) is continued where the server says that it does
  (`amp.models.openai_client`), or the option `prefix`. Elsewhere, and in an answer that is thought
  about, the user's message asks to continue exactly after it.
- Given texts are scored, and labels weighed by their tokens, where the server says that it does.
- A budget of thinking that the server does not describe, or does not keep, is warned of once.
- Texts end before a stop string, whether the server knows it or not.

Sample i is asked for with the server seed `base(seed) + i`. Servers that honour seeds (llama.cpp,
vLLM) give equal samples to equal requests; none promises it. A recording makes a run repeatable.

What is malformed in an answer counts as not told. Thinking is no part of a text, whether the server
or `amp.models.answer_text` takes it out; a model that thinks first cannot be probed.

Log-probabilities are those of the text, never of thinking, and as the server reports them: before
temperature at OpenAI, llama.cpp, and vLLM in its default mode.
"""

from __future__ import annotations

import dataclasses
import logging
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
from amp.models.openai_client import LABELS, PROMPTS, OpenAIClient
from amp.models.refusals import Refusals
from amp.models.reply import RefusedError
from amp.types import Usage

_log = logging.getLogger(__name__)

_OVER_BUDGET, _FEW_TOKENS = 1.1, 64  # servers end a thought with some words of their own
_BUDGETS = frozenset({"thinking_token_budget", "thinking_budget_tokens"})
"""What vLLM and llama.cpp's server call it."""


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
        self._warned = False
        # OpenAI's own newer models refuse max_tokens; everybody else knows only max_tokens.
        self._is_own = self._client.is_providers_own

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do, as far as it has shown by now."""
        known, offers = self._refusals.capabilities(self._capabilities), self._client.offers
        return dataclasses.replace(
            known, scoring=offers.scores, prefix=known.prefix or offers.continues
        )

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
        await self._know(request.prompt, thinks=request.thinking_tokens > 0)
        deadline = deadline_of(request)

        async def call(part: Request) -> list[Completion]:
            return await within(deadline, self._call, part, self.count_tokens)

        return await self._samples(request, call)

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Returns the log-probabilities of each continuation, where the server offers that.

        Raises:
            ModelError: also if it does not; `capabilities.scoring` is False then.
        """
        if not (await self._client.find_offers()).scores:
            raise ModelError(
                f"model {self._model} cannot score given text: its server does not say that it"
                " tells the log-probabilities of prompts; use probe, or a local model"
            )
        return [await self._score(prompt, continuation) for continuation in continuations]

    async def _score(self, prompt: Prompt, continuation: str) -> LogProbs:
        begun, spent = time.monotonic(), begin_call()
        refused = self._refusals.refused_fields(thinks=False)
        messages = self._messages(prompt, refused, thinks=False)
        body, start = await self._client.scored(messages, continuation, self._extra_body(0))
        try:
            answer = await self._client.ask(body, spent)
        except RefusedError as error:
            self._client.withdraws(PROMPTS, error)
            raise
        whole = dataclasses.replace(prompt, max_tokens=1, stop=())
        bound = spent.prompt_bound(upper_bound(body["messages"]))
        usage = openai_response.usage_of(Request(whole), answer, bound, self._model)
        try:
            log_probs = openai_response.prompt_log_probs(answer)[start:]
        except ValueError as error:
            raise self._client.garbage(error) from error
        seconds = Usage(seconds=time.monotonic() - begun)
        return LogProbs(tuple(log_probs), spent.told(usage) + seconds)

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the 20 most likely next tokens, or those of the labels; never a hidden state.

        Raises:
            ModelError: also if the server gives no log-probabilities.
        """
        begun, spent = time.monotonic(), begin_call()
        capped = dataclasses.replace(prompt, max_tokens=1, stop=())
        await self._know(prompt)
        labels: list[int] = []
        if prompt.labels and (await self._client.find_offers()).weighs_labels:
            labels = await self._client.label_ids(prompt.labels)
        answer, usage = await self._ask(Request(capped), spent, labels)
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
        """Returns the exact figure where the server tells it (llama.cpp, vLLM), else a bound.

        The bound is the bytes of the text, since no token is less than a byte, and an allowance for
        the template. Where a prompt may be thought about or not, the longer form counts.
        """
        counts = []
        await self._know(prompt)
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
            completions = openai_response.read(request, answer, usage, seconds)
        except ValueError as error:
            raise self._client.garbage(error) from error
        thought = max((each.usage.reasoning_tokens for each in completions), default=0)
        allowed = _OVER_BUDGET * request.thinking_tokens + _FEW_TOKENS
        if self._thinking == "budget" and request.thinking_tokens and thought > allowed:
            self._warn_of_budget(f"let it think {thought} tokens")
        return completions

    async def _know(self, prompt: Prompt, *, thinks: bool = False) -> None:
        """Finds out what the server offers, where the request depends on it."""
        if thinks or prompt.messages[-1].role == "assistant":
            offers = await self._client.find_offers()
            if thinks and self._thinking == "budget" and offers.chat and not _BUDGETS & offers.chat:
                self._warn_of_budget("describes no field for it in its /openapi.json")

    def _warn_of_budget(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "model %s may think beyond a budget, up to the cap of its answer: its server %s",
                self._model,
                why,
            )

    async def _ask(
        self, request: Request, spent: Spent, labels: Sequence[int] = ()
    ) -> tuple[dict[str, Any], Usage]:
        """Returns an answer and its cost; asks again without what the server refuses."""
        thinks = request.thinking_tokens > 0

        async def send(body: dict[str, Any], retry: bool) -> dict[str, Any]:
            try:
                return await self._client.ask(body, spent, retry=retry)
            except RefusedError as error:
                if not self._client.withdraws(LABELS, error) or LABELS not in body["extra_body"]:
                    raise
                del body["extra_body"][LABELS]
                return await self._client.ask(body, spent, retry=retry)

        def body_without(refused: Collection[str]) -> dict[str, Any]:
            body = self._body(request, refused)
            if labels and "logprobs" in body and self._client.offers.weighs_labels:
                body["extra_body"][LABELS] = list(labels)
            return body

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
        body["extra_body"] |= self._client.continuing(body["messages"])
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
            prefix=self.capabilities.prefix and not thinks,
            system="system" not in refused,
        )

    def _extra_body(self, thinking_tokens: int) -> dict[str, Any]:
        ways = openai_fields(self._thinking, thinking_tokens)
        fields = dict(ways[min(self._refusals.least, len(ways) - 1)])
        if described := _BUDGETS & self._client.offers.chat:
            for name in _BUDGETS - described:
                fields.pop(name, None)
        return merged(fields, self._extra)
