"""How often a policy of traffic loses more than it may, on made-up traffic: 30 draws a row.

    python -m experiments.traffic_promises

Eight kinds of call; the dear arm agrees with itself in 80 to 100 %, the cheap one in up to `SPREAD`
less. A policy loses what its choices lose on the truth, all kinds equally often.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
from tests.fakes.traffic import CHEAP, DEAR, PRICE, labelled

from amp.serve.decide.learned import worth_alone
from amp.serve.traffic.pool import pool_of
from amp.serve.traffic.study import MAY_LOSE, TrafficStudy, study_traffic

DRAWS = 30
KINDS = tuple(f"{kind:08x}/begins" for kind in range(8))

Truth = Mapping[tuple[str, str], float]
"""How often an arm does what the dear one does, by arm and kind."""


def made_up(shadows: int, spread: float, seed: int) -> tuple[TrafficStudy, Truth]:
    """A study of one draw, and its truth."""
    rng = random.Random(seed)
    truth = {}
    for kind in KINDS:
        truth[DEAR, kind] = 0.8 + 0.2 * rng.random()
        truth[CHEAP, kind] = max(0.0, truth[DEAR, kind] - spread * rng.random() ** 2)
    rows = []
    for at in range(shadows):
        kind, arm = rng.choice(KINDS), rng.choice((CHEAP, DEAR))
        same = rng.random() < truth[arm, kind]
        tokens = rng.randrange(80, 120)
        rows.append(labelled(DEAR, arm, same, kind=kind, at=at, tokens=tokens))
    return study_traffic(pool_of(rows, "traffic")), truth


def true_of(study: TrafficStudy, truth: Truth) -> tuple[float, float] | None:
    """What the chosen policy loses, and what it saves; None if none is written."""
    chosen = study.chosen()
    if chosen is None:
        return None
    router, lost, saved = study.router.with_trade_off(chosen.point.trade_off), 0.0, 0.0
    for kind in KINDS:
        known_as = kind if kind in router.descriptors.kinds else ""
        known = router.begin(router.descriptors.of(known_as, "", 100.0)[None], np.array([100.0]))
        arm = (CHEAP, DEAR)[int(worth_alone(router, known)[0].argmax())]
        lost += (truth[DEAR, kind] - truth[arm, kind]) / len(KINDS)
        saved += (1.0 - PRICE[arm] / PRICE[DEAR]) / len(KINDS)
    return lost, saved


def row(found: Sequence[tuple[float, float]]) -> str:
    """Figures of the policies that were written."""
    lost = [each[0] for each in found]
    over = sum(each > MAY_LOSE for each in lost)
    saves = 100 * float(np.mean([each[1] for each in found])) if found else 0.0
    return f"{len(found):7} {over:5} {100 * max(lost, default=0.0):7.1f} {saves:7.1f}"


def main() -> None:
    print(f"shadows spread written  over  most, points  saves, %   (of {DRAWS} draws)")
    for shadows in (200, 600):
        for spread in (0.1, 0.5):
            made = (true_of(*made_up(shadows, spread, seed)) for seed in range(DRAWS))
            print(f"{shadows:7} {spread:6} {row([each for each in made if each])}", flush=True)


if __name__ == "__main__":
    main()
