"""LLM-DP-style: a symbolic planner on what a model believes (Dagan et al. 2023, arXiv 2308.06391).

Not covered: the goal is read by the benchmark and not translated by the model, and there is one
supposed world, the likeliest, where the paper samples several and takes the shortest plan.
"""

from __future__ import annotations

from dataclasses import replace

from amp.errors import InvalidInputError
from amp.execute.select import vote
from amp.execute.tools.symbolic_planner import first_step
from amp.methods.base import BaselinePlanner, Trajectory
from amp.types import Candidate


class LLMDPPlanner(BaselinePlanner):
    """Does what a symbolic planner plans, and plans anew after every observation.

    What the environment has not shown, the allocated tool supposes, such as ``symbolic_planner`` by
    asking the model. What is then seen takes the place of what was supposed. Where the tool has no
    plan, or its first step is not admissible, the model chooses an action at once.
    """

    version = "llm_dp/1"

    async def _plan(self, run: Trajectory) -> None:
        if not self.allocation.tools & self.executor.tools.keys():
            raise InvalidInputError(
                "llm_dp carries out the plans of a tool, and none is allocated here; "
                "allocate 'symbolic_planner' where the benchmark has it, or choose another method"
            )
        observation = run.context.observation
        if observation.symbols is None or observation.actions is None:
            raise InvalidInputError(
                f"llm_dp plans from symbols and listed actions, which task {run.task.id!r} lacks; "
                "choose another method"
            )
        while run.open_step():
            run.close_step(await self._act(run))

    async def _act(self, run: Trajectory) -> str | None:
        """Decides a step and carries it out; returns why it has no action, if so."""
        context = run.context
        advice = await self.executor.advise(context, self.allocation, run.meter)
        steps = (first_step(use.output) for use in advice)
        planned = next((s for s in steps if s in (context.observation.actions or ())), None)
        if planned is not None:
            run.note(self.allocation, Candidate(text="", action=planned, tool_uses=advice))
            await run.act(planned)
            return None
        run.meter.notes.append("the model's choice for want of a plan")
        alone = replace(self.allocation, tools=frozenset())
        candidates = await self.executor.execute(context, alone, run.meter)
        run.note(alone, *(replace(c, tool_uses=advice + c.tool_uses) for c in candidates))
        chosen = vote(candidates)
        if chosen is None or chosen.action is None:
            return "no listed action was named"
        await run.act(chosen.action)
        return None
