"""Costs of a lattice that do not depend on when and in which order it was recorded.

An answer's usage says how much of its prompt was in the model's prefix cache. That depends on what
was asked before it: the first prompt that a process reads is read whole, however it begins, and so
costs ten times what the next one does. A policy would be charged for the restarts of the recorder.
What every prompt of an arm begins with (instructions, examples) is in the cache of any server that
has been up for a while, so that much is taken to be there, always, and nothing beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from amp.cost import charged
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_states import ArmAnswer, LatticeState
from amp.types import Usage

_Kind = tuple[str, int]
"""Of prompts that begin alike: the arm that asks, and in how many calls."""

_READING = "", 0
"""Those of which the next token alone is read, whoever asks."""

_FOUND = 0.5
"""Share of a prompt above which the beginning of its kind was in the cache; below it, a few words
that prompts of all kinds begin with."""


def with_shared_prefixes(lattice: Lattice) -> Lattice:
    """The same with every prompt in the cache as far as all of its kind have been found there.

    FLOPs and dollars are worked out anew by that. Of a kind of which most was never found in a
    cache nothing is taken to be there; seconds stay what they were.
    """
    shared: dict[_Kind, int] = {}
    for task in lattice.tasks:
        for state in task.states.values():
            for kind, usage in _calls(state):
                cached = usage.cached_prompt_tokens
                if cached > _FOUND * usage.prompt_tokens:
                    shared[kind] = min(cached, shared.get(kind, cached))

    def mended(kind: _Kind, usage: Usage) -> Usage:
        if not usage.model_calls:
            return usage
        cached = min(shared.get(kind, 0), usage.prompt_tokens)
        told = replace(usage, cached_prompt_tokens=cached, flops=0.0, dollars=0.0)
        return charged(lattice.card, [told])

    def answer(arm: str, asked: ArmAnswer) -> ArmAnswer:
        readings = {name: mended(_READING, usage) for name, usage in asked.readings.items()}
        usage = mended((arm, asked.usage.model_calls), asked.usage)
        return replace(asked, usage=usage, readings=readings)

    tasks = []
    for task in lattice.tasks:
        states = {
            name: replace(
                state,
                probe=answer("", state.probe),
                asked={
                    arm: tuple(answer(arm, one) for one in several)
                    for arm, several in state.asked.items()
                },
            )
            for name, state in task.states.items()
        }
        tasks.append(replace(task, states=states))
    return replace(lattice, tasks=tuple(tasks))


def _calls(state: LatticeState) -> Iterator[tuple[_Kind, Usage]]:
    for arm, several in (("", (state.probe,)), *state.asked.items()):
        for one in several:
            yield (arm, one.usage.model_calls), one.usage
            for usage in one.readings.values():
                yield _READING, usage
