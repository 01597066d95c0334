"""A server of chat completions that counts every token, for programs that spend them unseen.

It stands between any number of gateways and the models themselves. Under `/METHOD/v1` each method
has an address of its own, and the question that a request's messages hold says which problem it is
spent on. What is counted is what the model read and wrote, whatever the method tells its client.

Answers are kept in a SQLite file, so that a comparison goes on where it was stopped and is repeated
without a model. A request is known by the hash of its messages and of what an answer depends on;
what a method samples again is the next answer to the same request. Methods that ask for the same
are given the same answers: they are paired, and nothing is computed twice, but it counts each time.
The prompt of a request with `n` counts once. The file holds no prompt.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import zlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.errors import RecordingError

_DEPENDS = (
    *("messages", "max_tokens", "temperature", "top_p", "stop", "response_format", "grammar"),
    *("logprobs", "top_logprobs"),
)
"""The fields of a request that its answer depends on."""

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT, place INTEGER, choice BLOB, prompt_tokens INTEGER, completion_tokens INTEGER,
    PRIMARY KEY (key, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcomes (
    method TEXT, problem TEXT, outcome TEXT, PRIMARY KEY (method, problem)
) WITHOUT ROWID;
"""

Ask = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Asks a model, by its name, for one answer to a request: a chat completion."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets where it leaves it open.

    Attributes:
        max_tokens: the most that an answer may have.
        temperature: of the samples.
    """

    max_tokens: int = 320
    temperature: float = 0.7


class Answers:
    """Answers to requests, and what came of each method's problems.

    Args:
        path: the file; it is made where it is absent.
    """

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path)
        self._file.executescript(_TABLES)

    def answer(self, key: str, place: int) -> dict[str, Any] | None:
        """The answer with this number to a request; None if it was never given."""
        row = self._file.execute(
            "SELECT choice, prompt_tokens, completion_tokens FROM answers"
            " WHERE key = ? AND place = ?",
            (key, place),
        ).fetchone()
        if row is None:
            return None
        choice, *tokens = row
        return {"choice": json.loads(zlib.decompress(choice)), "tokens": tokens}

    def keep(self, key: str, place: int, answer: Mapping[str, Any]) -> None:
        """Keeps one that was given."""
        choice = zlib.compress(json.dumps(answer["choice"]).encode(), 9)
        row = (key, place, choice, *answer["tokens"])
        with self._file:
            self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)

    def settle(self, method: str, problem: str, outcome: Mapping[str, Any]) -> None:
        """Keeps what came of a problem under a method."""
        row = (method, problem, json.dumps(outcome))
        with self._file:
            self._file.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", row)

    def outcomes(self, method: str) -> dict[str, dict[str, Any]]:
        """The same, by problem, in the order of their numbers."""
        found = self._file.execute(
            "SELECT problem, outcome FROM outcomes WHERE method = ?", (method,)
        )
        return {problem: json.loads(outcome) for problem, outcome in found}

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class CountingUpstream:
    """The server, as an ASGI application.

    Args:
        answers: those that are there, and where new ones are kept.
        questions: each problem's, by its id.
        models: names of the models.
        ask: asks one of them; None where answers come from the file alone.
        defaults: what a request gets where it leaves it open.
        slots: answers that are made side by side.

    Attributes:
        spent: calls and tokens by model, of each method's problems.
        refused: what could not be answered, one line each.
    """

    def __init__(
        self,
        answers: Answers,
        questions: Mapping[str, str],
        models: Sequence[str],
        ask: Ask | None = None,
        defaults: Defaults = Defaults(),  # frozen
        slots: int = 4,
    ) -> None:
        self._answers = answers
        self._questions = questions
        self._models = models
        self._ask = ask
        self._defaults = defaults
        self._free = asyncio.Semaphore(slots)
        self._given: Counter[tuple[str, str, str]] = Counter()
        self._being_made: dict[tuple[str, int], asyncio.Future[dict[str, Any]]] = {}
        self.spent: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.refused: list[str] = []

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]
    ) -> None:
        """Answers one request."""
        if scope["type"] == "lifespan":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        method, _, path = scope["path"].lstrip("/").partition("/")
        if path.endswith("models"):
            listed = [{"id": name, "object": "model", "owned_by": "here"} for name in self._models]
            await _reply(send, 200, {"object": "list", "data": listed})
            return
        if not path.endswith("chat/completions"):
            await _reply(send, 404, {"error": {"message": f"no path {path}"}})
            return
        try:
            completion = await self.complete(method, json.loads(body))
        except RecordingError as error:
            self.refused.append(f"{method}: {error}")
            await _reply(send, 400, {"error": {"message": str(error)}})
            return
        if json.loads(body).get("stream"):
            await _stream(send, completion)
        else:
            await _reply(send, 200, completion)

    async def complete(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Answers a request of a method, and counts it.

        Raises:
            RecordingError: if no answer is there and no model either, or it asks for no problem
                that is known, or for another model.
        """
        said = "\n".join(_text(message) for message in fields["messages"])
        problem = next((name for name, text in self._questions.items() if text in said), None)
        if problem is None:
            raise RecordingError("the request holds no question that is known")
        model = str(fields.get("model"))
        if model not in self._models:
            raise RecordingError(f"model {model!r} is none of {', '.join(self._models)}")
        request = self._whole(fields)
        key = key_of(model, request)
        n = fields.get("n") or 1
        first = self._given[method, problem, key]
        if request["temperature"]:
            self._given[method, problem, key] += n
        places = [first + i if request["temperature"] else 0 for i in range(n)]
        made = await asyncio.gather(*(self._one(model, request, key, at) for at in places))
        prompt, written = made[0]["tokens"][0], sum(each["tokens"][1] for each in made)
        self.spent[method, problem].update(
            {f"{model} calls": 1, f"{model} prompt": prompt, f"{model} completion": written}
        )
        usage = {"prompt_tokens": prompt, "completion_tokens": written}
        return {
            "id": "chatcmpl-counted",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [{**each["choice"], "index": i} for i, each in enumerate(made)],
            "usage": {**usage, "total_tokens": prompt + written},
        }

    def _whole(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What an answer depends on, with the defaults; in one spelling."""
        known = {name: fields[name] for name in _DEPENDS if fields.get(name) is not None}
        asked = fields.get("max_completion_tokens") or fields.get("max_tokens")
        known["max_tokens"] = asked or self._defaults.max_tokens
        known["temperature"] = float(known.get("temperature", self._defaults.temperature))
        messages = fields["messages"]
        known["messages"] = [{"role": each["role"], "content": _text(each)} for each in messages]
        return known

    async def _one(
        self, model: str, request: dict[str, Any], key: str, place: int
    ) -> dict[str, Any]:
        """One answer: the file's, else one that is being made, else the model's."""
        if (found := self._answers.answer(key, place)) is not None:
            return found
        if self._ask is None:
            raise RecordingError(f"no answer {place} to request {key[:12]} was kept")
        if (making := self._being_made.get((key, place))) is not None:
            return await asyncio.shield(making)
        making = asyncio.get_running_loop().create_future()
        self._being_made[key, place] = making
        try:
            async with self._free:
                seed = int(hashlib.sha256(f"{key} {place}".encode()).hexdigest()[:7], 16)
                completion = await self._ask(model, {**request, "seed": seed})
            usage = completion["usage"]
            tokens = [usage["prompt_tokens"], usage["completion_tokens"]]
            made = {"choice": _lean(completion["choices"][0]), "tokens": tokens}
            self._answers.keep(key, place, made)
            making.set_result(made)
            return made
        except BaseException:
            making.cancel()
            raise
        finally:
            del self._being_made[key, place]


def key_of(model: str, request: Mapping[str, Any]) -> str:
    """The hash that a request is known by."""
    spelled = json.dumps({"model": model, **request}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(spelled.encode()).hexdigest()


def _lean(choice: dict[str, Any]) -> dict[str, Any]:
    """Without what nobody reads, as log-probabilities are long."""
    for token in (choice.get("logprobs") or {}).get("content") or ():
        for each in (token, *token.get("top_logprobs", ())):
            each.pop("bytes", None)
            each.pop("id", None)
            each["logprob"] = round(each["logprob"], 3)
    return choice


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or ())


async def _reply(send: Callable[[Any], Any], status: int, content: Mapping[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Callable[[Any], Any], completion: Mapping[str, Any]) -> None:
    """The answer in one event, and its usage in another."""
    base = {**completion, "object": "chat.completion.chunk"}
    deltas = [
        {"index": each["index"], "delta": each["message"], "finish_reason": each["finish_reason"]}
        for each in completion["choices"]
    ]
    usage = base.pop("usage")
    events = [{**base, "choices": deltas}, {**base, "choices": [], "usage": usage}]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
