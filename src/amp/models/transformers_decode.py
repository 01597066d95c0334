"""Forward passes on PyTorch: a prompt is read once, samples and scores go on from it side by side.

- The keys and values of a prompt are computed in a batch of one and then repeated for every sample.
  The samples grow in step, so their batch needs no padding; a sample that ends leaves the batch.
- The last prompts stay in memory. One that begins like any of them is read from there on only; its
  last token is always read anew, since its logits are needed.
- Sample i has a stream of random numbers of its own and takes one for each token. It picks a token
  by cumulative probability in the order of the vocabulary, which rounding in batches of another
  shape hardly moves.
"""

from __future__ import annotations

import copy
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amp.errors import ModelError
from amp.models.base import FinishReason
from amp.models.transformers_load import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class DecodedRow:
    """One sample as it grows.

    Attributes:
        draws: its own stream of random numbers.
        tokens: what was generated, the token that ends it among them.
        log_probs: of these tokens, before temperature and top_p.
        entropies: of the distributions they were drawn from, in nats, before temperature and top_p.
        finish_reason: None as long as it grows.
    """

    draws: random.Random
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None


def append_tokens(
    rows: Sequence[DecodedRow], logits: Tensor, temperature: float, top_p: float
) -> None:
    """Adds one token to every row, with what the model itself thought of it.

    Args:
        rows: the samples.
        logits: of the token after each, of shape (rows, vocabulary), in 32 bits.
        temperature: 0 takes the likeliest token.
        top_p: nucleus mass in (0, 1].
    """
    log_probs = logits.log_softmax(-1)
    entropies = log_probs.exp().mul(log_probs.clamp(min=-1e4)).sum(-1).neg().clamp(min=0.0)
    if temperature == 0.0:
        chosen = logits.argmax(-1)
    else:
        uniforms = [row.draws.random() for row in rows]
        chosen = draw(logits, uniforms, temperature, top_p)
    of_chosen = log_probs.gather(-1, chosen.unsqueeze(-1)).squeeze(-1).clamp(max=0.0)
    for row, token, log_prob, entropy in zip(
        rows, chosen.tolist(), of_chosen.tolist(), entropies.tolist(), strict=True
    ):
        row.tokens.append(token)
        row.log_probs.append(log_prob)
        row.entropies.append(entropy)


def draw(logits: Tensor, uniforms: Sequence[float], temperature: float, top_p: float) -> Tensor:
    """Draws one token a row: temperature, then the nucleus of mass top_p, then inverse CDF.

    Args:
        logits: of shape (rows, vocabulary).
        uniforms: one number in [0, 1) a row.
        temperature: above 0.
        top_p: the smallest set of likeliest tokens that holds this mass is kept.

    Returns:
        A token a row.
    """
    import torch

    probs = (logits.double() / temperature).softmax(-1)
    if top_p < 1.0:
        # Tokens under this bound hold less than 1 - top_p together, so no nucleus has them: only
        # the few above it need to be sorted.
        bound = (1.0 - top_p) / probs.shape[-1]
        count = int((probs >= bound).sum(-1).max())
        ordered, tokens = probs.topk(count)
        within = ordered.cumsum(-1) - ordered < top_p
        probs = torch.zeros_like(probs).scatter(-1, tokens, ordered * within)
    cumulative = probs.cumsum(-1)
    thresholds = cumulative.new_tensor(uniforms).unsqueeze(-1) * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)
    return chosen.clamp(max=probs.shape[-1] - 1)


def next_texts(logits: Tensor, vocabulary: Vocabulary, limit: int | None) -> dict[str, float]:
    """Returns the log-probability of every text that the next token may read, likeliest first.

    Args:
        logits: of the next token, one row.
        vocabulary: what each token reads. Outputs of the network beyond it have no text.
        limit: how many texts; None returns all.
    """
    import torch

    probs = logits.double().softmax(-1)
    groups = torch.zeros(len(probs), dtype=torch.long)
    known = min(len(probs), len(vocabulary.groups))
    groups[:known] = torch.tensor(vocabulary.groups[:known])
    masses = probs.new_zeros(len(vocabulary.texts)).index_add(0, groups.to(probs.device), probs)
    ordered, indices = masses.sort(descending=True)
    return {
        vocabulary.texts[index]: log_prob
        for index, log_prob in zip(
            indices[:limit].tolist(), ordered[:limit].log().clamp(max=0.0).tolist(), strict=True
        )
        if log_prob > -math.inf
    }


# Between two chunks of a prompt a call can be ended; a chunk also bounds the memory of attention.
_CHUNK_TOKENS = 256
_PROMPTS_KEPT = 4
# A score needs the logits of every token; this bounds their memory (0.3 GB at 150,000 tokens).
_SCORED_AT_ONCE = 512


class OutOfTimeError(Exception):
    """The call's time is over; what it has made so far stands."""


@dataclass(slots=True, eq=False)
class DecodeCall:
    """One request on its way: the event loop may end it, the worker looks before each token.

    Attributes:
        timeout_seconds: how long the model may work on it, or None.
        cancelled: set it to have the call ended at the next token.
        begun_at: monotonic time when the model began to work on it, in seconds.
    """

    timeout_seconds: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun_at: float = 0.0

    def begin(self) -> None:
        """Starts the clock."""
        self.begun_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the model has worked on it; waiting for others does not count."""
        return time.monotonic() - self.begun_at

    def check(self) -> None:
        """Raises OutOfTimeError or, if the call was cancelled, ModelError."""
        if self.cancelled.is_set():
            raise ModelError("the call was cancelled or the model closed before its end")
        if self.timeout_seconds is not None and self.seconds >= self.timeout_seconds:
            raise OutOfTimeError


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt that was read.

    Attributes:
        cache: its keys and values, of a batch of one; never changed.
        logits: of the token after it, in 32 bits, one row.
        cached_tokens: how many of its tokens were in memory already.
        hidden: last layer's state of its last token, if it was asked for.
    """

    cache: Any
    logits: Tensor
    cached_tokens: int
    hidden: tuple[float, ...] | None = None


