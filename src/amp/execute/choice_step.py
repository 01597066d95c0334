"""A step whose admissible actions are listed: thoughts, then a choice among labels.

Each action has a label of one character, so next-token probabilities say how likely the model is to
choose it: one token a choice.

`choice_looks` says what a choice looks like against the plan so far, whatever the environment. A
plan that goes wrong does again what brought nothing, and walks back and forth. Each benchmark adds
what it knows of its own actions (`Defaults.plausibility`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from amp.errors import InvalidInputError, ModelError
from amp.execute.base import Prompts
from amp.execute.meter import Meter
from amp.models.base import Completion, NextToken, Prompt
from amp.types import Allocation, Candidate, Observation, StepContext

_DIGITS = "123456789"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MAX_CHOICES = len(_LETTERS)
"""Most actions of one question; more are chosen among in parts."""

_SAMPLES_WITHOUT_LOG_PROBS = 5
_LABEL_TOKENS = 4


def labels_for(count: int) -> str:
    """One character an option: digits for up to 9, letters for up to 52.

    Raises:
        InvalidInputError: if there are no options or more than 52.
    """
    if not 1 <= count <= len(_LETTERS):
        raise InvalidInputError(f"{count} options to choose from, expected 1 to {len(_LETTERS)}")
    return _DIGITS[:count] if count <= len(_DIGITS) else _LETTERS[:count]


def label_probabilities(next_token: NextToken, labels: Sequence[str]) -> list[float] | None:
    """Probability of each label among the labels; None if the model thinks of none of them.

    A token counts for a label if it is the label with white space around it.
    """
    masses = dict.fromkeys(labels, 0.0)
    for text, log_prob in next_token.log_probs.items():
        label = text.strip()
        if label in masses:
            masses[label] += math.exp(log_prob)
    total = math.fsum(masses.values())
    return [mass / total for mass in masses.values()] if total > 0.0 else None


async def ask(meter: Meter, prompt: Prompt, labels: Sequence[str]) -> list[float] | None:
    """Asks the model for a label and returns the probability of each, in their order.

    A model without log-probabilities is sampled instead, which the meter's notes say.

    Returns:
        Probabilities that add up to 1, or None if the answer names no label.
    """
    if meter.capabilities.log_probs:
        try:
            asked = replace(prompt, labels=tuple(labels))
            return label_probabilities(await meter.next_token(asked), labels)
        except ModelError:
            if meter.capabilities.log_probs:  # else the call has shown that it gives none
                raise
    n = _SAMPLES_WITHOUT_LOG_PROBS
    meter.notes.append(f"frequencies in {n} samples for next-token probabilities")
    samples = await meter.generate(_short(prompt), n=n, temperature=1.0)
    votes = [_first_label(sample.text, labels) for sample in samples]
    valid = [index for index in votes if index is not None]
    return [valid.count(index) / len(valid) for index in range(len(labels))] if valid else None


async def weigh(
    meter: Meter, question: Callable[[tuple[str, ...]], Prompt], actions: tuple[str, ...]
) -> list[float] | None:
    """Asks the model to choose an action and returns the probability of each, in their order.

    `question` makes the prompt that the label of one of some actions follows (`labels_for`).

    More than `MAX_CHOICES` are asked about in parts of about equal size, then the best of each part
    against each other. An action's probability is that of its part's best times its own within the
    part.

    Returns:
        Probabilities that add up to 1, or None if the answer names no action.
    """
    if len(actions) <= MAX_CHOICES:
        return await ask(meter, question(actions), labels_for(len(actions)))
    count = math.ceil(len(actions) / MAX_CHOICES)
    size = math.ceil(len(actions) / count)
    parts = [actions[start : start + size] for start in range(0, len(actions), size)]
    inside: list[list[float]] = []
    for part in parts:
        shares = await weigh(meter, question, part)
        inside.append(shares or [1.0 / len(part)] * len(part))
    best = tuple(
        part[max(range(len(part)), key=shares.__getitem__)]
        for part, shares in zip(parts, inside, strict=True)
    )
    between = await weigh(meter, question, best)
    if between is None:
        return None
    meter.notes.append(f"{len(actions)} actions chosen among in {len(parts)} parts")
    return [of_part * share for of_part, own in zip(between, inside, strict=True) for share in own]


async def shortlist(
    meter: Meter, question: Callable[[tuple[str, ...]], Prompt], actions: tuple[str, ...]
) -> tuple[str, ...]:
    """The actions that a model reasons about: where there are more, the `MAX_CHOICES` likeliest.

    How likely they are is asked without a thought. They keep their order.
    """
    if len(actions) <= MAX_CHOICES:
        return actions
    shares = await weigh(meter, question, actions)
    likely = sorted(range(len(actions)), key=lambda i: -shares[i] if shares else 0.0)
    return tuple(actions[i] for i in sorted(likely[:MAX_CHOICES]))


def at_once(
    prompts: Prompts, context: StepContext, thought: str = ""
) -> Callable[[tuple[str, ...]], Prompt]:
    """The question of a step's `Prompts.choose`, for `weigh` and `shortlist`."""
    return lambda part: prompts.choose(context, part, labels_for(len(part)), thought)


