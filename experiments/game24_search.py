"""Recorded trees of thoughts for the game of 24: what narrower and lazier searches would have done.

A tree of thoughts (Yao et al. 2023) asks the model for next steps, has it value each ("sure",
"likely", "impossible", three votes), goes on with the best five, and so on for four steps. A record
of that also answers for every search that would have asked for less: `beam` is the recorded search
with narrower beams, `explore` goes depth first and lets an exact check stand in for votes on
finished lines. Neither sees a value before it has paid for it. Where a search wants to go on from a
thought that the recorded one did not go on from, it pays what such a call costs on average and
finds nothing, so what it is said to solve is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amp.execute.checks import check_game24

RECORDED = (5, 5, 5, 5)
"""Widths of the recorded beam."""
GOAL = "24"
"""What is left of a thought from which only the answer is to be written."""


@dataclass(frozen=True, slots=True)
class Thought:
    """A step that the model proposed.

    Attributes:
        text: its line.
        left: the numbers that are left after it.
        value: sum of its votes: 20 for each "sure", 1 for "likely", 0.001 for "impossible".
        question: what its value was asked by; thoughts with the same question share the call.
        judge: tokens of that call; 0 where an earlier puzzle has paid for it.
        ask: tokens of asking for its next steps; None if the recorded search did not.
        children: those steps, in the order in which the model wrote them.
    """

    text: str
    left: str
    value: float
    question: str
    judge: float
    ask: float | None
    children: tuple[Thought, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """A recorded tree.

    Attributes:
        id: of the puzzle.
        puzzle: its numbers.
        root: stands for the puzzle; its children are the first steps.
        tokens: recorded usage, prompt and completion.
        asked: by step, mean tokens of asking for the next steps of a thought.
    """

    id: str
    puzzle: str
    root: Thought
    tokens: float
    asked: tuple[float, ...]

    def right(self, thought: Thought) -> bool:
        """Whether its line is an answer that passes the exact check."""
        return check_game24(self.puzzle, thought.text) is True


@dataclass(frozen=True, slots=True)
class Found:
    """What a search, or a step of one, came to.

    Attributes:
        solved: whether an answer passed the check.
        tokens: prompt and completion.
    """

    solved: bool
    tokens: float


# --------------------------------------------------------------------------- searches


def beam(tree: Tree, widths: Sequence[int] = RECORDED) -> Found:
    """The search as it was recorded: all thoughts of a step are valued, the best are gone on with.

    Args:
        tree: what was recorded.
        widths: by step, how many thoughts are kept. Those of the last are the answers.
    """
    search = _Search(tree)
    level = [tree.root]
    for step, width in enumerate(widths):
        thoughts = [child for thought in level for child in search.ask(thought, step)]
        level = _best([(search.value(thought), thought) for thought in thoughts])[:width]
    return Found(any(tree.right(thought) for thought in level), search.tokens)


@dataclass(frozen=True, slots=True)
class Rule:
    """How `explore` goes on.

    Attributes:
        width: first steps that it goes on from, at most.
        follow: second steps that it goes on from after each of those, at most.
        sure: a second step valued at least so high is gone on from before the others are valued.
        floor: one valued lower is not gone on from.
    """

    width: int = 5
    follow: int = 2
    sure: float = 20.0
    floor: float = 0.5


@dataclass(frozen=True, slots=True)
class Explored:
    """`explore`, step by step: first steps are proposed and valued, then tried one after another.

    Attributes:
        steps: what each came to; the last one may have solved it.
        values: by first step in the order of trial, its value. They are known after ``steps[0]``.
    """

    steps: tuple[Found, ...]
    values: tuple[float, ...]


def explore(tree: Tree, rule: Rule) -> Explored:
    """Depth first, until an answer passes the check.

    A third step is not valued: where it leaves 24 the answer is asked for and checked, else it is
    no use, which anybody can see.
    """
    search = _Search(tree)
    first = search.ask(tree.root, 0)
    order = _best([(search.value(thought), thought) for thought in first])[: rule.width]
    steps = [Found(False, search.tokens)]
    for thought in order:
        before = search.tokens
        solved = search.second(thought, rule)
        steps.append(Found(solved, search.tokens - before))
        if solved:
            break
    return Explored(tuple(steps), tuple(thought.value for thought in order))


class _Search:
    """What one search has paid for."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.tokens = 0.0
        self._judged: set[str] = set()

    def ask(self, thought: Thought, step: int) -> tuple[Thought, ...]:
        """The next steps of a thought; none where they were not recorded."""
        self.tokens += self.tree.asked[step] if thought.ask is None else thought.ask
        return thought.children

    def value(self, thought: Thought) -> float:
        """Its value; what the same question said before is remembered."""
        if thought.question not in self._judged:
            self._judged.add(thought.question)
            self.tokens += thought.judge
        return thought.value

    def second(self, thought: Thought, rule: Rule) -> bool:
        """Goes on from a first step."""
        later: list[tuple[float, Thought]] = []
        followed = 0
        for child in self.ask(thought, 1):
            value = self.value(child)
            if value >= rule.sure and followed < rule.follow:
                followed += 1
                if self.third(child):
                    return True
            elif value >= rule.floor:
                later.append((value, child))
        return any(self.third(child) for child in _best(later)[: rule.follow - followed])

    def third(self, thought: Thought) -> bool:
        """Goes on from a second step: looks for 24 and asks for the answer."""
        done = [child for child in self.ask(thought, 2) if child.left == GOAL]
        return any(self.tree.right(answer) for child in done for answer in self.ask(child, 3))


def _best(valued: list[tuple[float, Thought]]) -> list[Thought]:
    """The highest first; of equals the one that was written first."""
    return [thought for _, thought in sorted(valued, key=lambda pair: -pair[0])]
