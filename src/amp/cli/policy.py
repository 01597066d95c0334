"""`amp policy show`: what a policy would allocate across complexity, before and after a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.allocate.policy import Policy
from amp.allocate.space import TOOLS_FROM, Space, sigmoid
from amp.cli.app import Json, app, output_file
from amp.cli.terminal import new_console, say_json
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Evidence,
    Observation,
    StepContext,
    Task,
    ToolUse,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from amp.allocate.arm_values import ArmValues
    from amp.allocate.policy_file import Origin
    from amp.allocate.router import Router


COMPLEXITIES = tuple(tenth / 10 for tenth in range(11))
TRADE_OFFS = (0.5, 0.7, 0.9, 1.0)

_STEP = StepContext(Task("any", "any"), Observation())


@dataclass(frozen=True, slots=True)
class AllocationPoint:
    """What a policy does at one complexity.

    Attributes:
        complexity: c in [0, 1].
        allocation: of the first round, deterministic (`Policy.deterministic`).
        tools: probability of each tool in that round.
        stop_agreed: probability of a stop after that round if all of its candidates have the same
            action; 1 if the policy allows only one round.
        stop_split: likewise if all have different actions. At least two candidates are assumed.
    """

    complexity: float
    allocation: Allocation
    tools: Mapping[str, float]
    stop_agreed: float
    stop_split: float


@dataclass(frozen=True, slots=True)
class AllocationCurve:
    """A policy across complexity, at one trade-off.

    Attributes:
        trade_off: lambda; None for a policy that does not see it.
        points: one for each of `COMPLEXITIES`.
    """

    trade_off: float | None
    points: tuple[AllocationPoint, ...]


@dataclass(frozen=True, slots=True)
class PolicyView:
    """Everything that is shown of a policy.

    Attributes:
        kind: ``sigmoid`` (spec 3.3) or ``mlp``.
        space: the bounds of its allocations.
        max_rounds: most rounds of a step.
        max_samples: most samples of one arm; None for any number.
        features: its inputs besides score, trade-off, budget and evidence. The curves are for the
            means of the features in training, and for an unlimited budget.
        inputs: version of its inputs; None for ``sigmoid``, which reads the score alone.
        curves: one for each trade-off.
    """

    kind: str
    space: Space
    max_rounds: int
    max_samples: int | None
    features: tuple[str, ...]
    inputs: int | None
    curves: tuple[AllocationCurve, ...]


@dataclass(frozen=True, slots=True)
class RouterView:
    """Everything that is shown of a router.

    Attributes:
        arms: allocations of one sample, by name.
        samples: most of a step, of each.
        trade_offs: lambdas that it was learned at.
        kind: ``router``.
    """

    arms: Mapping[str, Allocation]
    samples: tuple[int, ...]
    trade_offs: tuple[float, ...]
    kind: str = "router"

    @classmethod
    def of(cls, policy: Router) -> RouterView:
        """What is shown of a policy."""
        return cls(dict(policy.arms), policy.samples, tuple(policy.trade_offs.tolist()))


@dataclass(frozen=True, slots=True)
class ArmValuesView:
    """Everything that is shown of a policy by values of arms.

    Attributes:
        arms: allocations by name.
        features: what it reads.
        trade_offs: lambdas that it was learned at.
        questions: of the first round, by lambda.
        kind: ``arm values``.
    """

    arms: Mapping[str, Allocation]
    features: tuple[str, ...]
    trade_offs: tuple[float, ...]
    questions: Mapping[str, tuple[str, ...]]
    kind: str = "arm values"

    @classmethod
    def of(cls, policy: ArmValues) -> ArmValuesView:
        """What is shown of a policy."""
        trade_offs = tuple(policy.trade_offs.tolist())
        asked = {f"{t:g}": tuple(policy.with_trade_off(t).questions()) for t in trade_offs}
        return cls(dict(policy.arms), policy.features, trade_offs, asked)

    @property
    def lines(self) -> str:
        """The questions as text."""
        told = [f"kind: {self.kind} (what each arm is worth from here to the end of the plan)"]
        for trade_off, lines in self.questions.items():
            told += ["", f"trade-off {trade_off}", *(f"  {line}" for line in lines)]
        return "\n".join(told)


def _ways(view: RouterView) -> Table:
    """The ways to ask among which a policy by value chooses, a sample at a time."""
    from rich.table import Table

    low, high = view.trade_offs[0], view.trade_offs[-1]
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        caption="kind: router (by the values of stopping and of one more sample), learned at"
        f" {len(view.trade_offs)} trade-offs from {low:g} to {high:g}",
        caption_justify="left",
    )
    table.add_column("arm", overflow="fold")
    several = any(arm.model is not None for arm in view.arms.values())
    if several:
        table.add_column("model", overflow="fold")
    for name in ("samples", "depth", "temp", "top_p", "verify"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("tools", overflow="fold")
    for (name, arm), most in zip(view.arms.items(), view.samples, strict=True):
        model = (arm.model or "the base model",) if several else ()
        numbers = (f"{arm.depth}", f"{arm.temperature:g}", f"{arm.top_p:g}", f"{arm.verification}")
        tools = ", ".join(sorted(arm.tools)) or "none"
        table.add_row(name, *model, f"at most {most}", *numbers, tools)
    return table


def policy_view(policy: Policy) -> PolicyView:
    """Evaluates a policy on steps that differ in their complexity alone."""
    from amp.allocate.mlp_policy import INPUTS_VERSION

    network = policy.network
    if network is not None:
        features = network.features
        # The first values of the input are the features: at its mean each is 0 there.
        typical = dict(zip(features, network.mean.tolist(), strict=False))
        curves = tuple(_curve(network.with_trade_off(t), t, typical) for t in TRADE_OFFS)
    else:
        features, curves = (), (_curve(policy, None, {}),)
    return PolicyView(
        kind=policy.kind,
        space=policy.space,
        max_rounds=policy.max_rounds,
        max_samples=policy.max_samples,
        features=features,
        inputs=None if network is None else INPUTS_VERSION,
        curves=curves,
    )


def _curve(
    policy: Policy, trade_off: float | None, typical: Mapping[str, float]
) -> AllocationCurve:
    policy = replace(policy, deterministic=True)
    return AllocationCurve(
        trade_off, tuple(_point(policy, Complexity(c, typical)) for c in COMPLEXITIES)
    )


def _point(policy: Policy, complexity: Complexity) -> AllocationPoint:
    # A policy cannot stop before the first round, so there is always an allocation.
    allocation = policy.allocate(_STEP, complexity).allocation or Allocation()
    tools = policy.distribution(_STEP, complexity).locations[TOOLS_FROM:]
    used = tuple(ToolUse(name, "", "") for name in sorted(allocation.tools))
    count = max(2, allocation.beam_width)
    agreed, split = (
        [Candidate("", action, tool_uses=used) for action in actions]
        for actions in (["same"] * count, map(str, range(count)))
    )
    return AllocationPoint(
        complexity=complexity.score,
        allocation=allocation,
        tools=dict(zip(policy.space.tool_names, map(sigmoid, tools), strict=True)),
        stop_agreed=_stop_probability(policy, complexity, agreed),
        stop_split=_stop_probability(policy, complexity, split),
    )


def _stop_probability(policy: Policy, complexity: Complexity, candidates: list[Candidate]) -> float:
    after = replace(_STEP, evidence=Evidence(tuple(candidates), 1))
    if policy.mask(after).must_stop:
        return 1.0
    return sigmoid(policy.distribution(after, complexity).locations[0])


policy_app = typer.Typer(help="Look into policies.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")

_LEVELS = "▁▂▃▄▅▆▇█"


@policy_app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A policy or a router, as training writes it.")],
    svg: Annotated[
        Path | None, typer.Option(callback=output_file, help="Save what is shown as a picture.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a policy would allocate, or among which arms a router chooses.

    Example: amp policy show training/policy.safetensors
    """
    from amp.allocate.policy_file import (
        ARM_VALUES,
        ROUTER,
        load_arm_values,
        load_origin,
        load_policy,
        load_router,
        policy_kind,
    )
    from amp.cli import render

    view: PolicyView | RouterView | ArmValuesView
    parts: list[RenderableType]
    if policy_kind(file) == ROUTER:
        view = RouterView.of(load_router(file))
        parts = [_ways(view)]
    elif policy_kind(file) == ARM_VALUES:
        view = ArmValuesView.of(load_arm_values(file))
        parts = [view.lines]
    else:
        view = policy_view(load_policy(file))
        parts = [_header(view), _picture(view), *map(_table, view.curves), _caption(view)]
    origin = load_origin(file)
    console = new_console(stderr=as_json, record=svg is not None)
    if svg is not None or not as_json:
        for part in parts if origin is None else [*parts, cost_curve(origin)]:
            console.print(part)
            console.print()
    if svg is not None:
        render.save_picture(console, svg, f"amp policy show {file.name}")
    if as_json:
        say_json(view)


