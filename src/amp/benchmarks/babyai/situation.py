"""What one step is decided on, and how the prompts tell it; text in, text out."""

from __future__ import annotations

from dataclasses import dataclass

from amp.benchmarks.babyai.focus import ahead_in, carried_in, sighting_in, status_in, target_in
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.types import StepContext

_HISTORY = 6
"""Steps of the partial plan that the model reads, the last ones."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Mission, partial plan, state and what can be done.

    Attributes:
        mission: the mission.
        history: actions so far, each with what came of it.
        state: the state in words.
        actions: the admissible actions, all primitive or all subgoals.
    """

    mission: str
    history: tuple[tuple[str, str], ...]
    state: str
    actions: tuple[str, ...]

    @property
    def primitive(self) -> bool:
        """Whether the actions are primitive ones."""
        return set(self.actions) <= set(PRIMITIVES)

    def told(self, labels: str) -> str:
        """Returns the user's turn: what is seen, the actions with their labels, the mission.

        The label comes right behind its action. Without labels the actions stand alone.
        """
        marks = [f" ({label})" for label in labels] or [""] * len(self.actions)
        rest, remarks = (self._carried(), {}) if self.primitive else self._placed()
        listed = [
            f"- {action}{mark}{remarks.get(action, '')}"
            for action, mark in zip(self.actions, marks, strict=True)
        ]
        done = [] if self.primitive else self._done()
        return "\n".join([*rest, "Actions:", *listed, *done, f"Mission: {self.mission}"])

    def lead(self) -> str:
        """Returns what an answer begins with: how it stands with what the mission names."""
        if not self.primitive:
            status = status_in(self.mission, self.state, self.actions)
            return f"Carried: {carried_in(self.state)}. Target: {status}"
        target = target_in(self.mission, self.state)
        looked = f", {self._turns()} turns made" if target == "not seen" else ""
        return f"Ahead: {ahead_in(self.state)}. Target: {target}{looked}"

    def _carried(self) -> list[str]:
        return [line for line in self.state.splitlines() if line.startswith("You carry")]

    def _placed(self) -> tuple[list[str], dict[str, str]]:
        """Moves each place to the action that goes there, since telling it twice costs twice.

        Who chooses subgoals need not know of walls; the path finder does. What is carried is told
        where the answer begins.

        Returns:
            The lines of the state that are left, and what to say behind an action.
        """
        rest, remarks = [], dict[str, str]()
        for line in self.state.splitlines():
            seen = sighting_in(line)
            if " a wall " in line or (seen is not None and seen.carried):
                continue
            plain = f"go to the {seen.name}" if seen else ""
            if seen and plain in self.actions and plain not in remarks:
                remarks[plain] = f" {seen.openness}{seen.place}"
            elif seen and f"{plain} {seen.place}" in self.actions:
                remarks[f"{plain} {seen.place}"] = f" {seen.openness}".rstrip(", ")
            else:
                rest.append(line)
        return rest, remarks

    def _done(self) -> list[str]:
        return ["Done:", *(f"- {came}" for _, came in self.history)] if self.history else []

    def _turns(self) -> int:
        """Turns since the last action of another kind."""
        others = (n for n, (done, _) in enumerate(self.history, 1) if not done.startswith("turn"))
        return len(self.history) - max(others, default=0)


def situation_of(context: StepContext, actions: tuple[str, ...]) -> Situation:
    """Returns the situation in which a step chooses among these actions."""
    done = [(step.action, step.feedback) for step in context.steps if step.action is not None]
    history = tuple(done[-_HISTORY:])
    return Situation(context.task.goal, history, context.observation.state, actions)
