"""All texts for ALFWorld, frozen: a changed text is a new version. A test holds them together.

`Situation` is what one step is decided on, as the prompts tell it. The worked examples have that
form; they were written for the prompts and are taken from no game.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from amp.benchmarks.alfworld.scene import TOOLS, VERBS, Goal, Scene, kind, read_goal
from amp.benchmarks.choice_prompts import ChoicePrompts, Example
from amp.execute.choice_step import labels_for
from amp.models.base import Message, Prompt
from amp.types import UNAIDED, StepContext

_HISTORY = 8
"""Actions of the partial plan that the model reads, the last ones; what they brought to light
stands in the state."""

_NOTHING = "Nothing happens."
_HELD = re.compile(r"You hold (\w+ \d+)(?: \((.+?)\))?\.")
_AT = re.compile(r"You are at (\w+ \d+), (?:which is (closed)|with (.+))\.")
_SEEN = re.compile(r"(\w+ \d+): (.+)")
_THING = re.compile(r"(\w+ \d+)(?: \((.+?)\))?")
_WAY = re.compile(r"(?:take|clean|heat|cool|move) .+ (?:from|with|to) (\w+(?: \d+)?)")
"""A part of the goal that is met at a place."""
_PLANNED = re.compile(r"Plan: 1\. (.+?)(?= 2\. |\n|$)")


@dataclass(frozen=True)
class Situation:
    """Goal, partial plan, state and what can be done.

    Attributes:
        goal: the goal in words.
        done: the last actions, each with what the game said to it.
        left_out: how many actions came before those.
        state: the state in words, as `Scene.describe` tells it, with what tools said.
        actions: the admissible actions.
        aided: whether an answer begins with the parts of the goal that are not met.
    """

    goal: str
    done: tuple[tuple[str, str], ...]
    left_out: int
    state: str
    actions: tuple[str, ...]
    aided: bool = True

    def told(self, labels: str) -> str:
        """Returns the user's turn: what was done, the actions with their labels, the goal.

        The label comes right behind its action, then what is known about the place: the things
        there that the goal is about, or that it was searched. Without labels the actions stand
        alone.
        """
        marks = [f" ({label})" for label in labels] or [""] * len(self.actions)
        listed = [
            f"- {action}{mark}{self._remark(action)}"
            for action, mark in zip(self.actions, marks, strict=True)
        ]
        here = self.scene.at or "the middle of the room"
        return "\n".join(
            [*self._history(), f"You are at {here}.", "Actions:", *listed, f"Goal: {self.goal}"]
        )

    def lead(self) -> str:
        """Returns what an answer begins with: what is held, and the parts of the goal not yet met.

        What comes first stands last, right before the answer; if it is elsewhere, to go there does.
        A plan that a tool made stands in their place. Unaided, what is held alone is told.
        """
        held = f"Held: {self.scene.told(self.scene.held) if self.scene.held else 'nothing'}."
        if planned := _PLANNED.search(self.state):
            return f"{held} Planned: {planned[1].strip()}"
        if not self.aided:
            return f"{held} Now:"
        now, *then = self._to_do()
        if now.startswith("find "):
            now += self._search()
        elif (way := _WAY.fullmatch(now)) and way[1] not in (self.scene.at, self._kind_here()):
            now, then = f"go to {way[1]}", [now, *then]
        after = f" Later: {', '.join(then)}." if then else ""
        return f"{held}{after} Now: {now}"

    @cached_property
    def scene(self) -> Scene:
        """The scene that the state describes, without the places that were not searched."""
        scene = Scene()
        for line in self.state.splitlines():
            if held := _HELD.fullmatch(line):
                scene.held = held[1]
                self._note(scene, held[1], held[2])
            elif at := _AT.fullmatch(line):
                scene.at = at[1]
                scene.shut[at[1]] = bool(at[2])
                if at[3]:
                    scene.contents[at[1]] = self._things(scene, at[3])
            elif seen := _SEEN.fullmatch(line):
                scene.contents[seen[1]] = self._things(scene, seen[2])
        return scene

    def _things(self, scene: Scene, text: str) -> tuple[str, ...]:
        things = _THING.findall(text)
        for name, states in things:
            self._note(scene, name, states)
        return tuple(name for name, _ in things)

    @staticmethod
    def _note(scene: Scene, name: str, states: str | None) -> None:
        if states:
            told = set(states.split(", "))
            scene.states[name] = frozenset(told - {"lit"})
            if "lit" in told:
                scene.lit.add(name)

    def _to_do(self) -> list[str]:
        """The parts of the goal that are not met, from its words and what was seen."""
        goal = read_goal(self.goal)
        if goal is None:
            return [self.goal]
        if goal.lamp:
            return self._to_look(goal)
        scene = self.scene
        here = max((self._in_place(goal, place) for place in scene.contents), key=len, default=())
        missing = goal.count - len(here)
        held = scene.held if scene.held and kind(scene.held) == goal.object else None
        name = held or next((n for n in scene.found(goal.object) if n not in here), goal.object)
        parts = [] if held else [self._get(name)]
        if goal.state and goal.state not in scene.states.get(name, ()):
            parts.append(f"{VERBS[goal.state]} {name} with {TOOLS[goal.state]}")
        again = [f"the same with another {goal.object}"] if missing > 1 else []
        return [*self._free(held), *parts, f"move {name} to {goal.place}", *again]

    def _to_look(self, goal: Goal) -> list[str]:
        scene = self.scene
        held = scene.held if scene.held and kind(scene.held) == goal.object else None
        name = held or next(iter(scene.found(goal.object)), goal.object)
        lamp = next(iter(scene.found(goal.lamp)), None)
        get = [] if held else [*self._free(held), self._get(name)]
        if lamp is None:
            return [*get, f"find {goal.lamp}", f"use {goal.lamp}"]
        there = [] if scene.at == scene.where(lamp) else [f"go to {scene.where(lamp)}"]
        return [*get, *there, f"use {lamp}"]

    def _in_place(self, goal: Goal, place: str) -> tuple[str, ...]:
        """The objects that are where and how they shall be, if that is such a place."""
        if kind(place) != goal.place:
            return ()
        return tuple(
            name
            for name in self.scene.contents[place]
            if kind(name) == goal.object
            and (not goal.state or goal.state in self.scene.states.get(name, ()))
        )

    def _get(self, name: str) -> str:
        place = self.scene.where(name)
        return f"find {name}" if place is None else f"take {name} from {place}"

    def _kind_here(self) -> str:
        return kind(self.scene.at) if self.scene.at else ""

    def _search(self) -> str:
        """How to find something: what is closed is opened by who stands there, else go to."""
        here = self.scene.at
        closed = here and self.scene.shut.get(here) and here not in self.scene.contents
        return f", open {here}" if closed else ", go to"

    def _free(self, held: str | None) -> list[str]:
        """Something else in the hand has to be put down first."""
        return [f"move {self.scene.held} away"] if self.scene.held and held is None else []

    def _remark(self, action: str) -> str:
        if any(done == action and said == _NOTHING for done, said in self.done):
            return " tried, nothing happened"
        place = action.removeprefix("go to ")
        if place == action or place not in self.scene.contents:
            return ""
        goal = read_goal(self.goal)
        things = self.scene.contents[place]
        if goal is not None:
            things = tuple(n for n in things if kind(n) in (goal.object, goal.lamp))
        return f" has {self.scene.list(things)}" if things else " searched"

    def _history(self) -> list[str]:
        if not self.done:
            return []
        earlier = f" ({self.left_out} earlier actions left out)" if self.left_out else ""
        return [f"Done{earlier}: {'; '.join(action for action, _ in self.done)}"]


def situation_of(context: StepContext, actions: tuple[str, ...]) -> Situation:
    """Returns the situation in which a step chooses among these actions."""
    done = [(step.action, step.feedback) for step in context.steps if step.action is not None]
    left_out = max(0, len(done) - _HISTORY)
    state = context.observation.state
    aided = UNAIDED not in context.tools
    return Situation(context.task.goal, tuple(done[left_out:]), left_out, state, actions, aided)


def _done(*actions: str) -> tuple[tuple[str, str], ...]:
    return tuple((action, "") for action in actions)


EXAMPLES = (
    Example(
        Situation(
            goal="put a cool orange in cabinet",
            done=(),
            left_out=0,
            state="You hold nothing.\nYou are in the middle of the room.",
            actions=("go to cabinet 1", "go to drawer 1", "go to fridge 1", "go to stoveburner 1"),
        ),
        best=2,
        thought="No orange was seen, and fruit is often in the fridge, so I go to fridge 1",
    ),
    Example(
        Situation(
            goal="put a cool orange in cabinet",
            done=_done("go to drawer 1", "go to fridge 1"),
            left_out=0,
            state="You hold nothing.\nYou are at fridge 1, which is closed.\ndrawer 1: fork 2",
            actions=("go to cabinet 1", "go to countertop 1", "go to drawer 1", "open fridge 1"),
        ),
        best=3,
        thought="The fridge is closed and the orange may be in it, so I open fridge 1",
    ),
    Example(
        Situation(
            goal="put two marker in desk",
            done=_done("go to desk 1", "move marker 1 to desk 1", "go to shelf 2"),
            left_out=4,
            state=(
                "You hold nothing.\nYou are at shelf 2, with marker 3, vase 1.\n"
                "desk 1: book 1, marker 1"
            ),
            actions=(
                "take marker 3 from shelf 2",
                "go to desk 1",
                "go to shelf 1",
                "take vase 1 from shelf 2",
            ),
        ),
        best=0,
        thought="One marker is in place and another is here, so I take marker 3 from shelf 2",
    ),
    Example(
        Situation(
            goal="clean some jar and put it in shelf",
            done=_done("go to sidetable 1", "take jar 1 from sidetable 1"),
            left_out=0,
            state="You hold jar 1.\nYou are at sidetable 1, with lamp 1.",
            actions=("go to shelf 1", "go to sinkbasin 1", "move jar 1 to sidetable 1"),
        ),
        best=1,
        thought="I hold jar 1, which is not clean yet, so I go to sinkbasin 1",
    ),
    Example(
        Situation(
            goal="clean some jar and put it in shelf",
            done=_done("take jar 1 from sidetable 1", "go to sinkbasin 1"),
            left_out=1,
            state="You hold jar 1.\nYou are at sinkbasin 1, with sponge 1.\nsidetable 1: lamp 1",
            actions=("go to shelf 1", "move jar 1 to sinkbasin 1", "clean jar 1 with sinkbasin 1"),
        ),
        best=2,
        thought="I hold jar 1 at the sinkbasin, so I clean jar 1 with sinkbasin 1",
    ),
    Example(
        Situation(
            goal="put some scarf on chair",
            done=_done("go to dresser 1", "take scarf 2 from dresser 1"),
            left_out=0,
            state="You hold scarf 2.\nYou are at dresser 1, with hat 1.",
            actions=("go to bed 1", "go to chair 1", "go to desk 1", "move scarf 2 to dresser 1"),
        ),
        best=1,
        thought="I hold scarf 2, which shall be on the chair, so I go to chair 1",
    ),
    Example(
        Situation(
            goal="look at coin under the floorlamp",
            done=_done("take coin 1 from table 1", "go to corner 1"),
            left_out=3,
            state="You hold coin 1.\nYou are at corner 1, with floorlamp 1.\ntable 1: cup 1",
            actions=("go to table 1", "move coin 1 to corner 1", "use floorlamp 1"),
        ),
        best=2,
        thought="I hold coin 1 and am at the lamp, so I use floorlamp 1",
    ),
    Example(
        Situation(
            goal="put a hot loaf in countertop",
            done=_done("go to countertop 1", "go to shelf 1"),
            left_out=0,
            state=(
                "You hold nothing.\nYou are at shelf 1, with nothing.\n"
                "countertop 1: knife 1, loaf 2"
            ),
            actions=(
                "go to cabinet 1",
                "go to microwave 1",
                "go to countertop 1",
                "go to drawer 1",
            ),
        ),
        best=2,
        thought="I saw loaf 2 on countertop 1 and need it, so I go to countertop 1",
    ),
)

UNAIDED_EXAMPLES = tuple(
    replace(one, situation=replace(one.situation, aided=False)) for one in EXAMPLES
)


VERSION = "alfworld/2"

_SYSTEM = """\
You play a household game in words. You read what you did, a list of actions and the goal, and \
choose the one action that brings the goal forward now.
- What is in or on a place is seen only there. Open what is closed.
- Something that was not found: go to a place where it usually is and that is not marked yet.
- You can hold one thing. Take it before you clean, heat, cool, look at or move it.
- With the thing in your hand, clean it at a sinkbasin, heat it at a microwave, cool it at a fridge.
- To put a thing in or on a place, go there and move it there. Leave there what is in its place.
- To look at a thing under a lamp: take it, go to the lamp, use the lamp."""

_HOUSEHOLD = "You know where things are kept in a household."


class ALFWorldPrompts(ChoicePrompts[Situation]):
    """Prompts of a step in ALFWorld; `Prompts`.

    The list of actions, which is long and different at every step, comes last, with the goal right
    behind it. An answer begins with what is held and which parts of the goal are open, the next one
    last. All of it follows from the goal's words and the observation's text. With the tool
    `UNAIDED` it begins with what is held alone. Of the actions done, the last eight are told, and
    how many are left out.
    """

    version = VERSION
    judge = "You judge a proposed action: yes or no, and why."
    thought_tokens = 32  # a sentence of the examples has about 20
    critique_tokens = 40
    answer_tokens = 24

    def situation(self, context: StepContext, actions: tuple[str, ...]) -> Situation:
        return situation_of(context, actions)

    def rules(self, situation: Situation) -> str:
        return _SYSTEM

    def examples(self, situation: Situation, *, thoughtful: bool) -> Sequence[Example[Situation]]:
        return EXAMPLES if situation.aided else UNAIDED_EXAMPLES

    def actions(self, context: StepContext, tools: frozenset[str]) -> tuple[str, ...]:
        return context.actions(context.tools | tools) or ()

    def remembers(self, context: StepContext, tools: frozenset[str]) -> object:
        """The last actions, whether something happened, and how many there were before."""
        situation = situation_of(context, ())
        done = [(action, said == _NOTHING) for action, said in situation.done]
        return [situation.left_out, done]


def where(thing: str, kinds: Sequence[str]) -> Prompt:
    """Prompt after which the next token is the label of the kind of place where a thing is.

    What a model answers makes a belief (`amp.benchmarks.alfworld.planning.belief_by_kind`); the
    labels are those of `labels_for`.
    """
    marked = zip(kinds, labels_for(len(kinds)), strict=True)
    listed = "\n".join(f"- {kind} ({label})" for kind, label in marked)
    question = f"Places:\n{listed}\nAt which of these would you look for a {thing} first?"
    messages = (Message("system", _HOUSEHOLD), Message("user", question))
    lead = Message("assistant", f"A {thing} is most likely at the place (")
    return Prompt((*messages, lead), 1, version=VERSION)
