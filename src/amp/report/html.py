"""What the pages of reports share: one HTML document that fetches nothing, tables, figures.

Every text that goes in is escaped here, as names and model output are not to be trusted.

Traces as HTML: each step as a person wants to see it. What does not fit is left out, and said.

Texts are those of models and environments, so all of them are escaped; a trace holds no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import label_steps
from amp.errors import MissingDependencyError
from amp.types import Allocation, Candidate, Complexity, Episode, Round, StepRecord, Usage

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


COLOURWAY = ("#999999", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15em 1em .15em 0; text-align: left; }
.note { color: #666; }
"""


def document(title: str, parts: Iterable[str | Figure], style: str = "") -> str:
    """One page of these parts.

    Args:
        title: as plain text.
        parts: HTML, or figures.
        style: rules on top of the common ones.

    Raises:
        MissingDependencyError: if plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingDependencyError(
            "a report as HTML needs plotly; run: pip install 'adaptive-meta-planning[report]'"
        ) from error

    # A figure without an id gets a random one; the same report should be the same page.
    body = "".join(
        part if isinstance(part, str) else _html(part, f"figure-{place}")
        for place, part in enumerate(parts)
    )
    # The policy makes the browser refuse whatever plotly might want to fetch or evaluate.
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<style>{_STYLE}{style}</style><script>{get_plotlyjs()}</script></head>
<body><h1>{escape(title)}</h1>{body}</body></html>
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line('th', heads)}{''.join(line('td', row) for row in rows)}</table>"


def label(name: str) -> str:
    """A name for plotly, which reads a little HTML, links among it, in its labels."""
    return escape(name)


def _html(figure: Figure, name: str) -> str:
    figure.update_layout(template="plotly_white", colorway=COLOURWAY, margin={"l": 60, "r": 20})
    # Without its bar of buttons: one of them would send the figure elsewhere.
    config = {"displayModeBar": False, "responsive": True}
    text = figure.to_html(config=config, include_plotlyjs=False, full_html=False, div_id=name)
    return str(text)


STYLE = """
details { margin: .2em 0; } summary { cursor: pointer; }
.step { border-left: 3px solid #ddd; margin: .8em 0; padding-left: 1em; }
.step h4, .episode h3 { margin: .3em 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .5em;
      margin: .3em 0; }
.candidate { margin: .4em 0 .4em 1em; } .chosen { border-left: 3px solid #0072b2;
  padding-left: .5em; }
.good { color: #00684a; } .bad { color: #a33b00; }
"""
_STEPS = 40
_CANDIDATES = 12
_CHARACTERS = 2_000
_VERIFICATION = ("no verification", "rules checked", "self-check by the model", "verified, refined")


def anchor(run: int, place: int) -> str:
    """Where the trace of a run's episode stands in the page."""
    return f"trace-{run}-{place}"


def trace(episode: Episode, name: str, where: str, judge: Benchmark | None = None) -> str:
    """One episode, folded up; a link to its anchor unfolds it.

    Args:
        episode: the episode.
        name: of its run.
        where: its anchor.
        judge: its benchmark, to mark right candidates and mistakes; None marks none.
    """
    verdict = {True: ("good", "success"), False: ("bad", "failure"), None: ("note", "unjudged")}
    kind, word = verdict[episode.success]
    marks = _marks(episode, judge)
    steps = "".join(
        _step(number, step, marks.get(number - 1, ()))
        for number, step in enumerate(episode.steps[:_STEPS], start=1)
    )
    left_out = len(episode.steps) - _STEPS
    more = f'<p class="note">{left_out} further steps are left out.</p>' if left_out > 0 else ""
    goal = f"<pre>{_clip(episode.task.goal)}</pre>" if episode.task.goal else ""
    # The anchor stands inside, since a browser unfolds what holds the target of a link.
    return (
        f'<details class="episode"><summary><b>{escape(episode.task.id)}</b> {escape(name)} '
        f'<span class="{kind}">{word}</span> {_cost(episode.usage)}</summary>'
        f'<div id="{where}">{goal}{steps}{more}<p>Ended: {escape(episode.ended)}.</p>'
        "</div></details>\n"
    )


def _marks(episode: Episode, judge: Benchmark | None) -> Mapping[int, tuple[bool | None, ...]]:
    if judge is None:
        return {}
    return {outcome.step: outcome.mistaken for outcome in label_steps(episode, judge)}


def _step(number: int, step: StepRecord, marks: tuple[bool | None, ...]) -> str:
    state = step.observation.state
    parts = [
        f'<div class="step"><h4>Step {number}: {_chosen(step)}</h4>',
        f"<details><summary>state</summary><pre>{_clip(state)}</pre></details>" if state else "",
        _probe(step),
    ]
    shown = 0
    for index, made in enumerate(step.rounds, start=1):
        parts.append(f"<p><b>Round {index}</b>: {_allocation(made.allocation)}. ")
        parts.append(f"{_cost(made.usage)}</p>{_complexity(made.complexity)}")
        parts.append(_stood_in(made))
        for candidate in made.candidates:
            if shown < _CANDIDATES:
                mark = marks[shown] if shown < len(marks) else None
                parts.append(_candidate(candidate, mark, candidate.action == step.action))
            shown += 1
    if shown > _CANDIDATES:
        parts.append(f'<p class="note">{shown - _CANDIDATES} further candidates are left out.</p>')
    if step.rounds and step.complexity != step.rounds[-1].complexity:
        parts.append(f"<p>When it was settled:</p>{_complexity(step.complexity)}")
    if step.feedback:
        parts.append(f"<p>The environment said:</p><pre>{_clip(step.feedback)}</pre>")
    parts.append(f"<p>The step: {_cost(step.usage)}</p></div>")
    return "".join(parts)


def _chosen(step: StepRecord) -> str:
    if step.action is not None:
        return _clip(step.action)
    return f'<span class="bad">no action: {_clip(step.failure or "unknown")}</span>'


def _probe(step: StepRecord) -> str:
    if (probe := step.probe) is None:
        return ""
    told = []
    if probe.entropy is not None:
        told.append(f"entropy of the next token {probe.entropy:.3f} nats")
    if probe.perplexity is not None:
        told.append(f"perplexity of the context {probe.perplexity:.2f}")
    if probe.hidden:
        told.append(f"a hidden state of {len(probe.hidden)} numbers")
    likely = sorted(probe.options.items(), key=lambda option: -option[1])[:5]
    told += [f"{_clip(action)} {chance:.1%}" for action, chance in likely]
    return f'<p class="note">Looked at before acting: {"; ".join(told)}.</p>' if told else ""


def _complexity(complexity: Complexity) -> str:
    features = "; ".join(f"{escape(k)} {v:.3g}" for k, v in complexity.features.items())
    missing = "; ".join(map(escape, complexity.substitutes))
    return (
        f"<p>Complexity {complexity.score:.3f}"
        + (f' <span class="note">from {features}</span>' if features else "")
        + (f'<br><span class="bad">stood in: {missing}</span>' if missing else "")
        + "</p>"
    )


def _stood_in(made: Round) -> str:
    if not made.substitutes:
        return ""
    return f'<p class="bad">Not as allocated: {"; ".join(map(_clip, made.substitutes))}</p>'


def _candidate(candidate: Candidate, mistaken: bool | None, chosen: bool) -> str:
    said = candidate.action if candidate.action is not None else candidate.failure or "no action"
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
    verdict = {True: ' <b class="bad">✘ mistake</b>', False: ' <b class="good">✔ right</b>'}
    parts = [
        f'<div class="candidate{" chosen" if chosen else ""}">'
        f'<span class="{"good" if candidate.valid else "bad"}">→ {_clip(said)}</span>'
        f"{verdict.get(mistaken, '') if mistaken is not None else ''} "
        f'<span class="note">{"; ".join(facts)}{"; chosen" if chosen else ""}</span>'
    ]
    if candidate.broken_rule:
        parts.append(f'<br><span class="bad">breaks a rule: {_clip(candidate.broken_rule)}</span>')
    if candidate.text:
        parts.append(f"<pre>{_clip(candidate.text)}</pre>")
    for use in candidate.tool_uses:
        result = use.output if use.error is None else use.error
        parts.append(f"<p>{escape(use.tool)} in {use.seconds:.2f} s:</p><pre>{_clip(result)}</pre>")
    if candidate.critique:
        parts.append(f"<p>Critique:</p><pre>{_clip(candidate.critique)}</pre>")
    if candidate.attempt is not None:
        parts.append(f"<p>New attempt:</p><pre>{_clip(candidate.attempt.text)}</pre>")
    return "".join(parts) + "</div>"


def _allocation(allocation: Allocation) -> str:
    """An allocation in words."""
    depth, width = allocation.depth, allocation.beam_width
    tools = ", ".join(map(escape, sorted(allocation.tools)))
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
    return f'<span class="note">{usage.tokens:,} tokens, {usage.seconds:.1f} s{dollars}</span>'


def _clip(text: str) -> str:
    """A text, escaped, with its end left out where it is too long."""
    if len(text) <= _CHARACTERS:
        return escape(text)
    return f"{escape(text[:_CHARACTERS])}… [{len(text) - _CHARACTERS:,} characters left out]"