async def ask_thinking(
    meter: Meter,
    prompt: Prompt,
    labels: Sequence[str],
    *,
    n: int,
    temperature: float,
    thinking_tokens: int,
) -> list[tuple[Completion, int | None]]:
    """Asks for a label after native thinking, n times.

    Returns:
        Each answer with the index of the label that it names, or None if it names none.
    """
    answers = await meter.generate(
        _short(prompt), n=n, temperature=temperature, thinking_tokens=thinking_tokens
    )
    return [(answer, _first_label(answer.text, labels)) for answer in answers]


def _short(prompt: Prompt) -> Prompt:
    return replace(prompt, max_tokens=_LABEL_TOKENS)


def _first_label(text: str, labels: Sequence[str]) -> int | None:
    stripped = text.strip()
    return next((i for i, label in enumerate(labels) if stripped.startswith(label)), None)


def sample_index(
    probabilities: Sequence[float], temperature: float, top_p: float, rng: random.Random
) -> int:
    """Samples an index at a temperature from the nucleus of mass top_p; temperature 0 is greedy."""
    best = max(range(len(probabilities)), key=lambda i: probabilities[i])
    if temperature == 0.0:
        return best
    # Relative to the best one, so that a low temperature cannot underflow everything to zero.
    weights = [
        (p / probabilities[best]) ** (1.0 / temperature) if p > 0.0 else 0.0 for p in probabilities
    ]
    total = math.fsum(weights)
    nucleus: list[int] = []
    mass = 0.0
    for index in sorted(range(len(weights)), key=lambda i: -weights[i]):
        nucleus.append(index)
        mass += weights[index] / total
        if mass >= top_p:
            break
    return rng.choices(nucleus, [weights[i] for i in nucleus])[0]


