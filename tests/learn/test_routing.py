"""The router learned from pools: laws on pools of our own making, of which the best is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.policy_file import SCHEMA, Origin, load_router, save_router
from amp.allocate.router import Known, Router, basis, logit, posterior, votes_of
from amp.errors import InvalidInputError
from amp.learn.routing import RoutingSettings, begun, learn_router
from amp.mlp import read_tensors, write_tensors
from amp.pools import Pool
from amp.pools.pool import NO_ANSWER, PoolArm, PoolTask
from amp.simulate.pool_draws import (
    CountLattice,
    Draws,
    Outcome,
    draw,
    follow,
    joined,
    known_after,
    known_at,
    leader_right,
)
from amp.simulate.pool_rules import Chain, PoolCascade, Rows, Vote, envelope, oracle, split_half
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Evidence,
    Limits,
    Observation,
    StepContext,
    Task,
)

SETTINGS = RoutingSettings(depth=3, samples=2, orders=2, trade_offs=(0.1, 0.5, 0.85, 0.9, 0.99))


def made_pool(
    tasks: int = 120, samples: int = 3, seed: int = 0, rates: tuple[float, ...] = (0.5, 0.9)
) -> Pool:
    """Tasks with four answers; arm k costs 10 times arm k - 1; half of the tasks are easy."""
    rng = np.random.default_rng(seed)
    shape = (tasks, len(rates), samples)
    easy = rng.random(tasks) < 0.5
    chance = np.where(easy[:, None], np.minimum(1.0, np.array(rates) + 0.4), np.array(rates) - 0.2)
    right = rng.random(shape) < chance[:, :, None]
    answer = np.where(right, 0, rng.integers(1, 4, shape)).astype(np.intp)
    tokens = np.full(shape, 10.0)
    return Pool(
        "made",
        tuple(
            PoolTask(f"t{i}", "easy" if e else "hard", f"t{i}", "what is it", "0", 10.0)
            for i, e in enumerate(easy)
        ),
        tuple(PoolArm.of(f"m{arm}") for arm in range(len(rates))),
        (("0", "1", "2", "3"),) * tasks,
        answer,
        np.ones(shape, np.bool_),
        right,
        tokens,
        tokens,
        np.broadcast_to(10.0 ** np.arange(len(rates))[None, :, None], shape) * 1e-6,
        np.full(shape, np.nan),
        np.zeros(len(rates), np.bool_),
    )


def served(router: Router, pool: Pool, draws: Draws) -> Outcome:
    return follow(router, draws, begun(router, pool, draws))


@pytest.fixture(scope="module")
def learned() -> tuple[Pool, Router]:
    pool = made_pool()
    return pool, learn_router(pool, SETTINGS)


def known_of(votes: np.ndarray, chances: np.ndarray) -> Known:
    arms, answers = votes.shape[-2:]
    shape = (*votes.shape[:-2], arms)
    return Known(
        votes,
        votes * logit(chances)[:, None],
        votes.sum(-1),
        np.ones(shape, np.bool_),
        np.broadcast_to(chances, shape),
        np.ones(shape),
        np.zeros((*votes.shape[:-2], answers)),
    )


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=2, max_size=2),
    st.lists(st.floats(-2, 2), min_size=5, max_size=5),
)
def test_a_posterior_is_a_distribution_over_what_was_said(
    votes: list[list[int]], weights: list[float]
) -> None:
    known = known_of(np.array([votes], float), np.array([0.3, 0.8]))
    shares = posterior(known, np.array(weights))[0]
    said = np.array(votes).sum(0) > 0
    assert (shares[~said] == 0).all()
    assert shares.sum() < 1.0 or not np.isfinite(weights).all()
    assert (shares[said] > 0).all()


@given(st.permutations(range(3)))
def test_names_of_answers_do_not_matter(order: list[int]) -> None:
    votes = np.array([[[2.0, 1.0, 0.0], [0.0, 1.0, 1.0]]])
    weights = np.array([1.0, 0.5, 0.2, 0.1, -0.3])
    one = posterior(known_of(votes, np.array([0.3, 0.8])), weights)
    other = posterior(known_of(votes[..., order], np.array([0.3, 0.8])), weights)
    assert other == pytest.approx(one[..., order])
    known = known_of(votes, np.array([0.3, 0.8]))
    renamed = known_of(votes[..., order], np.array([0.3, 0.8]))
    assert basis(renamed, other) == pytest.approx(basis(known, one))


def test_an_exact_check_settles_an_answer() -> None:
    known = known_of(np.array([[[2.0, 1.0]]]), np.array([0.5]))
    checked = replace(known, verdicts=np.array([[-1.0, 1.0]]))
    assert posterior(checked, np.zeros(3))[0] == pytest.approx([0.0, 1.0], abs=1e-9)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 5))
def test_a_lattice_has_every_way_to_take_few_samples(samples: list[int], depth: int) -> None:
    lattice = CountLattice.of(samples, depth)
    nodes = {tuple(node) for node in lattice.taken.tolist()}
    assert len(nodes) == len(lattice.taken)
    assert max(map(sum, nodes)) == min(depth, sum(min(s, depth) for s in samples))
    for node, following in zip(lattice.taken, lattice.next, strict=True):
        for arm, to in enumerate(following):
            more = node + np.eye(len(samples), dtype=int)[arm]
            assert (to == -1) == (tuple(more) not in nodes)
            assert to == -1 or (lattice.taken[to] == more).all()


def test_a_lattice_too_large_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="take fewer arms or a lower depth"):
        CountLattice.of([10] * 12, 10)


def test_votes_count_the_first_samples() -> None:
    answer = np.array([[[0, 1, 0], [1, NO_ANSWER, 1]]])
    votes = votes_of(answer, np.ones(answer.shape), np.array([[3, 2], [1, 0]]))
    assert votes[0, 0].tolist() == [[2.0, 1.0], [0.0, 1.0]]
    assert votes[0, 1].tolist() == [[1.0, 0.0], [0.0, 0.0]]


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_orders_keep_every_sample(seed: int) -> None:
    pool = made_pool(10)
    draws = draw(pool, 2, seed)
    assert draws.task.tolist() == sorted([*range(10)] * 2)
    for row, task in enumerate(draws.task):
        # Up to the numbers of the answers.
        drawn, pooled = (
            sorted((array == number).sum(1).tolist() for number in range(4))
            for array in (draws.answer[row], pool.answer[task])
        )
        assert drawn == pooled
    assert draws.cost.sum() == pytest.approx(2 * pool.dollars.sum())


@settings(max_examples=10)
@given(st.permutations(range(4)), st.integers(0, 10**6))
def test_numbers_of_answers_tell_nothing_of_arms_that_were_not_asked(
    order: list[int], seed: int
) -> None:
    # Of two answers that one arm gives once each, the other arm names one: a coin decides.
    answer = np.zeros((400, 2, 2), np.intp)
    answer[:, 1] = order[:2]
    answer[:, 0] = order[0]
    pool = made_pool(400, samples=2)
    pool = replace(pool, answer=answer, right=answer == order[0])
    draws = draw(pool, 1, seed)
    assert ((draws.answer == draws.answer[:, :1, :1]) == draws.right).all()
    start = Known(
        np.zeros((400, 2, 0)), np.zeros((400, 2, 0)), np.zeros((400, 2)),
        np.ones((400, 2), np.bool_), np.full((400, 2), 0.5), np.ones((400, 2)), np.zeros((400, 0)),
    )  # fmt: skip
    shares = posterior(known_at(draws, np.array([[0, 2]]), start), np.ones(5))
    assert abs(leader_right(draws, shares).mean() - 0.5) < 0.15


def test_more_weight_on_success_costs_more_and_solves_no_less(
    learned: tuple[Pool, Router],
) -> None:
    _, router = learned
    test = made_pool(400, seed=1)
    draws = draw(test, 2, 5)
    came = [served(router.with_trade_off(t), test, draws) for t in (0.1, 0.9, 0.99)]
    costs = [one.cost.mean() for one in came]
    success = [one.right.mean() for one in came]
    assert costs[0] < costs[1] <= costs[2] * 1.05
    assert success[0] < success[1] <= success[2] + 0.03


def test_it_asks_the_cheap_arm_where_the_task_is_easy(learned: tuple[Pool, Router]) -> None:
    _, router = learned
    test = made_pool(400, seed=2)
    outcome = served(router.with_trade_off(0.85), test, draw(test, 1, 5))
    easy = np.array([task.kind == "easy" for task in test.tasks])
    assert outcome.taken[easy, 1].mean() < 0.5 * outcome.taken[~easy, 1].mean()
    always = Vote(1, "m1", 1)
    draws = draw(test, 1, 5)
    dear = always.play(Rows(draws, begun(router, test, draws), router.voices, {}))
    assert outcome.right.mean() > dear.right.mean() - 0.03
    assert outcome.cost.mean() < 0.8 * dear.cost.mean()


def test_a_router_decides_live_as_on_the_table(learned: tuple[Pool, Router]) -> None:
    _, router = learned
    router = replace(router, descriptors=replace(router.descriptors)).with_trade_off(0.9)
    task = Task("t", "what is it" * 4)
    text_tokens = len(task.goal) / 4.0
    described = router.descriptors.of("", task.goal, text_tokens)[None]
    start = router.begin(described, np.array([text_tokens]))
    answers = np.array([[[1, 0, 0], [0, 0, 2]]])
    pool = replace(made_pool(1), answer=answers)
    draws = replace(draw(pool, 1, 0), answer=answers)
    taken, evidence = np.zeros((1, 2), np.intp), Evidence()
    for level in range(router.depth + 1):
        now = known_after(draws, taken, start)
        best = int(router.worth(now, level)[0].argmax())
        context = StepContext(task, Observation(), evidence=evidence)
        decision = router.allocate(context, None)  # type: ignore[arg-type]  # it reads none
        if best == 0:
            assert decision.stop
            break
        assert decision.allocation == list(router.arms.values())[best - 1]
        said = str(answers[0, best - 1, taken[0, best - 1]])
        taken[0, best - 1] += 1
        evidence = evidence.after((Candidate(said, said, model=f"m{best - 1}"),))


def test_a_model_that_failed_is_not_asked(learned: tuple[Pool, Router]) -> None:
    _, router = learned
    context = StepContext(Task("t", "g"), Observation(), failed=frozenset({"m0"}))
    decision = router.allocate(context, None)  # type: ignore[arg-type]  # it reads none
    assert decision.allocation is not None
    assert decision.allocation.model == "m1"


def test_an_arm_that_costs_more_than_is_left_is_not_asked(learned: tuple[Pool, Router]) -> None:
    _, router = learned
    router = router.with_trade_off(0.99)
    for left, models in ((1.0, {"m0", "m1"}), (5e-6, {"m0"})):
        step = StepContext(Task("t", "g"), Observation(), remaining=Limits(dollars=left))
        known, _ = router.known(step)
        there = known.there[0].tolist()
        assert {m for m, is_there in zip(("m0", "m1"), there, strict=True) if is_there} == models
        allocation = router.allocate(step, Complexity(0.0)).allocation
        assert allocation is not None
        assert allocation.model in models


def test_an_arm_that_lacks_samples_is_never_asked_for_more() -> None:
    pool = made_pool(60)
    there = pool.there.copy()
    there[::2, 1] = False
    there[1::2, 1, 1:] = False
    pool = replace(pool, there=there, answer=np.where(there, pool.answer, NO_ANSWER))
    router = learn_router(pool, SETTINGS).with_trade_off(0.99)
    draws = draw(pool, 2, 1)
    assert (served(router, pool, draws).taken <= draws.there.sum(2)).all()


def test_one_arm_is_taken_once_or_until_it_agrees() -> None:
    pool = made_pool(80, rates=(0.6,))
    router = learn_router(pool, SETTINGS)
    draws = draw(pool, 2, 1)
    cheap = served(router.with_trade_off(0.0), pool, draws)
    once = Vote(0, "m0", 1).play(Rows(draws, begun(router, pool, draws), router.voices, {}))
    assert cheap.cost == pytest.approx(once.cost)
    assert (cheap.right == once.right).all()


def test_a_router_reads_back_as_it_was_written(
    learned: tuple[Pool, Router], tmp_path: Path
) -> None:
    pool, router = learned
    path = tmp_path / "router.safetensors"
    save_router(router, path, Origin("made", "m0, m1", "", ("t0",)))
    again = load_router(path)
    draws = draw(pool, 2, 3)
    assert (served(again, pool, draws).taken == served(router, pool, draws).taken).all()
    options = AllocatorOptions(models=("m0", "m1"), trade_off=0.5)
    allocator = make_allocator(str(path), options)
    step = StepContext(Task("t", "g"), Observation())
    assert allocator.allocate(step, Complexity(0.0)).allocation is not None


def test_a_router_among_ways_to_ask_stays_on_its_benchmark(
    learned: tuple[Pool, Router], tmp_path: Path
) -> None:
    path = tmp_path / "router.safetensors"
    ways = {"program": Allocation(tools=frozenset({"python"})), "chain": Allocation(depth=2)}
    save_router(replace(learned[1], arms=ways), path, Origin("gsm8k", "m", "", ("t0",)))
    assert make_allocator(str(path), AllocatorOptions(benchmark="gsm8k")).models == frozenset()
    with pytest.raises(InvalidInputError, match="learned on gsm8k and chooses among the ways"):
        make_allocator(str(path), AllocatorOptions(benchmark="babyai"))


def test_a_damaged_router_is_refused(learned: tuple[Pool, Router], tmp_path: Path) -> None:
    path = tmp_path / "router.safetensors"
    save_router(replace(learned[1], arms=learned[1].arms), path)
    header, tensors = read_tensors(path, "policy", SCHEMA)
    write_tensors(path, header, {**tensors, "voices": np.full(2, np.nan)})
    with pytest.raises(InvalidInputError, match="voices of the router has the shape"):
        load_router(path)


def test_a_pool_that_costs_nothing_is_refused() -> None:
    pool = made_pool(60)
    free = replace(pool, dollars=np.zeros_like(pool.dollars))
    with pytest.raises(InvalidInputError, match="costs any dollars, so there is nothing to weigh"):
        learn_router(free, SETTINGS)
    assert learn_router(free, replace(SETTINGS, cost="tokens")).reference > 0.0


def test_too_few_tasks_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="3 groups of tasks to learn from"):
        learn_router(made_pool(3), SETTINGS)


def test_a_cascade_stops_where_arms_agree_and_pays_for_what_it_asked() -> None:
    pool = made_pool(200)
    router_free = Rows(draw(pool, 1, 0), None, np.zeros(5), {})  # type: ignore[arg-type]
    draws = router_free.draws
    outcome = PoolCascade((0, 0), 2, 1, 1, ("m0", "m1")).play(router_free)
    same = draws.answer[:, 0, 0] == draws.answer[:, 0, 1]
    assert (outcome.taken[:, 1] == ~same).all()
    assert (outcome.right[same] == draws.right[same, 0, 0]).all()
    assert (outcome.right[~same] == draws.right[~same, 1, 0]).all()
    assert outcome.cost == pytest.approx(2e-6 + 10e-6 * ~same)


def test_without_answers_no_sample_profits_from_another_one() -> None:
    pool = made_pool(300)
    silent = replace(pool, answer=np.full_like(pool.answer, NO_ANSWER), answers=((),) * 300)
    draws = draw(silent, 4, 0)
    rows = Rows(draws, None, np.zeros(5), {})  # type: ignore[arg-type]
    for arm in (0, 1):
        once, more = (Vote(arm, "", count).play(rows) for count in (1, 3))
        assert once.right.mean() == pytest.approx(pool.right[:, arm].mean(), abs=0.03)
        assert (once.right == more.right).all()
        assert (once.cost == more.cost).all()
    assert learn_router(silent, SETTINGS).samples == (1, 1)


def test_a_right_sample_without_an_answer_is_handed_in_by_nobody() -> None:
    pool = made_pool(40)
    answer = pool.answer.copy()
    answer[:20] = NO_ANSWER
    draws = draw(replace(pool, answer=answer), 1, 0)
    lacks = draws.task < 20
    rows = Rows(draws, None, np.zeros(5), {})  # type: ignore[arg-type]
    for outcome in (Vote(1, "m1", 1).play(rows), oracle(draws), split_half(draws, 0.9, 1e-5)):
        assert not outcome.right[lacks].any()


def test_of_many_answers_to_a_task_those_that_were_given_are_learned_from() -> None:
    pool = made_pool(120, samples=30)
    # All wrong answers to a task differ.
    answer = np.where(pool.right, 0, 1 + np.arange(60).reshape(1, 2, 30))
    many = replace(pool, answer=answer, answers=(tuple(map(str, range(61))),) * 120)
    alone = known_of(np.array([[[0.0], [1.0]]]), np.array([0.5, 0.8]))
    believed = posterior(alone, learn_router(many, SETTINGS).voices).max()
    assert believed == pytest.approx(0.8, abs=0.1)


def test_no_rule_beats_the_oracle() -> None:
    pool = made_pool(200)
    draws = draw(pool, 2, 0)
    rows = Rows(draws, None, np.zeros(5), {})  # type: ignore[arg-type]
    best = oracle(draws)
    for rule in (Vote(0, "m0", 1), Vote(1, "m1", 3), PoolCascade((0,), 1, 1, 1, ("m0", "m1"))):
        assert rule.play(rows).right.mean() <= best.right.mean()
    assert split_half(draws, 0.9, 1e-5).right.mean() <= best.right.mean()


def test_the_envelope_is_concave_and_keeps_the_best() -> None:
    pool = made_pool(200)
    rows = Rows(draw(pool, 1, 0), None, np.zeros(5), {})  # type: ignore[arg-type]
    every = [Vote(arm, f"m{arm}", count) for arm in (0, 1) for count in (1, 2, 3)]
    kept = envelope(every, rows)
    slopes = [(b.success - a.success) / (b.cost - a.cost) for a, b in pairwise(kept)]
    assert slopes == sorted(slopes, reverse=True)
    assert kept[-1].success == max(rule.play(rows).right.mean() for rule in every)


def test_joined_arms_take_what_a_task_has() -> None:
    pool = made_pool(20)
    there = pool.there.copy()
    there[:10, 0] = False
    one = joined(replace(pool, there=there), "both", ["m0", "m1"])
    assert [arm.name for arm in one.arms] == ["both"]
    assert (one.answer[:10, 0] == pool.answer[:10, 1]).all()
    assert (one.answer[10:, 0] == pool.answer[10:, 0]).all()


def test_a_chain_stops_as_soon_as_it_believes(learned: tuple[Pool, Router]) -> None:
    _, router = learned
    test = made_pool(100, seed=3)
    draws = draw(test, 1, 0)
    rows = Rows(draws, begun(router, test, draws), router.voices, {})
    never, always = (Chain((0, 0, 1), level, ("m0", "m1")).play(rows) for level in (2.0, 0.0))
    assert (never.taken == [2, 1]).all()
    assert (always.taken == [1, 0]).all()
    some = Chain((0, 0, 1), 0.8, ("m0", "m1")).play(rows)
    believed = posterior(known_after(draws, some.taken, rows.begun), rows.voices).max(1)
    assert ((believed >= 0.8) | (some.taken.sum(1) == 3)).all()
    assert (some.cost <= never.cost + 1e-12).all()


@pytest.mark.slow
@settings(max_examples=5)
@given(st.integers(0, 10**6), st.sampled_from(SETTINGS.trade_offs))
def test_a_router_takes_the_same_samples_live_as_on_any_table(seed: int, trade_off: float) -> None:
    pool = made_pool(40, seed=seed, rates=(0.4, 0.6, 0.9))
    tasks = tuple(
        replace(task, question=f"what is {'it ' * (at % 7)}", prompt_tokens=None)
        for at, task in enumerate(pool.tasks)
    )
    pool = replace(pool, tasks=tasks)
    router = learn_router(pool, replace(SETTINGS, kinds=False)).with_trade_off(trade_off)
    draws = draw(pool, 1, seed)
    outcome = served(router, pool, draws)
    for row, at in enumerate(draws.task):
        taken, evidence = np.zeros(3, np.intp), Evidence()
        while True:
            context = StepContext(Task("t", tasks[at].question), Observation(), evidence=evidence)
            decision = router.allocate(context, Complexity(0.0))
            if decision.stop or decision.allocation is None:
                break
            arm = list(router.arms.values()).index(decision.allocation)
            said = str(draws.answer[row, arm, taken[arm]])
            taken[arm] += 1
            evidence = evidence.after((Candidate(said, said, model=f"m{arm}"),))
        assert taken.tolist() == outcome.taken[row].tolist()


def test_a_bid_is_the_price_up_to_which_asking_is_worth_more_than_stopping(
    learned: tuple[Pool, Router],
) -> None:
    _, router = learned
    arms, rng = len(router.arms), np.random.default_rng(0)
    prices = (1.0 - router.trade_offs) / router.trade_offs / router.reference
    seen = set()
    for depth in range(3):
        votes = rng.multinomial(depth, [0.6, 0.3, 0.1], (40, 1))
        votes = np.concatenate([votes, np.zeros((40, arms - 1, 3))], 1)
        known = known_of(votes, rng.uniform(0.2, 0.9, arms))
        bids = router.bids(known, depth)
        assert (router.with_trade_off(0.5).bids(known, depth) == bids).all()
        worth = [router.with_trade_off(t).worth(known, depth) for t in router.trade_offs.tolist()]
        for row, bid in enumerate(bids.tolist()):
            gains = [w[row, 1:].max() - (w[row, 0] if depth else 0.0) for w in worth]
            asks = [gain > 0.0 for gain in gains[::-1]]  # from the lowest price on
            won = asks.index(False) if False in asks else len(asks)
            assert bid == 0.0 if won == 0 else bid >= prices[::-1][won - 1] * (1 - 1e-9)
            assert won == len(asks) or bid <= prices[::-1][won] * (1 + 1e-9)
            seen.add(won)
    assert len(seen) >= 2
