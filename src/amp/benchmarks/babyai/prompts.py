"""All texts for BabyAI, frozen: a changed text is a new version. A test holds them together.

The worked examples were written for the prompts and are taken from no task.
"""

from __future__ import annotations

from collections.abc import Sequence

from amp.benchmarks.babyai.mission import Situation, situation_of
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.benchmarks.choice_prompts import ChoicePrompts, Example
from amp.types import Candidate, StepContext

SUBGOAL_EXAMPLES = (
    Example(
        Situation(
            mission="pick up a green ball",
            history=(),
            state="You see a green key 1 step forward\nYou see a green ball 2 steps left",
            actions=("go to the green ball", "pick up the green key", "explore"),
        ),
        best=0,
        thought="I am not at the green ball yet, so I go to the green ball",
    ),
    Example(
        Situation(
            mission="put the yellow box next to the purple ball",
            history=(),
            state="You see a purple ball 1 step right\nYou see a yellow box 3 steps forward",
            actions=("go to the purple ball", "go to the yellow box", "explore"),
        ),
        best=1,
        thought="I don't carry the yellow box yet, so I go to the yellow box",
    ),
    Example(
        Situation(
            mission="put the red key next to the blue ball",
            history=(),
            state="You carry a red key\nYou see a blue ball 1 step forward",
            actions=(
                "go to the grey box",
                "put the red key next to the blue ball",
                "drop the red key",
            ),
        ),
        best=1,
        thought=(
            "I carry the red key and am at the blue ball, so I put the red key next to the blue"
            " ball"
        ),
    ),
    Example(
        Situation(
            mission="go to the grey box",
            history=(),
            state="You see a grey ball 2 steps right\nYou see a blue box 2 steps forward",
            actions=("go to the grey ball", "go to the blue box", "explore"),
        ),
        best=2,
        thought="No grey box is seen, so I explore",
    ),
    Example(
        Situation(
            mission="put the red key next to the blue ball",
            history=(("pick up the red key", "You picked up the red key."),),
            state="You carry a red key\nYou see a blue ball 4 steps forward",
            actions=("go to the blue ball", "drop the red key", "explore"),
        ),
        best=0,
        thought="I carry the red key and am not at the blue ball, so I go to the blue ball",
    ),
    Example(
        Situation(
            mission="pick up the purple box",
            history=(),
            state="You see a purple box 1 step forward\nYou see a purple key 3 steps right",
            actions=("go to the purple key", "open the purple box", "pick up the purple box"),
        ),
        best=2,
        thought="I am at the purple box, so I pick up the purple box",
    ),
    Example(
        Situation(
            mission="open the green door after you go to a red key",
            history=(
                ("go to the red key", "You went to the red key."),
                ("go to the green door", "You went to the green door."),
            ),
            state="You see a closed green door 1 step forward\nYou see a red key 4 steps left",
            actions=("go to the red key", "open the green door", "explore"),
        ),
        best=1,
        thought="The red key is done and I am at the green door, so I open the green door",
    ),
)
"""Decisions between subgoals that the words of the mission tell."""

INDIRECT_EXAMPLES = (
    Example(
        Situation(
            mission="pick up the blue ball",
            history=(),
            state=(
                "You see a locked green door 3 steps forward\n"
                "You see a red box 1 step left\n"
                "You see a green key 2 steps right"
            ),
            actions=("go to the locked green door", "go to the red box", "go to the green key"),
        ),
        best=2,
        thought="No blue ball is seen and the green door is locked, so I go to the green key",
    ),
    Example(
        Situation(
            mission="pick up the blue ball",
            history=(("go to the green key", "You went to the green key."),),
            state="You see a green key 1 step forward\nYou see a locked green door 3 steps behind",
            actions=("go to the locked green door", "pick up the green key"),
        ),
        best=1,
        thought="I am at the key of the locked green door, so I pick up the green key",
    ),
    Example(
        Situation(
            mission="pick up the blue ball",
            history=(("pick up the green key", "You picked up the green key."),),
            state=(
                "You carry a green key\n"
                "You see a closed red door 2 steps left\n"
                "You remember a locked green door 4 steps behind"
            ),
            actions=("go to the red door", "go to the locked green door", "drop the green key"),
        ),
        best=1,
        thought="I carry the key of the locked green door, so I go to the locked green door",
    ),
    Example(
        Situation(
            mission="pick up the blue ball",
            history=(),
            state="You carry a green key\nYou see a locked green door 1 step forward",
            actions=(
                "go to the red box",
                "go to the red door",
                "open the locked green door",
                "drop the green key",
            ),
        ),
        best=2,
        thought="I carry the key and am at the locked green door, so I open the locked green door",
    ),
    Example(
        Situation(
            mission="pick up the grey box",
            history=(),
            state="You carry a purple ball\nYou see a grey box 1 step forward",
            actions=(
                "go to the red ball",
                "open the grey box",
                "put the purple ball next to the grey box",
                "drop the purple ball",
            ),
        ),
        best=3,
        thought="I carry something else than the grey box, so I drop the purple ball",
    ),
)
"""Decisions between subgoals that take a thought, and are shown only with it."""


def _primitive(
    mission: str, state: str, best: int, thought: str, *, turns: int = 0
) -> Example[Situation]:
    history = (("turn right", "You turned right."),) * turns
    return Example(Situation(mission, history, state, PRIMITIVES), best, thought)


