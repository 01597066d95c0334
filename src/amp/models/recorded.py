"""A model whose answers are recorded, or come from a recording, or both.

A sample is found by the SHA-256 of its request and its index. How many samples a request asks for,
from which on, and how long it may take are not part of the key: sample i of a prompt is the same
for every policy.

Whatever is asked for is stored first and answered from the file then. So a run that records and the
replay of that run see the same texts, the same numbers and the same usage.

A replay can also take the samples of seed 0 in another order, as another run would have drawn them:
they are exchangeable. Runs in several orders share their samples, so the tasks are the units then.
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

_ALL = 2**31
"""More samples of one prompt than any recording has."""


class RecordedModel:
    """Wraps any model with a recording.

    Args:
        model: the model; None for a replay without one.
        path: the SQLite file of the recording.
        mode: ``replay`` never asks the model. ``auto`` asks it for what the recording lacks.
            ``record`` does, too, and moreover accepts that the prompts have a new version: samples
            of the old one stay in the file, unused.
        prompts: versions of the prompts that will be used, such as ``gsm8k/3``, to find a mismatch
            before the work begins. Those of requests are checked in any case.
        order: answers every request, whatever its seed, with the samples that were recorded with
            seed 0, in this order of theirs; 0 is that in which they were recorded. For replays.
            None answers with those of the request's seed.

    Attributes:
        recording: the recording, for the tools that share it.

    Raises:
        InvalidInputError: if the mode needs a model and there is none, or an order a replay.
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
            made_with, self._noted = self.recording.identify(model)
            for version in prompts:
                self.recording.check_version(version)
        except RecordingError:
            self.recording.close()
            raise
        self._card = made_with if model is None or self.recording.replaying else model.card

    @property
    def card(self) -> ModelCard:
        """The model's; in a replay, that of the model which made the recording."""
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        """The model's; in a replay, those of the model which made the recording."""
        return (
            self._noted
            if self.recording.replaying or self._model is None
            else self._model.capabilities
        )

    async def generate(self, request: Request) -> list[Completion]:
        """Returns the samples; the model is asked only for those that the recording lacks.

        The usage is that of this request on its own, wherever its samples came from. Samples that
        timed out are returned but not recorded.

        Raises:
            RecordingError: in a replay, if the recording lacks one; names it.
        """
        self.recording.check_version(request.prompt.version)
        if self._order is not None:
            request = dataclasses.replace(request, seed=0)
        key = request_key(request)
        first, n = request.first_sample, request.n
        late: dict[int, Completion] = {}
        async with self.recording.turn(key):
            stored = self._stored(key, first, n)
            missing = [i for i in range(first, first + n) if i not in stored]
            for begin, count in _runs(missing):
                model = self._asked(request.prompt, f"sample {begin}")
                part = dataclasses.replace(request, first_sample=begin, n=count)
                late |= self._keep(key, request.prompt, begin, await model.generate(part))
            if missing:
                stored = self._stored(key, first, n)
        return [
            stored[i].completion(first=i == first) if i in stored else late[i]
            for i in range(first, first + n)
        ]

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Returns the scores; the model is asked only for those that the recording lacks."""
        self.recording.check_version(prompt.version)
        keys = [_key("score", prompt, continuation) for continuation in continuations]
        async with self.recording.turn(_key("scores", prompt)):
            known = {key: self._store.score(key) for key in keys}
            missing = {
                text: key
                for text, key in zip(continuations, keys, strict=True)
                if known[key] is None
            }
            if missing:
                model = self._asked(prompt, f"score of {next(iter(missing))!r}")
                for key, score in zip(
                    missing.values(), await model.score(prompt, list(missing)), strict=True
                ):
                    self._store.add_score(key, score)
                self._note_capabilities()
        return [self.recording.present(self._store.score(key)) for key in keys]

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        self.recording.check_version(prompt.version)
        key = _key("probe", prompt, hidden)
        async with self.recording.turn(key):
            if self._store.next_token(key) is None:
                model = self._asked(prompt, "probe with hidden state" if hidden else "probe")
                self._store.add_next_token(key, await model.next_token(prompt, hidden=hidden))
                self._note_capabilities()
        return self.recording.present(self._store.next_token(key))

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns the recorded figure; every recorded sample brought that of its prompt."""
        key = _key("count", prompt)
        tokens = self._store.token_count(key)
        if tokens is None:
            model = self._asked(prompt, "token count")
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
        return _reordered(self._store.samples(key, 0, _ALL), f"{self._order} {key.hex()}")

    def _asked(self, prompt: Prompt, what: str) -> LanguageModel:
        if self._model is None or self.recording.replaying:
            raise self.recording.missing(what, prompt.version)
        return self._model

    def _keep(
        self, key: bytes, prompt: Prompt, first: int, completions: Sequence[Completion]
    ) -> dict[int, Completion]:
        """Records what has ended; returns, by index, what timed out."""
        self._note_capabilities()
        samples = dict(enumerate(samples_of(completions), start=first))
        self._store.add_samples(
            key,
            {i: s for i, s in samples.items() if s.finish_reason != "timeout"},
            _key("count", prompt),
            completions[0].usage.prompt_tokens,
        )
        indexed = enumerate(completions, start=first)
        return {i: c for i, c in indexed if c.finish_reason == "timeout"}

    def _note_capabilities(self) -> None:
        """A model may turn out to lack something; a replay has to say so, too.

        Hidden states are a choice at loading: a recording that has some goes on having them.
        """
        if self._model is None:
            return
        shown = self._model.capabilities
        shown = dataclasses.replace(
            shown, hidden_states=shown.hidden_states or self._noted.hidden_states
        )
        if shown != self._noted:
            self._noted = shown
            self._store.set_identity(self._card, self._noted)


def request_key(request: Request) -> bytes:
    """Returns the SHA-256 of what decides the samples of a request, all but their index."""
    # Left out where there is none, so that what was recorded before it existed stays found.
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


def _reordered(samples: Mapping[int, Sample], seed: str) -> dict[int, Sample]:
    """The samples of one request in the order of a seed, by index.

    What a call and its prompt cost belongs to the place, what was written to the sample.
    """
    places = sorted(samples)
    shuffled = random.Random(seed).sample(places, len(places))
    return {
        place: _moved(samples[drawn], samples[place])
        for place, drawn in zip(places, shuffled, strict=True)
    }


def _moved(sample: Sample, place: Sample) -> Sample:
    usage = dataclasses.replace(
        sample.usage,
        model_calls=place.usage.model_calls,
        prompt_tokens=place.usage.prompt_tokens,
        cached_prompt_tokens=place.usage.cached_prompt_tokens,
    )
    return dataclasses.replace(sample, usage=usage, alone=place.alone)


def _key(kind: str, prompt: Prompt, *more: object) -> bytes:
    return digest([kind, _chat(prompt), prompt.version, *more])


def _chat(prompt: Prompt) -> list[list[str]]:
    return [[message.role, message.content] for message in prompt.messages]


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the runs of neighbours among ascending indices as (first, count)."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and index == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((index, 1))
    return runs
