"""Any server that speaks the OpenAI API: OpenAI, vLLM, SGLang, Ollama, llama.cpp's server.

Servers differ, and tell so only by refusing. What a server refuses is not asked for again, and the
capabilities say so from then on:

- `n`: refused or ignored, the samples are asked for one by one, side by side. Each is a call and is
  charged as one.
- log-probabilities: refused or left out, they are empty from then on, and `probe` fails.
- A prefix (an assistant's last message) is continued only where the option `prefix` says that the
  server does it. Elsewhere the user's message asks to continue exactly after it.

Sample i is asked for with the server seed `base(seed) + i`. Servers that honour seeds (llama.cpp,
vLLM) give equal samples to equal requests; nobody promises it. A recording makes a run repeatable.

Log-probabilities are as the server reports them: before temperature at OpenAI, llama.cpp, and vLLM
in its default mode.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import re
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from amp.errors import InvalidInputError, ModelError
from amp.models.base import (
    Capabilities,
    Completion,
    FinishReason,
    LogProbs,
    ModelCard,
    NextToken,
    Prompt,
    Request,
)
from amp.models.chat import as_messages, base_seed, upper_bound, without_prefix
from amp.models.entropy import entropy, normalised
from amp.models.openaiclient import Client, RefusedError
from amp.types import Usage

T = TypeVar("T")

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
        timeout_seconds: how long one HTTP request may take.
        max_retries: how often the SDK tries again when the server is busy or unreachable.
        prefix: whether the server continues an assistant's last message, as llama.cpp's does.
        grammar: whether the server takes GBNF in the field ``grammar``, as llama.cpp's does.
        extra: further fields of every request, as the server knows them.

    Raises:
        MissingDependencyError: if the package openai is missing; says what to run.
        InvalidInputError: if OpenAI's own server is meant and there is no key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        card: ModelCard | None = None,
        timeout_seconds: float = 120.0,
        max_retries: int = 2,
        prefix: bool = False,
        grammar: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = Client(
            model,
            base_url=base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
        )
        self._model = model
        self._card = card or ModelCard(name=model)
        self._extra = dict(extra or {})
        self._capabilities = Capabilities(
            log_probs=True, parallel_samples=True, prefix=prefix, grammar=grammar
        )
        # OpenAI's own newer models refuse max_tokens; everybody else knows only max_tokens.
        self._cap_field = "max_completion_tokens" if self._client.is_openai else "max_tokens"

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do, as far as it has shown by now."""
        return self._capabilities

    async def generate(self, request: Request) -> list[Completion]:
        """Returns `request.n` samples.

        A call that times out is charged with the bound of its prompt; what the server generated
        until then is known to nobody and counts as nothing.

        Raises:
            ModelError: if the server is unreachable, refuses the request or answers garbage.
            InvalidInputError: if the request has a grammar and the model does not take one.
        """
        if request.grammar is not None and not self._capabilities.grammar:
            raise InvalidInputError(
                f"model {self._model} takes no grammar; construct it with grammar=True if it does"
            )
        try:
            async with asyncio.timeout(request.timeout_seconds):
                return await self._samples(request)
        except TimeoutError:
            return await self._timed_out(request)

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Not possible with this API.

        Raises:
            ModelError: always; `capabilities.scoring` is False.
        """
        raise ModelError(
            f"model {self._model} cannot score given text: chat completions tell only of what they"
            " generate; use probe, or a local model"
        )

    async def probe(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the 20 most likely next tokens; never a hidden state.

        Raises:
            ModelError: also if the server gives no log-probabilities.
        """
        begun = time.monotonic()
        capped = dataclasses.replace(prompt, max_tokens=1, stop=())
        answer = await self._ask(Request(capped))
        if not self._capabilities.log_probs:
            raise ModelError(f"model {self._model} gives no log-probabilities; it cannot be probed")
        masses: dict[str, list[float]] = {}
        try:
            for token in _tokens(answer["choices"][0])[0]["top_logprobs"]:
                masses.setdefault(token["token"], []).append(math.exp(token["logprob"]))
            usage = _prompt_usage(answer)
            spent = int(answer["usage"]["completion_tokens"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._garbage(error) from error
        totals = {text: math.fsum(parts) for text, parts in masses.items()}
        return NextToken(
            {text: min(0.0, math.log(mass)) for text, mass in totals.items() if mass > 0.0},
            usage + Usage(completion_tokens=spent, seconds=time.monotonic() - begun),
        )

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns the exact figure where the server tells it (llama.cpp), else an upper bound.

        The bound is the bytes of the text, since no token is less than a byte, and an allowance for
        the template.
        """
        messages = as_messages(prompt, prefix=self._capabilities.prefix)
        exact = await self._client.count_tokens(messages)
        return upper_bound(messages) if exact is None else exact

    async def close(self) -> None:
        await self._client.close()

    async def _samples(self, request: Request) -> list[Completion]:
        """In one call where the server takes n, else one by one."""
        got: list[Completion] = []
        if request.n == 1 or self._capabilities.parallel_samples:
            try:
                got = await self._call(request)
            except RefusedError as error:
                if request.n == 1 or not _REFUSES_N.search(error.reason):
                    raise
        if len(got) < request.n:
            if request.n > 1:
                self._capabilities = dataclasses.replace(self._capabilities, parallel_samples=False)
            first = request.first_sample
            missing = range(first + len(got), first + request.n)
            singles = [dataclasses.replace(request, n=1, first_sample=i) for i in missing]
            got += [samples[0] for samples in await _together(map(self._call, singles))]
        return got

    async def _call(self, request: Request) -> list[Completion]:
        begun = time.monotonic()
        answer = await self._ask(request)
        seconds = time.monotonic() - begun
        try:
            return self._read(request, answer, seconds)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._garbage(error) from error

    async def _ask(self, request: Request) -> dict[str, Any]:
        """Asks once more without what the server turns out to refuse."""
        try:
            answer = await self._client.chat(self._body(request))
        except RefusedError as error:
            if not self._adapts(error.reason):
                raise
            answer = await self._client.chat(self._body(request))
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices:
            raise self._garbage(ValueError("it has no choices"))
        if not all(isinstance(c, dict) and isinstance(c.get("message"), dict) for c in choices):
            raise self._garbage(ValueError("a choice has no message"))
        generated = any(choice["message"].get("content") for choice in choices)
        if generated and not any(_tokens(choice) for choice in choices):
            self._capabilities = dataclasses.replace(self._capabilities, log_probs=False)
        return answer

    def _adapts(self, reason: str) -> bool:
        """Gives up what the server refuses; returns whether asking again may help."""
        if self._capabilities.log_probs and "logprobs" in reason:
            self._capabilities = dataclasses.replace(self._capabilities, log_probs=False)
            return True
        if self._cap_field == "max_tokens" and "max_completion_tokens" in reason:
            self._cap_field = "max_completion_tokens"
            return True
        return False

    def _body(self, request: Request) -> dict[str, Any]:
        prompt = request.prompt
        body: dict[str, Any] = {
            "model": self._model,
            "messages": as_messages(prompt, prefix=self._capabilities.prefix),
            self._cap_field: prompt.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": base_seed(request.seed) + request.first_sample,
            "extra_body": dict(self._extra),
        }
        if request.n > 1:
            body["n"] = request.n
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        if self._capabilities.log_probs:
            body |= {"logprobs": True, "top_logprobs": _TOP}
        if request.grammar is not None:
            body["extra_body"]["grammar"] = request.grammar
        return body

    def _read(self, request: Request, answer: dict[str, Any], seconds: float) -> list[Completion]:
        choices = sorted(answer["choices"], key=lambda choice: int(choice.get("index", 0)))
        choices = choices[: request.n]
        counts = _counts(choices, int(answer["usage"]["completion_tokens"]))
        completions = []
        for position, (choice, tokens) in enumerate(zip(choices, counts, strict=True)):
            reported = _tokens(choice)
            top = [[entry["logprob"] for entry in token["top_logprobs"]] for token in reported]
            share = Usage(completion_tokens=tokens, seconds=seconds / len(choices))
            reason: FinishReason = "length" if choice["finish_reason"] == "length" else "stop"
            completions.append(
                Completion(
                    without_prefix(choice["message"].get("content") or "", request.prompt),
                    reason,
                    share + _prompt_usage(answer) if position == 0 else share,
                    log_probs=tuple(min(0.0, float(token["logprob"])) for token in reported),
                    entropies=tuple(entropy(normalised(values)) for values in top if values),
                )
            )
        return completions

    async def _timed_out(self, request: Request) -> list[Completion]:
        limit = request.timeout_seconds or 0.0
        share = Completion("", "timeout", Usage(seconds=limit / request.n))
        tokens = await self.count_tokens(request.prompt)
        call = Usage(model_calls=1, prompt_tokens=tokens)
        first = dataclasses.replace(share, usage=share.usage + call)
        return [first] + [share] * (request.n - 1)

    def _garbage(self, error: Exception) -> ModelError:
        return ModelError(
            f"model {self._model} at {self._client.address} answered something that is no chat"
            f" completion ({type(error).__name__}: {error}); check base_url"
        )


async def _together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Like a task group, but what one call raises comes out as itself, not in a group."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _tokens(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (choice.get("logprobs") or {}).get("content") or []


def _prompt_usage(answer: Mapping[str, Any]) -> Usage:
    usage = answer["usage"]
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        model_calls=1,
        prompt_tokens=int(usage["prompt_tokens"]),
        cached_prompt_tokens=int(details.get("cached_tokens") or 0),
    )


def _counts(choices: Sequence[Mapping[str, Any]], stated: int) -> list[int]:
    """Tokens of each choice: what it lists, and at least what the server states in all.

    Trap: llama.cpp's server states the tokens of one choice only. Where choices list no tokens, the
    stated figure is split evenly, which undercounts at such a server.
    """
    counts = [len(_tokens(choice)) for choice in choices]
    missing = max(0, stated - sum(counts))
    if any(counts) and len(counts) > 1:
        counts[0] += missing
        return counts
    share, rest = divmod(missing, len(counts))
    return [count + share + (1 if i < rest else 0) for i, count in enumerate(counts)]
