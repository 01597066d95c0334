"""What flows through the loop: frozen values with units in their names.

Reading order: `Task`, `Observation` and `Transition` (the problem, from `amp.environment`), `Usage`
and `Limits` (the budget) with `Allocation` and `Decision` (what the RAC decides; all of these from
`amp.usage`), `Complexity` (what the CAM says), `Candidate` and `Evidence` (the results),
`StepRecord` and `Episode` (the record).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from amp.environment import Observation as Observation
from amp.environment import Task as Task
from amp.environment import Transition as Transition
from amp.tokens import TokenFigures as TokenFigures
from amp.usage import PLAN as PLAN
from amp.usage import STANDING_PLAN as STANDING_PLAN
from amp.usage import STOP as STOP
from amp.usage import UNAIDED as UNAIDED
from amp.usage import Allocation as Allocation
from amp.usage import Decision as Decision
from amp.usage import Limits as Limits
from amp.usage import Usage as Usage

_OFTEN_EMPTY = ("model", "by_model", "winner", "plan")
"""Fields that say nothing where there is one model, the vote decides, or no plan is written."""


def written(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """`dict_factory` of `dataclasses.asdict` for files: leaves out fields that say nothing.

    So files of today and those written before there were such fields are the same.
    """
    return {name: v for name, v in fields if v or v == 0 or name not in _OFTEN_EMPTY}


@dataclass(frozen=True, slots=True)
class Complexity:
    """C(s, p), the score of one plan step, with what it came from (spec 2.2).

    Attributes:
        score: higher means harder; the weighted sum of features in [0, 1] lies in [0, 1], too.
        features: every feature that was used, by name. One that is not available is absent.
        substitutes: replacements for features that the model does not provide, one phrase each.

    Raises:
        ValueError: if the score is not finite.
    """

    score: float
    features: Mapping[str, float] = field(default_factory=dict)
    substitutes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"complexity score is {self.score}, expected a finite number")


MODEL_ERROR = "model error"
"""`Episode.ended` where a model that could not answer ended it."""

GIVEN_UP = "given up"
"""`Episode.ended` where the allocator gave it up (`Decision.give_up`)."""

ENVIRONMENT_ERROR = "environment error"
"""`Episode.ended` where the environment failed, or refused an action."""

FAULTS = frozenset({MODEL_ERROR, ENVIRONMENT_ERROR})
"""Endings that say nothing of the plan; a resumed run tries such tasks again."""

DEAD_END = "dead end"
"""`Episode.ended` where no action was admissible, and the task not done."""

WITHHELD = "withheld by the provider's filter"
"""Failure of a candidate whose answer was kept back, or that the model refused to give."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One run of a tool on a model's text.

    Attributes:
        tool: its name.
        input: of the tool.
        output: of the tool; empty on failure.
        error: one line, or None if it went well.
        seconds: how long it took.
        resume: text from which the model has to go on writing, or None where the output is final.
        walls: what stood around the program that was run, a sandbox and its walls, such as
            ``local: landlock, mounts, network, seccomp``; empty where none was run.
    """

    tool: str
    input: str
    output: str
    error: str | None = None
    seconds: float = 0.0
    resume: str | None = None
    walls: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposal for next_step.

    Attributes:
        text: what the model wrote.
        action: the action read from it; None if it could not be read.
        log_prob: sum of the log-probabilities of its tokens; None if the model gives none.
        entropy: mean entropy of its tokens in nats; None if the model gives none.
        first_entropy: entropy of its first token in nats, which is that of the model before it
            wrote anything; None if the model gives none.
        probability: the model's probability of this action among the admissible ones, where read.
        completion_tokens: its length.
        cut_off: whether the token cap ended it.
        tool_uses: the tools that ran on it.
        broken_rule: what the rule check (verification 1) found wrong; None if nothing or not run.
        p_correct: probability of "yes" in the self-check (verification 2); None if not run.
        critique: what verification 3 said about it; None if it was not criticised.
        attempt: the new attempt that verification 3 made in the light of the critique.
        refined_from: the action that it stood for before a better attempt replaced it.
        failure: why no action could be read.
        tokens: what its tokens tell beside `log_prob` and `entropy`; None if the model gives no
            log-probabilities.
        looks: what it looks like against what the step asks, as numbers by name; the benchmark says
            which.
        p_right: probability that it is right by these figures, whatever others answer; None where
            nothing was trained to tell.
        model: name of the model that answered, where the planner has several; else None.
        plan: the actions that are to follow this one, in the environment's words; empty unless the
            step was allocated a plan, or follows one.
    """

    text: str
    action: str | None
    log_prob: float | None = None
    entropy: float | None = None
    probability: float | None = None
    completion_tokens: int = 0
    cut_off: bool = False
    tool_uses: tuple[ToolUse, ...] = ()
    broken_rule: str | None = None
    p_correct: float | None = None
    critique: str | None = None
    attempt: Candidate | None = None
    refined_from: str | None = None
    failure: str | None = None
    first_entropy: float | None = None
    tokens: TokenFigures | None = None
    looks: Mapping[str, float] = field(default_factory=dict, hash=False)
    p_right: float | None = None
    model: str | None = None
    plan: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether it has an action and breaks no rule."""
        return self.action is not None and self.broken_rule is None


ProbeKind = Literal["options", "next_token", "hidden", "perplexity"]
"""What can be measured of a step before its first round, for the assessor.

