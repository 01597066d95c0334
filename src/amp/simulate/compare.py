"""Every policy on one table of samples, each beside what is fair to compare it with (spec 2.6).

The rows are the fixed allocations, the rules on votes, the controls and the oracle. What has to be
chosen or learned (the reference, the length rule) is chosen on training tasks.

A learned policy from its file, if it may be compared with others on a table of recorded samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from amp.allocate.base import Allocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import Origin, load_origin, load_policy
from amp.assess.base import Assessor
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError
from amp.report.frontier import Point, hull
from amp.report.metrics import Interval
from amp.report.paired import Comparison, compare
from amp.report.stats import bootstrap_interval, detectable_success_difference, holm, ratio
from amp.simulate.policies import (
    Plan,
    Price,
    fixed,
    fixed_plans,
    learn_threshold,
    oracle,
    resampled_control,
    shuffled_control,
    vote_rules,
)
from amp.simulate.replay import Outcome, replay_allocator, replay_plans
from amp.simulate.samples import SampleTable
from amp.types import StepContext

LENGTH_TRADE_OFF = 0.9
"""The trade-off at which the length rule is learned: success weighs nine times its cost."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """An allocator to be compared.

    Attributes:
        allocators: decide; several ones, learned with different seeds, say, take turns in the runs.
        assessor: says how complex a step is; None for an allocator that does not heed it.
        controls: whether its rounds are also dealt out by chance, and shuffled among the tasks.
        duels: whether it is compared with every rule, one by one.
    """

    allocators: tuple[Allocator, ...]
    assessor: Assessor | None = None
    controls: bool = True
    duels: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One policy; every figure is a mean over tasks and runs.

    Attributes:
        name: what it is.
        kind: ``fixed``, ``rule``, ``adaptive``, ``control`` or ``oracle``.
        success: success rate.
        interval: of it, at 95 %, by resampling tasks with all their runs.
        completion_tokens: a task.
        tokens: a task, the prompts of all calls among them.
        calls: a task.
        above_front: success less that of the fixed front at the same tokens, mixed from its two
            neighbours there; None below the cheapest fixed allocation.
        above_front_interval: of that difference, at 95 %, for these two neighbours.
        oracle_share: of the oracle's gain: `above_front` by that of the oracle, each at its own
            tokens; 1 for the oracle, negative below the front. None for fixed allocations, or where
            the oracle is not above the front.
        versus: against the reference, run by run; None for the reference itself.
        holm: p-value of the success against the reference, adjusted for the family of all rows that
            are neither fixed nor an oracle; None for the others.
    """

    name: str
    kind: str
    success: float
    interval: Interval
    completion_tokens: float
    tokens: float
    calls: float
    above_front: float | None
    above_front_interval: Interval | None
    versus: Comparison | None
    oracle_share: float | None = None
    holm: float | None = None


@dataclass(frozen=True, slots=True)
class Duel:
    """One adaptive policy against the reference, a rule or another policy, on the same samples.

    Attributes:
        policy: the adaptive one.
        against: the other.
        gain: success of the policy less that of the other.
        interval: of it, at 95 %, by resampling tasks with all their runs.
        comparison: the pairs, their test, and what the policy saves.
    """

    policy: str
    against: str
    gain: float
    interval: Interval
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Results:
    """All rows.

    Attributes:
        tasks: how many.
        runs: how many a task: the samples in so many orders.
        reference: name of the fixed allocation that succeeds most often on the training tasks.
        detectable: the smallest difference in success that the exact test of one run could have
            found with power 0.8, if as many tasks differ as between the reference and the cheapest
            fixed allocation; None if they never do.
        rows: in the order of their kinds, by tokens.
        duels: of those adaptive policies that asked for them.
    """

    tasks: int
    runs: int
    reference: str
    detectable: float | None
    rows: tuple[Row, ...]
    duels: tuple[Duel, ...] = ()


