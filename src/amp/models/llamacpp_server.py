"""The embedded llama.cpp server: load, calls that can be cancelled, templates, shutdown.

What `LlamaCppModel` needs from xllamacpp, and nothing of prompts or samples. Facts that shaped it:

- A call blocks its thread and releases the GIL; a callback that returns True cancels the call. So
  every call has a thread, and cancelling is a flag that the callback reads at the next token. While
  it reads a prompt, the library cannot be stopped: its caller goes on at once, its slot later.
- `n` samples need `n` slots at once. Waiting for slots happens here, first come first served, so
  that the seconds of a call are those that the model worked on it.
- The server always opens a port on the loopback address. A random key keeps others out.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amp.errors import InvalidInputError, MissingDependencyError, ModelError
from amp.models.base import FinishReason, entropy, normalised

_THREAD_NAME = "llamacpp"
_MAX_WAITING_CALLS = 256
_HTTP_TIMEOUT_SECONDS = 60.0
# Prompts that lost their slot are kept in memory up to this size; the library's default is 8 GiB.
_PROMPT_CACHE_MIB = 512


@dataclass(slots=True, eq=False)
class ServerCall:
    """One request on its way. The thread that works on it writes, the event loop reads.

    Attributes:
        slots: how many slots it needs at once.
        cancelled: set it to have the call ended at the next token.
        on_begun: called in the call's thread when the model begins to work on it.
        begun_at: monotonic time of that moment, in seconds; 0 before.
        seconds: how long the model worked on it; 0 until it ends.
    """

    slots: int
    cancelled: threading.Event = field(default_factory=threading.Event)
    on_begun: Callable[[], object] | None = None
    begun_at: float = 0.0
    seconds: float = 0.0


class LlamaServer:
    """An llama.cpp server in this process.

    Args:
        path: a GGUF file.
        threads: CPU threads; None takes every core that this process may use.
        context_tokens: longest prompt and answer together; the slots share one memory of this size.
        slots: how many samples are generated side by side.
        hidden_states: whether `embed` works.
        chat_template: a Jinja template instead of the file's own.
        name: what its answers call the model; empty for the path.

    Raises:
        MissingDependencyError: if xllamacpp or the file is missing.
        InvalidInputError: if the file is no model that it can load.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None,
        context_tokens: int,
        slots: int,
        hidden_states: bool,
        chat_template: str | None = None,
        name: str = "",
    ) -> None:
        _check_file(path)
        xllamacpp = require_library()
        self.api_key, self.slots = secrets.token_hex(16), slots
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx, parameters.n_parallel = context_tokens, slots
        parameters.kv_unified = True
        parameters.verbosity = -1
        parameters.fit_params = False  # never change the context size silently
        parameters.cache_ram_mib = _PROMPT_CACHE_MIB
        parameters.api_keys = [self.api_key]
        parameters.cpuparams.n_threads = threads or _cores()
        parameters.cpuparams_batch.n_threads = threads or _cores()
        parameters.model_alias = {name} if name else set()
        if chat_template is not None:
            parameters.chat_template = chat_template
        if hidden_states:
            parameters.embedding = True
            parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
            parameters.embd_normalize = -1
        try:
            server = xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise InvalidInputError(
                f"model file {path} ({path.stat().st_size:,} bytes) cannot be loaded ({error}):"
                " it is damaged, cut short, of an unknown kind, or too large; get it again"
            ) from error
        self.address: str = server.listening_address
        self._gate = _Gate(slots)
        self._calls: set[ServerCall] = set()
        self._threads = ThreadPoolExecutor(_MAX_WAITING_CALLS, thread_name_prefix=_THREAD_NAME)
        self._holder = [server]
        # Dropping the last reference stops the server's threads. It has to happen before the
        # interpreter is torn down, also if close() was not called.
        self._finalizer = weakref.finalize(self, _stop, self._holder, self._threads, self._calls)

    @property
    def threads(self) -> ThreadPoolExecutor:
        """Where blocking calls belong."""
        return self._threads

    def stream(
        self, call: ServerCall, body: dict[str, Any], receive: Callable[[dict[str, Any]], None]
    ) -> None:
        """Runs a streamed chat completion in this thread until it ends or `call` is cancelled.

        Args:
            call: its flags.
            body: the request, as in the OpenAI API with llama.cpp's additions.
            receive: gets every chunk. What it raises ends the call and is raised from here.

        Raises:
            ModelError: if the server refuses the request.
        """
        failure: list[Exception] = []

        def on_chunk(chunk: dict[str, Any]) -> bool:
            # An exception must not cross the native code: keep it, and end the call.
            try:
                _raise_for_error(chunk)
                receive(chunk)
            except Exception as error:
                failure.append(error)
            return bool(failure) or call.cancelled.is_set()

        self._run(call, lambda server: server.handle_chat_completions(body, on_chunk))
        if failure:
            raise failure[0]

    def complete(self, call: ServerCall, body: dict[str, Any]) -> dict[str, Any]:
        """Runs a chat completion in this thread and returns its answer.

        Raises:
            ModelError: if the server refuses the request.
        """
        answer = self._run(call, lambda server: server.handle_chat_completions(body))
        return _answer(answer)

    def embed(self, call: ServerCall, text: str) -> tuple[tuple[float, ...], int]:
        """Returns the hidden state of the text's last token and how many tokens were read.

        Raises:
            ModelError: if the server refuses the request.
        """
        answer = _answer(self._run(call, lambda server: server.handle_embeddings({"input": text})))
        vector = tuple(float(value) for value in answer["data"][0]["embedding"])
        return vector, int(answer["usage"]["prompt_tokens"])

    def template(self, body: dict[str, Any]) -> str:
        """Returns the text that the model reads for a request."""
        return str(self._post("/apply-template", body)["prompt"])

    def tokenize(self, text: str) -> list[int]:
        """Returns the tokens of a templated text, as a call would read them."""
        body = {"content": text, "add_special": True, "parse_special": True}
        return list(self._post("/tokenize", body)["tokens"])

    def describe(self) -> dict[str, Any]:
        """Returns what the server says about its model, such as ``n_params``."""
        return dict(self._request("GET", "/v1/models", None)["data"][0]["meta"])

    def cancel(self, call: ServerCall) -> None:
        """Ends a call at its next token, or before it begins."""
        call.cancelled.set()
        self._gate.wake()

    def close(self) -> None:
        """Ends running calls and stops the server; takes about half a second."""
        for call in tuple(self._calls):
            self.cancel(call)
        self._finalizer()

    def require_open(self) -> None:
        """Raises ModelError if the server was closed."""
        if not self._finalizer.alive:
            raise ModelError("the model is closed; load it again")

    def _run(self, call: ServerCall, work: Callable[[Any], Any]) -> Any:
        self._calls.add(call)
        try:
            if not self._gate.enter(call):
                raise ModelError("the call was cancelled before it began")
            try:
                self.require_open()
                call.begun_at = time.monotonic()
                if call.on_begun is not None:
                    call.on_begun()
                return work(self._holder[0])
            finally:
                call.seconds = time.monotonic() - call.begun_at if call.begun_at else 0.0
                self._gate.leave(call)
        finally:
            self._calls.discard(call)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        self.require_open()
        # http.client, not urllib: a proxy of the environment must not see this.
        connection = http.client.HTTPConnection(
            self.address.removeprefix("http://"), timeout=_HTTP_TIMEOUT_SECONDS
        )
        try:
            headers = {
                "Authorization": f"Bearer {self.api_key}",
                "Content-Type": "application/json",
            }
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(f"the embedded server did not answer {path}: {error}") from error
        finally:
            connection.close()
        return _answer(answer)


