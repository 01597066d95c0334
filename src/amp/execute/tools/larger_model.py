"""The larger model: a round that it is allocated to asks it instead of the base model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from amp import cost
from amp.execute.base import ToolLimits
from amp.models.base import LanguageModel
from amp.types import StepContext, Usage

TYPICAL_CALL = Usage(model_calls=1, prompt_tokens=1000, completion_tokens=250)
"""The call that `LargerModelTool.cost` is the price of."""


class LargerModelTool:
    """Lends a second language model to the rounds that it is allocated to.

    The executor sends such a round's calls to `model`, and charges them by that model's card. The
    tool itself neither advises nor reads what was written.

    Attributes:
        model: the larger model.
    """

    name = "larger_model"
    description = "asks a larger language model instead of the base model"
    limits = ToolLimits(seconds=1.0, output_bytes=1)  # of the tool; its calls heed the episode's

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    @property
    def schema(self) -> Mapping[str, Any]:
        return {"not": {}}  # it takes nothing from a model's text

    @property
    def cost(self) -> Usage:
        """What one call of 1,000 prompt and 250 completion tokens costs by the model's card.

        A yardstick by which two models can be compared before a call, whose length nobody knows
        yet; what a call really cost is charged. Price and FLOPs are 0 where the card tells neither
        prices nor parameters; seconds are 0, since no card tells them.
        """
        card = self.model.card
        return replace(
            TYPICAL_CALL,
            flops=cost.flops([TYPICAL_CALL], card),
            dollars=cost.dollars(TYPICAL_CALL, card),
        )

    async def advise(self, context: StepContext) -> None:
        """It speaks through the round's calls alone."""

    async def use(self, text: str) -> None:
        """It takes nothing from a model's text."""

    async def close(self) -> None:
        """Frees what the larger model holds."""
        await self.model.close()
