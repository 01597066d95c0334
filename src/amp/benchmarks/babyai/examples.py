"""Worked examples for the prompts, written for them and taken from no task."""

from __future__ import annotations

from dataclasses import dataclass

from amp.benchmarks.babyai.world import PRIMITIVES


@dataclass(frozen=True, slots=True)
class Example:
    """One decision with its right answer.

    Attributes:
        mission: the mission.
        history: actions so far, each with what came of it.
        state: the state in words.
        actions: the admissible actions.
        best: which of them is right; spread over the list, so that no label is the usual one.
        thought: why, in sentences the last of which ends with the action's own words.
    """

    mission: str
    history: tuple[tuple[str, str], ...]
    state: str
    actions: tuple[str, ...]
    best: int
    thought: tuple[str, ...]


SUBGOAL_EXAMPLES = (
    Example(
        mission="pick up a green ball",
        history=(),
        state=(
            "You see a green key 1 step forward\n"
            "You see a green ball 2 steps left and 3 steps forward"
        ),
        actions=("go to the green ball", "go to the red box", "pick up the green key", "explore"),
        best=0,
        thought=("I have to be next to the green ball first, so I go to the green ball",),
    ),
    Example(
        mission="put the yellow box next to the purple ball",
        history=(),
        state=(
            "You see a purple ball 1 step right\n"
            "You see a grey key 2 steps forward\n"
            "You see a yellow box 3 steps left and 2 steps forward"
        ),
        actions=(
            "go to the purple ball",
            "go to the grey key",
            "go to the yellow box",
            "explore",
        ),
        best=2,
        thought=("I don't carry the yellow box yet, so I go to the yellow box",),
    ),
    Example(
        mission="put the yellow box next to the purple ball",
        history=(("go to the yellow box", "You went to the yellow box."),),
        state=(
            "You see a yellow box 1 step forward\n"
            "You see a purple ball 3 steps right and 2 steps behind"
        ),
        actions=(
            "go to the purple ball",
            "go to the grey key",
            "pick up the yellow box",
            "open the yellow box",
            "explore",
        ),
        best=2,
        thought=("I am at the yellow box and have to carry it, so I pick up the yellow box",),
    ),
    Example(
        mission="go to the grey box",
        history=(),
        state="You see a grey ball 2 steps right\nYou see a blue box 2 steps forward",
        actions=("go to the grey ball", "go to the blue box", "explore"),
        best=2,
        thought=("No grey box is in sight, so I explore",),
    ),
    Example(
        mission="put the red key next to the blue door",
        history=(("pick up the red key", "You picked up the red key."),),
        state=(
            "You carry a red key\n"
            "You see a closed blue door 4 steps forward\n"
            "You see a red ball 3 steps right"
        ),
        actions=("go to the red ball", "go to the blue door", "drop the red key", "explore"),
        best=1,
        thought=("I carry the red key to the blue door, so I go to the blue door",),
    ),
    Example(
        mission="open the green door after you go to a red key",
        history=(
            ("go to the red key", "You went to the red key."),
            ("go to the green door", "You went to the green door."),
        ),
        state="You see a closed green door 1 step forward\nYou see a red key 4 steps left",
        actions=("go to the grey box", "go to the red key", "open the green door", "explore"),
        best=2,
        thought=("The red key is done and I am at the green door, so I open the green door",),
    ),
    Example(
        mission="go to the red key, then go to the yellow door",
        history=(),
        state="You see a closed yellow door 2 steps forward\nYou see a red key 3 steps right",
        actions=("go to the yellow door", "go to the red key", "explore"),
        best=1,
        thought=("The red key comes first, so I go to the red key",),
    ),
)
"""Decisions between subgoals."""


def _primitive(mission: str, state: str, best: int, thought: str, *, turns: int = 0) -> Example:
    history = (("turn right", "You turned right."),) * turns
    return Example(mission, history, state, PRIMITIVES, best, (thought,))


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
