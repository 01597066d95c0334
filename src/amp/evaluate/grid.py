"""A table of draws as arrays over counts of samples: a simulator of allocation, without a model.

A state of a task is how many samples of each arm are drawn, always the first ones. Its candidates
stand in one canonical order: sample 0 of each arm in the order of the arms, then sample 1 of each,
and so on. The order bears on votes only that are equal to the last digit of their log-probabilities
(the earlier one wins then), so a state stands for every order in which it can be reached.

What a way to a state costs is what its samples take, plus the prompt of the arm once a call:
``completion_tokens[task, *counts] + sum of prompt_tokens[task, arm] over the calls``, where a model
shares a prompt among the samples of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amp.allocate.consistency import leaders
from amp.errors import InvalidInputError
from amp.execute.select import vote
from amp.simulate.samples import Draw, Draws, TaskDraws
from amp.types import Evidence

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The arrays. All but `prompt_tokens` have the shape [task, arm 1's count, arm 2's, ...].

    Attributes:
        tasks: ids, in the order of the first axis.
        arms: names, in the order of the other axes.
        right: whether the vote is right; not without samples.
        leading: votes of the leading answer.
        second: votes of the runner-up.
        completion_tokens: of all samples.
        tokens: these and one prompt for each arm that has samples: the cheapest way there.
        prompt_tokens: of a call, [task, arm].
    """

    tasks: tuple[str, ...]
    arms: tuple[str, ...]
    right: Flags
    leading: Integers
    second: Integers
    completion_tokens: Integers
    tokens: Integers
    prompt_tokens: Integers


def grid(draws: Draws) -> Grid:
    """Works a table out for every state.

    Raises:
        InvalidInputError: if samples of one call do not share its prompt, so that the cost of a
            state depends on the way to it in a manner that the arrays do not hold.
    """
    if not draws.shared_prompt:
        raise InvalidInputError(
            f"samples of {draws.card.name} do not share the prompt of a call; a grid needs that"
        )
    arms = tuple(draws.samples)
    shape = tuple(samples + 1 for samples in draws.samples.values())
    made = Grid(
        tasks=tuple(row.task for row in draws.tasks),
        arms=arms,
        right=np.zeros((len(draws.tasks), *shape), dtype=np.bool_),
        leading=np.zeros((len(draws.tasks), *shape), dtype=np.int64),
        second=np.zeros((len(draws.tasks), *shape), dtype=np.int64),
        completion_tokens=np.zeros((len(draws.tasks), *shape), dtype=np.int64),
        tokens=np.zeros((len(draws.tasks), *shape), dtype=np.int64),
        prompt_tokens=np.array(
            [[row.cells[arm].prompt_tokens for arm in arms] for row in draws.tasks], dtype=np.int64
        ),
    )
    for index, row in enumerate(draws.tasks):
        for counts in np.ndindex(*shape):
            at = (index, *counts)
            known = canonical(row, arms, counts)
            candidates = tuple(draw.candidate for draw in known)
            winner = vote(candidates)
            made.right[at] = winner is not None and known[candidates.index(winner)].right
            made.leading[at], made.second[at] = leaders(Evidence(candidates))
            made.completion_tokens[at] = sum(draw.usage.completion_tokens for draw in known)
            prompts = made.prompt_tokens[index][np.array(counts) > 0].sum()
            made.tokens[at] = made.completion_tokens[at] + prompts
    return made


def canonical(row: TaskDraws, arms: Sequence[str], counts: Sequence[int]) -> list[Draw]:
    """The draws of a state in canonical order: arms by turns, each as long as it has samples."""
    return [
        row.cells[arm].draws[index]
        for index in range(max(counts))
        for arm, count in zip(arms, counts, strict=True)
        if index < count
    ]
