"""A recording as an upstream: an offline model for tests and for programs of others.

It answers chat completions; the gateway translates what clients of other APIs ask. A recording has
no prompts, only hashes of requests, so a request is answered if it is the same in everything that
its answer depends on: messages, cap, stops, temperature, top-p, grammar. What a client leaves open
is what the API has for it; a cap left open is any that was recorded.

| seed | samples |
|---|---|
| that `amp.models.openai` sends for sample i of a run | sample i of that run, and the next |
| another | of run 0, the same each time |
| none, at temperature 0 | sample 0 |
| none | of run 0, each once: a model that samples does not say the same again on purpose |

NOT covered: log-probabilities, of which a recording has no tokens, and tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amp.errors import RecordingError
from amp.models.base import Completion, Message, Prompt, Request
from amp.models.bill import number
from amp.models.chat import base_seed
from amp.models.recorded import messages_key, request_key
from amp.models.recording import Recording, request_keys
from amp.models.recording_store import Sample
from amp.serve.dialects.apis import CHAT
from amp.serve.dialects.base import object_of
from amp.serve.upstreams.answer import HttpAnswer, once

RECORDING_URL = "http://recording/v1"
"""Stands where an upstream has its address."""

_RUNS, _SAMPLES = 64, 4_096
_LARGEST_CAP = 4_096
_TEMPERATURES = tuple(step / 20 for step in range(41))
_MASSES = tuple(step / 20 for step in range(20, 0, -1))
_OF_NO_ACCOUNT = {
    *("model", "stream", "stream_options", "user", "metadata", "store", "service_tier"),
    *("safety_identifier", "prompt_cache_key", "parallel_tool_calls"),
}
_READ = {
    *("messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed"),
    *("n", "grammar"),
}
_NEUTRAL: Mapping[str, object] = {
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "response_format": {"type": "text"},
}
_PIECES = re.compile(r"\s*\S+|\s+")


class _NotThereError(Exception):
    """The recording has no answer; says why, and what to do."""

    def __init__(self, message: str, status: int = 404) -> None:
        super().__init__(message)
        self.status = status


class RecordedUpstream:
    """Answers requests from a recording, where others would be sent to a server.

    Args:
        path: the SQLite file of the recording.

    Attributes:
        model: name of the model that was recorded.

    Raises:
        RecordingError: if it is missing, damaged, empty, or something else.
    """

    def __init__(self, path: Path) -> None:
        self._recording = Recording(path, "replay")
        try:
            card, _ = self._recording.identify(None)
        except RecordingError:
            self._recording.close()
            raise
        self.model = card.name
        self._keys = request_keys(path)
        self._versions = ("", *self._recording.store.versions().values())
        self._given: dict[bytes, int] = {}

    def answer(self, method: str, target: str, body: bytes) -> HttpAnswer:
        """The answer to a request, or why there is none."""
        path = target.partition("?")[0]
        try:
            if method == "POST" and path == "/v1/chat/completions":
                return self._chat(object_of(body))
            if method == "GET" and path == "/v1/models":
                model = {"id": self.model, "object": "model", "owned_by": "amp"}
                return _said(200, {"object": "list", "data": [model]})
            raise _NotThereError(f"a recording answers chats only, not {path}")
        except _NotThereError as error:
            return _said(error.status, CHAT.error(error.status, str(error)))

    def close(self) -> None:
        """Closes the file."""
        self._recording.close()

    def _chat(self, fields: Mapping[str, Any]) -> HttpAnswer:
        key, request, samples = self._found(_read(fields))
        indices = self._indices(key, request, sorted(samples), fields.get("seed"))
        completions = [
            samples[index].completion(first=place == 0) for place, index in enumerate(indices)
        ]
        if not fields.get("stream"):
            return _said(200, _whole(self.model, completions))
        options = fields.get("stream_options")
        told = isinstance(options, dict) and options.get("include_usage") is True
        events = _events(self.model, completions, told=told)
        content = b"".join(b"data: %b\n\n" % event.encode() for event in [*events, "[DONE]"])
        return HttpAnswer(200, [(b"content-type", b"text/event-stream")], once(content))

    def _found(self, asked: Request) -> tuple[bytes, Request, dict[int, Sample]]:
        """The recorded request that is the one asked for, with its samples.

        Raises:
            _NotThereError: if there is none; says which field differs, if one field does.
        """
        cap = asked.prompt.max_tokens
        caps = (cap,) if cap else range(1, _LARGEST_CAP + 1)
        prompts = [replace(asked.prompt, version=version) for version in self._versions]
        known = [prompt for prompt in prompts if self._has_messages(prompt)]
        found = self._first(
            replace(asked, prompt=replace(prompt, max_tokens=cap))
            for prompt in known or prompts
            for cap in caps
        )
        if found is None:
            raise self._nothing(asked, known)
        return found

    def _first(
        self, requests: Iterator[Request]
    ) -> tuple[bytes, Request, dict[int, Sample]] | None:
        for request in requests:
            key = request_key(request)
            if key in self._keys:
                return key, request, self._recording.store.samples(key, 0, _SAMPLES)
        return None

    def _has_messages(self, prompt: Prompt) -> bool:
        return self._recording.store.token_count(messages_key(prompt)) is not None

    def _nothing(self, asked: Request, known: Sequence[Prompt]) -> _NotThereError:
        """Says what of a request is recorded."""
        path = self._recording.store.path
        if not known:
            return _NotThereError(
                f"recording {path} has no request with these messages (prompts:"
                f" {', '.join(filter(None, self._versions)) or 'of no version'}; it knows them by"
                " their hash alone, to the letter); ask as it was recorded, or record this, too"
                " (amp run --record)"
            )
        others: dict[str, Callable[[Prompt], Iterator[Request]]] = {
            "max_tokens": lambda prompt: (
                replace(asked, prompt=replace(prompt, max_tokens=cap))
                for cap in range(1, _LARGEST_CAP + 1)
            ),
            "temperature": lambda prompt: (
                replace(asked, prompt=prompt, temperature=each) for each in _TEMPERATURES
            ),
            "top_p": lambda prompt: (replace(asked, prompt=prompt, top_p=each) for each in _MASSES),
            "stop": lambda prompt: iter([replace(asked, prompt=replace(prompt, stop=()))]),
            "seed": lambda prompt: iter([replace(asked, prompt=prompt, seed=0)]),
        }
        for name, requests in others.items():
            for prompt in known:
                if (found := self._first(requests(prompt))) is not None:
                    value = _settings(found[1])[name]
                    return _NotThereError(
                        f"recording {path} has these messages with {name} {value}, not"
                        f" {_settings(asked)[name]}; ask with that, or record this, too"
                    )
        return _NotThereError(
            f"recording {path} has these messages, but with other settings than"
            f" {', '.join(f'{name} {value}' for name, value in _settings(asked).items())}; more"
            " than one of them differs"
        )

    def _indices(
        self, key: bytes, request: Request, recorded: Sequence[int], seed: object
    ) -> Sequence[int]:
        """Which samples are given.

        Raises:
            _NotThereError: if there are not so many.
        """
        ours, first = _ours(seed), 0
        if ours is not None:
            first = ours[1]
        elif isinstance(seed, int):
            turned = seed % len(recorded)
            recorded = [*recorded[turned:], *recorded[:turned]]
        elif request.temperature > 0:
            first = self._given.get(key, 0)
            self._given[key] = first + request.n
        given = recorded[first : first + request.n]
        if len(given) < request.n:
            self._given.pop(key, None)
            raise _NotThereError(
                f"recording {self._recording.store.path} has {len(recorded)} samples of this"
                f" request, asked for are {request.n} from number {first + 1} on; the next call"
                " without a seed begins with the first again"
            )
        return given


def recorded_model(path: Path) -> str:
    """Name of the model that a recording is of.

    Raises:
        RecordingError: if it is missing, damaged, empty, or something else.
    """
    upstream = RecordedUpstream(path)
    upstream.close()
    return upstream.model


def _said(status: int, fields: Mapping[str, Any]) -> HttpAnswer:
    """An answer that is no stream."""
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    headers = [
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"application/json"),
    ]
    return HttpAnswer(status, headers, once(body))


def _ours(seed: object) -> tuple[int, int] | None:
    """Run and sample that a seed of `amp.models.openai` stands for."""
    if not isinstance(seed, int):
        return None
    offsets = ((run, seed - base_seed(run)) for run in range(_RUNS))
    return next((each for each in offsets if 0 <= each[1] < _SAMPLES), None)


def _read(fields: Mapping[str, Any]) -> Request:
    """What is asked for; a cap of 0 stands for any.

    Raises:
        _NotThereError: for a field that would change the answer, and of which nothing is recorded.
    """
    for name, value in fields.items():
        if name in _OF_NO_ACCOUNT | _READ or value is None or value == _NEUTRAL.get(name):
            continue
        raise _NotThereError(f"{name} is not recorded; leave it out", 400)
    stop = fields.get("stop") or ()
    ours = _ours(fields.get("seed"))
    temperature, mass = fields.get("temperature"), fields.get("top_p")
    cap = number(fields.get("max_completion_tokens")) or number(fields.get("max_tokens"))
    try:
        messages = tuple(_message(message) for message in fields["messages"])
        return Request(
            Prompt(messages, cap or 0, (stop,) if isinstance(stop, str) else tuple(stop)),
            n=number(fields.get("n")) or 1,
            temperature=1.0 if temperature is None else float(temperature),
            top_p=1.0 if mass is None else float(mass),
            seed=ours[0] if ours else 0,
            grammar=fields.get("grammar"),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _NotThereError("the request is no chat completion of texts; send one", 400) from None


def _message(message: Mapping[str, Any]) -> Message:
    """A message; of several parts, the texts together."""
    content = message["content"]
    if not isinstance(content, str):
        content = "".join(part["text"] for part in content)
    role = message["role"]
    return Message("system" if role == "developer" else role, content)


def _settings(request: Request) -> dict[str, object]:
    """What a request's answer depends on besides its messages, as a client writes it."""
    return {
        "max_tokens": request.prompt.max_tokens or "left out",
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": json.dumps(list(request.prompt.stop)),
        "seed": request.seed,
    }


