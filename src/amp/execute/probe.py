"""Probes what the model makes of a plan step before its first round; the CAM reads it."""

from __future__ import annotations

from collections.abc import Mapping

from amp.errors import ModelError
from amp.execute.choice_step import ask, labels_for
from amp.execute.meter import Meter
from amp.models.base import Message, Prompt, entropy, normalised, perplexity
from amp.types import Probe, ProbeKind, StepContext

_TELL = Prompt(
    (Message("system", "You repeat what you are told."), Message("user", "What is the task?")),
    max_tokens=1,
    version="look/1",
)


async def probe_step(
    prompt: Prompt,
    actions: tuple[str, ...] | None,
    context: StepContext,
    kinds: frozenset[ProbeKind],
    meter: Meter,
) -> Probe | None:
    """Makes the calls behind `Executor.probe`, whose docstring says what it promises.

    Args:
        prompt: the one that acts at once.
        actions: the admissible ones; None in an open step.
        context: the step.
        kinds: what to find out.
        meter: the way to the model.
    """
    next_token: float | None = None
    options: Mapping[str, float] = {}
    hidden: tuple[float, ...] = ()
    decided = actions is not None and len(actions) == 1
    if "hidden" in kinds and not decided:
        hidden = await _hidden(prompt, meter)
    if actions is None and "next_token" in kinds:
        next_token = await _entropy(prompt, meter)
    if actions is not None and not decided and "options" in kinds:
        known = await ask(meter, prompt, labels_for(len(actions)))
        options = {} if known is None else dict(zip(actions, known, strict=True))
    surprise = await _perplexity(context, meter) if "perplexity" in kinds else None
    probe = Probe(next_token, options, surprise, hidden)
    return None if probe == Probe() else probe


async def _entropy(prompt: Prompt, meter: Meter) -> float | None:
    if not meter.capabilities.log_probs:
        meter.notes.append("no next-token entropy: the model tells no log-probabilities")
        return None
    token = await meter.next_token(prompt)
    try:
        return entropy(normalised(list(token.log_probs.values())))
    except ValueError as error:
        meter.notes.append(f"no next-token entropy: {error}")
        return None


async def _hidden(prompt: Prompt, meter: Meter) -> tuple[float, ...]:
    if not meter.capabilities.hidden_states:
        meter.notes.append("no hidden state: the model tells none")
        return ()
    return (await meter.next_token(prompt, hidden=True)).hidden or ()


async def _perplexity(context: StepContext, meter: Meter) -> float | None:
    """Perplexity of the goal and the state, as the model's own words to a neutral question."""
    if not meter.capabilities.scoring:
        meter.notes.append("no perplexity of the context: the model scores no text")
        return None
    text = "\n".join(filter(None, [context.task.goal, context.observation.state]))
    try:
        return perplexity((await meter.score(_TELL, text)).log_probs)
    except (ModelError, ValueError) as error:
        meter.notes.append(f"no perplexity of the context: {error}")
        return None
