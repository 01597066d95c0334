"""Making room: a long plan's history is cut before its prompt outgrows the model's context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from amp.execute.meter import Meter
from amp.models.base import Prompt
from amp.types import StepContext

_TEMPLATE_TOKENS = 16
"""More than any chat template adds to a message."""


async def compacted(
    context: StepContext, prompt: Callable[[StepContext], Prompt], samples: int, meter: Meter
) -> StepContext:
    """Returns the step with as many of its latest plan steps as leave room for the answers.

    The older half is left out until the prompt and all its answers fit; the meter's notes then say
    how many steps are gone. A prompt that does not fit without any history is left to the model,
    which refuses it.

    Args:
        context: the step.
        prompt: makes the step's prompt.
        samples: answers that are written side by side, and share the context.
        meter: knows the model.
    """
    room = meter.model.card.context_tokens
    if room is None:
        return context
    steps = context.steps
    while steps and not await _fits(prompt(replace(context, steps=steps)), room, samples, meter):
        steps = steps[(len(steps) + 1) // 2 :]
    if len(steps) == len(context.steps):
        return context
    meter.notes.append(
        f"{len(context.steps) - len(steps)} of {len(context.steps)} earlier steps left out of the "
        f"prompt to fit a context of {room} tokens"
    )
    return replace(context, steps=steps)


async def _fits(prompt: Prompt, room: int, samples: int, meter: Meter) -> bool:
    answers = samples * prompt.max_tokens
    # No token is shorter than a byte, so most prompts need not be counted.
    texts = [message.content.encode("utf-8", "surrogatepass") for message in prompt.messages]
    if sum(len(text) + _TEMPLATE_TOKENS for text in texts) + answers <= room:
        return True
    return await meter.model.count_tokens(prompt) + answers <= room
