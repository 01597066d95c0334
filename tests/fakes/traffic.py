"""Traffic of two arms and two kinds of call, of which it is known how often each arm does it."""

from __future__ import annotations

import random

from amp.serve.traffic.tables import Answer, Call, Labelled, Shadowed
from amp.usage import Usage

CHEAP, DEAR = "cheap@low", "dear"
EASY, HARD = "aaaaaaaa/begins", "bbbbbbbb/after a tool"
PRICE = {CHEAP: 0.001, DEAR: 0.01}
DOES = {(CHEAP, EASY): 0.95, (CHEAP, HARD): 0.1, (DEAR, EASY): 0.97, (DEAR, HARD): 0.8}
"""How often an arm does the same as the dear one."""


def answer(arm: str, tokens: int = 100) -> Answer:
    return Answer(tokens, 50, PRICE.get(arm, 0.005) * tokens / 100, "x")


def labelled(
    arm: str = CHEAP, judged: str | None = CHEAP, same: bool | None = True, *, kind: str = EASY,
    success: float | None = None, at: int = 0, tokens: int = 100,
) -> Labelled:  # fmt: skip
    """A call that an arm answered, and what is known of one."""
    paid = answer(arm, tokens)
    call = Call(
        "ann", f"e{at // 2}", 0, "openai", arm, "pass", "as asked", kind, {}, tokens,
        Usage(1, tokens, 0, 50, dollars=paid.dollars), 200, "r", "x", id=at,
    )  # fmt: skip
    if judged is None:
        return Labelled(call, None, success)
    own, dear = answer(judged, tokens), answer(DEAR, tokens)
    return Labelled(call, Shadowed(at, judged, DEAR, same, dear.dollars, own, dear), success)


def traffic(count: int = 400, seed: int = 0) -> list[Labelled]:
    """Calls of two kinds, each with a shadow of an arm drawn by chance."""
    rng = random.Random(seed)
    rows = []
    for at in range(count):
        kind, arm = rng.choice((EASY, HARD)), rng.choice((CHEAP, DEAR))
        same = rng.random() < DOES[arm, kind]
        rows.append(labelled(DEAR, arm, same, kind=kind, at=at, tokens=rng.randrange(80, 120)))
    return rows
