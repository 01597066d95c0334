"""Allocators by rule: the heuristic, one that reasons only in trouble, and one that plans ahead.

The heuristic gives harder steps more of every resource, by the sigmoid maps of spec 3.3. Rules that
ignore the complexity and differ only in when they stop are in `amp.allocate.stopping`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from amp.allocate.base import Allocator, BudgetedAllocator
from amp.allocate.space import Line, Space, falling, rising, sigmoid
from amp.allocate.stopping import leaders
from amp.errors import InvalidInputError
from amp.latency import CostModel
from amp.types import (
    PLAN,
    STANDING_PLAN,
    STOP,
    Allocation,
    Complexity,
    Decision,
    Limits,
    StepContext,
    StepRecord,
    Usage,
)

RuleSettings = Mapping[str, Allocator]
"""The settings of a rule, by what they are called."""


@dataclass(frozen=True, slots=True)
class HeuristicAllocator(Allocator):
    """R(C) with weights set by hand: a start, and the rule that a learned policy has to beat.

    It stops when at least two candidates have the leading answer and no other has as many votes,
    when the complexity after a round is below `settled_below`, or after `max_rounds`. Every round
    is allocated for the complexity after the round before. The defaults were chosen on 36 training
    problems of GSM8K, among the values that lost no success against four fixed samples.

    Attributes:
        space: bounds and tools.
        steepness: w of every map; positive, so that harder steps get more depth, beams and
            verification and a lower temperature.
        middle: complexity at which every map is half way between its bounds.
        settled_below: complexity after a round below which no further round is allocated.
        max_rounds: most rounds of a step.
        tool_lines: w and b of P(u = 1) = sigmoid(w c + b) by the tool's name; a tool is used where
            that is at least one half. A tool without an entry is always used.
    """

    space: Space = Space()
    steepness: float = 8.0
    middle: float = 0.4
    settled_below: float = 0.45
    max_rounds: int = 2
    tool_lines: Mapping[str, Line] = field(default_factory=dict)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if self._settled(context, complexity):
            return STOP
        space, c = self.space, complexity.score
        latent = Line(self.steepness, -self.steepness * self.middle)(c)
        return Decision(
            Allocation(
                depth=round(rising(space.depth, latent)),
                # Rounded, so that many complexities share the same recorded samples.
                temperature=round(falling(space.temperature, latent), 1),
                top_p=round(falling(space.top_p, latent), 2),
                beam_width=round(rising(space.beam_width, latent)),
                tools=frozenset(name for name in space.tools if self._uses(name, c)),
                verification=round(rising(space.verification, latent)),
            )
        )

    def with_overrides(self, fields: Mapping[str, Any]) -> HeuristicAllocator:
        return replace(self, space=self.space.with_overrides(fields))

    def with_limits(
        self, limits: Limits, costs: CostModel, tools: Mapping[str, Usage]
    ) -> Allocator:
        unlimited = limits == Limits(steps=limits.steps)
        return self if unlimited else BudgetedAllocator(self, costs)

    def _uses(self, tool: str, c: float) -> bool:
        line = self.tool_lines.get(tool)
        return line is None or sigmoid(line(c)) >= 0.5

    def _settled(self, context: StepContext, complexity: Complexity) -> bool:
        evidence = context.evidence
        if evidence.rounds == 0:
            return False
        if evidence.rounds >= self.max_rounds or complexity.score < self.settled_below:
            return True
        first, second = leaders(evidence)
        return first >= 2 and first > second


@dataclass(frozen=True, slots=True)
class EscalatingAllocator(Allocator):
    """Acts at once, and reasons only where there is evidence of trouble.

    For tasks of which nothing is known. Trouble is an answer that cannot be read, a choice with a
    low margin, or an action that was taken before in this very situation and has led back to it.
    Reasoning is tried once in a situation. Where the plan is back in one, acting at once means
    sampling, at a temperature that rises with every return: the likeliest action has been of no
    use, and to sample costs nothing.

    The round with reasoning is left out where it could make the episode dearer than `multiple`
    times its first rounds, or `doubt` times where there is an action that could be taken. So no
    episode ever costs more than that.

    Attributes:
        multiple: most tokens of an episode, relative to those of acting at once in its steps.
        depth: reasoning steps of the second round.
        margin: of the likeliest action over the next, below which a choice is in doubt.
        at_once: the first round; its tools are those of the second one, too.
        doubt: the same for reasoning about an action that is in doubt or led back; it counts up to
            `multiple`. Without an action the step is lost, while doubt is often no mistake, or one
            that a thought does not mend.
    """

    multiple: float = 3.0
    depth: int = 2
    margin: float = 0.15
    at_once: Allocation = Allocation()
    doubt: float = 1.1

    def __post_init__(self) -> None:
        for name in ("multiple", "doubt"):
            value = getattr(self, name)
            if not 1.0 <= value < math.inf:
                raise InvalidInputError(f"{name} is {value}, expected a number of at least 1")

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        earlier = steps_here(context)
        if context.evidence.rounds == 0:
            return Decision(self._first(context, len(earlier)))
        if context.evidence.rounds > 1 or not self._in_trouble(context, complexity, earlier):
            return STOP
        room = self._room(context)
        if room < self._expected(context) or any(len(step.rounds) > 1 for step in earlier):
            return STOP
        reasoning = replace(self.at_once, depth=self.depth)
        if earlier:
            reasoning = replace(reasoning, temperature=_WRITING)
        return Decision(reasoning, max_tokens=room)

    def _first(self, context: StepContext, returns: int) -> Allocation:
        if returns == 0:
            return self.at_once
        if context.observation.actions is None:
            return replace(self.at_once, temperature=_WRITING)
        # Every listed action can be read, however unlikely.
        return replace(self.at_once, temperature=min(2.0, 0.5 + 0.5 * returns))

    def _in_trouble(
        self, context: StepContext, complexity: Complexity, earlier: Sequence[StepRecord]
    ) -> bool:
        chosen = context.evidence.votes
        margin = complexity.features.get("choice_margin", 1.0)
        return not chosen or margin < self.margin or any(step.action in chosen for step in earlier)

    def _room(self, context: StepContext) -> int:
        """Tokens that may be spent on the second round of a step."""
        multiple = min(self.doubt, self.multiple) if context.evidence.votes else self.multiple
        spent = sum(step.usage.tokens for step in context.steps) + context.usage.tokens
        later = sum(later.usage.tokens for step in context.steps for later in step.rounds[1:])
        return math.floor(multiple * (spent - later)) - spent

    def _expected(self, context: StepContext) -> int:
        """Tokens of the second round, roughly: one that is broken off half way is wasted."""
        calls = 1 if context.observation.actions is None else 2
        return calls * context.usage.prompt_tokens + _TOKENS_A_THOUGHT * self.depth


_WRITING = 0.7
"""Temperature at which texts differ and can still be read."""
_TOKENS_A_THOUGHT = 20


def steps_here(context: StepContext) -> tuple[StepRecord, ...]:
    """The earlier steps of the plan in this very situation.

    A situation is all that can be seen: the state, the actions and the last feedback.
    """
    situations, feedback = [], ""
    for step in context.steps:
        situations.append((step.observation.state, step.observation.actions, feedback))
        if step.action is not None:
            feedback = step.feedback
    now = (context.observation.state, context.observation.actions, feedback)
    return tuple(step for step, seen in zip(context.steps, situations, strict=True) if seen == now)


@dataclass(frozen=True, slots=True)
class EntropyThreshold(Allocator):
    """Thinks before a choice in which the model is unsure, and acts at once in any other.

    Attributes:
        at_once: what a step is allocated where the model is sure.
        depth: reasoning steps where it is not.
        threshold: of the entropy of the listed actions, as a share of the largest one possible.
    """

    at_once: Allocation = Allocation()
    depth: int = 1
    threshold: float = 0.5

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return STOP
        unsure = complexity.features.get("choice_entropy", 0.0) > self.threshold
        return Decision(replace(self.at_once, depth=self.depth) if unsure else self.at_once)

    def with_overrides(self, fields: Mapping[str, Any]) -> EntropyThreshold:
        others = {name: value for name, value in fields.items() if name != "depth"}
        depth = fields.get("depth", self.depth)
        return replace(self, at_once=replace(self.at_once, **others), depth=depth)


@dataclass(frozen=True, slots=True)
class PlanThenFollow(Allocator):
    """Plans several actions in one call, follows them until that breaks, then plans again.

    A plan breaks where its next action is not admissible, or was done before in this very
    situation. After the last plan every step acts at once, or the episode is given up. A
    step whose plan names no admissible action acts at once, too. That is replanning on demand, as
    AdaPlanner does it (Sun et al. 2023), with nothing learned.

    Attributes:
        at_once: what a step is allocated that neither plans nor follows; its tools are those of the
            other steps, too.
        depth: actions of a plan at most.
        most: plans of an episode at most.
        gives_up: whether the episode is given up where another plan would be needed.
    """

    at_once: Allocation = Allocation()
    depth: int = 8
    most: int = 3
    gives_up: bool = False

    uses_complexity = False

    def __post_init__(self) -> None:
        if self.depth < 1 or self.most < 1:
            raise InvalidInputError(
                f"depth is {self.depth} and most {self.most}, expected at least 1 action and 1 plan"
            )

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        arms = plan_arms(self.at_once, plans=(self.depth,), thoughts=())
        if context.evidence.rounds:
            failed = PLAN in context.evidence.tools[-1] and not context.evidence.votes
            return Decision(self.at_once) if failed else STOP
        following = context.standing_plan[:1]
        if following and all(step.action not in following for step in steps_here(context)):
            return Decision(arms["follow"])
        # Where one action alone is admissible the model is not asked, and no plan is written.
        written = sum(
            PLAN in each.allocation.tools and each.usage.model_calls > 0
            for step in context.steps
            for each in step.rounds
        )
        if written < self.most:
            return Decision(arms[f"plan {self.depth}"])
        if self.gives_up:
            return Decision(None, give_up=f"{written} plans did not reach the goal")
        return Decision(self.at_once)

    def with_overrides(self, fields: Mapping[str, Any]) -> PlanThenFollow:
        others = {name: value for name, value in fields.items() if name != "depth"}
        depth = fields.get("depth", self.depth)
        return replace(self, at_once=replace(self.at_once, **others), depth=depth)


def plan_arms(
    at_once: Allocation, plans: Sequence[int] = (4, 8), thoughts: Sequence[int] = (1,)
) -> dict[str, Allocation]:
    """What a step of a long plan can be allocated, by name.

    Args:
        at_once: the arm ``act``, whose tools and sampling the others share.
        plans: of each arm ``plan k``, how many actions it writes.
        thoughts: of each arm ``think d``, how many sentences come before the choice.

    Returns:
        These, and ``follow``, which takes the next action of the plan that stands. It makes no
        model call wherever `StepContext.standing_plan` is not empty, and acts at once elsewhere.
    """
    planning, following = at_once.tools | {PLAN}, at_once.tools | {STANDING_PLAN}
    return {
        "act": at_once,
        "follow": replace(at_once, tools=following),
        **{f"think {d}": replace(at_once, depth=d) for d in thoughts},
        **{f"plan {k}": replace(at_once, depth=k, tools=planning) for k in plans},
    }