class _Gate:
    """Hands out slots, first come first served."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._queue: deque[ServerCall] = deque()
        self._changed = threading.Condition()

    def enter(self, call: ServerCall) -> bool:
        """Waits for the call's slots; returns False if it was cancelled meanwhile."""

        def ready() -> bool:
            first = self._queue[0] is call
            return call.cancelled.is_set() or (first and self._free >= call.slots)

        with self._changed:
            self._queue.append(call)
            self._changed.wait_for(ready)
            self._queue.remove(call)
            entered = not call.cancelled.is_set()
            if entered:
                self._free -= call.slots
            self._changed.notify_all()
            return entered

    def leave(self, call: ServerCall) -> None:
        with self._changed:
            self._free += call.slots
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _stop(holder: list[Any], threads: ThreadPoolExecutor, calls: set[ServerCall]) -> None:
    """Everything of `LlamaServer.close` that must not hold a reference to it."""
    if threading.current_thread().name.startswith(_THREAD_NAME):
        # A thread of the pool may drop the last reference, and cannot wait for its own end.
        threading.Thread(target=_stop, args=(holder, threads, calls)).start()
        return
    for call in tuple(calls):
        call.cancelled.set()
    threads.shutdown(wait=True, cancel_futures=True)
    holder.clear()


def _answer(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ModelError(f"the embedded server answered {answer!r}, expected a JSON object")
    _raise_for_error(answer)
    return answer


def _raise_for_error(answer: dict[str, Any]) -> None:
    error = answer.get("error")
    if not error:
        return
    if error.get("type") == "exceed_context_size_error":
        raise ModelError(
            f"prompt has {error['n_prompt_tokens']} tokens, the context has {error['n_ctx']};"
            " shorten the prompt or load the model with more context_tokens"
        )
    message = " ".join(str(error.get("message", error)).split())
    raise ModelError(f"the embedded server refused the request: {message}")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise MissingDependencyError(f"no model file {path}; run: amp models pull NAME")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise InvalidInputError(
            f"model file {path} begins with {magic!r}, expected b'GGUF'; get it again"
        )


def require_library() -> Any:
    """The package that runs local models; call it before one is fetched.

    Raises:
        MissingDependencyError: if the package is missing; says what to run.
    """
    # Spinning OpenMP threads starve each other on a busy machine; read when the library loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise MissingDependencyError(
            "local models need xllamacpp; run: pip install 'adaptive-meta-planning[local]'"
        ) from error


def _cores() -> int:
    has = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has else os.cpu_count() or 1


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
            sample.tokens += 1
            if self._thinks and not sample.text:
                sample.thinking_tokens += 1
                continue
            sample.log_probs.append(min(token["logprob"], 0.0))  # in this order NaN stays NaN
            top = [entry["logprob"] for entry in token["top_logprobs"]]
            sample.entropies.append(entropy(normalised(top)))
        if choice["finish_reason"] is not None:
            sample.finish_reason = "length" if choice["finish_reason"] == "length" else "stop"
            self._ended = index


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def literal(text: str) -> str:
    """Returns the GBNF terminal that matches exactly this text.

    Raises:
        ValueError: if the text is empty, holds the NUL character, or is no valid Unicode; no
            grammar can match these.
    """
    if not text or "\0" in text:
        raise ValueError(f"text {text!r} cannot be a grammar literal: empty, or holds NUL")
    text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError
    return '"' + "".join(_ESCAPES.get(c) or _control(c) for c in text) + '"'


def only(text: str) -> str:
    """Returns the grammar whose one sentence is this text."""
    return f"root ::= {literal(text)}"


def _control(character: str) -> str:
    # Other control characters would end the terminal or be dropped; they are written as codes.
    code = ord(character)
    return f"\\x{code:02X}" if code < 0x20 or code == 0x7F else character