def cost_curve(origin: Origin) -> Table:
    """Mean cost and success of a policy on its training tasks, by trade-off."""
    from rich.table import Table

    caption = f"on its {len(origin.tasks)} training tasks of {origin.benchmark}, {origin.model}"
    if origin.price:
        caption += f"\n{origin.price}"
    if origin.trade_off is not None:
        caption += f"\neach left out; as right as the best fixed vote from {origin.trade_off:g} on"
    table = Table(box=None, caption=caption, caption_justify="left")
    priced = any(point.dollars is not None for point in origin.curve)
    for name in ("trade-off", "tokens", *(["dollars"] if priced else []), "success"):
        table.add_column(name, justify="right")
    for point in origin.curve:
        paid = [] if not priced else [f"{point.dollars:.3g}" if point.dollars is not None else "-"]
        table.add_row(f"{point.trade_off:g}", f"{point.tokens:.0f}", *paid, f"{point.success:.3f}")
    return table


def _header(view: PolicyView) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    space = view.space
    steps = {"temperature": space.temperature_step, "top_p": space.top_p_step}
    resources = [
        f"{name} {_range(bounds)}" + (f" by {step:g}" if (step := steps.get(name)) else "")
        for name, bounds, _ in _resources(view)
    ]
    if space.depth_with_tools is not None:
        resources[0] += f" ({_range(space.depth_with_tools)} with a tool)"
    samples = "any number" if view.max_samples is None else str(view.max_samples)
    rows = {
        "kind": "mlp (network)" if view.kind == "mlp" else "sigmoid (lines of the complexity)",
        "space": ", ".join(resources),
        "tools": ", ".join(space.tool_names) or "none",
        "rounds": f"at most {view.max_rounds}; samples of one arm: {samples}",
        "features": ", ".join(view.features) or "none",
        "inputs": "the score alone" if view.inputs is None else f"version {view.inputs}",
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _picture(view: PolicyView) -> Table:
    """A sparkline for each resource and trade-off, from its lower to its upper bound."""
    table = _new_table("from complexity 0 to 1")
    table.add_column("bounds", no_wrap=True)
    for curve in view.curves:
        table.add_column(_name(curve), no_wrap=True, style="cyan")
    for name, bounds, value in _resources(view):
        lines = (
            _sparkline([value(point) for point in curve.points], bounds) for curve in view.curves
        )
        table.add_row(name, _range(bounds), *lines)
    for name, value in _probabilities(view):
        lines = (_sparkline([value(p) for p in curve.points], (0.0, 1.0)) for curve in view.curves)
        table.add_row(f"P({name})", _range((0.0, 1.0)), *lines)
    return table


def _table(curve: AllocationCurve) -> Table:
    """The values of a curve, one row for each complexity."""
    names = ("depth", "temp", "top_p", "beams", "verify")
    tools = tuple(curve.points[0].tools)
    table = _new_table(_name(curve), "c")
    for name in (*names, *tools, "stop: agreed", "split"):
        table.add_column(name, justify="right")
    for point in curve.points:
        allocation = point.allocation
        table.add_row(
            f"{point.complexity:.1f}",
            str(allocation.depth),
            f"{allocation.temperature:.2f}",
            f"{allocation.top_p:.2f}",
            str(allocation.beam_width),
            str(allocation.verification),
            *(f"{probability:.2f}" for probability in point.tools.values()),
            f"{point.stop_agreed:.2f}",
            f"{point.stop_split:.2f}",
        )
    return table


def _caption(view: PolicyView) -> RenderableType:
    from rich.text import Text

    others = "Features are at their means in training, nothing limits the budget. "
    return Text(
        (others if view.kind == "mlp" else "")
        + "Allocations are those of the first round without chance, tools have their probability "
        "in it. Stop: its probability after that round, if all candidates (two at least) name one "
        "action, and if each names another one.",
        "dim",
    )


def _new_table(title: str, first: str = "") -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    return table


def _name(curve: AllocationCurve) -> str:
    return "all trade-offs" if curve.trade_off is None else f"trade-off {curve.trade_off:g}"


def _resources(
    view: PolicyView,
) -> list[tuple[str, tuple[float, float], Callable[[AllocationPoint], float]]]:
    """Each resource with its bounds, and a function that returns its value at a point."""
    space = view.space
    (low, high), (low_with_tools, high_with_tools) = space.depths(False), space.depths(True)
    return [
        (
            "depth",
            (min(low, low_with_tools), max(high, high_with_tools)),
            lambda point: point.allocation.depth,
        ),
        ("temperature", space.temperature, lambda point: point.allocation.temperature),
        ("top_p", space.top_p, lambda point: point.allocation.top_p),
        ("beam width", space.beam_width, lambda point: point.allocation.beam_width),
        ("verification", space.verification, lambda point: point.allocation.verification),
    ]


def _probabilities(view: PolicyView) -> list[tuple[str, Callable[[AllocationPoint], float]]]:
    """Each tool, and a stop after a round, with a function that returns its probability."""

    def tool(name: str) -> tuple[str, Callable[[AllocationPoint], float]]:
        return name, lambda point: point.tools[name]

    return [
        *map(tool, view.space.tool_names),
        ("stop | agreed", lambda point: point.stop_agreed),
        ("stop | split", lambda point: point.stop_split),
    ]


def _range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def _sparkline(values: Sequence[float], bounds: tuple[float, float]) -> str:
    low, high = bounds
    if low == high:
        return "─" * len(values)
    return "".join(_LEVELS[round((v - low) / (high - low) * (len(_LEVELS) - 1))] for v in values)
