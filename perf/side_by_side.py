"""Whether calls beside others take what `Profile.seconds` says: `python -m perf.side_by_side`.

A local model with one thread is measured alone, with one to four samples a call. Then so many other
callers ask it all the time, each with prompts of its own, and calls are timed beside them. `beside`
of `amp.latency` assumes that steps are shared by all samples, that each waits while the prompt of
another is read, and that others are like oneself; this is what that comes to.

Time is that of the processor, which is what one thread takes on a core of its own, so that other
programs change little.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress

from amp.latency import Measurement
from amp.models.base import LanguageModel, Message, Prompt, Request
from amp.models.registry import load_model
from amp.profiling import fit_profile
from amp.report.stats import bootstrap_interval, ratio

WORDS = ("river", "stone", "garden", "window", "letter", "candle", "paper", "silver", "harbour")
PROMPTS = (60, 120)
"""Words of a prompt: short and long. What is timed beside others has the long ones."""
ANSWER_TOKENS = 48
BATCHES = (1, 2, 3, 4)
CALLS = 8
OTHERS = (0, 1, 2, 3)
SETTLE_SECONDS = 1.0


def story(words: int, rng: random.Random, tokens: int = ANSWER_TOKENS) -> Prompt:
    """A new text, which is in no cache, that invites a long answer."""
    listed = " ".join(rng.choice(WORDS) for _ in range(words))
    asked = f"{rng.randrange(10**6)}: {listed}\n\nTell a very long story about all these things."
    return Prompt((Message("user", asked),), max_tokens=tokens)


async def timed(model: LanguageModel, prompt: Prompt, n: int = 1) -> Measurement:
    """Makes a call; its seconds are those of the processor, others' among them."""
    begun = time.process_time()
    made = await model.generate(Request(prompt, n=n, temperature=1.0))
    seconds = time.process_time() - begun
    lengths = [one.usage.completion_tokens for one in made]
    usages = [one.usage for one in made]
    return Measurement(
        n,
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.cached_prompt_tokens for usage in usages),
        sum(lengths),
        max(lengths),
        seconds,
    )


async def alone(model: LanguageModel, rng: random.Random) -> list[Measurement]:
    """What the law is fitted to: fresh prompts and cached ones, in every batch."""
    found = []
    for words in (*PROMPTS, *PROMPTS):
        for n in BATCHES:
            prompt = story(words, rng)
            found.append(await timed(model, story(words, rng, 1)))
            found += [await timed(model, prompt, n), await timed(model, prompt, n)]
    return found


async def asks_on(model: LanguageModel, seed: int) -> None:
    """Another caller, who never stops."""
    rng = random.Random(seed)
    while True:
        await model.generate(Request(story(PROMPTS[-1], rng), n=1, temperature=1.0))


def row(others: int, taken: Sequence[float], told: Sequence[float], idle: Sequence[float]) -> str:
    """A row of a Markdown table."""
    within = bootstrap_interval(list(range(len(taken))), (taken, told), ratio)
    share = sum(taken) / sum(told)
    cells = (
        *(f"{others}", f"{len(taken)}"),
        *(f"{statistics.mean(each):.2f}" for each in (taken, told, idle)),
        f"{share:.2f} ({within.low:.2f}-{within.high:.2f})",
    )
    return f"| {' | '.join(cells)} |"


async def main(name: str) -> None:
    """Prints the law, and a row for each number of others."""
    model, rng = load_model(name, threads=1), random.Random(time.time_ns())
    await timed(model, story(PROMPTS[0], rng, 4))  # loads it
    law = fit_profile(model.card, await alone(model, rng), 1)
    steps = ", ".join(f"{1000 * law.step(n):.1f}" for n in BATCHES)
    print(
        f"{name}, {law.machine}, one thread; {len(law.measurements)} calls alone:"
        f" {law.call_seconds:.2f} s a call, {1000 * law.prompt_token_seconds:.2f} ms a prompt"
        f" token, {steps} ms a step with 1 to 4 samples; error {100 * law.error:.0f} %",
        flush=True,
    )
    print("| others | calls | seconds | by the law | by the law, idle | seconds / law |")
    print("|---|---|---|---|---|---|")
    for others in OTHERS:
        beside = [asyncio.create_task(asks_on(model, rng.randrange(2**32))) for _ in range(others)]
        await asyncio.sleep(SETTLE_SECONDS if others else 0.0)
        taken, told, idle = [], [], []
        for _ in range(CALLS):
            one = await timed(model, story(PROMPTS[-1], rng))
            size = one.prompt_tokens, one.completion_tokens, 1, one.cached_prompt_tokens
            taken.append(one.seconds)
            told.append(law.seconds(*size, beside=others))
            idle.append(law.seconds(*size))
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        print(row(others, taken, told, idle), flush=True)
    await model.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    asyncio.run(main(parser.parse_args().model))
