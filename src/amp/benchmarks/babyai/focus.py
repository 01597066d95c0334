"""What in an observation's text a mission is about; text in, text out."""

from __future__ import annotations

import re

from amp.benchmarks.babyai.mission import clauses
from amp.benchmarks.babyai.world import Thing

_SEEN = re.compile(
    r"You (?:see|remember) a (?:(?:open|closed|locked) )?(\w+) (key|ball|box|door) (.+)"
)
_CARRIED = re.compile(r"You carry a (\w+) (key|ball|box)")
_AHEAD = re.compile(r"You see a (.+) 1 step forward")


def target_in(mission: str, state: str) -> str:
    """Returns the lines about the things that a mission names, the nearest of each.

    Such as ``red ball 2 steps left and 1 step forward``; ``not seen`` where none is.
    """
    found = []
    for clause in clauses(mission):
        for description in (clause.target, clause.beside):
            if description is None:
                continue
            for line in state.splitlines():
                seen, carried = _SEEN.fullmatch(line), _CARRIED.fullmatch(line)
                if seen and description.matches(Thing(seen[2], seen[1])):
                    found.append(f"{seen[1]} {seen[2]} {seen[3]}")
                    break
                if carried and description.matches(Thing(carried[2], carried[1])):
                    found.append(f"{carried[1]} {carried[2]} carried")
                    break
    return "; ".join(dict.fromkeys(found)) or "not seen"


def ahead_in(state: str) -> str:
    """Returns what stands in the cell ahead, such as ``wall``; ``free`` if nothing does."""
    for line in state.splitlines():
        if (found := _AHEAD.fullmatch(line)) and " step" not in found[1]:
            return found[1]
    return "free"
