"""Give the model a tool of your own: what it says before a step becomes a part of the state.

Run `python examples/own_tool.py`, with a name of `amp models list` for a real model.
"""

import asyncio
import sys

import amp
from amp.models.scripted import ScriptedModel
from amp.types import ToolUse

HARDNESS = {"talc": 1, "quartz": 7, "diamond": 10}
TASK = amp.Task("minerals/1", "Which is harder, quartz or talc?", {"answer": "quartz"})


class Handbook(amp.Tool):
    """Looks minerals up. A tool that works on the model's own text would do so in `use`."""

    name = "handbook"
    description = "the Mohs hardness of the minerals that the goal names"

    async def advise(self, context: amp.StepContext) -> ToolUse | None:
        found = [f"{name} has {n}" for name, n in HARDNESS.items() if name in context.task.goal]
        return ToolUse(self.name, context.task.goal, "Mohs hardness: " + ", ".join(found))


class Question:
    """One open question with one right answer."""

    answer = ""

    def reset(self, task: amp.Task) -> amp.Observation:
        self.answer = task.data["answer"]
        return amp.Observation()  # no listed actions: the answer is free text

    def step(self, action: str) -> amp.Transition:
        right = self.answer in action.lower()
        return amp.Transition(amp.Observation(), done=True, success=right, score=float(right))


async def main() -> None:
    script = {"harder": "Action: talc", "quartz has 7": "Action: quartz"}  # knows what it is told
    model = amp.load_model(sys.argv[1]) if sys.argv[1:] else ScriptedModel(script)
    tools: dict[str, amp.Tool] = {"handbook": Handbook()}
    for allowed in (frozenset[str](), frozenset(tools)):
        allocator = amp.FixedAllocator(amp.Allocation(tools=allowed))
        executor = amp.Executor(amp.PlainPrompts(), tools)
        planner = amp.Planner(model, executor, allocator=allocator, limits=amp.Limits(steps=1))
        episode = await planner.run(TASK, Question())
        verdict = "right" if episode.success else "wrong"
        print(f"tools {sorted(allowed)}: {episode.steps[0].action} ({verdict}),", end=" ")
        print(f"{episode.usage.tokens} tokens")
    await model.close()


if __name__ == "__main__":
    asyncio.run(main())
