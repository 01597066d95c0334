"""Plan in an environment of your own: `reset` and `step` are all that it takes.

Run `python examples/own_environment.py` for a scripted model that is sure of two steps and in doubt
about one. Add a name of `amp models list` for a real model.
"""

import asyncio
import sys

import amp
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel

PLAN = ("fill the kettle", "boil the water", "pour the tea")
TASK = amp.Task("kitchen/tea", "make a cup of tea")


class Kitchen:
    """Three actions make tea, in one order only."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def reset(self, task: amp.Task) -> amp.Observation:
        self.done = []
        return amp.Observation("the kettle is empty", tuple(sorted(PLAN)))

    def step(self, action: str) -> amp.Transition:
        right = action == PLAN[len(self.done)]
        self.done += [action] if right else []
        over = len(self.done) == len(PLAN)
        seen = amp.Observation(f"done so far: {', '.join(self.done)}", tuple(sorted(PLAN)))
        feedback = "ok" if right else "that does not help yet"
        return amp.Transition(seen, done=over, success=over, feedback=feedback)


def likely(prompt: Prompt) -> dict[str, float]:
    """The scripted model's next token: it is in doubt about the second step until it thinks."""
    text = prompt.messages[-2].content
    labels = {line[3:]: line[0] for line in text.splitlines() if line[1:3] == ". "}
    done = text.count(". ok")
    doubt = 0.6 if done == 1 and "You considered:" not in text else 0.0
    right = PLAN[done]
    return {label: doubt / 2 if action != right else 1 - doubt for action, label in labels.items()}


async def main() -> None:
    scripted = ScriptedModel(["The water is still cold."], next_tokens=likely)
    model = amp.load_model(sys.argv[1]) if sys.argv[1:] else scripted
    careful = amp.EscalatingAllocator(doubt=3.0)  # by default it hardly pays for a doubt
    planner = amp.Planner(model, allocator=careful, limits=amp.Limits(steps=8, tokens=20_000))
    episode = await planner.run(TASK, Kitchen())
    for step in episode.steps:
        spent = f"rounds {len(step.rounds)}, depth {step.rounds[-1].allocation.depth}"
        complexity = step.rounds[0].complexity.score
        print(f"{step.action!s:16} complexity {complexity:.2f}: {spent},", end=" ")
        print(f"{step.usage.tokens} tokens; {step.feedback}")
    await model.close()
    print(f"{'solved' if episode.success else 'failed'} for {episode.usage.tokens} tokens in all")


asyncio.run(main())
