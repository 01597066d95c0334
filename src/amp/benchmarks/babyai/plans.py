"""Plans of several actions in BabyAI, as one answer; a changed text is a new version.

A plan is in the words of subgoals or, without the path finder, of primitive actions. It is read
generously: "a" stands for "the", whether a door is called locked or closed makes no difference, and
a thing without its place or colour means the nearest one. The worked examples were written for the
prompts and are taken from no task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from amp.benchmarks.babyai.mission import ahead_in, sighting_in
from amp.benchmarks.babyai.path_finder import EXPLORE
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.execute.plans import numbered_list
from amp.models.base import Message, Prompt
from amp.types import StepContext

VERSION = "babyai-plan/1"

_SUBGOALS = """\
You plan for an agent in rooms with coloured keys, balls, boxes and doors. You read what it sees \
and the mission, and write all actions from now to the end of the mission in these words:
go to the X
pick up the X
open the X
put the X next to the Y
drop the X
explore
- X is the colour and kind of one thing. An "object" is a thing of any kind that fits. Where \
several are alike, name the place of the right one, too.
- Go to a thing before you pick it up, open it, or put something next to it.
- A thing that is not seen: explore, then go to it.
- A locked door needs the key of its colour in your hand. If the thing is not seen and a door is \
locked, it is behind the door.
- "X, then Y" means X first. "Y after you X" means X first. Don't repeat what is done."""

_PRIMITIVES = """\
You steer an agent in rooms with coloured keys, balls, boxes and doors. You read what it sees \
and the mission, and write the next moves, each in these words: turn left, turn right, \
go forward, pick up, drop, toggle.
- Stop one step before a thing and look at it; then pick up, or toggle to open.
- A thing that is not seen: turn right to look around, then go forward."""

_HISTORY = 6
"""Steps of the partial plan that the model reads, the last ones."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A worked example: what is read, and the plan."""

    mission: str
    state: tuple[str, ...]
    plan: tuple[str, ...]
    done: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        done = ("Done:", *(f"- {one}" for one in self.done)) if self.done else ()
        return "\n".join((*(self.state or ("You see nothing",)), *done, f"Mission: {self.mission}"))


SUBGOAL_PLANS = (
    Planned(
        "go to the yellow ball",
        (
            "You see a yellow key 1 step left",
            "You see a red ball 2 steps forward",
            "You see a yellow ball 1 step right and 3 steps forward",
        ),
        ("go to the yellow ball",),
    ),
    Planned(
        "open the door",
        (
            "You see a locked red door 2 steps right and 1 step forward",
            "You see a blue ball 3 steps forward",
        ),
        (
            "explore",
            "go to the red key",
            "pick up the red key",
            "go to the red door",
            "open the red door",
        ),
    ),
    Planned(
        "open the blue door after you go to a red box",
        ("You see a closed blue door 1 step forward", "You see a red ball 4 steps left"),
        ("explore", "go to the red box", "go to the blue door", "open the blue door"),
    ),
    Planned(
        "put the yellow box next to the purple ball",
        (
            "You see a purple ball 1 step right",
            "You see a yellow key 2 steps left",
            "You see a yellow box 3 steps forward",
        ),
        (
            "go to the yellow box",
            "pick up the yellow box",
            "go to the purple ball",
            "put the yellow box next to the purple ball",
        ),
    ),
    Planned(
        "pick up a box on your left",
        (
            "You see a blue box 2 steps right and 1 step forward",
            "You see a purple box 2 steps left and 3 steps forward",
        ),
        ("go to the purple box", "pick up the purple box"),
    ),
)

PRIMITIVE_PLANS = (
    Planned(
        "go to the green key",
        ("You see a green key 2 steps right and 3 steps forward",),
        ("go forward", "go forward", "go forward", "turn right", "go forward"),
    ),
    Planned(
        "pick up a red ball",
        ("You see a red ball 3 steps left", "You see a grey box 2 steps right"),
        ("turn left", "go forward", "go forward", "pick up"),
    ),
    Planned(
        "go to the purple box",
        ("You see a grey key 1 step right and 1 step forward",),
        ("turn right", "turn right", "turn right", "go forward"),
    ),
    Planned(
        "open the grey door",
        ("You see a closed grey door 1 step left and 2 steps forward",),
        ("go forward", "go forward", "turn left", "toggle"),
    ),
)

