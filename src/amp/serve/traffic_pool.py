"""Makes a pool of what went through the gateway (docs/pools.md), which a router learns from.

A task of the pool is a call, and its samples are the answers of the arms that were asked. Which are
right is known in two ways. What the client said came of the step, or of the episode, judges the
answer that it got, and those that do the same. Where it said nothing the dearest arm that was asked
is the reference: it counts as right, and whoever does the same as it.

| the client said | of another answer | the client's answer is | the other one is |
|---|---|---|---|
| nothing | the dear arm's | right if they do the same | right |
| nothing | to the dear arm's own | right | right if they do the same |
| good | the same | right | right |
| good | not the same | right | not known |
| bad | the same | wrong | wrong |
| bad | not the same | wrong | right if it is the dear arm's, else not known |

NOT covered: that an episode which fails may have had good steps. All of them count as its end does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amp.errors import InvalidInputError
from amp.pools.pool import NO_ANSWER, Pool, PoolArm, PoolTask
from amp.serve.decide import Arm
from amp.serve.kinds import of_any_caller
from amp.serve.learned import pool_name
from amp.serve.traffic_file import Answer, Call, Labelled

LEAST_CALLS = 100
"""Calls of which something is known, to learn from."""

LEAST_OF_ARM = 30
"""Answers of an arm among them; an arm with fewer is left out."""

LEAST_OF_KIND = 20
"""Calls of a kind; those of rarer ones count for all callers."""

_GOOD = 0.5


@dataclass(frozen=True, slots=True)
class _Sample:
    """An answer of an arm, and whether it is right."""

    tokens: tuple[int, int]
    dollars: float
    answer: str
    right: bool

    @classmethod
    def of(cls, answered: Call | Answer, right: bool) -> _Sample:
        usage = answered.usage
        tokens = usage.prompt_tokens, usage.completion_tokens
        return cls(tokens, answered.paid, answered.answer, right)


def pool_of(
    rows: Iterable[Labelled], name: str, *, dear: str = "", questions: bool = False
) -> Pool:
    """The calls of which something is known, as a pool of one sample an arm.

    Args:
        rows: of `amp.serve.traffic_file.TrafficFile.labelled`.
        name: of the pool.
        dear: the arm that is the reference, as `Arm.name`; empty for the one that costs most.
        questions: whether the requests are put in where they were kept.

    Raises:
        InvalidInputError: if there is no such arm, or too little to learn from; says how much.
    """
    rows = list(rows)
    dear = dear or dearest(rows)
    judged = [(row, found) for row in rows if (found := _judged(row, dear))]
    require_calls(len(judged), LEAST_CALLS, name)
    count = Counter(arm for _, found in judged for arm in found)
    kept = [arm for arm, there in count.most_common() if there >= LEAST_OF_ARM]
    if dear not in kept or len(kept) < 2:
        listed = ", ".join(f"{arm} {there}" for arm, there in count.most_common(8))
        raise InvalidInputError(
            f"{name} has too few answers to compare arms ({listed}), expected {LEAST_OF_ARM} each"
            f" of {dear} and another arm; serve on with --shadow"
        )
    kept.sort(key=lambda arm: (arm == dear, _mean_cost(arm, judged)))
    judged = [(row, found) for row, found in judged if not found.keys().isdisjoint(kept)]
    return _assembled(judged, kept, name, count, questions=questions)


def dearest(rows: Sequence[Labelled]) -> str:
    """The arm whose answers cost most, in tokens where nothing has a price.

    Raises:
        InvalidInputError: if there is no call.
    """
    costs: dict[str, list[tuple[float, int]]] = {}
    for row in rows:
        answered: list[Call | Answer] = [row.call, *row.answers]
        for one in answered:
            costs.setdefault(one.arm, []).append((one.paid, one.usage.tokens))
    if not costs:
        require_calls(0, LEAST_CALLS, "the traffic")
    return max(costs, key=lambda arm: tuple(np.mean(costs[arm], axis=0).tolist()))


def require_calls(found: int, least: int, name: str) -> None:
    """Makes sure that there are enough calls to learn from.

    Raises:
        InvalidInputError: if not; says how many are missing.
    """
    if found < least:
        raise InvalidInputError(
            f"{name} has {found} calls of which something is known, expected at least {least}:"
            f" {least - found} are missing; serve on with --shadow, or post outcomes"
        )


def _judged(row: Labelled, dear: str) -> Mapping[str, _Sample]:
    """The answers to a call of which it is known whether they are right, by arm."""
    call, good = row.call, None if row.success is None else row.success >= _GOOD
    found: dict[str, _Sample] = {}
    if good is not None:
        found[call.arm] = _Sample.of(call, good)
    for other in row.answers:
        right: bool | None = None
        if good is not None:
            right = good if other.same else None
            if other.same is False and not good and other.arm == dear:
                right = True
        elif dear in (call.arm, other.arm) and other.same is not None:
            right = other.same or other.arm == dear
            found[call.arm] = _Sample.of(call, other.same or call.arm == dear)
        if right is not None:
            found[other.arm] = _Sample.of(other, right)
    return found


def _mean_cost(arm: str, judged: Sequence[tuple[Labelled, Mapping[str, _Sample]]]) -> float:
    samples = [found[arm] for _, found in judged if arm in found]
    return float(np.mean([sample.dollars or sum(sample.tokens) for sample in samples]))


def _assembled(
    judged: Sequence[tuple[Labelled, Mapping[str, _Sample]]],
    arms: Sequence[str],
    name: str,
    count: Mapping[str, int],
    *,
    questions: bool,
) -> Pool:
    shape = len(judged), len(arms), 1
    there, right = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    answer = np.full(shape, NO_ANSWER)
    prompt, completion, dollars = (np.full(shape, np.nan) for _ in range(3))
    kinds = Counter(row.call.kind for row, _ in judged)
    tasks, answers = [], []
    for at, (row, found) in enumerate(judged):
        known: dict[str, int] = {}
        for number, arm in enumerate(arms):
            if (one := found.get(arm)) is None:
                continue
            place = at, number, 0
            there[place], right[place] = True, one.right
            # One that can't be compared is an answer of its own.
            answer[place] = known.setdefault(one.answer or f"of {arm}", len(known))
            prompt[place], completion[place] = one.tokens
            dollars[place] = one.dollars
        call = row.call
        rare = kinds[call.kind] < LEAST_OF_KIND
        tasks.append(
            PoolTask(
                str(call.id),
                of_any_caller(call.kind) if rare else call.kind,
                f"{call.key}/{call.episode}" if call.episode else str(call.id),
                (call.asked or "") if questions else "",
                prompt_tokens=float(call.expected_tokens),
                extra={"features": dict(call.features), "step": call.step, "policy": call.policy},
            )
        )
        answers.append(tuple(known))
    left = [f"{arm} ({there})" for arm, there in count.items() if arm not in arms]
    return Pool(
        name,
        tuple(tasks),
        tuple(PoolArm.of(pool_name(Arm.read(arm))) for arm in arms),
        tuple(answers),
        answer,
        there,
        right,
        prompt,
        completion,
        dollars,
        np.full(shape, np.nan),
        np.zeros(len(arms), np.bool_),
        (f"arms with fewer than {LEAST_OF_ARM} answers are left out: {', '.join(left)}",)
        if left
        else (),
    )
