"""What the gateway is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amp.serve.exchange import Bounds
from amp.serve.fleet import Route
from amp.serve.traffic import Watching
from amp.serve.trying import Patience
from amp.serve.upstream import UpstreamConfig


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What `amp serve` is told.

    Attributes:
        upstreams: the servers behind, in the order in which they are asked.
        routes: which of them answer for which models.
        host: address to listen at.
        port: the same.
        bounds: what the gateway takes on.
        patience: how long a call goes on.
        prices: the user's price table.
        drain_seconds: how long calls under way may go on after SIGTERM.
        explain: is told each decision in a line; None for nobody.
        watching: which traffic is kept; None for none.
    """

    upstreams: Sequence[UpstreamConfig]
    routes: Sequence[Route] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    bounds: Bounds = field(default_factory=Bounds)
    patience: Patience = field(default_factory=Patience)
    prices: Path | None = None
    drain_seconds: int = 30
    explain: Callable[[str], None] | None = None
    watching: Watching | None = None
