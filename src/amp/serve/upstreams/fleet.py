"""Which upstreams answer for a model, in which order they are asked, and what that costs there.

A route says it for the names that fit its pattern; of the others, every upstream that has the model
does, in the order of the configuration.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from amp.cost import dollars
from amp.errors import did_you_mean
from amp.models.base import ModelCard
from amp.models.breaker import Breaker
from amp.models.registry import api_card, read_prices
from amp.serve.dialects.base import Asked, parsed
from amp.serve.exchange import RefusedCallError
from amp.serve.upstreams.answer import UpstreamError, whole
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import Headers, Upstream, UpstreamConfig
from amp.usage import Usage

_log = logging.getLogger(__name__)

_MOST_CARDS, _MOST_WARNINGS = 1_000, 20
_WILD = "*?["
_PASS = "pass"
_LIST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Route:
    """What happens to the calls of some models.

    Attributes:
        model: the name that clients ask for, such as ``amp/cheap``, or a pattern of names.
        upstreams: names of those that answer, in the order in which they are asked; empty for all
            that have the model.
        policy: what decides: ``pass``, ``rules`` or the path of a policy file.
        arms: what may be decided for, as `amp.serve.decide.base.CallArm.read` has them.
        samples: the most answers that may vote.
    """

    model: str = "*"
    upstreams: tuple[str, ...] = ()
    policy: str = _PASS
    arms: tuple[str, ...] = ()
    samples: int = 1

    @property
    def is_pattern(self) -> bool:
        """Whether it is of several names, which are those of models."""
        return bool(set(_WILD) & set(self.model))


@dataclass(frozen=True, slots=True)
class Place:
    """An upstream that has a model.

    Attributes:
        upstream: where it is.
        model: what it is called there.
        card: its prices there, by dialect and name.
        breaker: keeps calls away while the upstream is not there.
    """

    upstream: Upstream
    model: str
    card: Callable[[str, str], ModelCard]
    breaker: Breaker


class Fleet:
    """All upstreams, and the routes to them.

    Args:
        upstreams: what is said of each, in the order in which they are asked.
        routes: the first that fits a model counts.
        prices: table of prices, where an upstream has none of its own.
        patience: how long a call goes on.
        before: what was there until now, whose connections go on where nothing was changed.

    Attributes:
        upstreams: by name.
        routes: the same.
        patience: the same.
        breakers: by the name of the upstream.

    Raises:
        InvalidInputError: if the address of an upstream is none, or a price table can't be read.
    """

    def __init__(
        self,
        upstreams: Sequence[UpstreamConfig],
        routes: Sequence[Route] = (),
        prices: Path | None = None,
        patience: Patience = Patience(),  # noqa: B008  # frozen
        before: Fleet | None = None,
    ) -> None:
        old: dict[str, Upstream] = {} if before is None else before.upstreams
        self.upstreams: dict[str, Upstream] = {
            config.name: same
            if (same := old.get(config.name)) and same.config == config
            else Upstream(config)
            for config in upstreams
        }
        self.routes = tuple(routes)
        self.patience = patience
        self.breakers: dict[str, Breaker] = {
            name: before.breakers[name]
            if before and upstream is old.get(name) and patience == before.patience
            else Breaker(patience.failures, patience.rest_seconds)
            for name, upstream in self.upstreams.items()
        }
        self._cards = {
            name: prices_at(upstream, prices) for name, upstream in self.upstreams.items()
        }

    def route(self, model: str) -> Route:
        """The route of a name that a client asks for; one that passes, if there is none."""
        fit = (route for route in self.routes if fnmatchcase(model, route.model))
        return next(fit, Route())

    def places(self, model: str, route: Route | None = None) -> tuple[Place, ...]:
        """The upstreams that answer for a model, in the order in which they are asked.

        Args:
            model: its name.
            route: that of the name that the client asked for, if that is another one.

        Raises:
            RefusedCallError: if there are none.
        """
        names = (route or self.route(model)).upstreams
        asked = [self.upstreams[name] for name in names] or [
            upstream
            for upstream in self.upstreams.values()
            if model in upstream.config.rename or _has(upstream.config, model)
        ]
        if not asked:
            known = self.names()
            nearest = did_you_mean(model[:100], known)
            listed = ", ".join(known[:20]) or "see the configuration"
            raise RefusedCallError(
                404, f"no upstream has the model {model[:100]!r}{nearest} (models: {listed})"
            )
        return tuple(self._place(upstream, model) for upstream in asked)

    def _place(self, upstream: Upstream, model: str) -> Place:
        name, there = upstream.name, upstream.config.rename.get(model, model)
        return Place(upstream, there, self._cards[name], self.breakers[name])

    def names(self) -> list[str]:
        """The names of models that the configuration gives, without patterns."""
        given = [route.model for route in self.routes]
        for upstream in self.upstreams.values():
            given += [*upstream.config.rename, *upstream.config.models]
        return [name for name in dict.fromkeys(given) if not set(_WILD) & set(name)]

    async def listed(self, headers: Headers) -> list[str]:
        """The names that may be asked for: those given, and those that the upstreams list.

        Args:
            headers: of the client, who may have a right to more than others.
        """
        lists = await asyncio.gather(
            *(_list_of(each, headers) for each in self.upstreams.values() if _is_open(each.config))
        )
        return list(dict.fromkeys([*self.names(), *(name for names in lists for name in names)]))

    @property
    def first(self) -> Upstream:
        """The one that is asked what names no model."""
        return next(iter(self.upstreams.values()))

    async def close(self) -> None:
        """Closes all connections."""
        for upstream in self.upstreams.values():
            await upstream.close()


def _has(config: UpstreamConfig, model: str) -> bool:
    patterns = config.models
    return not patterns or any(model == each or fnmatchcase(model, each) for each in patterns)


def _is_open(config: UpstreamConfig) -> bool:
    """Whether it has more than the names that the configuration gives."""
    return not config.models or any(set(_WILD) & set(name) for name in config.models)


async def _list_of(upstream: Upstream, headers: Headers) -> list[str]:
    """The models that an upstream lists; none if it does not answer in time."""
    try:
        async with (
            asyncio.timeout(_LIST_SECONDS),
            upstream.asked("GET", "/v1/models", headers, b"", plain=True) as answer,
        ):
            rows = (parsed(await whole(answer)) or {}).get("data")
    except (UpstreamError, TimeoutError):
        return []
    names = (
        [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    )
    return [name for name in names if isinstance(name, str) and _has(upstream.config, name)]


def prices_at(upstream: Upstream, table: Path | None) -> Callable[[str, str], ModelCard]:
    """Returns the prices at an upstream, as a function of dialect and model.

    Those of the shipped table are the providers'; another server has prices of its own.

    Raises:
        InvalidInputError: if the table can't be read; names file, model and field.
    """
    if upstream.config.is_free:
        return lambda dialect, model: ModelCard(model)
    own = upstream.host not in ("api.openai.com", "api.anthropic.com")
    table = upstream.config.prices or table
    if table is not None:
        read_prices(table)  # so that a wrong one is said before the first call

    @lru_cache(maxsize=_MOST_CARDS)
    def card(dialect: str, model: str) -> ModelCard:
        found = api_card(dialect, model, table, own_server=own)
        # Names come from clients, who could fill the log.
        unknown = found.dollars_per_million_prompt_tokens is None
        if unknown and card.cache_info().misses <= _MOST_WARNINGS:
            _log.warning(
                "no price known for %s:%s, so its dollars count as 0; add it to a price table"
                " (setting prices)",
                dialect,
                json.dumps(model[:100]),
            )
        return found

    return card


def bound_of(asked: Asked, card: ModelCard) -> Usage:
    """The most that a call can cost."""
    usage = Usage(
        model_calls=1,
        prompt_tokens=asked.prompt_bound,
        completion_tokens=asked.completion_bound,
        estimated_calls=1,
    )
    dear = Usage(completion_tokens=asked.completion_bound, reasoning_tokens=asked.completion_bound)
    thinking = max(0.0, dollars(dear, card) - dollars(replace(dear, reasoning_tokens=0), card))
    surcharge = (asked.dearest_prompt - 1.0) * asked.prompt_bound
    most = priced(usage, card, surcharge)
    return replace(most, dollars=most.dollars + thinking)


def priced(usage: Usage, card: ModelCard, surcharge: float) -> Usage:
    """The usage with its dollars; tokens written into a cache cost more than others."""
    dearer = surcharge * (card.dollars_per_million_prompt_tokens or 0.0) / 1e6
    return replace(usage, dollars=dollars(usage, card) + dearer)
