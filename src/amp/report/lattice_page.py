"""The page of plans on a lattice: what each arm would have done in a state, and what was best.

A plan on a lattice differs from one of a run in that it is known where every arm leads. So each
step of a policy's plan stands beside what the exact oracle would have chosen there, and what that
would have gained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amp.report.html_page import fragment, page
from amp.report.timeline import VERDICTS
from amp.types import Episode

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_BYTES = 6_000_000
"""Of all plans together; what does not fit is left out, and said."""

_NEXT_TO_NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class ArmShown:
    """What an arm comes to in a state.

    Attributes:
        name: its name.
        action: what it would do; None for nothing that can be read.
        plan: the plan that would stand then.
        leads: where that leads, in words.
        cost: of the arm there.
        worth: reward of all that follows, if that goes on as is best.
    """

    name: str
    action: str | None
    plan: tuple[str, ...]
    leads: str
    cost: float
    worth: float


@dataclass(frozen=True, slots=True)
class StepShown:
    """What was chosen in a step of a plan, and what could have been.

    Attributes:
        asked: the arms that the policy asked, in order; none where it gave up.
        oracle: the arm that is best there; None to give up.
        lost: reward that the choice gives away, if all that follows is done as is best; None where
            several arms were asked.
        arms: what each comes to.
        sees: what a policy can see of the plan (`amp.allocate.plan_state`).
    """

    asked: tuple[str, ...]
    oracle: str | None
    lost: float | None
    arms: tuple[ArmShown, ...]
    sees: Mapping[str, float] = field(default_factory=dict)

    @property
    def parts(self) -> bool:
        """Whether policy and oracle part; arms that are worth the same do not."""
        if self.lost is None:
            return self.asked[:1] != (self.oracle,)
        return self.lost > _NEXT_TO_NOTHING


@dataclass(frozen=True, slots=True)
class PlanShown:
    """A policy's plan of a task.

    Attributes:
        policy: its name.
        episode: what came of it.
        oracle: what the oracle would have come to.
        steps: one for each of the episode's.
    """

    policy: str
    episode: Episode
    oracle: Episode
    steps: tuple[StepShown, ...]

    @property
    def lost(self) -> float:
        """Reward that all its choices give away."""
        return sum(step.lost or 0.0 for step in self.steps)


def lattice_page(
    title: str,
    plans: Sequence[PlanShown],
    unit: str,
    trade_off: float,
    max_bytes: int = MAX_BYTES,
) -> str:
    """The plans of policies as an HTML document, the tasks on which most is lost first.

    Args:
        title: as plain text.
        plans: of one or several policies on the same tasks.
        unit: of costs, in words.
        trade_off: of policies and oracle.
        max_bytes: what all plans together may take.

    Raises:
        MissingDependencyError: if jinja2 is not installed.
    """
    by_task: dict[tuple[str, int], list[PlanShown]] = {}
    for plan in plans:
        by_task.setdefault((plan.episode.task.id, plan.episode.task.seed), []).append(plan)
    groups = sorted(by_task.values(), key=lambda group: -max(plan.lost for plan in group))
    made: list[Markup] = []
    for group in groups:
        html = _task(group, unit)
        max_bytes -= len(html.encode())
        if max_bytes < 0:
            break
        made.append(html)
    left_out = len(groups) - len(made)
    return page(
        "lattice.html",
        title,
        draws=False,
        policies=[_policy(name, plans) for name in dict.fromkeys(p.policy for p in plans)],
        unit=unit,
        trade_off=trade_off,
        plans=made,
        left_out=left_out,
    )


def _policy(name: str, plans: Sequence[PlanShown]) -> list[str]:
    """A row of the table of policies."""
    own = [plan for plan in plans if plan.policy == name]
    steps = [step for plan in own for step in plan.steps]
    solved = sum(plan.episode.success is True for plan in own)
    best = sum(plan.oracle.success is True for plan in own)
    parting = sum(step.parts for step in steps)
    lost = sum(plan.lost for plan in own) / max(1, len(own))
    return [name, f"{solved} of {len(own)}", f"{best} of {len(own)}",
            f"{parting} of {len(steps)}", f"{lost:.4f}"]  # fmt: skip


def _task(group: Sequence[PlanShown], unit: str) -> Markup:
    """One task with the plans of all policies."""
    first = group[0]
    runs = [(plan.policy, plan.episode) for plan in group] + [("oracle", first.oracle)]
    parting = [step.parts for plan in group for step in plan.steps]
    return fragment(
        "plan.html",
        task=first.episode.task,
        told=[(name, VERDICTS[episode.success], episode.usage) for name, episode in runs],
        rows=max(len(plan.steps) for plan in group),
        parts=[_plan(plan, unit) for plan in group],
        same=not any(parting),
        parting=f"{sum(parting)} of {len(parting)} steps part from the oracle",
    )


def _plan(plan: PlanShown, unit: str) -> Markup:
    steps: list[dict[str, Any]] = [
        {
            "step": step,
            "record": record,
            "asked": ", then ".join(step.asked) or "give up",
            "oracle": step.oracle or "give up",
        }
        for step, record in zip(plan.steps, plan.episode.steps, strict=True)
    ]
    return fragment(
        "lattice_plan.html",
        plan=plan,
        verdict=VERDICTS[plan.episode.success],
        unit=unit,
        steps=steps,
    )
