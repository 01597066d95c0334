"""The card of a model behind an API: its name and what it costs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from amp.models.base import ModelCard
from amp.prices import find

_log = logging.getLogger(__name__)

_UNPRICED: dict[str, Any] = dict.fromkeys(
    (
        "dollars_per_million_prompt_tokens",
        "dollars_per_million_cached_tokens",
        "dollars_per_million_completion_tokens",
    )
)


def api_card(
    provider: str, model: str, own_prices: Path | None = None, *, own_server: bool = False
) -> ModelCard:
    """Returns the card of a model behind an API, with its prices; logs it if nobody says them.

    Args:
        provider: ``openai`` or ``anthropic``.
        model: its name there.
        own_prices: the user's price table.
        own_server: whether the server is another than the provider's, with prices of its own.

    Raises:
        InvalidInputError: if the price table can't be read.
    """
    price = find(provider, model, own_prices, own_only=own_server)
    if price is None:
        _log.warning(
            "nobody says what %s:%s costs, so its dollars count as 0; put it into a price table"
            " (setting prices)",
            provider,
            model,
        )
        return ModelCard(model, **_UNPRICED)
    return ModelCard(
        model,
        dollars_per_million_prompt_tokens=price.prompt,
        dollars_per_million_cached_tokens=price.cached,
        dollars_per_million_completion_tokens=price.completion,
        dollars_per_million_reasoning_tokens=price.reasoning,
    )
