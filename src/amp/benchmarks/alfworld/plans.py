"""Plans of several commands in ALFWorld, as one answer; a changed text is a new version.

A plan is read generously, since it speaks of things that were not seen yet: a thing stands for any
of its kind that can be had there. The worked examples were written for the prompts and are taken
from no game.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from amp.benchmarks.alfworld.environment import as_listed
from amp.execute.plans import numbered_list
from amp.models.base import Message, Prompt
from amp.types import StepContext

VERSION = "alfworld-plan/1"

_RULES = """\
You play a household game in words. You read the goal and what is known, and write all commands \
from now to the goal, each in these words:
go to PLACE | open PLACE | take THING from PLACE | move THING to PLACE
clean THING with sinkbasin 1 | heat THING with microwave 1 | cool THING with fridge 1 | use LAMP
- PLACE and THING have a number. A thing that was not seen has none: guess a place where it \
usually is.
- Open what is closed. You can hold one thing. Take it before you clean, heat, cool or move it.
- To look at a thing under a lamp: take it, go to the lamp, use the lamp."""

_HISTORY = 8
"""Commands of the plan so far that the model reads, the last ones."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A worked example: what is read, and the plan."""

    goal: str
    state: str
    plan: tuple[str, ...]
    done: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        done = f"\nDone: {'; '.join(self.done)}" if self.done else ""
        return f"{self.state}{done}\nGoal: {self.goal}"


PLANS = (
    Planned(
        "look at coin under the floorlamp",
        "You hold nothing.\nYou are at shelf 1, with vase 1.\n"
        "Not looked into yet: bed 1, dresser 1, table 1",
        (
            "go to table 1",
            "take coin from table 1",
            "go to dresser 1",
            "use floorlamp",
        ),
        ("go to shelf 1",),
    ),
    Planned(
        "put two marker in desk",
        "You hold nothing.\nYou are at shelf 2, with marker 3, vase 1.\ndesk 1: book 1\n"
        "shelf 1: marker 1",
        (
            "take marker 3 from shelf 2",
            "go to desk 1",
            "move marker 3 to desk 1",
            "go to shelf 1",
            "take marker 1 from shelf 1",
            "go to desk 1",
            "move marker 1 to desk 1",
        ),
        ("go to desk 1", "go to shelf 1", "go to shelf 2"),
    ),
    Planned(
        "put a cool orange in cabinet",
        "You hold nothing.\nYou are in the middle of the room.\n"
        "Not looked into yet: cabinet 1, countertop 1, drawer 1, fridge 1, sinkbasin 1",
        (
            "go to countertop 1",
            "take orange from countertop 1",
            "go to fridge 1",
            "cool orange with fridge 1",
            "go to cabinet 1",
            "open cabinet 1",
            "move orange to cabinet 1",
        ),
    ),
)

_TWO = re.compile(r"(take|move|clean|heat|cool) (.+) (from|to|with) (.+)")
_ONE = re.compile(r"(go to|open|use|examine) (.+)")
_AT = re.compile(r"You are at (\w+ \d+)")
_NO_WORDS = re.compile(r"[^a-z0-9/ ]+")
_ARTICLE = re.compile(r"\b(?:an?|the|some) ")


class ALFWorldPlans:
    """Asks for plans and follows them; `PlanPrompts`.

    To go to where one stands, and to open what is open, is skipped.
    """

    version = VERSION

    def ask(self, context: StepContext, actions: tuple[str, ...] | None, count: int) -> Prompt:
        messages = [Message("system", _RULES)]
        for one in PLANS:
            numbered = (f"{number}. {line}" for number, line in enumerate(one.plan, start=1))
            answer = "\n".join((f"To {one.goal}:", *numbered))
            messages += [Message("user", one.told), Message("assistant", answer)]
        done = tuple(step.action for step in context.steps if step.action is not None)
        now = Planned(context.task.goal, context.observation.state, (), done[-_HISTORY:])
        messages.append(Message("user", now.told))
        lead = f"To {context.task.goal}:\n"  # what a small model has just read it copies
        return numbered_list(
            tuple(messages), count, lead=lead, tokens_an_action=16, version=VERSION
        )

    def read(self, line: str) -> str | None:
        plain = _ARTICLE.sub("", " ".join(_NO_WORDS.sub("", line.lower()).split()))
        plain = re.sub(r"^put (.+) (?:in/on|in|on) ", r"move \1 to ", plain)
        return plain if _TWO.fullmatch(plain) or _ONE.fullmatch(plain) else None

    def following(
        self, context: StepContext, plan: tuple[str, ...], actions: tuple[str, ...] | None
    ) -> tuple[str, ...]:
        for done, line in enumerate(plan):
            if found := _listed(line, actions or ()):
                return (found, *plan[done + 1 :])
            at = _AT.search(context.observation.state)
            here = line.startswith("go to ") and at and _same(line.removeprefix("go to "), at[1])
            if not here and not line.startswith("open "):
                break
        return ()


def _listed(line: str, actions: tuple[str, ...]) -> str | None:
    """The admissible command that a line means: in its words, else about a thing of the kind."""
    if (exact := as_listed(line, actions)) in actions:
        return exact
    return next((action for action in actions if _means(line, action)), None)


def _means(line: str, action: str) -> bool:
    if (wanted := _TWO.fullmatch(line)) and (listed := _TWO.fullmatch(action)):
        verb, thing, word, place = listed.groups()
        same = (wanted[1], wanted[3]) == (verb, word)
        return same and _kind(wanted[2]) == _kind(thing) and _same(wanted[4], place)
    if (wanted := _ONE.fullmatch(line)) and (listed := _ONE.fullmatch(action)):
        return wanted[1] == listed[1] and _same(wanted[2], listed[2])
    return False


def _same(told: str, name: str) -> bool:
    """Whether words mean a place: without a number, any of its kind."""
    return told in (name, _kind(name))


def _kind(name: str) -> str:
    return name.rstrip(" 0123456789")
