"""A GGUF model in this process, on llama.cpp: the embedded default.

How the protocol's promises are kept:

- Sample i of a request is drawn with the server seed `base(seed) + i`. The server gives the samples
  of one call the seeds s, s+1, ..., so the same sample comes out however a request is split into
  calls. The numbers depend a little on what else is in the batch, so this holds up to rounding, not
  to the bit: a recording, not a seed, makes a run repeatable.
- The samplers are temperature, then top_p, and nothing else: no top_k, min_p or penalties.
- Log-probabilities and entropies are those of the model itself: before temperature, top_p and
  grammar.
- A budget of thinking holds to the token where the model's template can switch thinking on and
  off; elsewhere the capability is False. Log-probabilities and entropies are those of the text
  alone. An answer that has begun (a prefix) is not thought about: where both are asked for, the
  user's message asks to continue exactly after the prefix.
- `completion_tokens` is the server's own count for each sample, the end-of-text token and tokens of
  a stop string among them, since they were generated. `log_probs` holds the tokens that are part of
  the text. A token that is only a part of a character, and one that the server held back because a
  stop string might have begun, is counted but has no log-probability.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from amp.errors import InvalidInputError, ModelError
from amp.models import llamacpp_server
from amp.models.base import (
    Capabilities,
    Completion,
    LogProbs,
    ModelCard,
    NextToken,
    Prompt,
    Request,
)
from amp.models.bill import begin_call
from amp.models.chat import as_messages, base_seed, openai_fields, require_budget
from amp.models.llamacpp_server import LlamaServer, ServerCall, Stream, StreamedSample
from amp.types import Usage

# Measured: 20 cost no more than 1 (within 3%); the mass beyond is one more outcome of the entropy.
_TOP_GENERATE = 20
_TOP_PROBE = 100
_COUNTS_KEPT = 1024
# A token that is a part of a character is not reported. Letting the server pick a printable one
# instead makes it report, and what it reports is the distribution before this grammar.
_PRINTABLE = "root ::= [ -~]"

T = TypeVar("T")
U = TypeVar("U")


class LlamaCppModel:
    """A GGUF model in this process (capabilities: all but the full distribution).

    Args:
        path: the model file.
        card: who the model is; None takes the name from the file and the rest from the model.
        threads: CPU threads; None takes every core that this process may use.
        context_tokens: longest prompt and answer together; samples generated side by side share
            one memory of this size.
        slots: samples generated side by side; four are best on two cores.
        hidden_states: whether `next_token` can give hidden states. It costs nothing while
            generating (measured: no difference in speed); a probe with `hidden` reads the
            prompt once more, without the prefix cache, and is charged for it.
        chat_template: a Jinja template instead of the file's own.

    Raises:
        MissingDependencyError: if xllamacpp or the file is missing; the message says how to get it.
        InvalidInputError: if the file is no model that can be loaded.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        card: ModelCard | None = None,
        threads: int | None = None,
        context_tokens: int = 8192,
        slots: int = 4,
        hidden_states: bool = False,
        chat_template: str | None = None,
    ) -> None:
        for name, value in (
            ("threads", threads),
            ("context_tokens", context_tokens),
            ("slots", slots),
        ):
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} is {value}, expected at least 1")
        path = Path(path)
        self._server = LlamaServer(
            path,
            threads=threads,
            context_tokens=context_tokens,
            slots=slots,
            hidden_states=hidden_states,
            chat_template=chat_template,
        )
        card = card or ModelCard(name=path.stem)
        self._card = dataclasses.replace(
            card,
            parameters=card.parameters or int(self._server.describe()["n_params"]),
            context_tokens=context_tokens,
        )
        self._capabilities = Capabilities(
            log_probs=True,
            hidden_states=hidden_states,
            scoring=True,
            parallel_samples=True,
            prefix=True,
            grammar=True,
            thinking_budget=self._switches_thinking(),
        )
        self._counts: OrderedDict[object, int] = OrderedDict()

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def address(self) -> str:
        """Where the embedded server speaks the OpenAI API, on the loopback address only."""
        return self._server.address

    @property
    def api_key(self) -> str:
        """The random key that the embedded server requires of every request."""
        return self._server.api_key

    async def generate(self, request: Request) -> list[Completion]:
        """Returns `request.n` samples; more than `slots` are made in groups of that size.

        The prompt is charged once: samples share it, and later groups find it in the cache.

        Raises:
            InvalidInputError: if the request has a budget of thinking and the model takes none.
        """
        require_budget(request, self._card.name, supported=self._capabilities.thinking_budget)
        completions: list[Completion] = []
        for offset in range(0, request.n, self._server.slots):
            n = min(self._server.slots, request.n - offset)
            first = request.first_sample + offset
            group = dataclasses.replace(request, n=n, first_sample=first)
            completions += await self._generate_group(group, first=offset == 0)
        return completions

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Returns the log-probabilities of each continuation, its tokens chosen greedily.

        A grammar forces the text. Of the ways to write it in tokens, the model's most likely next
        token is taken each time, so the sum is a close lower bound of the text's log-probability.

        Raises:
            ModelError: also if a continuation needs tokens that are parts of characters (rare
                signs such as emoji), for which the server reports nothing.
        """
        # One after the other: each then finds the whole prompt in the cache of the same slot.
        return [await self._score_one(prompt, continuation) for continuation in continuations]

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the 100 most likely next tokens; the empty text is the end of the answer."""
        body = self._body(prompt, max_tokens=1, top_logprobs=_TOP_PROBE)
        answer, usage = await self._complete(body)
        entries = _reported(answer)
        if not entries:
            answer, again = await self._complete({**body, "grammar": _PRINTABLE})
            entries = _reported(answer)
            usage = usage + again
        if not entries:
            raise ModelError("the embedded server reported no next-token distribution")
        masses: dict[str, list[float]] = {}
        for token in entries[0]["top_logprobs"]:
            masses.setdefault(token["token"], []).append(math.exp(token["logprob"]))
        log_probs = {text: _log(math.fsum(parts)) for text, parts in masses.items()}
        if not hidden or not self._capabilities.hidden_states:
            return NextToken(log_probs, usage)
        state, spent = await self._hidden(prompt)
        return NextToken(log_probs, usage + spent, hidden=state)

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns exactly what a call of this prompt is charged; the last thousand are kept.

        Where a prompt may be thought about or not, the longer form counts.
        """
        key = prompt.messages
        if key not in self._counts:
            ways = (0, 1) if self._capabilities.thinking_budget else (0,)
            texts = [await self._templated(prompt, thinking) for thinking in ways]
            counts = [len(await self._in_thread(self._server.tokenize, text)) for text in texts]
            self._counts[key] = max(counts)
        self._counts.move_to_end(key)
        if len(self._counts) > _COUNTS_KEPT:
            self._counts.popitem(last=False)
        return self._counts[key]

    async def close(self) -> None:
        await asyncio.to_thread(self._server.close)

    async def _generate_group(self, request: Request, *, first: bool) -> list[Completion]:
        thinking = request.thinking_tokens
        body = self._chat(request.prompt, thinking) | {
            "max_tokens": request.prompt.max_tokens + thinking,
            "logprobs": True,
            "top_logprobs": _TOP_GENERATE,
            "n": request.n,
            "temperature": request.temperature,
            "samplers": ["temperature", "top_p"],
            "top_p": request.top_p,
            "seed": base_seed(request.seed) + request.first_sample,
            "stop": list(request.prompt.stop),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.grammar is not None:
            body["grammar"] = request.grammar
        call, stream = ServerCall(slots=request.n), Stream(request.n, thinks=thinking > 0)
        receive = _heard(stream.receive, request.on_text if first else None)
        spent = begin_call(request.n)
        try:
            timed_out = await self._wait(
                call,
                lambda: self._server.stream(call, body, receive),
                request.timeout_seconds,
            )
        except asyncio.CancelledError:
            if call.begun_at:
                prompt_tokens = spent.prompt_bound(0)
                spent.told(sum(_usages(stream.snapshot(), stream, first, prompt_tokens), Usage()))
            raise
        samples = stream.snapshot()
        if not timed_out and any(sample.finish_reason is None for sample in samples):
            raise ModelError("the embedded server ended the call early; was the model closed?")
        # A call that was cancelled says nothing of its prompt; the count says what it had to read.
        prompt_tokens = await self.count_tokens(request.prompt) if timed_out else 0
        seconds = (time.monotonic() - call.begun_at if timed_out else call.seconds) / request.n
        usages = _usages(samples, stream, first, prompt_tokens)
        spent.told(sum(usages, Usage()))
        return [
            Completion(
                text=sample.text,
                finish_reason=sample.finish_reason or "timeout",
                usage=dataclasses.replace(usage, seconds=seconds),
                log_probs=tuple(sample.log_probs),
                entropies=tuple(sample.entropies),
            )
            for sample, usage in zip(samples, usages, strict=True)
        ]

    async def _score_one(self, prompt: Prompt, continuation: str) -> LogProbs:
        try:
            forced = llamacpp_server.only(continuation)
        except ValueError as error:
            raise InvalidInputError(f"continuation cannot be scored: {error}") from error
        # A token is at least a byte, so this cap never cuts a continuation.
        cap = len(continuation.encode()) + 1
        body = self._body(prompt, max_tokens=cap, top_logprobs=1) | {"grammar": forced}
        answer, usage = await self._complete(body)
        choice = answer["choices"][0]
        entries = _reported(answer)
        # The last entry is the end of the text, which is not part of the continuation. The content
        # begins with the prompt's prefix here, other than in a stream.
        whole = choice["finish_reason"] == "stop"
        whole = whole and choice["message"]["content"].endswith(continuation)
        if not whole or len(entries) != usage.completion_tokens:
            raise ModelError(
                f"continuation {continuation!r} cannot be scored: it took {usage.completion_tokens}"
                f" tokens, the server reported {len(entries)}; avoid signs made of several tokens"
            )
        return LogProbs(tuple(min(0.0, entry["logprob"]) for entry in entries[:-1]), usage)

    async def _hidden(self, prompt: Prompt) -> tuple[tuple[float, ...], Usage]:
        text = await self._templated(prompt, 0)
        call, spent = ServerCall(slots=1), begin_call()
        answers: list[tuple[tuple[float, ...], int]] = []
        try:
            await self._wait(call, lambda: answers.append(self._server.embed(call, text)), None)
        except asyncio.CancelledError:
            if call.begun_at:
                spent.told(Usage(1, spent.prompt_bound(0), estimated_calls=1))
            raise
        state, tokens = answers[0]
        usage = Usage(model_calls=1, prompt_tokens=tokens, seconds=call.seconds)
        return state, spent.told(usage)

    async def _complete(self, body: dict[str, Any]) -> tuple[dict[str, Any], Usage]:
        call, spent = ServerCall(slots=1), begin_call()
        answers: list[dict[str, Any]] = []
        spent.send()
        try:
            await self._wait(call, lambda: answers.append(self._server.complete(call, body)), None)
        except asyncio.CancelledError:
            if not call.begun_at:
                spent.free()
            raise
        stated = answers[0]["usage"]
        usage = Usage(
            model_calls=1,
            prompt_tokens=stated["prompt_tokens"],
            cached_prompt_tokens=stated["prompt_tokens_details"]["cached_tokens"],
            completion_tokens=stated["completion_tokens"],
            seconds=call.seconds,
        )
        return answers[0], spent.told(usage)

    async def _wait(
        self, call: ServerCall, work: Callable[[], None], timeout_seconds: float | None
    ) -> bool:
        """Runs blocking work in a thread; returns whether it ran out of time.

        The time begins when the model does, not in the queue. A call that runs out of time, and one
        whose task is cancelled, is left to end at its next token on its own.
        """
        self._server.require_open()
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[None] = loop.create_future()
        call.on_begun = partial(loop.call_soon_threadsafe, _settle, begun)
        future = loop.run_in_executor(self._server.threads, work)
        try:
            await asyncio.wait({future, begun}, return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait({future}, timeout=timeout_seconds)
        except asyncio.CancelledError:
            self._abandon(call, future)
            raise
        if not done:
            self._abandon(call, future)
            return True
        future.result()
        return False

    def _abandon(self, call: ServerCall, future: asyncio.Future[None]) -> None:
        self._server.cancel(call)
        # The outcome is not needed any more; an unread exception would print a warning.
        future.add_done_callback(_read)

    async def _in_thread(self, work: Callable[[T], U], argument: T) -> U:
        self._server.require_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._server.threads, work, argument)

    def _body(
        self, prompt: Prompt, *, max_tokens: int, top_logprobs: int = _TOP_GENERATE
    ) -> dict[str, Any]:
        return self._chat(prompt, 0) | {
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "logprobs": True,
            "top_logprobs": top_logprobs,
        }

    def _chat(self, prompt: Prompt, thinking_tokens: int) -> dict[str, Any]:
        """What the template reads."""
        body: dict[str, Any] = {"messages": as_messages(prompt, prefix=not thinking_tokens)}
        if self._capabilities.thinking_budget:
            body |= openai_fields("budget", thinking_tokens)[0]
        return body

    async def _templated(self, prompt: Prompt, thinking_tokens: int) -> str:
        return await self._in_thread(self._server.template, self._chat(prompt, thinking_tokens))

    def _switches_thinking(self) -> bool:
        """Whether the template has a switch for thinking that changes what it writes."""
        chat = {"messages": [{"role": "user", "content": "?"}]}
        on, off = ({**chat, **openai_fields("budget", tokens)[0]} for tokens in (1, 0))
        return self._server.template(on) != self._server.template(off)


def _usages(
    samples: Sequence[StreamedSample], stream: Stream, first: bool, prompt_tokens: int
) -> list[Usage]:
    """What each sample of a call cost, without seconds; an estimate where one was cut off.

    Args:
        samples: as far as they have come.
        stream: says what the prompt cost, once a sample has ended.
        first: whether this is the first call of its request, which carries the prompt.
        prompt_tokens: of the prompt, in case the stream does not say.
    """
    cut_off = any(sample.finish_reason is None for sample in samples)
    usages = [
        Usage(completion_tokens=sample.tokens, reasoning_tokens=sample.thinking_tokens)
        for sample in samples
    ]
    call = Usage(estimated_calls=int(cut_off))
    if first:
        call += Usage(1, stream.prompt_tokens or prompt_tokens, stream.cached_tokens)
    return [usages[0] + call, *usages[1:]]


def _reported(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the tokens that the server tells of; it leaves the field out where there are none."""
    return (answer["choices"][0].get("logprobs") or {}).get("content") or []


def _log(mass: float) -> float:
    return min(0.0, math.log(mass)) if mass > 0.0 else -math.inf


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _read(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _heard(
    receive: Callable[[dict[str, Any]], None], on_text: Callable[[str], None] | None
) -> Callable[[dict[str, Any]], None]:
    """Receives chunks, and tells of the first sample's text as it comes."""
    if on_text is None:
        return receive

    def both(chunk: dict[str, Any]) -> None:
        receive(chunk)
        for choice in chunk["choices"]:
            if choice["index"] == 0 and (piece := choice["delta"].get("content")):
                on_text(piece)

    return both
