"""OpenTelemetry: which spans are wanted, and who writes them (extra ``otel``).

Nothing of OpenTelemetry is imported before spans are wanted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amp.errors import MissingDependencyError
from amp.methods import AnyPlanner
from amp.settings import Settings, load_settings

if TYPE_CHECKING:
    from amp.telemetry.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""The standard variables that name a collector."""

_MISSING = "spans need opentelemetry; run: pip install 'adaptive-meta-planning[otel]'"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Which spans are wanted.

    Attributes:
        content: whether they say texts of tasks, models and tools.
        endpoint: of the collector, without ``/v1/traces``; None for the tracer provider of the
            application, or else what the standard variables say.
    """

    content: bool = False
    endpoint: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Telemetry | None:
        """Those that the settings want; None for none."""
        if settings.otel == "off":
            return None
        return cls.named_by(settings, content=settings.otel == "content")

    @classmethod
    def named_by(cls, settings: Settings, *, content: bool) -> Telemetry:
        """Those that go where the settings say; the standard variables win over them."""
        is_named = any(os.environ.get(name) for name in ENDPOINTS)
        return cls(content, None if is_named else settings.otel_endpoint)

    def spans(self) -> Spans:
        """Who writes them; the same for all who want the same.

        Raises:
            MissingDependencyError: if a package of the extra ``otel`` is not installed.
            InvalidInputError: if the standard variables want another protocol than HTTP.
        """
        with _needed():
            from amp.telemetry.collector import spans_of

            return spans_of(self)

    @contextmanager
    def sending(self) -> Iterator[Spans]:
        """Writes spans that have all been taken by the collector at the end.

        Raises:
            MissingDependencyError: as `spans`.
            InvalidInputError: the same, or if the collector does not take them.
        """
        with _needed():
            from amp.telemetry.collector import sending
        with sending(self) as spans:
            yield spans


def traced(planner: AnyPlanner, telemetry: Telemetry | None = None) -> AnyPlanner:
    """A planner whose episodes are written as spans; itself, where none are wanted.

    Args:
        planner: plans.
        telemetry: which spans; None for what the settings say.

    Raises:
        MissingDependencyError: as `Telemetry.spans`.
        InvalidInputError: the same.
    """
    telemetry = telemetry or Telemetry.of(load_settings())
    if telemetry is None:
        return planner
    spans = telemetry.spans()
    from amp.telemetry.spans import TracedPlanner

    return TracedPlanner(planner, spans)


@contextmanager
def _needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise MissingDependencyError(_MISSING) from None
