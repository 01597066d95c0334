"""Published planning methods by name, with the interface of `amp.planner.Planner`.

`amp run --method NAME` runs one: a planner with an allocator and settings, which the user can
override. All call the model through the same executor, so they can be compared on the same recorded
samples. `BeamPlanner` takes its allocations from an allocator; `BASELINES` have a fixed one.

`LLMDPPlanner` stands here, since the tools of its executor do the work: its goal is read by the
benchmark and not translated by the model, and there is one supposed world, the likeliest, where the
paper samples several and takes the shortest plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from amp.errors import InvalidInputError, did_you_mean
from amp.execute.tools.symbolic_planner import first_step
from amp.methods.adaplanner import AdaPlanner
from amp.methods.adapt import ADaPTPlanner
from amp.methods.base import AnyPlanner, BaselinePlanner, Trajectory
from amp.methods.beam_search import BeamPlanner
from amp.methods.react import ReActPlanner
from amp.types import Candidate
from amp.votes import last_model_vote, most_likely, vote

__all__ = [
    "BASELINES",
    "METHODS",
    "ADaPTPlanner",
    "AdaPlanner",
    "AnyPlanner",
    "BaselinePlanner",
    "BeamPlanner",
    "LLMDPPlanner",
    "Method",
    "ReActPlanner",
    "find_method",
]


class LLMDPPlanner(BaselinePlanner):
    """Does what a symbolic planner plans, and plans anew after every observation.

    What the environment has not shown, the allocated tool supposes, such as ``symbolic_planner`` by
    asking the model. What is then seen takes the place of what was supposed. Where the tool has no
    plan, or its first step is not admissible, the model chooses an action at once.
    """

    version = "llm_dp/1"

    async def _plan(self, run: Trajectory) -> None:
        if not self.allocation.tools & self.executor.tools.keys():
            raise InvalidInputError(
                "llm_dp carries out the plans of a tool, and none is allocated here; "
                "allocate 'symbolic_planner' where the benchmark has it, or choose another method"
            )
        observation = run.context.observation
        if observation.symbols is None or observation.actions is None:
            raise InvalidInputError(
                f"llm_dp plans from symbols and listed actions, which task {run.task.id!r} lacks; "
                "choose another method"
            )
        while run.open_step():
            run.close_step(await self._act(run))

    async def _act(self, run: Trajectory) -> str | None:
        """Decides a step and carries it out; returns why it has no action, if so."""
        context = run.context
        advice = await self.executor.advise(context, self.allocation, run.meter)
        steps = (first_step(use.output) for use in advice)
        planned = next((s for s in steps if s in (context.observation.actions or ())), None)
        if planned is not None:
            run.note(self.allocation, Candidate(text="", action=planned, tool_uses=advice))
            await run.act(planned)
            return None
        run.meter.notes.append("the model's choice for want of a plan")
        alone = replace(self.allocation, tools=frozenset())
        candidates = await self.executor.execute(context, alone, run.meter)
        run.note(alone, *(replace(c, tool_uses=advice + c.tool_uses) for c in candidates))
        chosen = vote(candidates)
        if chosen is None or chosen.action is None:
            return "no listed action was named"
        await run.act(chosen.action)
        return None


BASELINES: dict[
    str, type[ReActPlanner] | type[AdaPlanner] | type[ADaPTPlanner] | type[LLMDPPlanner]
] = {
    "adaplanner": AdaPlanner,
    "adapt": ADaPTPlanner,
    "llm_dp": LLMDPPlanner,
    "react": ReActPlanner,
}

_CHAIN_DEPTH = 4
_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Method:
    """A planner with its allocator and settings.

    Attributes:
        remark: one phrase about it, with its source.
        planner: name of the planner: ``amp``, ``beam`` or one of `amp.methods.BASELINES`.
        allocator: name of the allocator.
        pinned: the fields of `Allocation` that the method fixes, by name; the benchmark's defaults
            give the others.
        in_words: whether it answers in words, without tools but for those of the environment.
        select: chooses the candidate whose action is carried out.
    """

    remark: str
    planner: str = "amp"
    allocator: str = "fixed"
    pinned: Mapping[str, Any] = field(default_factory=dict)
    in_words: bool = False
    select: Callable[[Sequence[Candidate]], Candidate | None] = vote


_GREEDY = {"temperature": 0.0, "beam_width": 1, "verification": 0}

METHODS: dict[str, Method] = {
    "direct": Method("acts at once, greedily", pinned=_GREEDY | {"depth": 0}, in_words=True),
    "chain_of_thought": Method(
        "reasons in words, greedily (Wei et al. 2022, arXiv 2201.11903)",
        pinned=_GREEDY | {"depth": _CHAIN_DEPTH},
        in_words=True,
    ),
    "self_consistency": Method(
        "votes over four samples with the benchmark's tools (Wang et al. 2022, arXiv 2203.11171)",
        pinned={"temperature": 0.7, "top_p": 0.95, "beam_width": _SAMPLES},
    ),
    "best_of_n": Method(
        "the likeliest of four samples",
        pinned={"temperature": 0.7, "top_p": 0.95, "beam_width": _SAMPLES},
        select=most_likely,
    ),
    "adaptive_consistency": Method(
        "samples until the majority is safe (Aggarwal et al. 2023, arXiv 2305.11860)",
        allocator="adaptive_consistency",
        pinned={"temperature": 0.7, "top_p": 0.95},
    ),
    "early_stopping": Method(
        "samples in windows until one is unanimous (Li et al. 2024, arXiv 2401.10480)",
        allocator="early_stopping",
        pinned={"temperature": 0.7, "top_p": 0.95},
    ),
    "until_agreement": Method(
        "samples until two agree, at most four",
        allocator="until_agreement",
        pinned={"temperature": 0.7, "top_p": 0.95},
    ),
    "cascade": Method(
        "the next model where four samples disagree (Chen et al. 2023, arXiv 2305.05176)",
        allocator="cascade",
        pinned={"temperature": 0.7, "top_p": 0.95, "beam_width": _SAMPLES},
        select=last_model_vote,
    ),
    "beam_search": Method(
        "four partial plans side by side, for plans of several open steps",
        planner="beam",
        pinned={"temperature": 0.7, "top_p": 0.95, "beam_width": _SAMPLES, "depth": 1},
        in_words=True,
    ),
    "react": Method(
        "thoughts, actions and observations by turns (Yao et al. 2023, arXiv 2210.03629)",
        planner="react",
        pinned=_GREEDY,
    ),
    "adaplanner": Method(
        "a whole plan first, refined where it fails (Sun et al. 2023, arXiv 2305.16653)",
        planner="adaplanner",
        pinned=_GREEDY,
    ),
    "adapt": Method(
        "decomposes what it fails at (Prasad et al. 2024, arXiv 2311.05772)",
        planner="adapt",
        pinned=_GREEDY,
    ),
    "llm_dp": Method(
        "a symbolic planner on what the model believes (Dagan et al. 2023, arXiv 2308.06391)",
        planner="llm_dp",
        pinned=_GREEDY | {"depth": 0, "tools": ["symbolic_planner"]},
    ),
    "llm_dp_random": Method(
        "llm_dp with beliefs drawn by chance",
        planner="llm_dp",
        pinned=_GREEDY | {"depth": 0, "tools": ["symbolic_planner_random"]},
    ),
}


def find_method(name: str) -> Method:
    """Returns a method by its name.

    Raises:
        InvalidInputError: if there is none; names the nearest and all.
    """
    if name not in METHODS:
        known = sorted(METHODS)
        raise InvalidInputError(
            f"unknown method {name!r}{did_you_mean(name, known)} (methods: {', '.join(known)})"
        )
    return METHODS[name]
