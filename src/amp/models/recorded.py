"""A model whose answers are recorded, or come from a recording, or both.

The key of a sample is the SHA-256 of its request and the sample's index. The number of samples in a
request, the index of the first one and the timeout are not part of the hash: sample i of a prompt
is the same for every policy.

A new answer is stored first and then returned from the file, so that a run that records and its
replay see the same texts, the same numbers and the same usage.

A replay can also return the samples of seed 0 in another order, as if another run had drawn them:
they are exchangeable. Runs in several orders share their samples, so statistics over them have to
take the tasks as the units.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from amp.errors import InvalidInputError, RecordingError
from amp.models.base import (
    Capabilities,
    Completion,
    LanguageModel,
    LogProbs,
    ModelCard,
    NextToken,
    Prompt,
    Request,
)
from amp.models.recording import Mode, Recording, digest
from amp.models.recording_store import Sample, samples_of

_ALL_SAMPLES = 2**31
"""More samples of one prompt than any recording has."""


_NO_ANSWER = ("timeout", "filtered")


class RecordedModel:
    """Wraps any model with a recording.

    Args:
        model: the model; None for a replay without one.
        path: the SQLite file of the recording.
        mode: ``replay`` never calls the model. ``auto`` calls it for what the recording lacks.
            ``record`` does so, too, and also accepts a new version of the prompts: samples of the
            old one stay in the file, unused.
        prompts: versions of the prompts that will be used, such as ``gsm8k/3``, to find a mismatch
            before the run begins. Those of requests are checked in any case.
        order: number of a permutation, for replays: every request, whatever its seed, gets the
            samples that were recorded with seed 0, so permuted; 0 is the order in which they were
            recorded. None returns the samples of the request's own seed.

    Attributes:
        recording: the recording, for the tools that share it.

    Raises:
        InvalidInputError: if there is no model but the mode needs one, or an order but no replay.
        RecordingError: if the recording is missing, damaged, or was made with another model or
            other prompts.
    """

    def __init__(
        self,
        model: LanguageModel | None,
        path: str | Path,
        mode: Mode = "auto",
        *,
        prompts: Sequence[str] = (),
        order: int | None = None,
    ) -> None:
        if model is None and mode == "record":
            raise InvalidInputError("recording needs a model; pass one, or use mode replay")
        if order is not None and model is not None and mode != "replay":
            raise InvalidInputError(f"order is {order}, but only a replay has one; use mode replay")
        self._model = model
        self._order = order
        self.recording = Recording(path, "replay" if model is None else mode)
        self._store = self.recording.store
        try:
            recorded_card, self._recorded_capabilities = self.recording.identify(model)
            for version in prompts:
                self.recording.check_version(version)
        except RecordingError:
            self.recording.close()
            raise
        self._card = recorded_card if model is None or self.recording.replaying else model.card

    @property
    def card(self) -> ModelCard:
        """The model's; in a replay, that of the model which made the recording."""
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        """The model's; in a replay, those of the model which made the recording."""
        if self.recording.replaying or self._model is None:
            return self._recorded_capabilities
        return self._model.capabilities

    async def generate(self, request: Request) -> list[Completion]:
        """Returns the samples; the model generates only those that the recording lacks.

        The usage is that of a request that the model answers alone, even if some samples were
        recorded by others. Samples that timed out or were filtered are returned but not recorded.

        Raises:
            RecordingError: in a replay, if a sample is not recorded; names it.
        """
        self.recording.check_version(request.prompt.version)
        if self._order is not None:
            request = dataclasses.replace(request, seed=0)
        key = request_key(request)
        first, n = request.first_sample, request.n
        unanswered: dict[int, Completion] = {}
        async with self.recording.turn(key):
            stored = self._stored(key, first, n)
            missing = [i for i in range(first, first + n) if i not in stored]
            for begin, count in _runs(missing):
                model = self._model_for(request.prompt, f"sample {begin}")
                part = dataclasses.replace(request, first_sample=begin, n=count)
                unanswered |= self._record(key, request.prompt, begin, await model.generate(part))
            if missing:
                stored = self._stored(key, first, n)
        return [
            stored[i].completion(first=i == first) if i in stored else unanswered[i]
            for i in range(first, first + n)
        ]

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Returns the scores; the model computes only those that the recording lacks."""
        self.recording.check_version(prompt.version)
        keys = [_key("score", prompt, continuation) for continuation in continuations]
        async with self.recording.turn(_key("scores", prompt)):
            missing = {
                text: key
                for text, key in zip(continuations, keys, strict=True)
                if self._store.score(key) is None
            }
            if missing:
                model = self._model_for(prompt, f"score of {next(iter(missing))!r}")
                scores = await model.score(prompt, list(missing))
                for key, score in zip(missing.values(), scores, strict=True):
                    self._store.add_score(key, score)
                self._note_capabilities()
        return [self.recording.present(self._store.score(key)) for key in keys]

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        self.recording.check_version(prompt.version)
        key = _key("probe", prompt, hidden)
        async with self.recording.turn(key):
            if self._store.next_token(key) is None:
                model = self._model_for(prompt, "probe with hidden state" if hidden else "probe")
                self._store.add_next_token(key, await model.next_token(prompt, hidden=hidden))
                self._note_capabilities()
        return self.recording.present(self._store.next_token(key))

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns the recorded count; recording a sample also records that of its prompt."""
        key = _key("count", prompt)
        tokens = self._store.token_count(key)
        if tokens is None:
            model = self._model_for(prompt, "token count")
            self._store.add_token_count(key, await model.count_tokens(prompt))
            tokens = self.recording.present(self._store.token_count(key))
        return tokens

    async def close(self) -> None:
        """Closes the recording and the model."""
        self.recording.close()
        if self._model is not None:
            await self._model.close()

    def _stored(self, key: bytes, first: int, n: int) -> Mapping[int, Sample]:
        if not self._order:
            return self._store.samples(key, first, n)
        return _permuted(self._store.samples(key, 0, _ALL_SAMPLES), f"{self._order} {key.hex()}")

    def _model_for(self, prompt: Prompt, what: str) -> LanguageModel:
        """The model, to make what the recording lacks; in a replay an error that names it."""
        if self._model is None or self.recording.replaying:
            raise self.recording.missing(what, prompt.version)
        return self._model

    def _record(
        self, key: bytes, prompt: Prompt, first: int, completions: Sequence[Completion]
    ) -> dict[int, Completion]:
        """Records the samples that are complete; returns those that are no answers, by index."""
        self._note_capabilities()
        samples = dict(enumerate(samples_of(completions), start=first))
        self._store.add_samples(
            key,
            {i: s for i, s in samples.items() if s.finish_reason not in _NO_ANSWER},
            _key("count", prompt),
            completions[0].usage.prompt_tokens,
        )
        indexed = enumerate(completions, start=first)
        return {i: c for i, c in indexed if c.finish_reason in _NO_ANSWER}

    def _note_capabilities(self) -> None:
        """Records capabilities again, as a call may show that the model lacks one.

        Whether a model has hidden states is an option when it is loaded: once some are recorded,
        the recording keeps the capability.
        """
        if self._model is None:
            return
        recorded, current = self._recorded_capabilities, self._model.capabilities
        current = dataclasses.replace(
            current, hidden_states=current.hidden_states or recorded.hidden_states
        )
        if current != recorded:
            self._recorded_capabilities = current
            self._store.set_identity(self._card, current)