@dataclass(frozen=True, slots=True)
class ChoiceStep:
    """One round of a choice step.

    Attributes:
        prompts: the texts.
        context: the step.
        allocation: what it may spend; its depth is that of reasoning in words.
        thinking_tokens: budget of native thinking.
        actions: the admissible actions, two at least; at most `MAX_CHOICES` where the model reasons
            about them.
        meter: the way to the model.
    """

    prompts: Prompts
    context: StepContext
    allocation: Allocation
    thinking_tokens: int
    actions: tuple[str, ...]
    meter: Meter

    async def attempt(self, prompt: Prompt) -> tuple[Candidate, ...]:
        """Returns `beam_width` candidates: each after a thought of its own, or all from one choice.

        Greedy samples of one choice are all the same, so there is one of them.

        Args:
            prompt: of the thought at a depth of 1 or more, else of the choice.
        """
        allocation = self.allocation
        if self.thinking_tokens:
            return await self._choose_thinking(prompt)
        if allocation.depth == 0:
            n = 1 if allocation.temperature == 0.0 else allocation.beam_width
            return tuple(await self._choose("", "0", n))
        thoughts = await self.meter.generate(
            prompt,
            n=allocation.beam_width,
            temperature=allocation.temperature,
            top_p=allocation.top_p,
        )
        candidates: list[Candidate] = []
        for index, thought in enumerate(thoughts):
            text = thought.text.strip()
            (chosen,) = await self._choose(text, f"{index}", 1)
            candidates.append(_after(thought, chosen))
        return tuple(candidates)

    async def retry(self, candidate: Candidate, critique: str) -> Candidate:
        """Returns the choice that is made with the critique as its thought."""
        return (await self._choose(critique, "retry", 1))[0]

    async def _choose(self, thought: str, name: str, n: int) -> list[Candidate]:
        """Samples from the distribution over the actions after a thought."""
        question = at_once(self.prompts, self.context, thought)
        probabilities = await weigh(self.meter, question, self.actions)
        if probabilities is None:
            return [_unnamed(thought)] * n
        context, allocation = self.context, self.allocation
        candidates = []
        for number in range(n):
            rng = random.Random(
                f"{context.task.seed} {context.task.id} {len(context.steps)} "
                f"{context.evidence.rounds} {name} {number}"
            )
            index = sample_index(probabilities, allocation.temperature, allocation.top_p, rng)
            candidates.append(
                Candidate(
                    text=thought, action=self.actions[index], probability=probabilities[index]
                )
            )
        return candidates

    async def _choose_thinking(self, prompt: Prompt) -> tuple[Candidate, ...]:
        """Samples labels after native thinking; its text is not known."""
        actions = self.actions
        answers = await ask_thinking(
            self.meter,
            prompt,
            labels_for(len(actions)),
            n=self.allocation.beam_width,
            temperature=self.allocation.temperature,
            thinking_tokens=self.thinking_tokens,
        )
        return tuple(
            _after(
                answer,
                _unnamed("") if index is None else Candidate("", action=actions[index]),
            )
            for answer, index in answers
        )


def _unnamed(thought: str) -> Candidate:
    return Candidate(text=thought, action=None, failure="no listed action was named")


def _after(thought: Completion, candidate: Candidate) -> Candidate:
    """The candidate with the figures of the text that was written before the choice."""
    return replace(
        candidate,
        log_prob=thought.log_prob,
        entropy=thought.entropy,
        completion_tokens=thought.usage.completion_tokens,
        cut_off=thought.cut_off,
    )


def choice_looks(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """A `Plausibility` of any choice step; nothing in an open step, or without an action.

    ``options``: log of how many actions it was chosen among. ``admissible``: whether it is one of
    the listed actions. ``steps``: log(1 + steps so far). ``visits``: how often the plan was in this
    very situation before. ``tried``: how often it did this action then; ``done``: anywhere.
    ``repeats``: whether the last step did it, too. ``futile``: whether nothing changed when it was
    last done, in this situation if possible. ``undoes``: whether it leads back to the situation
    before the last step.

    A situation is the state with the listed actions. What only trying would show is left out:
    ``futile`` where the action was never done or no state is told, ``undoes`` where it was not done
    in this very situation.
    """
    action, now = candidate.action, context.observation
    if action is None or now.actions is None:
        return {}
    among = _listed_with(action, now)
    steps = context.steps
    seen = [step.observation for step in steps] + [now]
    here = [index for index, step in enumerate(steps) if _same(step.observation, now)]
    tried = [index for index in here if steps[index].action == action]
    done = [index for index, step in enumerate(steps) if step.action == action]
    looks = {
        "options": math.log(max(1, len(among or now.actions))),
        "admissible": float(among is not None),
        "steps": math.log1p(len(steps)),
        "visits": len(here),
        "tried": len(tried),
        "done": len(done),
        "repeats": float(bool(done) and done[-1] == len(steps) - 1),
    }
    if now.state and done:
        last = (tried or done)[-1]
        looks["futile"] = float(_same(seen[last], seen[last + 1]))
    if now.state and tried:
        looks["undoes"] = float(_same(seen[tried[-1] + 1], steps[-1].observation))
    return looks


def _listed_with(action: str, observation: Observation) -> tuple[str, ...] | None:
    """The listed actions that an action is one of: the plain ones, or those of a tool."""
    if observation.actions is not None and action in observation.actions:
        return observation.actions
    listed = observation.tool_actions.values()  # asked last, since some are found when asked for
    return next((actions for actions in listed if action in actions), None)


def _same(one: Observation, other: Observation) -> bool:
    return one.state == other.state and one.actions == other.actions
