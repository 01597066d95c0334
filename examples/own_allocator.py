"""Write an allocator of your own, and see what it spends on easy and on hard questions.

Run `python examples/own_allocator.py`; the model is scripted.
"""

import asyncio
import random

import amp
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel

TASKS = [amp.Task(f"sums/{i}", f"What is {i} + {i}?", {"answer": 2 * i}) for i in range(20)]


class UntilMajority(amp.Allocator):
    """Asks for one more sample until one answer leads by two, at most `max_samples` times."""

    uses_complexity = False  # so a run does not pay for probing the model

    def __init__(self, max_samples: int) -> None:
        self.max_samples = max_samples

    def allocate(self, context: amp.StepContext, complexity: amp.Complexity) -> amp.Decision:
        votes = sorted(context.evidence.votes.values(), reverse=True)
        lead = votes[0] - (votes[1] if votes[1:] else 0) if votes else 0
        if lead >= 2 or context.evidence.rounds == self.max_samples:
            return amp.STOP
        return amp.Decision(amp.Allocation(temperature=0.7))


class Sum:
    """The environment: an answer is right or wrong, and the episode is over."""

    answer = ""

    def reset(self, task: amp.Task) -> amp.Observation:
        self.answer = str(task.data["answer"])
        return amp.Observation()

    def step(self, action: str) -> amp.Transition:
        return amp.Transition(amp.Observation(), done=True, success=action == self.answer)


def answer(prompt: Prompt, sample: int) -> str:
    """Small sums are easy for the scripted model; of the large ones it gets two thirds right."""
    number = int(prompt.messages[-1].content.split("is ")[1].split(" +")[0])
    chance = random.Random(f"{number} {sample}")
    slip = chance.randint(1, 9) if number >= 10 and chance.random() < 1 / 3 else 0
    return f"Action: {2 * number + slip}"


async def main() -> None:
    print(f"{'allocator':12} {'right':>5}  tokens: easy  hard")
    for name, allocator in (
        ("one sample", amp.FixedAllocator(amp.Allocation(temperature=0.7))),
        ("vote of six", amp.FixedAllocator(amp.Allocation(temperature=0.7, beam_width=6))),
        ("own", UntilMajority(max_samples=6)),
    ):
        planner = amp.Planner(ScriptedModel(answer), allocator=allocator)
        episodes = [await planner.run(task, Sum()) for task in TASKS]
        right = sum(episode.success is True for episode in episodes)
        easy, hard = (
            sum(e.usage.completion_tokens for e in episodes[a : a + 10]) / 10 for a in (0, 10)
        )
        print(f"{name:12} {right:3}/20 {easy:13.1f} {hard:5.1f}")


asyncio.run(main())