PRIMITIVE_EXAMPLES = (
    _primitive(
        "go to the green key",
        "You see a green key 2 steps right and 3 steps forward",
        2,
        "It lies forward and the way is free, so I go forward",
    ),
    _primitive(
        "pick up the red ball",
        "You see a red ball 3 steps left",
        0,
        "It is only to the left, so I turn left",
    ),
    _primitive(
        "go to a purple box",
        "You see a grey key 1 step right",
        1,
        "I don't see it and look around, so I turn right",
    ),
    _primitive(
        "open the yellow door",
        "You see a wall 1 step forward\nYou see a closed yellow door 2 steps right",
        1,
        "It is only to the right, so I turn right",
    ),
    _primitive(
        "go to the grey ball",
        "You see a grey ball 4 steps left and 1 step forward",
        2,
        "It lies forward and the way is free, so I go forward",
    ),
    _primitive(
        "pick up the blue key",
        "You see a blue key 1 step forward",
        3,
        "It is right before me, so I pick up",
    ),
    _primitive(
        "go to the red door",
        "You see a wall 3 steps forward",
        2,
        "I have looked around and not seen it, so I go forward",
        turns=3,
    ),
    _primitive(
        "go to the red box",
        "You remember a red box 1 step left and 2 steps behind",
        0,
        "It is behind me to the left, so I turn left",
    ),
    _primitive(
        "go to a green ball",
        "You see a grey box 1 step forward\nYou see a green ball 1 step right and 2 steps forward",
        1,
        "A grey box is in the way and the ball is to the right, so I turn right",
    ),
    _primitive(
        "open the grey door",
        "You see a closed grey door 1 step forward",
        5,
        "It is right before me and closed, so I toggle",
    ),
    _primitive(
        "go to the yellow key",
        "You see a wall 1 step forward\nYou see a yellow key 2 steps left",
        0,
        "It is only to the left, so I turn left",
    ),
    _primitive(
        "go to the blue ball",
        "You see a blue ball 1 step left and 3 steps forward",
        2,
        "It lies forward and the way is free, so I go forward",
    ),
)
"""Decisions between primitive actions."""


VERSION = "babyai/2"

_SYSTEM = """\
You control an agent in rooms with coloured keys, balls, boxes and doors. You read what you see, a \
list of actions and the mission, and choose the one action that brings the mission forward now."""

_SUBGOAL_RULES = """\
- Go to a thing before you pick it up, open it, or put something next to it.
- To put X next to Y: go to X, pick it up, go to Y, put X next to Y.
- "X, then Y" means X first. "Y after you X" means X first. Don't repeat what is done.
- Colour and kind must both fit. An "object" is a thing of any kind. If it is not seen, explore.
- A locked door needs the key of its colour. Drop what you carry before you pick up another."""

_PRIMITIVE_RULES = """\
- The target lies forward and the way is free: go forward, even if it is also left or right.
- The target is only left: turn left. Only right: turn right. Behind: turn.
- The target is 1 step forward: you are there; pick it up or toggle the door if the mission says so.
- The target is not seen: turn right to look around; after 3 turns go forward if the way is free.
- Something else is in the way: turn to the side of the target."""


class BabyAIPrompts(ChoicePrompts[Situation]):
    """Prompts of a step in BabyAI, for subgoals and for primitive actions; `Prompts`.

    An answer begins by naming what the label is asked for ("Target: red ball ("): a small model
    finds it by copying, where it is near chance with numbered lists (measured with 1.5 billion
    parameters). A thought ends with the words of its action for the same reason. For primitive
    actions the beginning is the place of the mission's target and what lies ahead. All of it is
    from the observation's text.
    """

    version = VERSION
    judge = "You judge a proposed action: yes or no, and why."
    thought_tokens = 32  # a sentence of the examples has about 18
    critique_tokens = 40
    answer_tokens = 32  # the longest actions have about 25

    def situation(self, context: StepContext, actions: tuple[str, ...]) -> Situation:
        return situation_of(context, actions)

    def remembers(self, context: StepContext, tools: frozenset[str]) -> object:
        """Among primitive actions the last turns, among subgoals what came of the last actions."""
        situation = situation_of(context, PRIMITIVES)
        return [situation.turns, [came for _, came in situation.history] if tools else []]

    def rules(self, situation: Situation) -> str:
        return f"{_SYSTEM}\n{_PRIMITIVE_RULES if situation.primitive else _SUBGOAL_RULES}"

    def examples(self, situation: Situation, *, thoughtful: bool) -> Sequence[Example[Situation]]:
        """Without a thought only those that can be copied: the others make a model copy less."""
        if situation.primitive:
            return PRIMITIVE_EXAMPLES
        return (*SUBGOAL_EXAMPLES, *INDIRECT_EXAMPLES) if thoughtful else SUBGOAL_EXAMPLES

    def actions(self, context: StepContext, tools: frozenset[str]) -> tuple[str, ...]:
        return context.actions(tools) or PRIMITIVES

    def alternatives(self, context: StepContext, candidate: Candidate) -> tuple[str, ...]:
        """Returns the admissible actions of the kind that a candidate chose from."""
        for actions in context.observation.tool_actions.values():
            if candidate.action in actions:
                return actions
        return context.observation.actions or PRIMITIVES
