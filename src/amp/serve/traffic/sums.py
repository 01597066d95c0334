"""What traffic says in sum: what shadows measure, and what clients said came of their calls.

The calls that get a shadow are drawn by chance, so what they save is what all calls of their kind
save, but for those that can't be asked again (`amp.serve.traffic.shadow.unfit`).
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass

from amp.serve.traffic.tables import WHOLE_EPISODE

_EPISODE = "CASE calls.episode WHEN '' THEN calls.id ELSE calls.key || '/' || calls.episode END"
_MINE = "calls.status < 300 AND (:key IS NULL OR calls.key = :key)"
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Measured:
    """What clients' answers cost where the dear arm has answered the same calls.

    Attributes:
        calls: how many have a shadow.
        episodes: that they are of.
        paid: dollars for the answers that clients got.
        dear: dollars for those of the dear arm, with a cache as warm.
        shadows: dollars for answers that no client got.
        error: of the share that is saved, at 95 %, by episodes; None of fewer than two.
    """

    calls: int
    episodes: int
    paid: float
    dear: float
    shadows: float
    error: float | None

    @property
    def saved(self) -> float:
        """Share of the dear arm's dollars; less than 0 where more was spent."""
        return 1.0 - self.paid / self.dear


@dataclass(frozen=True, slots=True)
class Compared:
    """How an arm did on the calls that it was drawn for, beside the dear arm.

    Attributes:
        arm: that was drawn; the dear arm's own answers are held to others of its own.
        dear: that it is held to.
        calls: how many.
        paid: dollars for its answers.
        dear_paid: dollars for those of the dear arm.
        compared: calls of which it is known whether both did the same.
        episodes: that these are of.
        same: how many of them did.
    """

    arm: str
    dear: str
    calls: int
    paid: float
    dear_paid: float
    compared: int
    episodes: int
    same: int


@dataclass(frozen=True, slots=True)
class Judged:
    """The calls of an arm of which clients said what came of them.

    Attributes:
        arm: that answered.
        calls: how many.
        episodes: that they are of.
        success: sum of what was said, each from 0 to 1.
        dollars: mean of a call.
    """

    arm: str
    calls: int
    episodes: int
    success: float
    dollars: float


@dataclass(frozen=True, slots=True)
class TrafficSums:
    """What traffic says in sum.

    Attributes:
        measured: of all shadows; None where none cost anything.
        held: by arm, those with most calls first.
        judged: likewise.
    """

    measured: Measured | None
    held: tuple[Compared, ...]
    judged: tuple[Judged, ...]


def sums_in(connection: sqlite3.Connection, key: str | None) -> TrafficSums:
    """The sums of the calls of a key, or of all."""
    given = {"key": key, "whole": WHOLE_EPISODE}
    shadows = f"FROM shadows JOIN calls ON calls.id = call WHERE {_MINE}"
    by_episode = connection.execute(
        f"SELECT count(*), sum(calls.dollars), sum(dear_dollars), sum(paid) {shadows}"
        f" GROUP BY {_EPISODE}",
        given,
    ).fetchall()
    compared = f"CASE WHEN same IS NULL THEN NULL ELSE {_EPISODE} END"
    held = connection.execute(
        "SELECT shadows.arm, dear, count(*), sum(own_dollars), sum(dear_dollars), count(same),"
        f" count(DISTINCT {compared}), coalesce(sum(same), 0) {shadows}"
        " GROUP BY shadows.arm, dear ORDER BY count(*) DESC, shadows.arm, dear",
        given,
    ).fetchall()
    judged = connection.execute(
        f"SELECT arm, count(*), count(DISTINCT {_EPISODE}),"
        " sum(coalesce(of_step.success, of_all.success)), avg(dollars) FROM calls"
        " LEFT JOIN outcomes AS of_step USING (key, episode, step)"
        " LEFT JOIN outcomes AS of_all ON of_all.key = calls.key"
        " AND of_all.episode = calls.episode AND of_all.step = :whole"
        f" WHERE {_MINE} AND coalesce(of_step.success, of_all.success) IS NOT NULL"
        " GROUP BY arm ORDER BY count(*) DESC, arm",
        given,
    ).fetchall()
    return TrafficSums(
        _measured(by_episode),
        tuple(Compared(*row) for row in held),
        tuple(Judged(*row) for row in judged),
    )


def _measured(rows: list[tuple[int, float, float, float]]) -> Measured | None:
    """A ratio of sums, and its error as that of a ratio of means over episodes."""
    calls, paid, dear, shadows = (
        (sum(column) for column in zip(*rows, strict=True)) if rows else (*(0, 0.0, 0.0, 0.0),)
    )
    if dear <= 0.0:
        return None
    error = None
    if (count := len(rows)) > 1:
        spread = sum((row[1] - paid / dear * row[2]) ** 2 for row in rows)
        error = _Z_95 * math.sqrt(spread * count / (count - 1)) / dear
    return Measured(calls, count, paid, dear, shadows, error)
