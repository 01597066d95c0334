"""Measures what several samples of one prompt cost on PyTorch, relative to one sample.

Needs the small model (amp models pull smollm2-135m) and the extra [transformers].
"""

from __future__ import annotations

import statistics
import time

from amp.models.base import LanguageModel, Message, Prompt, Request

PROMPT_TOKENS = 500
NEW_TOKENS = 32
SAMPLES = 4
REPEATS = 5


async def samples_on_a_shared_prompt(model: LanguageModel, repeats: int = REPEATS) -> float:
    """Median ratio of the wall time of 4 samples of a prompt of 500 tokens to that of one.

    Each call has 32 new tokens a sample and a prompt of its own that no cache holds. The two kinds
    of call take turns, so that a machine that slows down slows both.
    """

    async def seconds(name: str, n: int) -> float:
        request = Request(await _prompt(model, name), n=n, temperature=0.7)
        begin = time.perf_counter()
        samples = await model.generate(request)
        elapsed = time.perf_counter() - begin
        if any(sample.finish_reason != "length" for sample in samples):
            raise RuntimeError(f"a sample of {name} ended before {NEW_TOKENS} tokens")
        return elapsed

    await seconds("warming up", SAMPLES)
    ratios = []
    for repeat in range(repeats):
        one = await seconds(f"{repeat}: one sample", 1)
        ratios.append(await seconds(f"{repeat}: more samples", SAMPLES) / one)
    return statistics.median(ratios)


async def _prompt(model: LanguageModel, name: str) -> Prompt:
    """A prompt of about 500 tokens that begins like no other, for a long answer."""
    facts = f"{name}."
    while True:
        user = Message("user", "Tell a very long story.")
        begun = Message("assistant", "Once upon a time, in a land far away, there was")
        prompt = Prompt((Message("system", facts), user, begun), NEW_TOKENS)
        if await model.count_tokens(prompt) >= PROMPT_TOKENS:
            return prompt
        facts += f" Fact {len(facts)} of {name} is that rivers run to the sea."