``options``: the probabilities of listed actions; a round of depth 0 uses the same ones, so they
cost nothing extra. ``next_token``: the distribution of an answer's first token, where actions are
free text; it costs one token on a prompt that the first round reads anyway. ``hidden``: the hidden
state of that prompt's last token. ``perplexity``: of the context under the model.
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured of a step before its first round; other fields have their defaults.

    Attributes:
        entropy: entropy of the next token's distribution in nats; a lower bound where the model
            gives its most likely tokens only. None in a choice step, which has `options` instead.
        options: probability of each admissible action; empty where an action is free text.
        perplexity: of the context under the model, at least 1.
        hidden: hidden state of the prompt's last token.
    """

    entropy: float | None = None
    options: Mapping[str, float] = field(default_factory=dict)
    perplexity: float | None = None
    hidden: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one plan step after some rounds; input of the CAM and the RAC.

    Attributes:
        candidates: all candidates of all rounds of this step, oldest first.
        rounds: executed rounds.
        probe: what was measured before the first round; None if nothing was.
        tools: the tools that each candidate was allocated, whether they ran or not; shorter than
            the candidates where that is not known, and then counted as none.
    """

    candidates: tuple[Candidate, ...] = ()
    rounds: int = 0
    probe: Probe | None = None
    tools: tuple[frozenset[str], ...] = ()

    @property
    def with_tools(self) -> int:
        """How many of the candidates were allocated a tool."""
        return sum(map(bool, self.tools))

    @property
    def votes(self) -> Counter[str]:
        """Votes by action. Invalid candidates vote only if there is no valid one."""
        valid = [c for c in self.candidates if c.valid]
        voters = valid or [c for c in self.candidates if c.action is not None]
        return Counter(c.action for c in voters if c.action is not None)

    @property
    def agreement(self) -> float | None:
        """Share of the leading action among all candidates; None before the first round.

        Candidates without an action count in the denominator.
        """
        if not self.candidates:
            return None
        return max(self.votes.values(), default=0) / len(self.candidates)

    def after(
        self, candidates: tuple[Candidate, ...], tools: frozenset[str] = frozenset()
    ) -> Evidence:
        """The evidence after one more round with these candidates and allocated tools."""
        return Evidence(
            self.candidates + candidates,
            self.rounds + 1,
            self.probe,
            self.tools + (tools,) * len(candidates),
        )


@dataclass(frozen=True, slots=True)
class StepContext:
    """What is known when one plan step is decided: (s, p) of the spec, and the budget.

    Attributes:
        task: the task.
        observation: the current state s.
        steps: the partial plan p.
        evidence: the results of this step's rounds so far.
        remaining: what the limits still allow, at least 0.
        usage: what this step has cost so far, probes included.
        failed: names of the models that failed in this episode and are asked no more.
        standing_plan: what is left of the plan that an earlier step wrote, from the next action on;
            empty where there is none, or its next action is not admissible now.
        tools: those of the round that is made, for prompts to read; empty between rounds.
    """

    task: Task
    observation: Observation
    steps: tuple[StepRecord, ...] = ()
    evidence: Evidence = Evidence()
    remaining: Limits = Limits()
    usage: Usage = Usage()
    failed: frozenset[str] = frozenset()
    standing_plan: tuple[str, ...] = ()
    tools: frozenset[str] = frozenset()

    @property
    def offered(self) -> tuple[str, ...] | None:
        """The admissible actions with all help that there is; None where an action is free text."""
        return self.actions(frozenset(self.observation.tool_actions) - {UNAIDED})

    def actions(self, tools: frozenset[str]) -> tuple[str, ...] | None:
        """The admissible actions with these tools allocated; None where an action is free text."""
        for name in sorted(tools):
            if name in self.observation.tool_actions:
                return self.observation.tool_actions[name]
        return self.observation.actions