def results(
    test: SampleTable,
    training: SampleTable,
    adaptive: Mapping[str, Adaptive],
    contexts: Mapping[str, StepContext],
    runs: int = 10,
) -> Results:
    """Plays every policy on the test tasks, with the samples in several orders.

    Args:
        test: the tasks to report on.
        training: other tasks, with the same arms and as many samples: what is chosen is chosen
            there.
        adaptive: allocators to be compared, by name.
        contexts: the first step of each test task, by its id (`tabulate.opening_contexts`).
        runs: orders of the samples, at least 1.

    Raises:
        InvalidInputError: if the tables share a task, or differ in model, prompts or arms.
    """
    _check(test, training, runs)
    reference = _best_fixed(training, runs)
    budget = fmean(o.usage.tokens for o in replay_plans(training, lambda row: reference))
    length = learn_threshold(training, Price(LENGTH_TRADE_OFF, budget))
    played: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for seed in range(runs):
        table = test.permuted(seed)
        for plan in fixed_plans(table):
            played["fixed", _name(plan)] += fixed(table, plan)
        for name, rule in vote_rules(table).items():
            played["rule", name] += replay_allocator(table, rule)
        for name, policy in adaptive.items():
            allocator = policy.allocators[seed % len(policy.allocators)]
            came = replay_allocator(table, allocator, policy.assessor, contexts)
            played["adaptive", name] += came
            if not policy.controls:
                continue
            at_random = resampled_control(table, came, seed)
            played["control", f"random with the histogram of {name}"] += at_random
            played["control", f"{name}, shuffled among tasks"] += shuffled_control(
                table, came, seed
            )
        played["control", "prompt length"] += replay_plans(table, length)
        played["oracle", "oracle"] += oracle(table)
    found = _compared(played, _name(reference), len(test.tasks), runs)
    dueling = [name for name, policy in adaptive.items() if policy.duels]
    fixed_one = played["fixed", found.reference]
    duels = (duel for name in dueling for duel in _duels(name, played, found.reference, fixed_one))
    return replace(found, duels=tuple(duels))


def _duels(
    name: str,
    played: Mapping[tuple[str, str], Sequence[Outcome]],
    reference: str,
    fixed_one: Sequence[Outcome],
) -> Iterator[Duel]:
    """One policy against the reference, every rule and every other policy, by their tokens."""
    mine = played["adaptive", name]
    others = {
        other: came
        for (kind, other), came in played.items()
        if kind in ("rule", "adaptive") and other != name
    } | {reference: fixed_one}
    for other in sorted(others, key=lambda other: _mean_tokens(others[other])):
        gains = [
            float(a.success) - float(b.success) for a, b in zip(mine, others[other], strict=True)
        ]
        yield Duel(
            name,
            other,
            fmean(gains),
            _interval(mine, gains),
            compare([o.episode for o in others[other]], [o.episode for o in mine]),
        )


def _check(test: SampleTable, training: SampleTable, runs: int) -> None:
    if runs < 1:
        raise InvalidInputError(f"runs is {runs}, expected at least 1")
    if both := {row.task for row in test.tasks} & {row.task for row in training.tasks}:
        raise InvalidInputError(f"task {sorted(both)[0]} is among training and test tasks")
    for what, one, other in (
        ("model", test.card.name, training.card.name),
        ("weights", test.card.sha256, training.card.sha256),
        ("prompts", test.prompts, training.prompts),
        ("arms", test.arms, training.arms),
        ("samples", test.samples, training.samples),
    ):
        if one != other:
            raise InvalidInputError(
                f"{what} of the test tasks: {one}; of the training: {other}; expected the same, so"
                " record both alike"
            )


def _best_fixed(table: SampleTable, runs: int) -> Plan:
    """The fixed allocation that succeeds most often; of equals the cheaper one."""

    def worth(plan: Plan) -> tuple[float, float]:
        came = [o for seed in range(runs) for o in fixed(table.permuted(seed), plan)]
        return fmean(o.success for o in came), -fmean(o.usage.tokens for o in came)

    return max(fixed_plans(table), key=worth)


def _name(plan: Plan) -> str:
    return " + ".join(f"{pull.samples} {pull.arm}" for pull in plan)


def _compared(
    played: Mapping[tuple[str, str], list[Outcome]], reference: str, tasks: int, runs: int
) -> Results:
    first = played["fixed", reference]
    points = {
        name: Point(_mean_tokens(came), fmean(o.success for o in came), name)
        for (kind, name), came in played.items()
        if kind == "fixed"
    }
    front = hull(list(points.values()))
    rows = [
        _row(kind, name, came, first, front, {n: played["fixed", n] for n in points})
        for (kind, name), came in played.items()
    ]
    tested = [row for row in rows if row.kind not in ("fixed", "oracle")]
    adjusted = holm([row.versus.p_value for row in tested if row.versus])
    by_name = {row.name: p for row, p in zip(tested, adjusted, strict=True)}
    gain = next(row.above_front for row in rows if row.kind == "oracle")
    order = ("fixed", "rule", "adaptive", "control", "oracle")
    return Results(
        tasks=tasks,
        runs=runs,
        reference=reference,
        detectable=_detectable(first[:tasks], played, tasks),
        rows=tuple(
            replace(row, holm=by_name.get(row.name), oracle_share=_share(row, gain))
            for row in sorted(rows, key=lambda row: (order.index(row.kind), row.tokens))
        ),
    )


def _share(row: Row, gain: float | None) -> float | None:
    """Of the oracle's gain over the front."""
    if row.kind == "fixed" or row.above_front is None or gain is None or gain <= 0.0:
        return None
    return row.above_front / gain


