"""ReAct: thoughts, actions and observations by turns (Yao et al. 2023, arXiv 2210.03629)."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from amp.execute.choice import ask, draw, labels_for
from amp.planners import react_prompts as prompts
from amp.planners.base import BaselinePlanner, Trajectory, candidate_of
from amp.planners.react_prompts import Turn
from amp.types import Allocation, Candidate, ToolUse

_SUM = re.compile(r"\d\s*[-+*/]\s*\(?\d")

MOST_TURNS = 8
"""Turns of an open step; a step without an answer by then has failed."""


class ReActPlanner(BaselinePlanner):
    """Every action is preceded by a thought, and all of it stays in the context.

    Where actions are listed, a turn is a plan step: after the thought the next-token probabilities
    over the actions' labels are read, so that nothing inadmissible reaches the environment.
    Elsewhere the model calls ``calculate[expression]``, which the tool ``calculator`` of the
    executor answers, until it ends the plan step with ``finish[answer]``; the turns are its rounds.
    """

    version = prompts.VERSION

    async def _plan(self, run: Trajectory) -> None:
        turns: list[Turn] = []
        while run.open_step():
            actions = run.context.actions(self.allocation.tools)
            if actions is None:
                failure = await self._solve(run, turns)
            else:
                failure = await self._choose(run, actions, turns)
            run.close_step(failure)

    async def _choose(
        self, run: Trajectory, actions: tuple[str, ...], turns: list[Turn]
    ) -> str | None:
        """One turn with listed actions; returns why it has no action, if so."""
        granted = replace(self.allocation, depth=1, beam_width=1, verification=0)
        if len(actions) == 1:
            run.meter.notes.append("no model call for the only admissible action")
            run.note(granted, Candidate(text="", action=actions[0], probability=1.0))
            run.act(actions[0])
            turns.append(Turn(f"Action: {actions[0]}", run.state.feedback))
            return None
        context = run.context
        thought = (
            await run.meter.generate(
                prompts.think(context, actions, turns),
                temperature=granted.temperature,
                top_p=granted.top_p,
            )
        )[0]
        said = thought.text.strip()
        question = prompts.choose(context, actions, turns, said)
        probabilities = await ask(run.meter, question, labels_for(len(actions)))
        said = said.partition("Action:")[0].strip()
        if probabilities is None:
            candidate = candidate_of(thought, None, "no listed action was named")
            run.note(granted, candidate)
            turns.append(Turn(said, prompts.UNREAD))
            return candidate.failure
        rng = random.Random(f"{context.task.seed} {context.task.id} {len(context.steps)}")
        chosen = draw(probabilities, granted.temperature, granted.top_p, rng)
        action = actions[chosen]
        run.note(granted, replace(candidate_of(thought, action), probability=probabilities[chosen]))
        run.act(action)
        turns.append(Turn(f"{said} Action: {action}", run.state.feedback))
        return None

    async def _solve(self, run: Trajectory, turns: list[Turn]) -> str | None:
        """The turns of an open step up to its answer; returns why it has none, if so."""
        calculator = self.executor.tools.get("calculator")
        granted = Allocation(
            depth=1,
            temperature=self.allocation.temperature,
            top_p=self.allocation.top_p,
            tools=frozenset() if calculator is None else frozenset({calculator.name}),
        )
        for _ in range(MOST_TURNS):
            completion = (
                await run.meter.generate(
                    prompts.solve(run.context, turns, calculator=calculator is not None),
                    temperature=granted.temperature,
                    top_p=granted.top_p,
                )
            )[0]
            call = prompts.read(completion.text)
            if call is None:
                run.note(granted, candidate_of(completion, None))
                turns.append(Turn(completion.text.strip(), prompts.UNREAD))
                continue
            if call.name == "finish":
                answer, uses = await self._worked_out(run, call.argument)
                run.note(granted, replace(candidate_of(completion, answer), tool_uses=uses))
                run.act(answer)
                turns.append(Turn(call.said.strip(), run.state.feedback))
                return None
            candidate = candidate_of(completion, f"calculate[{call.argument}]")
            heard = "no calculator is here"
            if calculator is not None:
                use = await run.meter.use(calculator, f"<<{call.argument.partition('=')[0]}>>")
                heard = "this is no expression"
                if use is not None:
                    candidate = replace(candidate, tool_uses=(use,))
                    heard = use.output or use.error or heard
            run.note(granted, candidate)
            turns.append(Turn(call.said.strip(), heard))
        return f"no answer within {MOST_TURNS} turns"

    async def _worked_out(self, run: Trajectory, answer: str) -> tuple[str, tuple[ToolUse, ...]]:
        """The answer; of a sum such as ``60 + 180`` its value, which is what is meant."""
        calculator = self.executor.tools.get("calculator")
        if calculator is None or not _SUM.search(answer):
            return answer, ()
        use = await run.meter.use(calculator, f"<<{answer}>>")
        if use is None or use.error is not None:
            return answer, ()
        return use.output, (use,)
