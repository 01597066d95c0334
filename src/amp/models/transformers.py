"""Any causal language model on PyTorch, by the library transformers; on a GPU where there is one.

How the protocol's promises are kept:

- The prompt of a request is read once, its samples grow side by side (see `transformers_decode`).
  Sample i draws from a stream of (seed, i), so it is the same however a request is split, but for
  rounding: a batch of another shape computes a little differently.
- Temperature, then top_p, and nothing else: no penalties, and what a model's generation settings
  say otherwise is left out.
- Log-probabilities and entropies are those of the model itself, before temperature and top_p, from
  the full distribution.
- `completion_tokens` counts every token generated, the one that ends the text and those of a stop
  string among them. `log_probs` holds the tokens that are part of the text.
- Calls are worked on one after the other, in a thread. A call's time begins with its work.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from amp.errors import InvalidInputError, ModelError
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
from amp.models.transformers_decode import (
    DecodeCall,
    DecodedRow,
    Decoder,
    OutOfTimeError,
    next_texts,
)
from amp.models.transformers_load import ChatText, Ending, load_weights
from amp.types import Usage

T = TypeVar("T")


class TransformersModel:
    """A causal language model on PyTorch (capabilities: all but grammars and thinking).

    Args:
        name: path of a GGUF file or of a directory in the format of transformers, or ``OWNER/NAME``
            on the Hugging Face hub. Only the last downloads anything.
        card: who the model is; what it leaves open, and the context, comes from the model.
        device: as torch names it, such as ``cpu`` or ``cuda:1``; None takes CUDA where there is.
        dtype: ``float32``, ``bfloat16`` or ``float16``; None takes bfloat16 on CUDA, else float32.
        threads: CPU threads of PyTorch, for the whole process; None leaves them as they are.
        context_tokens: longest prompt and answer together; None, and anything above what the model
            was made for, takes the model's own.
        slots: samples generated side by side; more are made in groups of this size.
        probe_tokens: how many of the likeliest texts `next_token` tells. None tells all of them,
            which makes an entry for every text of the vocabulary: a recording of many probes is
            smaller with a number here, and then does not have the full distribution.

    Raises:
        MissingDependencyError: if a package or the model is missing; the message says how to get
            it.
        InvalidInputError: if an argument is out of its range, or the model is none that can be
            loaded, or has no chat template.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        card: ModelCard | None = None,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        context_tokens: int | None = None,
        slots: int = 16,
        probe_tokens: int | None = None,
    ) -> None:
        for option, value in (
            ("threads", threads),
            ("context_tokens", context_tokens),
            ("slots", slots),
            ("probe_tokens", probe_tokens),
        ):
            if value is not None and value < 1:
                raise InvalidInputError(f"{option} is {value}, expected at least 1")
        weights = load_weights(name, device, dtype)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        own = weights.card
        bounds = [bound for bound in (context_tokens, own.context_tokens) if bound is not None]
        card = card or own
        self._card = dataclasses.replace(
            card,
            sha256=card.sha256 or own.sha256,
            parameters=card.parameters or own.parameters,
            layers=card.layers or own.layers,
            attention_width=card.attention_width or own.attention_width,
            context_tokens=min(bounds, default=None),
        )
        self._capabilities = Capabilities(
            log_probs=True,
            full_distribution=probe_tokens is None,
            hidden_states=True,
            scoring=True,
            parallel_samples=True,
            prefix=True,
        )
        self._text = ChatText(weights.tokenizer, self._card.name, weights.ends)
        self._decoder = Decoder(weights.network)
        self._slots = slots
        self._probe_tokens = probe_tokens
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transformers")
        self._calls: set[DecodeCall] = set()
        self._closed = False

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def generate(self, request: Request) -> list[Completion]:
        """Returns `request.n` samples; the prompt is read, and charged, once.

        An answer that reaches the end of the context ends there, with the reason ``length``.

        Raises:
            InvalidInputError: if the request has a grammar or a budget of thinking.
            ModelError: if the prompt fills the context.
        """
        if request.grammar is not None:
            raise InvalidInputError(f"model {self._card.name} takes no grammar")
        if request.thinking_tokens:
            raise InvalidInputError(
                f"model {self._card.name} has no native thinking, but thinking_tokens is"
                f" {request.thinking_tokens}"
            )
        tokens = self._tokens(request.prompt)
        call, spent = DecodeCall(request.timeout_seconds), begin_call(request.n)
        indices = range(request.first_sample, request.first_sample + request.n)
        rows = [DecodedRow(random.Random(f"{request.seed}/{index}")) for index in indices]
        try:
            completions = await self._run(
                call, partial(self._generate, call, request, tokens, rows)
            )
        except asyncio.CancelledError:
            if call.begun_at:
                written = sum(len(row.tokens) for row in rows)
                spent.told(Usage(1, len(tokens), 0, written, estimated_calls=1))
            raise
        spent.told(sum((completion.usage for completion in completions), Usage()))
        return completions

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Returns the log-probabilities of each continuation, after one reading of the prompt.

        The first one carries the call. The tokens of a continuation are charged as prompt tokens,
        since they are read and not generated.

        Raises:
            InvalidInputError: if a continuation is empty or has no tokens that read like it.
            ModelError: if the prompt and a continuation are longer than the context.
        """
        if not continuations:
            return []
        text = self._text.prompt(prompt)
        pieces = [self._text.continuation(text, each) for each in continuations]
        tokens = self._tokens(prompt, more=max(map(len, pieces)) - 1)
        return await self._reading(
            partial(self._score, tokens, pieces), len(tokens) + sum(map(len, pieces))
        )

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the next-token distribution; the empty text is the end of the answer.

        All tokens without a text of their own count as the empty text.
        """
        tokens = self._tokens(prompt)
        return await self._reading(partial(self._probe, tokens, hidden), len(tokens))

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns exactly what a call of this prompt is charged."""
        self._require_open()
        return len(self._text.encode(self._text.prompt(prompt)))

    async def close(self) -> None:
        self._closed = True
        for call in self._calls:
            call.cancelled.set()
        await asyncio.to_thread(self._thread.shutdown)
        self._decoder.close()

    def _generate(
        self, call: DecodeCall, request: Request, tokens: list[int], rows: list[DecodedRow]
    ) -> list[Completion]:
        cap = request.prompt.max_tokens
        if self._card.context_tokens is not None:
            cap = min(cap, self._card.context_tokens - len(tokens))
        ending = Ending(self._text, request.prompt.stop, cap)
        cached_tokens = 0
        with suppress(OutOfTimeError):
            reading = self._decoder.read(call, tokens)
            cached_tokens = reading.cached_tokens
            for begin in range(0, request.n, self._slots):
                self._decoder.grow(
                    call,
                    reading,
                    rows[begin : begin + self._slots],
                    temperature=request.temperature,
                    top_p=request.top_p,
                    reason=ending.reason,
                )
        seconds = call.seconds
        cut_off = any(row.finish_reason is None for row in rows)
        return [
            Completion(
                text=ending.text(row.tokens),
                finish_reason=row.finish_reason or "timeout",
                usage=Usage(
                    model_calls=int(index == 0),
                    prompt_tokens=len(tokens) if index == 0 else 0,
                    cached_prompt_tokens=cached_tokens if index == 0 else 0,
                    completion_tokens=len(row.tokens),
                    seconds=seconds / request.n,
                    estimated_calls=int(index == 0 and cut_off),
                ),
                log_probs=tuple(row.log_probs[: ending.kept(row.tokens)]),
                entropies=tuple(row.entropies[: ending.kept(row.tokens)]),
            )
            for index, row in enumerate(rows)
        ]

    def _score(
        self, tokens: list[int], pieces: list[list[int]], call: DecodeCall
    ) -> list[LogProbs]:
        reading = self._decoder.read(call, tokens)
        scores = self._decoder.score(call, reading, pieces)
        seconds = call.seconds / len(pieces)
        return [
            LogProbs(
                tuple(log_probs),
                Usage(
                    model_calls=int(index == 0),
                    prompt_tokens=len(log_probs) + (len(tokens) if index == 0 else 0),
                    cached_prompt_tokens=reading.cached_tokens if index == 0 else 0,
                    seconds=seconds,
                ),
            )
            for index, log_probs in enumerate(scores)
        ]

    def _probe(self, tokens: list[int], hidden: bool, call: DecodeCall) -> NextToken:
        reading = self._decoder.read(call, tokens, hidden=hidden)
        log_probs = next_texts(reading.logits[0], self._text.vocabulary, self._probe_tokens)
        usage = Usage(
            model_calls=1,
            prompt_tokens=len(tokens),
            cached_prompt_tokens=reading.cached_tokens,
            seconds=call.seconds,
        )
        return NextToken(
            log_probs, usage, reading.hidden, complete=self._capabilities.full_distribution
        )

    async def _reading(self, work: Callable[[DecodeCall], T], prompt_tokens: int) -> T:
        """Runs work that only reads; if it is cancelled, so many tokens are its bound."""
        call, spent = DecodeCall(), begin_call()
        try:
            return await self._run(call, partial(work, call))
        except asyncio.CancelledError:
            if call.begun_at:
                spent.told(Usage(1, prompt_tokens, estimated_calls=1))
            raise

    async def _run(self, call: DecodeCall, work: Callable[[], T]) -> T:
        """Runs blocking work in the model's thread; a cancelled task ends it at its next token."""
        self._require_open()
        self._calls.add(call)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._work, call, work)
        except asyncio.CancelledError:
            call.cancelled.set()
            raise
        finally:
            self._calls.discard(call)

    def _work(self, call: DecodeCall, work: Callable[[], T]) -> T:
        import torch

        call.begin()
        try:
            with torch.inference_mode():
                return work()
        except RuntimeError as error:  # out of memory, above all
            reason = str(error).partition("\n")[0]
            raise ModelError(f"model {self._card.name} failed: {reason}") from error

    def _tokens(self, prompt: Prompt, more: int = 0) -> list[int]:
        """Returns the prompt's tokens if they, `more` and one to come fit into the context."""
        self._require_open()
        tokens = self._text.encode(self._text.prompt(prompt))
        most = self._card.context_tokens
        if most is not None and len(tokens) + more >= most:
            what = f"prompt has {len(tokens)} tokens" + (f" and {more} to score" if more else "")
            raise ModelError(
                f"{what}, the context has {most}; shorten the prompt or load the model with more"
                " context_tokens, if it can have more"
            )
        return tokens

    def _require_open(self) -> None:
        if self._closed:
            raise ModelError("the model is closed; load it again")
