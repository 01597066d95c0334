"""The state machine on a table decides, answers and costs what the real planner does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
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
from amp.allocate.consistency import AdaptiveConsistency, EarlyStopping, UntilAgreement
from amp.allocate.heuristic import HeuristicAllocator
from amp.assess.weighted import WeightedAssessor
from amp.benchmarks import load_benchmark
from amp.benchmarks.presets import PRESETS
from amp.errors import InvalidInputError
from amp.report.paired import compare
from amp.simulate.build import of_recording, opening_contexts
from amp.simulate.policies import by_turns, until
from amp.simulate.replay import Ask, State, follow, play, played
from amp.simulate.samples import Draws
from amp.types import Allocation, Episode, Task, Usage

ONE = PROGRAM.allocation
ALLOCATORS: dict[str, Allocator] = {
    "fixed": FixedAllocator(replace(ONE, beam_width=4)),
    "until_agreement": UntilAgreement((ONE,) * 4),
    "adaptive_consistency": AdaptiveConsistency(ONE, most=4),
    "early_stopping": EarlyStopping(ONE, window=2, most=4),
    "heuristic": HeuristicAllocator(PRESETS["gsm8k"].space),
    "mixed": UntilAgreement((ONE, ONE, CHAIN.allocation, ONE, CHAIN.allocation)),
    "chains": FixedAllocator(replace(CHAIN.allocation, beam_width=3)),
}
REAL = Path(__file__).parents[2] / "recordings" / "gsm8k-train.sqlite"
DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recording = tmp_path_factory.mktemp("play") / "recording.sqlite"
    record(recording, [PROGRAM, CHAIN])
    return recording


@pytest.fixture(scope="module")
def draws(path: Path) -> Draws:
    return of_recording(path, GSM8K, TASKS, [PROGRAM, CHAIN], 4)


def agree(draws: Draws, allocator: Allocator, episodes: list[Episode], tasks: list[Task]) -> None:
    contexts = opening_contexts(GSM8K, tasks)
    outcomes = follow(draws, allocator, SILENT, contexts)
    for outcome, episode in zip(outcomes, episodes, strict=True):
        assert (outcome.task, outcome.success) == (episode.task.id, episode.success)
        assert [ask.samples for ask in outcome.asked] == [
            len(executed.candidates) for executed in episode.steps[0].rounds
        ]
        assert whole(outcome.usage) == whole(episode.usage)
        assert outcome.usage.seconds == pytest.approx(episode.usage.seconds)
        assert outcome.usage.flops == pytest.approx(episode.usage.flops, rel=1e-12)


def whole(usage: Usage) -> Usage:
    return replace(usage, seconds=0.0, flops=0.0)


@pytest.mark.parametrize("name", ALLOCATORS)
def test_every_allocator_ends_as_in_the_real_planner(path: Path, draws: Draws, name: str) -> None:
    allocator = ALLOCATORS[name]
    agree(draws, allocator, replayed(path, allocator), list(TASKS))


@pytest.mark.skipif(not (DATA / "gsm8k").is_dir(), reason="needs the data of gsm8k")
@pytest.mark.parametrize("name", sorted(set(ALLOCATORS) - {"mixed", "chains"}))
def test_every_allocator_ends_as_in_the_real_planner_on_a_real_model(
    tmp_path: Path, name: str
) -> None:
    recording = tmp_path / REAL.name
    shutil.copy(REAL, recording)
    tasks = list(load_benchmark("gsm8k", data=DATA).tasks("train", 12))
    draws = of_recording(recording, GSM8K, tasks, [PROGRAM], 4)
    allocator = ALLOCATORS[name]
    agree(draws, allocator, replayed(recording, allocator, tasks=tasks), tasks)


def test_a_paid_look_is_charged_as_in_the_real_planner(tmp_path: Path) -> None:
    if not (DATA / "gsm8k").is_dir():
        pytest.skip("needs the data of gsm8k")
    recording = tmp_path / REAL.name
    shutil.copy(REAL, recording)
    looking = WeightedAssessor(probes=frozenset({"hidden", "next_token"}))
    tasks = list(load_benchmark("gsm8k", data=DATA).tasks("train", 4))
    draws = of_recording(recording, GSM8K, tasks, [PROGRAM], 4, probes=looking.probes)
    assert all(row.probe is not None and row.probe.entropy is not None for row in draws.tasks)
    outcomes = follow(draws, ALLOCATORS["heuristic"], looking, opening_contexts(GSM8K, tasks))
    episodes = replayed(recording, ALLOCATORS["heuristic"], looking, tasks)
    assert [whole(o.usage) for o in outcomes] == [whole(e.usage) for e in episodes]
    blind = follow(draws, ALLOCATORS["heuristic"], SILENT, opening_contexts(GSM8K, tasks))
    assert sum(o.usage.tokens for o in blind) < sum(o.usage.tokens for o in outcomes)
    with pytest.raises(InvalidInputError, match="probes hidden, the table was made with h"):
        hidden = replace(looking, probes=frozenset({"hidden"}))
        follow(draws, ALLOCATORS["heuristic"], hidden, opening_contexts(GSM8K, tasks))


def test_rounds_of_one_arm_read_its_prompt_again_and_its_samples_go_on(draws: Draws) -> None:
    row = draws.tasks[0]
    cell = row.cells["program"]
    together = played(draws, row, [Ask("program", 3)])
    apart = played(draws, row, [Ask("program", 1), Ask("program", 2)])
    assert apart.success == together.success
    assert apart.usage.prompt_tokens == together.usage.prompt_tokens + cell.prompt_tokens
    assert apart.usage.cached_prompt_tokens == cell.cached[0] + cell.cached[1]
    assert apart.usage.completion_tokens == together.usage.completion_tokens
    state = State(draws, row).after(Ask("program", 1)).after(Ask("chain")).after(Ask("program", 2))
    assert state.taken == (("program", 0), ("chain", 0), ("program", 1), ("program", 2))


def test_a_model_that_shares_no_prompt_reads_it_for_every_sample(draws: Draws) -> None:
    row = draws.tasks[0]
    alone = replace(draws, shared_prompt=False)
    one, three = (played(alone, row, [Ask("chain", n)]).usage for n in (1, 3))
    assert (three.model_calls, three.prompt_tokens) == (3, 3 * one.prompt_tokens)


def test_to_stop_at_once_costs_and_reaches_nothing(draws: Draws) -> None:
    for outcome in play(draws, lambda row: ()):
        assert (outcome.success, outcome.usage, outcome.asked) == (False, Usage(), ())


def test_outcomes_are_compared_like_episodes(draws: Draws) -> None:
    cheap = play(draws, lambda row: (Ask("program", 1),))
    dear = play(draws, lambda row: (Ask("program", 4),))
    told = compare([o.episode for o in dear], [o.episode for o in cheap])
    spent = [sum(o.usage.tokens for o in outcomes) for outcomes in (dear, cheap)]
    assert told.savings["tokens"].share == pytest.approx(1 - spent[1] / spent[0])
    assert told.tasks == len(TASKS)


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ([Ask("program", 5)], "5 more samples of arm program on task .* after 0, .* holds 4"),
        ([Ask("chain", 3), Ask("chain", 2)], "2 more samples of arm chain on task .* after 3"),
        ([Ask("chain", 0)], "0 more samples of arm chain"),
        ([Ask("chian")], "unknown arm 'chian'; did you mean 'chain'"),
    ],
)
def test_what_the_table_has_not_is_refused(draws: Draws, asks: list[Ask], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        played(draws, draws.tasks[0], asks)


def test_an_allocation_that_is_no_arm_is_named_with_the_arms(draws: Draws) -> None:
    greedy = FixedAllocator(Allocation())
    with pytest.raises(InvalidInputError, match=r"no arm for Allocation\(.*its arms are program"):
        follow(draws, greedy)
    with pytest.raises(InvalidInputError, match="reads the text of task .*; pass contexts"):
        follow(draws, ALLOCATORS["fixed"], SILENT)


def test_orders_ask_for_no_more_than_there_is(draws: Draws) -> None:
    rule = until(draws, by_turns("chain", "program", "aaaaaab"), agree=9)
    (first, *_) = follow(draws, rule)
    assert [ask.arm for ask in first.asked] == ["chain"] * 4 + ["program"]