class Decoder:
    """A network with the prompts that it read last. Not for several threads at once.

    Args:
        network: a transformers model for causal language modelling.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._kept: list[tuple[list[int], Any]] = []

    def read(self, call: DecodeCall, tokens: list[int], *, hidden: bool = False) -> Reading:
        """Reads a prompt, as far as it is not in memory.

        Raises:
            OutOfTimeError: if the call's time ends before the prompt does.
            ModelError: if the call was cancelled.
        """
        cache, known = self._recall(tokens)
        for begin in range(known, len(tokens), _CHUNK_TOKENS):
            call.check()
            end = begin + _CHUNK_TOKENS
            states = hidden and end >= len(tokens)
            answer = self._forward([tokens[begin:end]], cache, output_hidden_states=states)
            cache = answer.past_key_values
        self._keep(tokens, cache)
        state = answer.hidden_states[-1][0, -1].float().tolist() if hidden else None
        return Reading(cache, answer.logits[:, -1].float(), known, state and tuple(state))

    def grow(
        self,
        call: DecodeCall,
        reading: Reading,
        rows: Sequence[DecodedRow],
        *,
        temperature: float,
        top_p: float,
        reason: Callable[[list[int]], FinishReason | None],
    ) -> None:
        """Generates all rows side by side until `reason` says of its tokens why each ends.

        Raises:
            OutOfTimeError: if the call's time is over; rows without a reason are unfinished.
            ModelError: if the call was cancelled.
        """
        rows, cache = list(rows), _repeated(reading.cache, len(rows))
        logits = reading.logits.expand(len(rows), -1)
        while True:
            call.check()
            append_tokens(rows, logits, temperature, top_p)
            for row in rows:
                row.finish_reason = reason(row.tokens)
            growing = [index for index, row in enumerate(rows) if row.finish_reason is None]
            if not growing:
                return
            if len(growing) < len(rows):
                rows = [rows[index] for index in growing]
                cache.batch_select_indices(logits.new_tensor(growing).long())
            answer = self._forward([row.tokens[-1:] for row in rows], cache)
            logits = answer.logits[:, -1].float()

    def score(
        self, call: DecodeCall, reading: Reading, continuations: Sequence[list[int]]
    ) -> list[list[float]]:
        """Returns the log-probability of every token of each continuation.

        Raises:
            ModelError: if the call was cancelled.
        """
        import torch

        first = reading.logits.log_softmax(-1)[0]
        scores = [[float(first[tokens[0]])] for tokens in continuations]
        # The last token of a continuation is looked up and never read, so single tokens are free.
        longer = [index for index, tokens in enumerate(continuations) if len(tokens) > 1]
        longer.sort(key=lambda index: len(continuations[index]))
        while longer:
            call.check()
            width = len(continuations[longer[-1]]) - 1
            count = max(1, _SCORED_AT_ONCE // width)
            longer, group = longer[:-count], longer[-count:]
            # Padding on the right needs no mask: nothing that counts looks at it.
            inputs = [_padded(continuations[index][:-1], width) for index in group]
            targets = [_padded(continuations[index][1:], width) for index in group]
            cache = _repeated(reading.cache, len(group))
            logits = self._forward(inputs, cache, logits_to_keep=width).logits.float()
            wanted = torch.tensor(targets, device=logits.device).unsqueeze(-1)
            log_probs = logits.gather(-1, wanted).squeeze(-1) - logits.logsumexp(-1)
            for index, values in zip(group, log_probs.clamp(max=0.0).tolist(), strict=True):
                scores[index] += values[: len(continuations[index]) - 1]
        return scores

    def close(self) -> None:
        """Lets go of the network and of the prompts."""
        self._network = None
        self._kept.clear()

    def _forward(
        self,
        tokens: list[list[int]],
        cache: Any,
        *,
        logits_to_keep: int = 1,
        output_hidden_states: bool = False,
    ) -> Any:
        import torch

        return self._network(
            input_ids=torch.tensor(tokens, device=self._network.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
            output_hidden_states=output_hidden_states,
        )

    def _recall(self, tokens: list[int]) -> tuple[Any, int]:
        """Returns a copy of the longest beginning in memory, and how many tokens it holds."""
        if not self._kept:
            return None, 0
        kept, cache = max(self._kept, key=lambda entry: _common(entry[0], tokens))
        common = min(_common(kept, tokens), len(tokens) - 1)
        surplus = len(kept) - common
        # Layers that look at a window or at a running state have forgotten what cropping needs.
        if not common or (surplus and (not cache.is_croppable or any(cache.is_sliding))):
            return None, 0
        cache = copy.deepcopy(cache)
        cache.crop(-surplus)
        return cache, common

    def _keep(self, tokens: list[int], cache: Any) -> None:
        """Keeps a prompt, in the place of those that it goes on from."""
        others = [(kept, old) for kept, old in self._kept if tokens[: len(kept)] != kept]
        self._kept = [*others, (tokens, cache)][-_PROMPTS_KEPT:]


def _repeated(cache: Any, rows: int) -> Any:
    """Returns a copy of a cache for a batch of so many rows; the original stays as it is."""
    cache = copy.deepcopy(cache)
    if rows > 1:
        cache.batch_repeat_interleave(rows)
    return cache


def _padded(tokens: list[int], width: int) -> list[int]:
    return tokens + [0] * (width - len(tokens))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Returns how many tokens two sequences have in common at the beginning."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
