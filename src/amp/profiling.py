"""Measures how fast a model reads and writes on this machine, and fits the law of `amp.latency`."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from amp.cost import attended
from amp.errors import InvalidInputError, MissingDependencyError
from amp.latency import Measurement, Profile, cores, machine
from amp.models.base import LanguageModel, Message, ModelCard, Prompt, Request
from amp.types import Usage

Progress = Callable[[int, int, str], None]
"""Gets the measurements made, those planned, and the next one in words."""

_MAX_BATCHES = 8
_WORDS = ("river", "stone", "garden", "window", "letter", "candle", "paper", "silver", "harbour")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: at every context the prompt fresh, then every batch on the cached prompt.

    Attributes:
        contexts: lengths of the prompts in tokens, about; rising, since time may run out.
        batches: samples side by side.
        completion_tokens: tokens a sample.
        max_seconds: after so long it ends, whatever is missing; one measurement is always made.
    """

    contexts: tuple[int, ...] = (128, 512, 2048)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    completion_tokens: int = 24
    max_seconds: float = 150.0


QUICK = Plan(contexts=(128, 512), batches=(1, 4), completion_tokens=16, max_seconds=40.0)


async def measure(
    model: LanguageModel, plan: Plan = Plan(), progress: Progress | None = None
) -> list[Measurement]:
    """Makes the measurements of a plan, as many as its time allows.

    Seconds and tokens are those that the model is charged with. Contexts too long for the model
    are left out, and batches for which it would make several calls.

    Raises:
        ModelError: from the model.
    """
    holds = model.card.context_tokens or math.inf
    contexts = [c for c in plan.contexts if c + plan.completion_tokens <= holds]
    total = len(contexts) * (1 + len(plan.batches))
    begun = time.monotonic()
    rng = random.Random(time.time_ns())  # a new text, which is in no cache
    await _measure(model, await _text(model, 32, rng), 1, 4)  # the first call loads and warms up
    measurements: list[Measurement] = []
    done = 0
    for context in contexts:
        prompt = await _text(model, context, rng)
        for n, tokens in ((1, 1), *((batch, plan.completion_tokens) for batch in plan.batches)):
            left = plan.max_seconds - (time.monotonic() - begun) if measurements else None
            if left is not None and left <= 0.0:
                return measurements
            if progress is not None:
                progress(done, total, f"{context} tokens, {n} x {tokens}")
            measured = await _measure(model, prompt, n, tokens, left)
            if measured is not None:
                measurements.append(measured)
            done += 1
    if progress is not None:
        progress(done, total, "done")
    return measurements


async def _measure(
    model: LanguageModel, prompt: Prompt, n: int, tokens: int, max_seconds: float | None = None
) -> Measurement | None:
    """Measures one call; None if it ran out of time, or if the model made several calls of it."""
    capped = Prompt(prompt.messages, max_tokens=tokens)
    request = Request(capped, n=n, temperature=1.0, timeout_seconds=max_seconds)
    completions = await model.generate(request)
    usage = sum((completion.usage for completion in completions), Usage())
    if usage.model_calls > 1 or any(c.finish_reason == "timeout" for c in completions):
        return None
    return Measurement(
        n=n,
        prompt_tokens=usage.prompt_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        completion_tokens=usage.completion_tokens,
        longest_completion=max(c.usage.completion_tokens for c in completions),
        seconds=usage.seconds,
    )


async def _text(model: LanguageModel, tokens: int, rng: random.Random) -> Prompt:
    """A prompt of about so many tokens that invites a long answer."""

    def prompt(words: int) -> Prompt:
        number = rng.randrange(10**6)
        listed = " ".join(rng.choice(_WORDS) for _ in range(words))
        return Prompt(
            (
                Message("system", f"Story {number}. You tell stories that go on and on."),
                Message("user", f"{listed}\n\nTell a very long story about all these things."),
            ),
            max_tokens=1,
        )

    empty = await model.count_tokens(prompt(0))
    per_word = (await model.count_tokens(prompt(100)) - empty) / 100
    return prompt(max(0, round((tokens - empty) / max(per_word, 0.1))))


def fit_profile(
    card: ModelCard, measurements: Sequence[Measurement], threads: int | None = None
) -> Profile:
    """Fits the law by least squares of the relative errors, no coefficient below zero.

    Raises:
        InvalidInputError: if there is no measurement, one took no time, or there are more than 8
            different batches.
        MissingDependencyError: if numpy is missing.
    """
    try:
        import numpy as np
    except ImportError:
        raise MissingDependencyError("fitting a profile needs numpy; pip install numpy") from None

    batches = tuple(sorted({m.n for m in measurements}))
    if not 1 <= len(batches) <= _MAX_BATCHES:
        raise InvalidInputError(
            f"measurements of {len(batches)} different batches, expected 1 to {_MAX_BATCHES}"
        )
    if any(not m.seconds > 0.0 for m in measurements):
        raise InvalidInputError("a measurement took no time; measure a model that works")
    rows = np.array([_row(m, batches) for m in measurements])
    rows /= np.array([[m.seconds] for m in measurements])
    scale = np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
    rows /= scale

    # The best solution without a negative is the plain least-squares solution of some columns, so
    # all choices of columns are tried: they are few, and nothing can fail to converge.
    lowest, best = math.inf, np.zeros(rows.shape[1])
    for choice in product((False, True), repeat=rows.shape[1]):
        columns = np.array(choice)
        solution = np.zeros(rows.shape[1])
        if columns.any():
            solution[columns] = np.linalg.lstsq(rows[:, columns], np.ones(len(rows)))[0]
        squares = float(np.sum((rows @ solution - 1.0) ** 2))
        if (solution >= 0.0).all() and squares < lowest:
            lowest, best = squares, solution
    call, prompt, prompt_pair, completion_pair, *steps = (best / scale).tolist()
    return Profile(
        model=card.name,
        sha256=card.sha256,
        machine=machine(),
        threads=threads or cores(),
        call_seconds=call,
        prompt_token_seconds=prompt,
        prompt_pair_seconds=prompt_pair,
        completion_pair_seconds=completion_pair,
        batches=batches,
        step_seconds=tuple(math.fsum(steps[: i + 1]) for i in range(len(steps))),
        error=math.sqrt(lowest / len(rows)),
        measurements=tuple(measurements),
    )


def _row(measured: Measurement, batches: tuple[int, ...]) -> list[float]:
    """What stands before the coefficients: those of the steps are the rises from batch to batch."""
    fresh = measured.prompt_tokens - measured.cached_prompt_tokens
    length = measured.completion_tokens / measured.n
    return [
        1.0,
        fresh,
        attended(measured.cached_prompt_tokens, fresh),
        measured.n * attended(measured.prompt_tokens, length),
        *(measured.longest_completion if batch <= measured.n else 0 for batch in batches),
    ]