def _detectable(
    first: Sequence[Outcome], played: Mapping[tuple[str, str], list[Outcome]], tasks: int
) -> float | None:
    """By the share of tasks on which the reference and the single cheapest sample differ."""
    single = min((c for (k, _), c in played.items() if k == "fixed"), key=_mean_tokens)[:tasks]
    differ = fmean(a.success != b.success for a, b in zip(first, single, strict=True))
    return detectable_success_difference(tasks, differ) if differ else None


def _row(
    kind: str,
    name: str,
    came: Sequence[Outcome],
    first: Sequence[Outcome],
    front: Sequence[Point],
    fixed_ones: Mapping[str, Sequence[Outcome]],
) -> Row:
    above, interval = _above_front(came, front, fixed_ones)
    return Row(
        name=name,
        kind=kind,
        success=fmean(o.success for o in came),
        interval=_interval(came, [float(o.success) for o in came]),
        completion_tokens=fmean(o.usage.completion_tokens for o in came),
        tokens=_mean_tokens(came),
        calls=fmean(o.usage.model_calls for o in came),
        above_front=above,
        above_front_interval=interval,
        versus=None
        if came is first
        else compare([o.episode for o in first], [o.episode for o in came]),
    )


def _above_front(
    came: Sequence[Outcome], front: Sequence[Point], fixed_ones: Mapping[str, Sequence[Outcome]]
) -> tuple[float | None, Interval | None]:
    """How much more often a policy succeeds than the mixture of fixed ones that costs the same."""
    cost = _mean_tokens(came)
    cheaper = [point for point in front if point.cost <= cost]
    if not cheaper:
        return None, None
    one = cheaper[-1]
    two = next((point for point in front if point.cost > cost), one)
    share = (cost - one.cost) / (two.cost - one.cost) if two is not one else 0.0
    pairs = zip(came, fixed_ones[one.name], fixed_ones[two.name], strict=True)
    gaps = [o.success - (1 - share) * a.success - share * b.success for o, a, b in pairs]
    return fmean(gaps), _interval(came, gaps)


def _interval(came: Sequence[Outcome], values: Sequence[float]) -> Interval:
    return bootstrap_interval([o.task for o in came], (values, [1.0] * len(values)), ratio)


def _mean_tokens(came: Sequence[Outcome]) -> float:
    return fmean(o.usage.tokens for o in came)


def learned(path: Path, test: SampleTable) -> MlpPolicy:
    """Reads a policy that was learned from samples like these, and on none of their tasks.

    Args:
        path: the file.
        test: what it is to be tested on, of a benchmark that has a policy space.

    Raises:
        InvalidInputError: if there is no such policy, it takes no trade-off, does not say where it
            was learned, was learned elsewhere or on a task of the table, or asks for what the table
            has not.
    """
    defaults = load_benchmark(test.benchmark).defaults
    if defaults.policy_space is None:
        raise InvalidInputError(
            f"no policy can be learned on {test.benchmark}: it has no policy_space"
        )
    policy = load_policy(path, space=defaults.policy_space)
    if not isinstance(policy, MlpPolicy):
        raise InvalidInputError(f"policy {path} takes no trade-off; name one of amp train")
    origin = load_origin(path)
    if origin is None:
        raise InvalidInputError(
            f"policy {path} does not say where it was learned, so it may know the test tasks; let"
            " amp train finish it"
        )
    if origin.assessor:
        raise InvalidInputError(
            f"policy {path} was learned with an assessor of its own, which a table has not; compare"
            " runs of amp run --assessor with amp report"
        )
    _check_origin(path, origin, test)
    for name, allocation in defaults.arms.items():
        if allocation not in (arm.allocation for arm in test.arms):
            raise InvalidInputError(
                f"policy {path} may ask for a {name}, of which the table has none; name that, too"
            )
    samples = min(test.samples.values())
    if policy.max_samples is None or policy.max_samples > samples:
        raise InvalidInputError(
            f"policy {path} may ask for {policy.max_samples or 'any number of'} samples of each"
            f" arm, the table has {samples}; take more"
        )
    return policy


def _check_origin(path: Path, origin: Origin, test: SampleTable) -> None:
    if origin.benchmark != test.benchmark:
        raise InvalidInputError(
            f"policy {path} was learned on {origin.benchmark}, the test tasks are of"
            f" {test.benchmark}; learn one there"
        )
    card = test.card
    same = origin.sha256 == card.sha256 if card.sha256 else origin.model == card.name
    if not same:
        weights = " of other weights" if origin.model == card.name else ""
        raise InvalidInputError(
            f"policy {path} was learned with {origin.model}{weights}, the test samples are of"
            f" {card.name}; learn one on samples of that"
        )
    seen = {row.task for row in test.tasks}.intersection(origin.tasks)
    if seen:
        raise InvalidInputError(
            f"policy {path} was learned on task {min(seen)} of the test; learn it on others"
        )
