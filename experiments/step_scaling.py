"""How each kind of step scales with what is spent on it, on a recorded lattice (spec 4.1.3).

    python -m experiments.step_scaling configs/lattices/babyai.toml runs/babyai-steps.md

The figure goes beside the table, as SVG. In every visited state from which the goal can be reached,
by whatever follows, an arm succeeds if it can be reached after it, too. So a step is judged by the
step alone. Where that depends on states that were not visited, it is left out. Means are over
tasks, of each over its states; nothing is learned, so training and test tasks count alike.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from amp.allocate.plan_state import plan_state
from amp.cli.train import levels_of
from amp.cost import costing
from amp.errors import InvalidInputError
from amp.learn.config import TrainConfig, load_train_config
from amp.learn.lattices import read_lattice
from amp.report.metrics import Interval
from amp.report.stats import mean_interval
from amp.report.tables import Column, Table, markdown_rows
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import best_of, outlooks
from amp.simulate.lattice_states import LatticeEdge, TaskLattice
from amp.types import STANDING_PLAN, StepContext, standing_plan
from experiments.svg import line, text

KINDS = ("first step", "plan broken", "nothing changed", "plan stands", "no plan")
ALL = "all"
_ALIKE = 1e-9
WIDTH, HEIGHT, TOP, BOTTOM, LEFT, GAP = 1000, 330, 84, 62, 56, 22
COLOUR, PALE, GRID = "#d95f02", "#9aa5b1", "#dddddd"


def kind_of(context: StepContext) -> str:
    """The first of the `KINDS` that a step is."""
    if not context.steps:
        return "first step"
    if standing_plan(context.steps) and not context.standing_plan:
        return "plan broken"
    if plan_state(context).get("unchanged", 0.0) > 0.0:
        return "nothing changed"
    return "plan stands" if context.standing_plan else "no plan"


@dataclass(frozen=True, slots=True)
class Tried:
    """An arm in a visited state from which the goal can be reached.

    Attributes:
        task: its id.
        level: of the task.
        kind: of the step.
        arm: its name.
        kept: whether the goal can be reached after it.
        best: whether the oracle takes it there, at the trade-off of the comparison.
    """

    task: str
    level: str
    kind: str
    arm: str
    kept: bool
    best: bool


def tried_in(config: TrainConfig, lattice: Lattice, level: str) -> Iterator[Tried]:
    """All arms in all such states of a lattice; following only where a plan can be followed."""
    (trade_off, *_), reward = config.compare.trade_offs, config.ppo.reward
    cost_of, arms = costing(config.ppo.cost, lattice.card).of, lattice.arms
    follows = {name for name, arm in arms.named.items() if STANDING_PLAN in arm.tools}
    for task in lattice.tasks:
        reached = outlooks(arms, task, reward, 1.0, cost_of)
        hoped = outlooks(arms, _as_if_won(task), reward, 1.0, cost_of)
        paid = outlooks(arms, task, reward, trade_off, cost_of)
        for name, state in task.states.items():
            most, best = max(one.worth for one in reached[name]), best_of(paid[name]).arm
            if most <= 0.0 or most < max(one.worth for one in hoped[name]):
                continue
            for one, at_most in zip(reached[name], hoped[name], strict=True):
                assert one.arm is not None
                known = one.worth == at_most.worth
                if known and (one.arm not in follows or state.context.standing_plan):
                    kept = one.worth >= most - _ALIKE
                    kind = kind_of(state.context)
                    yield Tried(task.task.id, level, kind, one.arm, kept, one.arm == best)


def _as_if_won(task: TaskLattice) -> TaskLattice:
    """A task in which whatever was not visited leads to the goal."""
    won = LatticeEdge(success=True, score=1.0)
    return replace(
        task,
        states={
            name: replace(
                state, leads={how: won if to.outside else to for how, to in state.leads.items()}
            )
            for name, state in task.states.items()
        },
    )


def written(lattices: Iterable[Lattice]) -> dict[str, float]:
    """Tokens that each arm writes in a step, mean over all visited states; the least first."""
    counts = defaultdict[str, list[int]](list)
    for lattice in lattices:
        for task in lattice.tasks:
            for state in task.states.values():
                for arm, answers in state.asked.items():
                    counts[arm].append(answers[0].usage.completion_tokens)
    means = {arm: fmean(each) for arm, each in counts.items()}
    return dict(sorted(means.items(), key=lambda pair: pair[1]))


@dataclass(frozen=True, slots=True)
class Cell:
    """An arm in one kind of steps of one level.

    Attributes:
        kept: mean over tasks of the share of states after which the goal can be reached.
        interval: at 95 %, over tasks; None of one.
        best: likewise, the share where the oracle takes the arm.
        states: how many.
        tasks: how many.
    """

    kept: float
    interval: Interval | None
    best: float
    states: int
    tasks: int

    @classmethod
    def of(cls, tried: Sequence[Tried]) -> Cell:
        """That of what was tried."""
        kept, best = defaultdict[str, list[bool]](list), defaultdict[str, list[bool]](list)
        for one in tried:
            kept[one.task].append(one.kept)
            best[one.task].append(one.best)
        shares = [fmean(each) for each in kept.values()]
        sure = mean_interval(list(kept), shares) if len(shares) > 1 else None
        chosen = fmean(fmean(each) for each in best.values())
        return cls(fmean(shares), sure, chosen, len(tried), len(shares))


Cells = Mapping[tuple[str, str, str], Cell]
"""By level, kind and arm; `ALL` stands for all levels, and for all kinds."""


def cells_of(tried: Sequence[Tried]) -> Cells:
    """What is known of each; those without states are absent."""
    parted = defaultdict[tuple[str, str, str], list[Tried]](list)
    for one in tried:
        for level in (ALL, one.level):
            for kind in (ALL, one.kind):
                parted[level, kind, one.arm].append(one)
    return {place: Cell.of(each) for place, each in parted.items()}


def table(cells: Cells, arms: Mapping[str, float], levels: Sequence[str]) -> Table:
    """A row for each level and kind of step, two columns for each arm."""
    places = [(level, kind) for level in (ALL, *levels) for kind in (ALL, *KINDS)]
    rows = [(lv, kd) for lv, kd in places if any((lv, kd, arm) in cells for arm in arms)]

    def most(row: tuple[str, str], what: str) -> int:
        return max(int(getattr(cells[*row, a], what)) for a in arms if (*row, a) in cells)

    def kept(row: tuple[str, str], arm: str) -> str:
        cell = cells.get((*row, arm))
        if cell is None:
            return ""
        sure = cell.interval
        between = "" if sure is None else f" ({max(0.0, sure.low):.2f}-{min(1.0, sure.high):.2f})"
        return f"{cell.kept:.2f}{between}"

    def best(row: tuple[str, str], arm: str) -> str:
        cell = cells.get((*row, arm))
        return "" if cell is None else f"{cell.best:.0%}"

    columns = [
        Column("level", lambda row: row[0]),
        Column("step", lambda row: row[1]),
        Column("tasks", lambda row: most(row, "tasks")),
        Column("states", lambda row: most(row, "states")),
    ]
    columns += [
        Column(f"{a}, {tokens:.0f} tokens", partial(kept, arm=a)) for a, tokens in arms.items()
    ]
    columns += [Column(f"{a} is best", partial(best, arm=a)) for a in arms]
    return Table("steps", "Success of a step against what is spent on it", tuple(columns), rows)


def draw(cells: Cells, arms: Mapping[str, float], levels: Sequence[str], title: str) -> str:
    """A panel for each kind of step: shares by arm, of all levels with intervals and of each."""
    kinds = [kind for kind in KINDS if any((ALL, kind, arm) in cells for arm in arms)]
    wide = (WIDTH - LEFT - GAP * len(kinds)) / max(1, len(kinds))

    def y(share: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - min(1.0, max(0.0, share)))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 24, title, size=16, weight="bold"),
        text(LEFT, 44, "share of states after which the goal can still be reached; thick: all"
             " levels, with 95 % over tasks; thin: each level",
             size=12, colour="#666666"),
    ]  # fmt: skip
    for number, kind in enumerate(kinds):
        left = LEFT + number * (wide + GAP)

        def x(place: int, left: float = left) -> float:
            return left + wide * (place + 0.5) / len(arms)

        parts.append(text(left + wide / 2, TOP - 14, kind, anchor="middle", weight="bold"))
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            parts.append(line([(left, y(share)), (left + wide, y(share))], GRID))
            if not number:
                parts.append(text(left - 6, y(share) + 4, f"{share:.2f}", anchor="end", size=12))
        for place, (arm, tokens) in enumerate(arms.items()):
            parts.append(text(x(place), HEIGHT - 40, arm, anchor="middle", size=12))
            parts.append(text(x(place), HEIGHT - 24, f"{tokens:.0f}", anchor="middle", size=11))
        for level in (*levels, ALL):
            there = [(p, cells.get((level, kind, arm))) for p, arm in enumerate(arms)]
            shown = [(x(place), cell) for place, cell in there if cell is not None]
            colour, width = (COLOUR, 2.5) if level == ALL else (PALE, 1.0)
            parts.append(line([(at, y(cell.kept)) for at, cell in shown], colour, width))
            for at, cell in shown:
                if level == ALL and cell.interval is not None:
                    ends = [(at, y(cell.interval.low)), (at, y(cell.interval.high))]
                    parts.append(line(ends, colour, 1.5))
                radius = 4 if level == ALL else 2
                parts.append(
                    f'<circle cx="{at:.1f}" cy="{y(cell.kept):.1f}" r="{radius}" fill="{colour}"/>'
                )
    parts.append(text(WIDTH / 2, HEIGHT - 6, "arm, and tokens that it writes in a step",
                      anchor="middle", size=12, colour="#666666"))  # fmt: skip
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(arguments: Sequence[str]) -> int:
    config, page = load_train_config(Path(arguments[0])), Path(arguments[1])
    assert config.recording is not None
    benchmarks, told = levels_of(config, None), config.compare
    levels = config.lattice.levels or (config.benchmark,)
    tried, lattices = list[Tried](), list[Lattice]()
    for level, benchmark in zip(levels, benchmarks, strict=True):
        for recording, split, limit in (
            (config.recording, config.split, config.limit),
            (told.recording or config.recording, told.split, told.limit),
        ):
            try:
                lattices.append(read_lattice(config, [benchmark], recording, split, limit))
            except InvalidInputError as error:
                print(f"{level}, {split}: {error}", file=sys.stderr)  # none is recorded
                continue
            tried += tried_in(config, lattices[-1], level)
    arms, cells = written(lattices), cells_of(tried)
    made = table(cells, arms, levels)
    count, model = sum(len(one.tasks) for one in lattices), lattices[0].card.name
    title = f"{made.title}: {config.benchmark}, {model}"
    figure = page.with_suffix(".svg")
    lines = [
        *(f"# {title}", ""),
        *(f"    python -m experiments.step_scaling {arguments[0]} {page}", ""),
        f"![Success of a step by arm and kind of step]({figure.name})",
        "",
        *markdown_rows(made),
        "",
        f"{count} tasks; states from which the goal can be reached, as far as that was visited."
        " Under an arm, with the mean tokens that it writes: the share of them after which it still"
        " can, mean over tasks, 95 % over tasks. *is best*: share of states where the oracle takes"
        " it, at a trade-off of"
        f" {told.trade_offs[0]:g} in {config.ppo.cost}.",
        "",
    ]
    page.write_text("\n".join(lines), encoding="utf-8")
    figure.write_text(draw(cells, arms, levels, title), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
