"""What Prometheus reads: calls, tokens, dollars and times. Never a key, a prompt or an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from amp.models.breaker import State
from amp.usage import Usage

_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
# Names come from clients; those beyond so many share one row, so that nobody can fill the memory.
_MOST_MODELS = 200
_OPEN: Mapping[State, float] = {"closed": 0.0, "half-open": 0.5, "open": 1.0}


class Metrics:
    """The figures of one gateway.

    Attributes:
        running: calls that are under way.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.running = Gauge("amp_calls_running", "Calls under way.", registry=registry)
        self._calls = Counter(
            "amp_calls", "Calls by path and status.", ("path", "status"), registry=registry
        )
        self._seconds = Histogram(
            "amp_call_seconds", "Whole calls.", ("path",), buckets=_SECONDS, registry=registry
        )
        self._first = Histogram(
            "amp_first_byte_seconds", "To a stream's first byte.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._tokens = Counter(
            "amp_tokens", "Tokens by model and kind.", ("model", "kind"), registry=registry
        )
        self._dollars = Counter(
            "amp_dollars", "Dollars by model and the price table.", ("model",), registry=registry
        )
        self._estimated = Counter(
            "amp_estimated_calls", "Calls whose usage is an estimate.", ("model",),
            registry=registry,
        )  # fmt: skip
        self._attempts = Counter(
            "amp_upstream_attempts", "Attempts by upstream and what came of them.",
            ("upstream", "outcome"), registry=registry,
        )  # fmt: skip
        self._retries = Counter(
            "amp_retries", "Attempts at an upstream that had failed the same call.", ("upstream",),
            registry=registry,
        )  # fmt: skip
        self._failovers = Counter(
            "amp_failovers", "Attempts at an upstream after another one had failed the call.",
            ("upstream",), registry=registry,
        )  # fmt: skip
        self._breakers = Gauge(
            "amp_breaker_open", "0 closed, 0.5 half-open, 1 open: no calls pass.", ("upstream",),
            registry=registry,
        )  # fmt: skip
        self._shadows = Counter(
            "amp_shadows", "Calls that another arm was to be asked, by what came of it.",
            ("outcome",), registry=registry,
        )  # fmt: skip
        self._models: set[str] = set()

    def call(self, path: str, status: int, seconds: float) -> None:
        """Counts a call that has ended."""
        self._calls.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def first_byte(self, seconds: float) -> None:
        """Notes how long a stream took to begin."""
        self._first.observe(seconds)

    def attempt(self, upstream: str, outcome: str) -> None:
        """Counts an attempt that is over: answered, refused or failed."""
        self._attempts.labels(upstream, outcome).inc()

    def once_more(self, upstream: str, *, is_other: bool) -> None:
        """Counts an attempt that is not the first of its call: at another upstream or not."""
        (self._failovers if is_other else self._retries).labels(upstream).inc()

    def breakers(self, states: Mapping[str, State]) -> None:
        """Notes the state of every breaker."""
        self._breakers.clear()
        for upstream, state in states.items():
            self._breakers.labels(upstream).set(_OPEN[state])

    def usage(self, model: str, usage: Usage) -> None:
        """Counts what a call cost."""
        if model not in self._models:
            if len(self._models) < _MOST_MODELS:
                self._models.add(model)
            else:
                model = "other"
        kinds = {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_prompt_tokens,
            "completion": usage.completion_tokens,
            "reasoning": usage.reasoning_tokens,
        }
        for kind, tokens in kinds.items():
            self._tokens.labels(model, kind).inc(tokens)
        self._dollars.labels(model).inc(usage.dollars)
        self._estimated.labels(model).inc(usage.estimated_calls)

    def shadow(self, outcome: str) -> None:
        """Counts a call that another arm was to be asked: ``same``, ``other``, or why not."""
        self._shadows.labels(outcome).inc()

    def dropped(self, count: Callable[[], int]) -> None:
        """Shows how much traffic found no room."""
        gauge = Gauge("amp_traffic_dropped", "Rows not kept.", registry=self._registry)
        gauge.set_function(count)

    def shown(self) -> bytes:
        """All figures in Prometheus' own text form."""
        return generate_latest(self._registry)