def _usage(completions: Sequence[Completion]) -> dict[str, Any]:
    prompt = sum(each.usage.prompt_tokens for each in completions)
    written = sum(each.usage.completion_tokens for each in completions)
    cached = sum(each.usage.cached_prompt_tokens for each in completions)
    thought = sum(each.usage.reasoning_tokens for each in completions)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _whole(model: str, completions: Sequence[Completion]) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": each.text},
            "finish_reason": each.finish_reason,
            "logprobs": None,
        }
        for index, each in enumerate(completions)
    ]
    base = {"id": "chatcmpl-recorded", "created": 0, "model": model, "object": "chat.completion"}
    return {**base, "choices": choices, "usage": _usage(completions)}


def _events(model: str, completions: Sequence[Completion], *, told: bool) -> Iterator[str]:
    base = {"id": "chatcmpl-recorded", "created": 0, "model": model}
    base["object"] = "chat.completion.chunk"

    def event(index: int, delta: Mapping[str, Any], end: str | None = None) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": end, "logprobs": None}
        return json.dumps({**base, "choices": [choice], **({"usage": None} if told else {})})

    for index, each in enumerate(completions):
        yield event(index, {"role": "assistant", "content": ""})
        for piece in _PIECES.findall(each.text):
            yield event(index, {"content": piece})
        yield event(index, {}, each.finish_reason)
    if told:
        yield json.dumps({**base, "choices": [], "usage": _usage(completions)})
