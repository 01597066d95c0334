"""Makes a pool of what went through the gateway (docs/pools.md), which a router learns from.

A task of the pool is a call, and it has one sample: of the arm of which something is known. That is
of one of two kinds, which are never mixed, since a success of one is not a success of the other:

- *shadows*: whether an arm, drawn by chance, does the same as the dear arm when that is asked by
  itself. The dear arm is drawn, too: where its own answers vary, others are held to no more.
- *outcomes*: what the client said came of the step, or else of its episode. NOT covered: that an
  episode which fails may have had good steps; all of them count as its end does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints
from amp.pools.pool import NO_ANSWER, Pool, PoolArm, PoolTask
from amp.serve.decide.base import CallArm
from amp.serve.decide.conversation import of_any_caller
from amp.serve.decide.learned import pool_name
from amp.serve.traffic.tables import Answer, Call, Labelled

By = Literal["shadows", "outcomes"]
"""By what arms are judged."""

LEAST_CALLS = 100
"""Calls of which something is known, to learn from."""

LEAST_OF_ARM = 30
"""Of them, those of an arm; one with fewer is left out."""

LEAST_OF_KIND = 20
"""Calls of a kind; those of rarer ones count for all callers."""

_GOOD = 0.5


@dataclass(frozen=True, slots=True)
class _Judged:
    """A call, the arm of which something is known, and what."""

    call: Call
    arm: str
    own: Answer
    right: bool
    dear: Answer | None


_UNKNOWN = Answer(0, 0, np.nan, "")


@dataclass(frozen=True, slots=True, eq=False)
class TrafficPool:
    """A pool of traffic.

    Attributes:
        pool: one sample a task; arms by price, the dear one last.
        by: what judges.
        arm: shape (tasks,), index of the arm that is judged.
        dear_dollars: shape (tasks,), what the dear arm's answer costs; NaN where it has none.
        dear_tokens: likewise, prompt and completion.
    """

    pool: Pool
    by: By
    arm: Ints
    dear_dollars: Floats
    dear_tokens: Floats


def pool_of(
    rows: Iterable[Labelled], name: str, *, by: By | None = None, questions: bool = False
) -> TrafficPool:
    """The calls of which something is known, as a pool.

    Args:
        rows: of `amp.serve.traffic.tables.TrafficFile.labelled`.
        name: of the pool.
        by: what judges; None for outcomes where there are enough of two arms, else shadows.
        questions: whether the requests are put in where they were kept.

    Raises:
        InvalidInputError: if there is too little to learn from; says how much is missing.
    """
    rows = list(rows)
    outcomes, (dear, shadows) = _by_outcome(rows), _by_shadow(rows)
    if by is None:
        by = "outcomes" if len(_often(outcomes)) > 1 else "shadows"
    judged = outcomes if by == "outcomes" else shadows
    require_calls(len(judged), LEAST_CALLS, name, by)
    arms = _often(judged)
    if len(arms) < 2 or (by == "shadows" and dear not in arms):
        counts = Counter(one.arm for one in judged).most_common(8)
        raise InvalidInputError(
            f"{name} has too few {by} to compare arms"
            f" ({', '.join(f'{arm} {count}' for arm, count in counts)}), expected {LEAST_OF_ARM} of"
            " each of two, the dear one among them; serve on"
        )
    if by == "shadows":
        arms.sort(key=lambda arm: arm == dear)
    left = sorted({one.arm for one in judged} - {*arms})
    note = f"arms of fewer than {LEAST_OF_ARM} {by} are left out: {', '.join(left)}"
    kept = [one for one in judged if one.arm in arms]
    pool = _assembled(kept, arms, name, (note,) if left else (), questions=questions)
    dears = [one.dear or _UNKNOWN for one in kept]
    dollars = np.array([dear.dollars for dear in dears])
    tokens = dollars * 0.0 + [dear.prompt_tokens + dear.completion_tokens for dear in dears]
    return TrafficPool(pool, by, pool.there[:, :, 0].argmax(1), dollars, tokens)


def require_calls(found: int, least: int, name: str, by: By) -> None:
    """Makes sure that there are enough calls to learn from.

    Raises:
        InvalidInputError: if not; says how many are missing.
    """
    if found < least:
        todo = "serve on with --shadow" if by == "shadows" else "post what came of more calls"
        raise InvalidInputError(
            f"{name} has {found} calls that {by} judge, expected at least {least}:"
            f" {least - found} are missing; {todo}"
        )


def episode_of(call: Call) -> str:
    """What the calls of an episode share, and no others do."""
    return f"{call.key}/{call.episode}" if call.episode else str(call.id)


def _by_outcome(rows: Sequence[Labelled]) -> list[_Judged]:
    return [
        _Judged(row.call, row.call.arm, _own(row.call), row.success >= _GOOD, None)
        for row in rows
        if row.success is not None
    ]


def _own(call: Call) -> Answer:
    usage = call.usage
    return Answer(usage.prompt_tokens, usage.completion_tokens, usage.dollars, call.answer)


def _by_shadow(rows: Sequence[Labelled]) -> tuple[str, list[_Judged]]:
    """The arm that most were held to, and how they did."""
    told = [(row.call, row.shadow) for row in rows if row.shadow and row.shadow.same is not None]
    counts = Counter(shadow.dear for _, shadow in told)
    dear = counts.most_common(1)[0][0] if told else ""
    return dear, [
        _Judged(call, shadow.arm, shadow.own, bool(shadow.same), shadow.reference)
        for call, shadow in told
        if shadow.dear == dear
    ]


def _often(judged: Sequence[_Judged]) -> list[str]:
    """The arms of which enough is known, the cheapest first."""
    costs: dict[str, list[tuple[float, int]]] = {}
    for one in judged:
        tokens = one.own.prompt_tokens + one.own.completion_tokens
        costs.setdefault(one.arm, []).append((one.own.dollars, tokens))
    arms = [arm for arm, each in costs.items() if len(each) >= LEAST_OF_ARM]
    return sorted(arms, key=lambda arm: tuple(np.mean(costs[arm], axis=0).tolist()))


def _assembled(
    judged: Sequence[_Judged],
    arms: Sequence[str],
    name: str,
    notes: tuple[str, ...],
    *,
    questions: bool,
) -> Pool:
    shape = len(judged), len(arms), 1
    there, right = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    prompt, completion, dollars = (np.full(shape, np.nan) for _ in range(3))
    kinds = Counter(one.call.kind for one in judged)
    tasks, answers = [], []
    for at, one in enumerate(judged):
        place = at, arms.index(one.arm), 0
        there[place], right[place] = True, one.right
        prompt[place], completion[place] = one.own.prompt_tokens, one.own.completion_tokens
        dollars[place] = one.own.dollars
        answers.append((one.own.answer or "not compared",))
        call = one.call
        rare = kinds[call.kind] < LEAST_OF_KIND
        tasks.append(
            PoolTask(
                str(call.id),
                of_any_caller(call.kind) if rare else call.kind,
                episode_of(call),
                (call.asked or "") if questions else "",
                prompt_tokens=float(call.expected_tokens),
                extra={"features": dict(call.features), "step": call.step, "policy": call.policy},
            )
        )
    return Pool(
        name,
        tuple(tasks),
        tuple(PoolArm.of(pool_name(CallArm.read(arm))) for arm in arms),
        tuple(answers),
        np.where(there, 0, NO_ANSWER),
        there,
        right,
        prompt,
        completion,
        dollars,
        np.full(shape, np.nan),
        np.zeros(len(arms), np.bool_),
        notes,
    )