_VERB = re.compile(r"(go to|pick up|open|put|drop) (?:the )?(.+)")
_NO_WORDS = re.compile(r"[^a-z0-9 ]+")
_ARTICLE = re.compile(r"\b(?:an?|the) ")
_BESIDE = re.compile(r" next to (?:the )?")
_DOOR = re.compile(r"(?<=the )(?:locked|closed|open) ")
_BARE = re.compile(r"\bthe (object|key|ball|box|door)\b")
_PLACE = re.compile(
    r" (?:\d+ steps? (?:left|right|forward|behind).*|on your (?:left|right)|in front of you"
    r"|behind you)$"
)


class BabyAIPlans:
    """Asks for plans and follows them; `PlanPrompts`.

    What a plan says of the way to a thing is skipped where it is not needed: to explore, once the
    next thing is seen, and to go to what the agent faces. While the next thing is not seen, it
    explores, whether the plan says so or not.
    """

    version = VERSION

    def ask(self, context: StepContext, actions: tuple[str, ...] | None, count: int) -> Prompt:
        primitive = set(actions or ()) <= set(PRIMITIVES)
        rules, examples = (
            (_PRIMITIVES, PRIMITIVE_PLANS) if primitive else (_SUBGOALS, SUBGOAL_PLANS)
        )
        messages = [Message("system", rules)]
        for one in examples:
            numbered = (f"{number}. {line}" for number, line in enumerate(one.plan, start=1))
            answer = "\n".join((f"To {one.mission}:", *numbered))
            messages += [Message("user", one.told), Message("assistant", answer)]
        done = [step.feedback for step in context.steps if step.action is not None]
        state = (line for line in context.observation.state.splitlines() if " a wall " not in line)
        now = Planned(context.task.goal, tuple(state), (), tuple(done[-_HISTORY:]))
        messages.append(Message("user", now.told))
        lead = f"To {context.task.goal}:\n"  # what a small model has just read it copies
        return numbered_list(
            tuple(messages), count, lead=lead, tokens_an_action=16, version=VERSION
        )

    def read(self, line: str) -> str | None:
        plain = _ARTICLE.sub("the ", " ".join(_NO_WORDS.sub("", line.lower()).split()))
        if plain in (EXPLORE, *PRIMITIVES):
            return plain
        if (told := _VERB.fullmatch(plain)) is None:
            return None
        return _BESIDE.sub(" next to the ", f"{told[1]} the {told[2]}")

    def following(
        self, context: StepContext, plan: tuple[str, ...], actions: tuple[str, ...] | None
    ) -> tuple[str, ...]:
        actions, state = actions or (), context.observation.state
        for done, line in enumerate(plan):
            rest = plan[done + 1 :]
            if line == EXPLORE and rest:
                continue
            if found := _listed(line, actions):
                return (found, *rest)
            thing = _meaning(f"the {_thing(line)}")
            if line.startswith("go to the ") and thing.fullmatch(_ahead(state)):
                continue
            hidden = not line.startswith("drop ") and not any(map(thing.fullmatch, _seen(state)))
            return (EXPLORE, *plan[done:]) if hidden and EXPLORE in actions else ()
        return ()


def _listed(line: str, actions: tuple[str, ...]) -> str | None:
    """The admissible action that a line means: in its words, else about the nearest such thing."""
    plain = {action: _DOOR.sub("", action) for action in actions}
    exact = (action for action, told in plain.items() if told == _DOOR.sub("", line))
    meant = _meaning(line)
    near = (action for action, told in plain.items() if meant.fullmatch(_PLACE.sub("", told)))
    return next(exact, None) or next(near, None)


@lru_cache
def _meaning(line: str) -> re.Pattern[str]:
    """What a line can mean: a thing without colour is any of its kind, an object anything."""

    def any_such(bare: re.Match[str]) -> str:
        return r"the \w+ \w+" if bare[1] == "object" else rf"the (?:\w+ )?{bare[1]}"

    return re.compile(_BARE.sub(any_such, _PLACE.sub("", _DOOR.sub("", line))))


def _thing(line: str) -> str:
    """The thing that has to be at hand for an action: of putting, what it is put next to."""
    told = _PLACE.sub("", _DOOR.sub("", line))
    return told.rpartition(" next to the ")[2].rpartition(" the ")[2]


def _ahead(state: str) -> str:
    return _DOOR.sub("", f"the {ahead_in(state)}")


def _seen(state: str) -> Iterator[str]:
    sightings = (sighting_in(line) for line in state.splitlines())
    return (f"the {one.thing.name}" for one in sightings if one and not one.carried)
