"""Escalation to a larger model: a round with this tool asks it instead of the base model."""

from __future__ import annotations

from dataclasses import replace

from amp.cost import dollars, flops
from amp.execute.base import Tool, ToolLimits
from amp.models.base import LanguageModel
from amp.types import Usage

TYPICAL_CALL = Usage(model_calls=1, prompt_tokens=1000, completion_tokens=250)
"""The call that `LargerModelTool.cost` is the price of."""


class LargerModelTool(Tool):
    """Lends a second language model to the rounds that it is allocated to.

    Its `cost` is that of `TYPICAL_CALL` by the model's card: a yardstick by which two models can be
    compared before a call whose length is not known yet. Price and FLOPs are 0 where the card has
    no prices or parameters; seconds are 0, since no card has them.

    Args:
        model: the larger model.
    """

    name = "larger_model"
    description = "asks a larger language model instead of the base model"
    limits = ToolLimits(seconds=1.0, output_bytes=1)  # of the tool; its calls keep the episode's

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.cost = replace(
            TYPICAL_CALL,
            flops=flops([TYPICAL_CALL], model.card),
            dollars=dollars(TYPICAL_CALL, model.card),
        )
