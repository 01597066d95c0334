"""The chunks of a streamed call, put together again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any

from amp.models.base import FinishReason
from amp.models.entropy import entropy, normalised


@dataclass(slots=True)
class StreamedSample:
    """What has come of one sample so far.

    Attributes:
        text: the text.
        finish_reason: None until it ends.
        tokens: how many were generated; until it ends, how many were reported.
        thinking_tokens: those of them that were reported before the text began. The closing tag is
            never reported, and not among them.
        log_probs: of the reported tokens of the text.
        entropies: of the reported tokens of the text, in nats.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    tokens: int = 0
    thinking_tokens: int = 0
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)


class Stream:
    """Gathers the interleaved chunks of a call; one thread writes, another may read.

    Args:
        n: how many samples come.
        thinks: whether they begin with thinking.

    Attributes:
        prompt_tokens: tokens of the prompt; 0 until the first sample ends.
        cached_tokens: those of them that the prefix cache held.
    """

    def __init__(self, n: int, *, thinks: bool = False) -> None:
        self._thinks = thinks
        self._samples = [StreamedSample() for _ in range(n)]
        self._ended = 0
        self._lock = threading.Lock()
        self.prompt_tokens = 0
        self.cached_tokens = 0

    def receive(self, chunk: dict[str, Any]) -> None:
        """Takes one chunk of the server.

        Raises:
            ValueError: if the log-probabilities in it are no distribution.
        """
        with self._lock:
            for choice in chunk["choices"]:
                self._add(choice["index"], choice)
            if usage := chunk.get("usage"):
                # The figures have no index. They come right after the last chunk of their sample.
                self._samples[self._ended].tokens = usage["completion_tokens"]
                # Every sample repeats the prompt they share. The one that began the call read it.
                self.prompt_tokens = usage["prompt_tokens"]
                self.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]

    def snapshot(self) -> list[StreamedSample]:
        """Returns a copy of what has come so far."""
        with self._lock:
            return [
                replace(s, log_probs=list(s.log_probs), entropies=list(s.entropies))
                for s in self._samples
            ]

    def _add(self, index: int, choice: dict[str, Any]) -> None:
        sample = self._samples[index]
        sample.text += choice["delta"].get("content") or ""
        for token in (choice.get("logprobs") or {}).get("content") or ():
            if self._thinks and not sample.text:
                sample.thinking_tokens += 1
                sample.tokens += 1
                continue
            sample.log_probs.append(min(0.0, token["logprob"]))
            top = [entry["logprob"] for entry in token["top_logprobs"]]
            sample.entropies.append(entropy(normalised(top)))
            sample.tokens += 1
        if choice["finish_reason"] is not None:
            sample.finish_reason = "length" if choice["finish_reason"] == "length" else "stop"
            self._ended = index