def replayed(model: LanguageModel) -> Recording | None:
    """The recording that all answers of a model come from; None if a model answers, too."""
    recording = model.recording if isinstance(model, RecordedModel) else None
    return recording if recording is not None and recording.replaying else None


def is_replay(model: LanguageModel) -> bool:
    """Whether all answers of a model come from a recording."""
    return replayed(model) is not None


def request_key(request: Request) -> bytes:
    """Returns the SHA-256 of everything that determines the samples of a request but the index."""
    # Left out at 0, so that the keys of recordings made before this field existed stay the same.
    thinking = {"thinking_tokens": request.thinking_tokens} if request.thinking_tokens else {}
    return digest(
        {
            "messages": _chat(request.prompt),
            "max_tokens": request.prompt.max_tokens,
            "stop": list(request.prompt.stop),
            "version": request.prompt.version,
            "temperature": float(request.temperature),
            "top_p": float(request.top_p),
            "seed": request.seed,
            "grammar": request.grammar,
        }
        | thinking
    )


def messages_key(prompt: Prompt) -> bytes:
    """Returns the key under which a recording has the length of a prompt that it has samples of."""
    return _key("count", prompt)


def _permuted(samples: Mapping[int, Sample], seed: str) -> dict[int, Sample]:
    """The samples of one request by index, in an order that the seed determines."""
    indices = sorted(samples)
    shuffled = random.Random(seed).sample(indices, len(indices))
    return {
        index: _with_call_of(samples[index], samples[drawn])
        for index, drawn in zip(indices, shuffled, strict=True)
    }


def _with_call_of(recorded_there: Sample, sample: Sample) -> Sample:
    """A sample with the cost of the call and the prompt that was recorded at its new index."""
    usage = dataclasses.replace(
        sample.usage,
        model_calls=recorded_there.usage.model_calls,
        prompt_tokens=recorded_there.usage.prompt_tokens,
        cached_prompt_tokens=recorded_there.usage.cached_prompt_tokens,
    )
    return dataclasses.replace(sample, usage=usage, alone=recorded_there.alone)


def _key(kind: str, prompt: Prompt, *more: object) -> bytes:
    return digest([kind, _chat(prompt), prompt.version, *more])


def _chat(prompt: Prompt) -> list[list[str]]:
    return [[message.role, message.content] for message in prompt.messages]


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the runs of consecutive numbers among ascending indices as (first, count)."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and index == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((index, 1))
    return runs
