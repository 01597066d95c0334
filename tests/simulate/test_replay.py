"""The state machine on a table decides, answers and costs what the real planner does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.files import DATA
from tests.fakes.recorded import (
    CHAIN,
    GSM8K,
    PROGRAM,
    SILENT,
    TASKS,
    record,
    replayed,
)

from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.confidence import ByGain, ConfidenceStop, ReliabilityStop, UntilSure, Way
from amp.allocate.rules import HeuristicAllocator
from amp.allocate.stopping import (
    AdaptiveConsistency,
    BayesianStop,
    EarlyStopping,
    UntilAgreement,
)
from amp.assess.base import Rater, WeightedAssessor
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError
from amp.report.paired import compare
from amp.simulate.build import opening_contexts, rate_samples, table_from_recording
from amp.simulate.policies import by_turns, until
from amp.simulate.replay import Pull, State, pulls, replay_allocator, replay_plan, replay_plans
from amp.simulate.samples import SampleTable
from amp.types import Allocation, Candidate, Episode, Round, StepContext, Task, Usage

ONE = PROGRAM.allocation
ALLOCATORS: dict[str, Allocator] = {
    "fixed": FixedAllocator(replace(ONE, beam_width=4)),
    "until_agreement": UntilAgreement((ONE,) * 4),
    "adaptive_consistency": AdaptiveConsistency(ONE, max_samples=4),
    "early_stopping": EarlyStopping(ONE, window=2, max_samples=4),
    "heuristic": HeuristicAllocator(load_benchmark("gsm8k").defaults.space),
    "mixed": UntilAgreement((ONE, ONE, CHAIN.allocation, ONE, CHAIN.allocation)),
    "chains": FixedAllocator(replace(CHAIN.allocation, beam_width=3)),
    "bayesian_stop": BayesianStop((ONE,) * 4),
    "until_sure": UntilSure((ONE, CHAIN.allocation, ONE)),
    "cges": ConfidenceStop((ONE,) * 4),
    "reasc": ReliabilityStop((ONE,) * 4, threshold=0.8),
    "by_gain": ByGain((Way(ONE), Way(CHAIN.allocation, cost=1.5))),
}
OF_BOTH_ARMS = {"mixed", "chains", "until_sure", "by_gain"}
COUNTING_ALIKE = {"bayesian_stop", "cges"}
"""On a real model they need no more than others that are there."""
REAL = Path(__file__).parents[2] / "recordings" / "gsm8k-train.sqlite"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recording = tmp_path_factory.mktemp("play") / "recording.sqlite"
    record(recording, [PROGRAM, CHAIN])
    return recording


@pytest.fixture(scope="module")
def table(path: Path) -> SampleTable:
    return table_from_recording(path, GSM8K, TASKS, [PROGRAM, CHAIN], 4)


def agree(
    table: SampleTable, allocator: Allocator, episodes: list[Episode], tasks: list[Task]
) -> None:
    contexts = opening_contexts(GSM8K, tasks)
    outcomes = replay_allocator(table, allocator, SILENT, contexts)
    for outcome, episode in zip(outcomes, episodes, strict=True):
        assert (outcome.task, outcome.success) == (episode.task, episode.success)
        for mine, theirs in zip(outcome.steps, episode.steps, strict=True):
            assert [plain(executed) for executed in mine.rounds] == [
                plain(executed) for executed in theirs.rounds
            ]
            assert (mine.action, mine.complexity) == (theirs.action, theirs.complexity)
            assert mine.final_complexity == theirs.final_complexity
            assert (mine.stop, mine.failure) == (theirs.stop, theirs.failure)
        assert whole(outcome.usage) == whole(episode.usage)
        assert outcome.usage.seconds == pytest.approx(episode.usage.seconds)
        assert outcome.usage.flops == pytest.approx(episode.usage.flops, rel=1e-12)


def plain(executed: Round) -> Round:
    """A round but for the last digits of its seconds and FLOPs, and the notes of the executor."""
    return replace(executed, usage=whole(executed.usage), substitutes=())


def whole(usage: Usage) -> Usage:
    return replace(usage, seconds=0.0, flops=0.0)


@pytest.mark.parametrize("name", ALLOCATORS)
def test_every_allocator_ends_as_in_the_real_planner(
    path: Path, table: SampleTable, name: str
) -> None:
    allocator = ALLOCATORS[name]
    agree(table, allocator, replayed(path, allocator), list(TASKS))


@pytest.mark.parametrize("name", ["bayesian_stop", "until_sure", "cges", "by_gain"])
def test_rated_samples_are_decided_and_voted_for_as_in_the_real_planner(
    path: Path, table: SampleTable, name: str
) -> None:
    contexts = opening_contexts(GSM8K, list(TASKS))
    allocator, rater = ALLOCATORS[name], ByLength()
    outcomes = replay_allocator(rate_samples(table, rater, contexts), allocator, SILENT, contexts)
    episodes = replayed(path, allocator, rater=rater)
    assert [o.success for o in outcomes] == [e.success for e in episodes]
    for outcome, episode in zip(outcomes, episodes, strict=True):
        rounds, others = outcome.steps[0].rounds, episode.steps[0].rounds
        assert [plain(one) for one in rounds] == [plain(one) for one in others]
        assert all(c.p_right is not None for one in others for c in one.candidates)


class ByLength(Rater):
    """The longer an answer, the more it looks right."""

    def rate(self, context: StepContext, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        return tuple(replace(c, p_right=min(0.9, len(c.text) / 50)) for c in candidates)


@pytest.mark.data("gsm8k")
@pytest.mark.parametrize("name", sorted(set(ALLOCATORS) - OF_BOTH_ARMS - COUNTING_ALIKE))
def test_every_allocator_ends_as_in_the_real_planner_on_a_real_model(
    tmp_path: Path, name: str
) -> None:
    recording = tmp_path / REAL.name
    shutil.copy(REAL, recording)
    tasks = list(load_benchmark("gsm8k", data=DATA).tasks("train", 12))
    table = table_from_recording(recording, GSM8K, tasks, [PROGRAM], 4)
    allocator = ALLOCATORS[name]
    agree(table, allocator, replayed(recording, allocator, tasks=tasks), tasks)


@pytest.mark.data("gsm8k")
def test_a_paid_look_is_charged_as_in_the_real_planner(tmp_path: Path) -> None:
    recording = tmp_path / REAL.name
    shutil.copy(REAL, recording)
    looking = WeightedAssessor(probes=frozenset({"hidden", "next_token"}))
    tasks = list(load_benchmark("gsm8k", data=DATA).tasks("train", 4))
    table = table_from_recording(recording, GSM8K, tasks, [PROGRAM], 4, probes=looking.probes)
    assert all(row.probe is not None and row.probe.entropy is not None for row in table.tasks)
    outcomes = replay_allocator(
        table, ALLOCATORS["heuristic"], looking, opening_contexts(GSM8K, tasks)
    )
    episodes = replayed(recording, ALLOCATORS["heuristic"], looking, tasks)
    assert [whole(o.usage) for o in outcomes] == [whole(e.usage) for e in episodes]
    blind = replay_allocator(table, ALLOCATORS["heuristic"], SILENT, opening_contexts(GSM8K, tasks))
    assert sum(o.usage.tokens for o in blind) < sum(o.usage.tokens for o in outcomes)
    with pytest.raises(InvalidInputError, match="probes hidden, the table was made with h"):
        hidden = replace(looking, probes=frozenset({"hidden"}))
        replay_allocator(table, ALLOCATORS["heuristic"], hidden, opening_contexts(GSM8K, tasks))


def test_rounds_of_one_arm_read_its_prompt_again_and_its_samples_go_on(table: SampleTable) -> None:
    row = table.tasks[0]
    cell = row.by_arm["program"]
    together = replay_plan(table, row, [Pull("program", 3)])
    apart = replay_plan(table, row, [Pull("program", 1), Pull("program", 2)])
    assert apart.success == together.success
    assert apart.usage.prompt_tokens == together.usage.prompt_tokens + cell.prompt_tokens
    assert apart.usage.cached_prompt_tokens == cell.cached[0] + cell.cached[1]
    assert apart.usage.completion_tokens == together.usage.completion_tokens
    state = (
        State.begin(table, row)
        .after(Pull("program", 1))
        .after(Pull("chain"))
        .after(Pull("program", 2))
    )
    assert state.taken == (("program", 0), ("chain", 0), ("program", 1), ("program", 2))


def test_a_model_that_shares_no_prompt_reads_it_for_every_sample(table: SampleTable) -> None:
    row = table.tasks[0]
    alone = replace(table, shared_prompt=False)
    one, three = (replay_plan(alone, row, [Pull("chain", n)]).usage for n in (1, 3))
    assert (three.model_calls, three.prompt_tokens) == (3, 3 * one.prompt_tokens)


def test_to_stop_at_once_costs_and_reaches_nothing(table: SampleTable) -> None:
    for outcome in replay_plans(table, lambda row: ()):
        assert (outcome.success, outcome.usage) == (False, Usage())
        assert pulls(table, outcome.steps[0]) == ()


def test_what_was_replayed_is_compared_like_runs(table: SampleTable) -> None:
    cheap = replay_plans(table, lambda row: (Pull("program", 1),))
    dear = replay_plans(table, lambda row: (Pull("program", 4),))
    told = compare(dear, cheap)
    spent = [sum(o.usage.tokens for o in outcomes) for outcomes in (dear, cheap)]
    assert told.savings["tokens"].share == pytest.approx(1 - spent[1] / spent[0])
    assert told.tasks == len(TASKS)


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ([Pull("program", 5)], "5 more samples of arm program on task .* after 0, .* has 4"),
        ([Pull("chain", 3), Pull("chain", 2)], "2 more samples of arm chain on task .* after 3"),
        ([Pull("chain", 0)], "0 more samples of arm chain"),
        ([Pull("chian")], "unknown arm 'chian'; did you mean 'chain'"),
    ],
)
def test_what_the_table_has_not_is_refused(table: SampleTable, asks: list[Pull], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        replay_plan(table, table.tasks[0], asks)


def test_an_allocation_that_is_no_arm_is_named_with_the_arms(table: SampleTable) -> None:
    greedy = FixedAllocator(Allocation())
    with pytest.raises(InvalidInputError, match=r"no arm for Allocation\(.*its arms are program"):
        replay_allocator(table, greedy)
    with pytest.raises(InvalidInputError, match="reads the text of task .*; pass contexts"):
        replay_allocator(table, ALLOCATORS["fixed"], SILENT)


def test_orders_ask_for_no_more_than_there_is(table: SampleTable) -> None:
    rule = until(table, by_turns("chain", "program", "aaaaaab"), agree=9)
    (first, *_) = replay_allocator(table, rule)
    assert [pull.arm for pull in pulls(table, first.steps[0])] == ["chain"] * 4 + ["program"]
