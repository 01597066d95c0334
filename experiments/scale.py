"""What a fleet brings, and where it ends, on paper: tables and a figure for docs/scale.md.

    python -m experiments.scale docs            # docs/tables/scale.md and docs/scale.svg
    python -m experiments.scale docs --full     # one run of a million episodes besides

The tokens of one workload and the processor time of planning are measured; what a GPU does is
assumed, and an option each (`--help`). `experiments.fleet_sim` is the simulation and its laws.
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from xml.sax.saxutils import escape

from amp.latency import Measurement
from amp.models.base import ModelCard
from amp.profiling import fit_profile
from experiments.fleet_sim import Fleet, Measured, Planning, Replica, Routing, Workload

RECORDINGS = Path(__file__).parents[1] / "recordings"
EPISODES_RECORDED = 20
"""In alfworld.sqlite: ten games, each without and with the symbolic planner."""

GPU = Replica("a GPU, assumed", 32, 0.02, 5e-5, 0.012, 300_000, 2.5)
CHAT = Workload("a chat that grows, assumed", 1_000, 500, 600, 1.0, 150, 20, 0.5)

HERE_CALL_SECONDS = 0.0025
RAY_CALL_SECONDS = 0.0032
RAY_EPISODE_SECONDS = 0.0002
"""Processor time, of `python -m perf.many_machines` (docs/guides/ray.md): one recorded call takes
2.5 ms in one process; on Ray 1.36 times that, of which the driver has 0.2 ms."""

ROUTINGS: tuple[Routing, ...] = ("anywhere", "less busy of two", "hash", "fewest")
COUNTS = (1, 10, 100, 1_000)
LONG_COUNTS, GENERATIONS = (10, 100), 30
"""The long run: so many replicas, and so many episodes for each that is in flight."""

LONG_RUN = f"The same in the long run, {GENERATIONS} episodes for each in flight"

REPLICAS_A_PROCESS = 8
MILLION = 1e6


def recorded_workload(path: Path = RECORDINGS / "alfworld.sqlite") -> Workload:
    """ALFWorld, as the recording has it: tokens are those of its calls, the pauses are assumed."""
    rows = _rows(path, "probes")
    prompts, cached = sorted(row[0] for row in rows), sorted(row[1] for row in rows)
    calls = len(rows) / EPISODES_RECORDED
    shared = cached[len(rows) // 10]  # the first of all found nothing
    first, own = prompts[len(rows) // 20] - shared, statistics.mean(prompts) - shared
    return Workload(
        name="ALFWorld, recorded",
        shared=shared,
        first=first,
        growth=2 * (own - first) / (calls - 1),
        kept=(statistics.median(cached) - shared) / own,
        written=statistics.mean(row[2] for row in rows),
        calls=calls,
        environment_seconds=0.05,
    )


def recorded_replica() -> Replica:
    """Two cores with the bundled 1.5B model, one call at a time, as the recordings timed it."""
    rows = [*_rows(RECORDINGS / "alfworld.sqlite", "probes")]
    rows += _rows(RECORDINGS / "gsm8k.sqlite", "samples")
    card = ModelCard("qwen2.5-coder-1.5b")
    profile = fit_profile(card, [Measurement(1, p, c, w, w, s) for p, c, w, s in rows])
    slots, cache, price = 1, 8_192.0, 0.1
    prompt, step = profile.prompt_token_seconds, profile.step(1)
    return Replica("two cores, recorded", slots, profile.call_seconds, prompt, step, cache, price)


def _rows(path: Path, table: str) -> list[tuple[int, int, int, float]]:
    columns = "prompt_tokens, cached_prompt_tokens, completion_tokens, seconds"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        found = connection.execute(f"SELECT {columns} FROM {table} WHERE seconds > 0").fetchall()
    connection.close()
    return found


@dataclass(frozen=True)
class Cell:
    """One simulation.

    Attributes:
        workload: its episodes.
        replica: each of its replicas.
        count: of replicas.
        routing: of calls.
        on_ray: whether there is one planning process for eight replicas, or one in all.
        seed: of all chance.
        episodes: how many; 0 for four times those in flight, and at least 2,000.
    """

    workload: Workload
    replica: Replica
    count: int
    routing: Routing
    on_ray: bool = True
    seed: int = 0
    episodes: int = 0

    @property
    def planning(self) -> Planning:
        """The machines that plan."""
        if not self.on_ray:
            return Planning(1, HERE_CALL_SECONDS, 0.0)
        processes = math.ceil(self.count / REPLICAS_A_PROCESS)
        return Planning(processes, RAY_CALL_SECONDS, RAY_EPISODE_SECONDS)

    @property
    def in_flight(self) -> int:
        """Episodes: one for every slot."""
        return self.count * self.replica.slots

    def run(self) -> Measured:
        """Simulates it."""
        fleet = Fleet(
            self.workload, self.replica, self.count, self.planning, self.routing, self.seed
        )
        return fleet.run(self.episodes or max(2_000, 4 * self.in_flight), self.in_flight)


@dataclass(frozen=True)
class Line:
    """What several seeds of a cell came to; the mean of each."""

    cell: Cell
    seeds: int
    rate: float
    spread: float
    busy: float
    wait: float
    late: float
    cached: float
    driver: float
    processes: float

    @property
    def hours(self) -> float:
        """For a million episodes."""
        return MILLION * self.cell.workload.calls / self.rate / 3600

    @property
    def dollars(self) -> float:
        """For the replicas, a million steps of one call."""
        replicas = self.cell.count * self.cell.replica.dollars_an_hour
        return MILLION / self.rate / 3600 * replicas


def measure(cell: Cell) -> Measured:
    """Simulates a cell; a function of its own, so that another process can."""
    return cell.run()


def line(cell: Cell, found: Sequence[Measured]) -> Line:
    """Sums up what the seeds of a cell came to."""
    rates = [each.rate for each in found]
    return Line(
        cell,
        len(found),
        statistics.mean(rates),
        (max(rates) - min(rates)) / 2,
        statistics.mean(each.busy for each in found),
        statistics.mean(each.mean_wait for each in found),
        statistics.mean(each.wait(0.95) for each in found),
        statistics.mean(each.cached for each in found),
        statistics.mean(each.driver_busy for each in found),
        statistics.mean(each.process_busy for each in found),
    )


def lines(cells: Iterable[Cell], executor: Executor | None = None) -> list[Line]:
    """Simulates cells: three seeds up to a hundred replicas, one beyond."""
    seeded = [
        [replace(cell, seed=seed) for seed in range(3 if cell.count <= 100 else 1)]
        for cell in cells
    ]
    done = iter((executor.map if executor else map)(measure, [c for each in seeded for c in each]))
    return [line(each[0], [next(done) for _ in each]) for each in seeded]


HEAD = (
    "| replicas | routing | calls a second | slots busy | wait, mean (s) | wait, 95 % (s) |"
    " own tokens cached | a million episodes (h) | a million steps ($) |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
PLANNING_HEAD = (
    "| replicas | planned | calls a second | slots busy | planning process busy | driver busy |\n"
    "|---|---|---|---|---|---|\n"
)


def row(found: Line) -> str:
    """A row of a table of routings."""
    rate = f"{found.rate:,.1f}" + (f" ±{found.spread:,.1f}" if found.seeds > 1 else "")
    return (
        f"| {found.cell.count:,} | {found.cell.routing} | {rate} | {found.busy:.2f} |"
        f" {found.wait:.2f} | {found.late:.2f} | {found.cached:.2f} | {found.hours:,.1f} |"
        f" {found.dollars:,.2f} |\n"
    )


def planning_row(found: Line) -> str:
    """A row of the table of planning."""
    planned = "Ray, a process for 8 replicas" if found.cell.on_ray else "one process"
    return (
        f"| {found.cell.count:,} | {planned} | {found.rate:,.1f} | {found.busy:.2f} |"
        f" {found.processes:.2f} | {found.driver:.3f} |\n"
    )


def cells(gpu: Replica = GPU, counts: Sequence[int] = COUNTS) -> dict[str, list[Cell]]:
    """All tables, by their titles."""
    recorded, cores = recorded_workload(), recorded_replica()
    sticky: tuple[Routing, ...] = ("anywhere", "fewest")
    long = [Cell(CHAT, gpu, count, routing) for count in LONG_COUNTS for routing in ROUTINGS]
    return {
        "A chat that grows, on GPUs": [
            Cell(CHAT, gpu, count, routing) for count in counts for routing in ROUTINGS
        ],
        LONG_RUN: [replace(each, episodes=GENERATIONS * each.in_flight) for each in long],
        "ALFWorld, on GPUs": [
            Cell(recorded, gpu, count, routing) for count in counts[:3] for routing in sticky
        ],
        "ALFWorld, on two cores each": [
            Cell(recorded, cores, count, "fewest") for count in counts[:3]
        ],
        "Planning": [
            Cell(CHAT, gpu, count, "fewest", on_ray=ray)
            for count in counts[1:3]
            for ray in (False, True)
        ],
    }


def described(thing: Workload | Replica) -> str:
    """All numbers of a thing, in one line."""
    parts = [
        f"{each.name.replace('_', ' ')} {getattr(thing, each.name):.4g}"
        for each in fields(thing)
        if each.name != "name"
    ]
    return f"{thing.name}: " + ", ".join(parts) + "."


def page(tables: dict[str, list[Line]]) -> str:
    """The tables as Markdown."""
    parts = [
        "# A fleet on paper, all tables\n\nMade by `python -m experiments.scale docs`;"
        " [what they say](../scale.md), and what is assumed. Seeds 0 to 2 up to 100 replicas (±"
        " half the range), seed 0 beyond; the second and third quarter of the calls.\n"
    ]
    for title, found in tables.items():
        things = dict.fromkeys(t for f in found for t in (f.cell.workload, f.cell.replica))
        parts.append(f"\n## {title}\n\n" + "\n\n".join(map(described, things)) + "\n\n")
        planning = title == "Planning"
        parts.append(PLANNING_HEAD if planning else HEAD)
        parts += map(planning_row if planning else row, found)
    return "".join(parts)


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 170, 60, 50
COLOURS = ("#8a8f98", "#4c78a8", "#1b7f5c", "#d95f02")


def draw(found: Sequence[Line]) -> str:
    """Calls a second by replicas, both on logarithmic axes, a line for each routing."""
    rates = [each.rate for each in found]
    counts = sorted({each.cell.count for each in found})
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    wide = max(1.0, math.log10(counts[-1]))

    def x(count: float) -> float:
        return LEFT + math.log10(count) / wide * (WIDTH - LEFT - RIGHT)

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(rate) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 24, "Calls a second of a fleet, simulated", 16),
        _text(LEFT, 44, f"{found[0].cell.workload.name}; {found[0].cell.replica.name}"),
    ]
    for power in range(low, high + 1):
        parts.append(_line([(LEFT, y(10**power)), (WIDTH - RIGHT, y(10**power))], "#dddddd"))
        parts.append(_text(10, y(10**power) + 4, f"{10.0**power:,g}"))
    parts += [_text(x(count) - 10, HEIGHT - 26, f"{count:,}") for count in counts]
    parts.append(_text(LEFT, HEIGHT - 8, "replicas"))
    bound = 1 / HERE_CALL_SECONDS
    parts.append(_line([(LEFT, y(bound)), (WIDTH - RIGHT, y(bound))], "#333333", dash="4 4"))
    parts.append(_text(WIDTH - RIGHT + 6, y(bound) + 4, "one planning process"))
    heights: list[float] = []
    for routing, colour in zip(ROUTINGS, COLOURS, strict=True):
        points = [(x(f.cell.count), y(f.rate)) for f in found if f.cell.routing == routing]
        parts.append(_line(points, colour))
        height = points[-1][1] + 4
        while any(abs(height - other) < 14 for other in heights):
            height += 4
        heights.append(height)
        parts.append(_text(WIDTH - RIGHT + 6, height, routing, colour=colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(points: Sequence[tuple[float, float]], colour: str, dash: str = "none") -> str:
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{told}" fill="none" stroke="{colour}" stroke-width="2"'
        f' stroke-dasharray="{dash}"/>'
    )


def _text(x: float, y: float, text: str, size: int = 13, colour: str = "#333333") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}">{escape(text)}</text>'


def main() -> None:
    """Writes the tables and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where tables/scale.md and scale.svg go")
    parser.add_argument("--jobs", type=int, default=1, help="processes that simulate")
    parser.add_argument("--full", action="store_true", help="a million episodes as well")
    for each in fields(Replica)[1:]:
        name, value = each.name.replace("_", "-"), getattr(GPU, each.name)
        parser.add_argument(f"--{name}", type=type(value), default=value, help="of a GPU, assumed")
    given = vars(parser.parse_args())
    gpu = replace(GPU, **{each.name: given[each.name] for each in fields(Replica)[1:]})
    with ProcessPoolExecutor(given["jobs"]) as executor:
        tables = {title: lines(each, executor) for title, each in cells(gpu).items()}
    (given["folder"] / "tables" / "scale.md").write_text(page(tables), encoding="utf-8")
    chat = next(iter(tables.values()))
    (given["folder"] / "scale.svg").write_text(draw(chat), encoding="utf-8")
    if given["full"]:
        whole = Cell(CHAT, gpu, COUNTS[-1], "fewest", episodes=int(MILLION))
        print(HEAD + row(line(whole, [whole.run()])))


if __name__ == "__main__":
    main()