@dataclass(frozen=True, slots=True)
class Round:
    """One execution of an allocation.

    Attributes:
        complexity: from the CAM, before it.
        allocation: from the RAC.
        log_prob: log-probability of that decision.
        latents: its samples in latent space; empty if there were none.
        candidates: the results of this round.
        usage: what this round cost.
        substitutes: what was replaced, reduced or missing, one phrase each; empty when everything
            was done as allocated.
    """

    complexity: Complexity
    allocation: Allocation
    log_prob: float
    candidates: tuple[Candidate, ...]
    usage: Usage
    substitutes: tuple[str, ...] = ()
    latents: tuple[float, ...] = ()


def first_failure(rounds: Sequence[Round]) -> str:
    """Why the rounds of a step gave no action: the first failure of a candidate."""
    failures = (c.failure for each in rounds for c in each.candidates if c.failure)
    return next(failures, "no round was allocated")


def decided_by(rounds: Sequence[Round], last: Complexity) -> tuple[Complexity, Complexity | None]:
    """The assessment that decided a step, and the one after its last round if there was one.

    Args:
        rounds: of the step.
        last: its last assessment.
    """
    if not rounds or last == rounds[-1].complexity:
        return last, None
    return rounds[-1].complexity, last


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One plan step: what it cost, why it was allocated that much, and its result.

    Attributes:
        observation: the state in which it was decided.
        rounds: its rounds, in order.
        complexity: the assessment of the CAM that decided what the last round was allocated; of a
            step without rounds, the only one.
        action: what was done; None if no round named an action (a counted failure of this step).
        usage: all that the step cost, probes included.
        failure: why there is no action, the limit that ended the step early, or why the episode was
            given up.
        stop: the allocator's decision to stop, if that ended the step; a learner needs its
            log-probability and latents like those of the rounds.
        feedback: the environment's answer to the action.
        probe: what was measured before the first round; None if nothing was.
        final_complexity: the assessment after the last round, which knows its candidates; None if
            there was none.
    """

    observation: Observation
    rounds: tuple[Round, ...]
    complexity: Complexity
    action: str | None
    usage: Usage
    failure: str | None = None
    feedback: str = ""
    stop: Decision | None = None
    probe: Probe | None = None
    final_complexity: Complexity | None = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All of them, in the order in which the rounds brought them."""
        return tuple(candidate for each in self.rounds for candidate in each.candidates)


def standing_plan(steps: Sequence[StepRecord]) -> tuple[str, ...]:
    """The plan that stands after some steps: that of the candidate carried out in the last one.

    So a step that neither plans nor follows ends a plan.
    """
    if not steps:
        return ()
    last = steps[-1]
    candidates = last.candidates
    if last.stop is not None and last.stop.winner is not None:
        candidates = (candidates[last.stop.winner],)
    plans = (c.plan for c in reversed(candidates) if c.action == last.action and c.plan)
    return next(plans, ())


@dataclass(frozen=True, slots=True)
class Episode:
    """One task from start to end.

    Attributes:
        task: the task.
        steps: the plan, each step with its rounds.
        success: whether the goal was reached; None where it is not known.
        score: quality in [0, 1].
        usage: all that was spent, the sum over the steps.
        ended: why it ended: ``done``, the limit that was reached, ``dead end``, ``given up``, or
            ``model error`` or ``environment error`` (the last step's `failure` says which).
        by_model: what of the usage each model took, by name, where the planner has several; the
            rest is that of tools.
    """

    task: Task
    steps: tuple[StepRecord, ...]
    success: bool | None
    score: float
    usage: Usage
    ended: str
    by_model: Mapping[str, Usage] = field(default_factory=dict, hash=False)

    @property
    def plan(self) -> tuple[str, ...]:
        """The actions that were carried out, in order."""
        return tuple(step.action for step in self.steps if step.action is not None)
