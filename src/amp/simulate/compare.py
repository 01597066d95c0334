"""Which policies are set side by side on recorded samples, as runs for a report (spec 2.6).

They are the fixed allocations, the rules on votes, the allocators to be compared, the controls of
these, and a rule on the prompt's length. What has to be chosen or learned (the reference, the
length rule) is chosen on training tasks. The figures are those of `amp.report`, which finds the
oracle among the fixed allocations itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from amp.allocate.base import Allocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import Origin, load_origin, load_policy, load_router
from amp.allocate.router import Router
from amp.assess.base import Assessor
from amp.benchmarks import load_benchmark
from amp.cost import Cost, costing
from amp.errors import InvalidInputError
from amp.report.runs import Kind, Run
from amp.simulate.policies import (
    CostOf,
    Price,
    fixed,
    fixed_plans,
    learn_threshold,
    resampled_control,
    shuffled_control,
    vote_rules,
)
from amp.simulate.replay import Plan, replay_allocator, replay_plans
from amp.simulate.samples import SampleTable
from amp.simulate.tuning import tuned_rules
from amp.types import Episode, StepContext

LENGTH_TRADE_OFF = 0.9
"""The trade-off at which the length rule is learned: success weighs nine times its cost."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """An allocator to be compared.

    Attributes:
        allocators: decide; several ones, learned with different seeds, say, take turns in the
            orders.
        assessor: scores the steps; None for an allocator that does not use the complexity.
        controls: whether its rounds are also resampled, and shuffled, among the tasks, as controls.
    """

    allocators: tuple[Allocator, ...]
    assessor: Assessor | None = None
    controls: bool = True


def simulate(
    test: SampleTable,
    training: SampleTable,
    adaptive: Mapping[str, Adaptive],
    contexts: Mapping[str, StepContext],
    orders: int = 10,
    cost: Cost = "tokens",
    tuned: Sequence[float] = (),
) -> tuple[tuple[Run, ...], str]:
    """Replays every policy on the test tasks, with the samples in several orders.

    Args:
        test: the tasks to report on.
        training: other tasks, with the same arms and as many samples, to choose the reference and
            the length rule on.
        adaptive: allocators to be compared, by name.
        contexts: the first step of each test task, by its id (`build.opening_contexts`); empty if
            no allocator reads it.
        orders: of the samples, at least 1; each is a seed of the runs.
        cost: by which the reference and the length rule are chosen.
        tuned: trade-offs at which every rule is there with the setting that pays best on the
            training tasks (`tuning.tuned_rules`), beside those of the papers.

    Returns:
        A run of each policy, and the name of the reference: the fixed allocation that succeeds
        most often on the training tasks.

    Raises:
        InvalidInputError: if the tables share a task, or differ in model, prompts or arms; or
            the cost is not known of the model.
    """
    _check(test, training, orders)
    measure = costing(cost, training.card).of
    reference = _best_fixed(training, orders, measure)
    budget = fmean(measure(o.usage) for o in replay_plans(training, lambda row: reference))
    length = learn_threshold(training, Price(LENGTH_TRADE_OFF, budget, measure))
    rules = {
        f"{rule} tuned at {price.trade_off:g}: {best.name}": best.allocator
        for price in (Price(trade_off, budget, measure) for trade_off in tuned)
        for rule, best in tuned_rules(training, price).items()
    }
    by_policy: dict[tuple[Kind, str], list[Episode]] = defaultdict(list)
    for seed in range(orders):
        table = test.permuted(seed)
        for plan in fixed_plans(table):
            by_policy["fixed", _name(plan)] += fixed(table, plan)
        for name, rule in (*vote_rules(table).items(), *rules.items()):
            by_policy["rule", name] += replay_allocator(table, rule)
        for name, policy in adaptive.items():
            allocator = policy.allocators[seed % len(policy.allocators)]
            episodes = replay_allocator(table, allocator, policy.assessor, contexts)
            by_policy["adaptive", name] += episodes
            if policy.controls:
                resampled = resampled_control(table, episodes, seed)
                by_policy["control", f"random with the histogram of {name}"] += resampled
                shuffled = shuffled_control(table, episodes, seed)
                by_policy["control", f"{name}, shuffled among tasks"] += shuffled
        by_policy["control", "prompt length"] += replay_plans(table, length)
    runs = (
        simulated_run(name, kind, episodes, test, contexts)
        for (kind, name), episodes in by_policy.items()
    )
    return tuple(runs), _name(reference)


def simulated_run(
    name: str,
    kind: Kind,
    episodes: Sequence[Episode],
    table: SampleTable,
    contexts: Mapping[str, StepContext],
) -> Run:
    """What a policy reached on recorded samples, as a run whose episodes have no steps.

    Args:
        name: of the policy.
        kind: what it is.
        episodes: of each task, in one or several orders of the samples.
        table: the samples.
        contexts: the first step of each task, by its id, for the tasks' goals; may be empty.
    """
    tasks = {task: context.task for task, context in contexts.items()}
    return Run(
        name=name,
        episodes=tuple(
            replace(
                one, steps=(), task=replace(tasks.get(one.task.id, one.task), seed=one.task.seed)
            )
            for one in episodes
        ),
        kind=kind,
        benchmark=table.benchmark,
        model=table.card.name,
        card=table.card,
        checksum=table.card.sha256 or "",
        prompts=(table.prompts,),
    )


def _check(test: SampleTable, training: SampleTable, orders: int) -> None:
    if orders < 1:
        raise InvalidInputError(f"orders is {orders}, expected at least 1")
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


def _best_fixed(table: SampleTable, orders: int, measure: CostOf) -> Plan:
    """The fixed allocation that succeeds most often; of equals the cheaper one."""

    def worth(plan: Plan) -> tuple[float, float]:
        came = [o for seed in range(orders) for o in fixed(table.permuted(seed), plan)]
        return fmean(o.score for o in came), -fmean(measure(o.usage) for o in came)

    return max(fixed_plans(table), key=worth)


def _name(plan: Plan) -> str:
    return " + ".join(f"{pull.samples} {pull.arm}" for pull in plan)


def learned_router(path: Path, test: SampleTable) -> Router:
    """Reads a router, as `learned` reads other policies.

    Raises:
        InvalidInputError: if there is no such policy, it does not say where it was learned, was
            learned elsewhere or on a task of the table, or asks for what the table has not.
    """
    policy, origin = load_router(path), _origin(path)
    _check_origin(path, origin, test)
    if origin.correctness and not _is_rated(test):
        raise InvalidInputError(
            f"policy {path} was learned on rated samples, and those of the table are not; rate them"
            " (--correctness logistic)"
        )
    arms = [arm.allocation for arm in test.arms]
    for (name, allocation), samples in zip(policy.arms.items(), policy.samples, strict=True):
        if allocation not in arms:
            raise InvalidInputError(
                f"policy {path} may ask for a {name}, of which the table has none; name that, too"
            )
        if samples > min(test.samples.values()):
            raise InvalidInputError(
                f"policy {path} may ask for {samples} samples of {name}, the table has"
                f" {min(test.samples.values())}; take more"
            )
    return policy


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
    policy = load_policy(path, space=defaults.policy_space).network
    if policy is None:
        raise InvalidInputError(f"policy {path} takes no trade-off; name one of amp train")
    origin = _origin(path)
    if origin.correctness and not _is_rated(test):
        raise InvalidInputError(
            f"policy {path} was learned on rated samples, and those of the table are not; rate them"
            " (--correctness logistic)"
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


def _is_rated(table: SampleTable) -> bool:
    """Whether the samples have a P(right)."""
    arms = table.tasks[0].by_arm.values()
    return any(s.candidate.p_right is not None for arm in arms for s in arm.samples)


def _origin(path: Path) -> Origin:
    origin = load_origin(path)
    if origin is None:
        raise InvalidInputError(
            f"policy {path} does not say where it was learned, so it may know the test tasks; let"
            " amp train finish it"
        )
    return origin


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
