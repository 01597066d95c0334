"""What calls cost at an upstream: its prices, the most that a call can cost, what it did cost."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from amp.cost import dollars
from amp.models.base import ModelCard
from amp.models.registry import api_card, read_prices
from amp.serve.dialects.base import Asked
from amp.serve.upstreams.upstream import Upstream
from amp.usage import Usage

_log = logging.getLogger(__name__)

_MOST_CARDS, _MOST_WARNINGS = 1_000, 20


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
