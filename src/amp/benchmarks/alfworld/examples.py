"""Worked examples for the prompts, written for them and taken from no game."""

from __future__ import annotations

from dataclasses import dataclass

from amp.benchmarks.alfworld.situation import Situation


@dataclass(frozen=True, slots=True)
class Example:
    """One decision with its right answer.

    Attributes:
        situation: what it is decided on.
        best: which of the actions is right; spread over the list, so that no label is the usual
            one.
        thought: why, in a sentence that ends with the action's own words.
    """

    situation: Situation
    best: int
    thought: str

    @property
    def action(self) -> str:
        """The right action."""
        return self.situation.actions[self.best]

    @property
    def other(self) -> str:
        """A wrong action, the one listed behind the right one."""
        actions = self.situation.actions
        return actions[(self.best + 1) % len(actions)]


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
