"""Pages that fetch nothing: the templates of ``templates/``, figures, and traces of episodes.

Texts come from models and environments and are not to be trusted. jinja2 escapes every value that
goes into a template (autoescape); what is HTML already is a `Markup`, which only `page`, `figure`
and `trace` make. A trace holds no script, and what does not fit is left out, and said.
"""

from __future__ import annotations

from functools import cache
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import label_steps
from amp.report.stats import optional
from amp.types import Allocation, Candidate, Episode, Probe, Round, StepRecord, Usage

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.graph_objects import Figure

COLOURWAY = ("#999999", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
_TEMPLATES = Path(__file__).parent / "templates"
_STEPS = 40
_CANDIDATES = 12
_OPTIONS = 5
_CHARACTERS = 2_000
_VERIFICATION = ("no verification", "rules checked", "self-check by the model", "verified, refined")
_VERDICTS = {True: ("good", "success"), False: ("bad", "failure"), None: ("note", "unjudged")}


def page(template: str, title: str, **values: Any) -> str:
    """A page of a template that extends ``page.html``.

    Args:
        template: name of its file.
        title: as plain text.
        values: whatever the template reads.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    plotly = optional("plotly.offline", "a report as HTML").get_plotlyjs()
    found = _environment().get_template(template)
    return found.render(title=title, plotly=_markup(plotly), **values) + "\n"


def figure(made: Figure, name: str) -> Markup:
    """A figure as HTML.

    Args:
        made: its texts went through `label`.
        name: unique in its page; a figure without one would get a random one, and the same report
            should be the same page.
    """
    made.update_layout(template="plotly_white", colorway=COLOURWAY, margin={"l": 60, "r": 20})
    # Without its bar of buttons: one of them would send the figure elsewhere.
    config = {"displayModeBar": False, "responsive": True}
    div = f"figure-{name}"
    return _markup(made.to_html(config=config, include_plotlyjs=False, full_html=False, div_id=div))


def label(name: str) -> str:
    """A name for plotly, which reads a little HTML, links among it, in its labels."""
    return escape(name)


def anchor(run: int, place: int) -> str:
    """Where the trace of a run's episode stands in the page."""
    return f"trace-{run}-{place}"


def trace(episode: Episode, run: str, where: str, judge: Benchmark | None = None) -> Markup:
    """One episode.

    Args:
        episode: the episode.
        run: name of its run.
        where: its anchor.
        judge: its benchmark, to mark right candidates and mistakes; None marks none.
    """
    judged = () if judge is None else label_steps(episode, judge)
    marks = {labels.step: labels.mistaken for labels in judged}
    steps = [
        _shown(step, marks.get(place, ())) for place, step in enumerate(episode.steps[:_STEPS])
    ]
    template = _environment().get_template("trace.html")
    return _markup(
        template.render(
            episode=episode,
            run=run,
            anchor=where,
            verdict=_VERDICTS[episode.success],
            steps=steps,
            steps_left_out=len(episode.steps) - _STEPS,
        )
    )


Judged = list[tuple[Candidate, bool | None]]
"""Candidates, each with whether it was a mistake."""


def _shown(
    step: StepRecord, marks: tuple[bool | None, ...]
) -> tuple[StepRecord, list[tuple[Round, Judged]], int]:
    """A step, its rounds with the candidates that are shown, and how many are not."""
    total = sum(len(made.candidates) for made in step.rounds)
    verdicts = iter([*marks, *([None] * (total - len(marks)))])
    left = _CANDIDATES
    rounds: list[tuple[Round, Judged]] = []
    for made in step.rounds:
        pairs = list(zip(made.candidates, islice(verdicts, len(made.candidates)), strict=True))
        rounds.append((made, pairs[:left]))
        left = max(0, left - len(pairs))
    return step, rounds, total - _CANDIDATES


@cache
def _environment() -> Environment:
    jinja2 = optional("jinja2", "a report as HTML")
    made: Environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "allocation": _allocation,
        "clip": _clip,
        "cost": _cost,
        "facts": _facts,
        "probed": _probed,
    }
    return made


def _markup(html: str) -> Markup:
    """Marks a text as HTML, which no template escapes."""
    made: Markup = optional("markupsafe", "a report as HTML").Markup(html)
    return made


# --------------------------------------------------------------------------- what filters say


def _probed(probe: Probe) -> str:
    told = []
    if probe.entropy is not None:
        told.append(f"entropy of the next token {probe.entropy:.3f} nats")
    if probe.perplexity is not None:
        told.append(f"perplexity of the context {probe.perplexity:.2f}")
    if probe.hidden:
        told.append(f"a hidden state of {len(probe.hidden)} numbers")
    likely = sorted(probe.options.items(), key=lambda option: -option[1])[:_OPTIONS]
    return "; ".join([*told, *(f"{_clip(action)} {chance:.1%}" for action, chance in likely)])


def _facts(candidate: Candidate) -> str:
    facts = [f"{candidate.completion_tokens} tokens"]
    if candidate.probability is not None:
        facts.append(f"probability {candidate.probability:.3f}")
    if candidate.log_prob is not None:
        facts.append(f"log-probability {candidate.log_prob:.2f}")
    if candidate.p_correct is not None:
        facts.append(f"self-check {candidate.p_correct:.3f}")
    if candidate.cut_off:
        facts.append("cut off")
    if candidate.refined_from is not None:
        facts.append(f"refined from {_clip(candidate.refined_from)}")
    return "; ".join(facts)


def _allocation(allocation: Allocation) -> str:
    """An allocation in words."""
    depth, width = allocation.depth, allocation.beam_width
    tools = ", ".join(sorted(allocation.tools))
    return "; ".join(
        [
            "act at once" if depth == 0 else f"reason in at most {depth} steps",
            "1 candidate" if width == 1 else f"{width} candidates",
            f"temperature {allocation.temperature:.2g}, top-p {allocation.top_p:.2g}",
            f"tools: {tools}" if tools else "no tools",
            _VERIFICATION[allocation.verification],
        ]
    )


def _cost(usage: Usage) -> str:
    dollars = f", {usage.dollars:.5f} dollars" if usage.dollars else ""
    return f"{usage.tokens:,} tokens, {usage.seconds:.1f} s{dollars}"


def _clip(text: str) -> str:
    """A text with its end left out where it is too long."""
    if len(text) <= _CHARACTERS:
        return text
    return f"{text[:_CHARACTERS]}… [{len(text) - _CHARACTERS:,} characters left out]"
