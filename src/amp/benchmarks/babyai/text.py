"""Observations in words, with the lines that the literature on BabyAI as text uses."""

from __future__ import annotations

from amp.benchmarks.babyai.world import VIEW_SIZE, Belief, Cell, Pose, Thing


def whereabouts(pose: Pose, cell: Cell) -> str:
    """Returns where a cell lies for the agent, such as ``2 steps left and 1 step forward``."""
    forward, right = pose.offset(cell)
    parts = []
    if right:
        parts.append(_steps(abs(right), "right" if right > 0 else "left"))
    if forward:
        parts.append(_steps(abs(forward), "forward" if forward > 0 else "behind"))
    return " and ".join(parts) or "here"


def describe(belief: Belief) -> str:
    """Returns the state in words: what is carried, seen now, and remembered; one line each."""
    lines = []
    if belief.carrying is not None:
        lines.append(f"You carry a {belief.carrying.name}")
    lines.extend(_walls(belief))
    here = belief.pose.cell
    near = sorted(
        (item for item in belief.things.items() if item[0] != here),
        key=lambda item: (_distance(here, item[0]), belief.pose.offset(item[0])),
    )
    for cell, thing in near:
        verb = "see" if cell in belief.visible else "remember"
        lines.append(f"You {verb} a {_words(thing)} {whereabouts(belief.pose, cell)}")
    return "\n".join(lines) or "You see nothing"


def _walls(belief: Belief) -> list[str]:
    """Walls straight ahead, left and right, when nothing stands between."""
    lines = []
    for word, forward, right in (("forward", 1, 0), ("left", 0, -1), ("right", 0, 1)):
        for steps in range(1, VIEW_SIZE):
            cell = belief.pose.place(forward * steps, right * steps)
            thing = belief.cells.get(cell)
            if cell not in belief.visible or thing is None or thing.notable:
                break
            if thing.kind == "wall":
                lines.append(f"You see a wall {_steps(steps, word)}")
                break
    return lines


def _words(thing: Thing) -> str:
    return f"{thing.state} {thing.name}".strip()


def _steps(count: int, direction: str) -> str:
    return f"{count} step{'' if count == 1 else 's'} {direction}"


def _distance(a: Cell, b: Cell) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])
