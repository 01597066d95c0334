"""What traffic teaches is what is true of it, where that is known."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from amp.allocate.policy_file import Origin, save_router
from amp.cli.app import app
from amp.errors import InvalidInputError
from amp.pools.pool_file import read_pool
from amp.serve.conversation import Conversation
from amp.serve.decide import Arm, Forecast, Wish
from amp.serve.kinds import known_kind
from amp.serve.learned import Learned, arm_of, pool_name
from amp.serve.traffic import Keep, Traffic
from amp.serve.traffic_file import Answer, Call, Labelled, new_id
from amp.serve.traffic_pool import LEAST_CALLS, pool_of
from amp.serve.traffic_study import TrafficStudy, study_traffic
from amp.usage import Usage

CHEAP, DEAR = "cheap@low", "dear"
EASY, HARD = "aaaaaaaa/begins", "bbbbbbbb/after a tool"
PRICE = {CHEAP: 0.001, DEAR: 0.01}
SAME = {EASY: 0.98, HARD: 0.1}
"""How often the cheap arm does the same."""


def usage(arm: str, tokens: int = 100) -> Usage:
    return Usage(1, tokens, 0, 50, dollars=PRICE.get(arm, 0.005) * tokens / 100)


def labelled(
    arm: str, other: str, same: bool | None, *, kind: str = EASY, success: float | None = None,
    at: int = 0, tokens: int = 100,
) -> Labelled:  # fmt: skip
    """A call that one arm answered and another one was asked, too."""
    call = Call(
        "ann", f"e{at}", 0, "openai", arm, "pass", "as asked", kind, {}, tokens,
        usage(arm, tokens), 200, "r", "x", id=at,
    )  # fmt: skip
    paid = usage(other, tokens)
    answer = Answer(at, other, paid, paid.dollars, "x" if same else "y", same)
    return Labelled(call, (answer,), success)


def traffic(count: int = 240, seed: int = 0) -> list[Labelled]:
    """Calls of two kinds; of half of them the dear arm answered, of half the cheap one."""
    rng = random.Random(seed)
    rows = []
    for at in range(count):
        kind = rng.choice((EASY, HARD))
        arms = (CHEAP, DEAR) if rng.random() < 0.5 else (DEAR, CHEAP)
        same = rng.random() < SAME[kind]
        rows.append(labelled(*arms, same, kind=kind, at=at, tokens=rng.randrange(80, 120)))
    return rows


@pytest.fixture(scope="module")
def study() -> TrafficStudy:
    return study_traffic(pool_of(traffic(), "traffic"))


@pytest.fixture(scope="module")
def policy(study: TrafficStudy, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    path = tmp_path_factory.mktemp("policy") / "mine.safetensors"
    save_router(study.router, path, Origin("traffic", "", "", (), study.curve))
    return Learned(path)


def conversation(kind: str) -> Conversation:
    caller, _, stands = kind.partition("/")
    return Conversation(
        "e", int(stands == "goes on"), {}, 100, after_tool="tool" in stands, caller=caller
    )


OFFERS = [Forecast(Arm.read(arm), PRICE.get(arm)) for arm in (DEAR, CHEAP, "new")]


@pytest.mark.slow
def test_each_kind_goes_to_the_cheapest_arm_that_does_it(policy: Learned) -> None:
    easy, hard = (policy.decide(conversation(kind), OFFERS, Wish()) for kind in (EASY, HARD))
    assert (easy.arm.name, hard.arm.name) == (CHEAP, DEAR)
    assert easy.policy == "mine"
    assert "aaaaaaaa/begins: cheap@low is expected to do it in 9" in easy.why
    expected = {offer.arm.name: offer.success for offer in easy.forecasts}
    assert (expected[CHEAP] or 0.0) > 0.9
    assert expected["new"] is None
    assert len(easy.forecasts) == 3
    # A wish for the cheapest, and for the best.
    assert policy.decide(conversation(HARD), OFFERS, Wish(0.0)).arm.name == CHEAP
    assert policy.decide(conversation(HARD), OFFERS, Wish(1.0)).arm.name == DEAR


@pytest.mark.slow
def test_what_cannot_be_had_is_not_chosen(policy: Learned) -> None:
    masked = [Forecast(Arm.read(CHEAP), masked="no upstream has it"), Forecast(Arm.read(DEAR))]
    assert policy.decide(conversation(EASY), masked, Wish()).arm.name == DEAR
    other = policy.decide(conversation(EASY), [Forecast(Arm("new"))], Wish())
    assert (other.arm.name, other.why) == ("new", "none of the arms that it knows can be had")
    # A warm cache makes the dear arm the cheaper one.
    warm = [Forecast(Arm.read(CHEAP), 0.02, lost_dollars=0.05), Forecast(Arm.read(DEAR), 0.01)]
    assert policy.decide(conversation(EASY), warm, Wish(0.1)).arm.name == DEAR


@pytest.mark.slow
def test_a_new_kind_of_call_gets_what_all_kinds_share(policy: Learned) -> None:
    decision = policy.decide(conversation("cccccccc/goes on"), OFFERS, Wish())
    expected = {offer.arm.name: offer.success for offer in decision.forecasts}
    assert 0.3 < (expected[CHEAP] or 0.0) < 0.8
    assert "a new kind of call" in decision.why


@pytest.mark.slow
def test_what_is_expected_is_what_comes(study: TrafficStudy) -> None:
    """The true figures of the best policy are in the intervals of the one that is chosen."""
    cheap, dear = study.arms
    assert (dear.name, dear.right.value, dear.saves) == (DEAR, 1.0, None)
    assert cheap.right.low < np.mean(list(SAME.values())) < cheap.right.high
    chosen = study.chosen
    assert chosen.success.low < (SAME[EASY] + 1.0) / 2 < chosen.success.high
    assert chosen.saves.low < 0.45 < chosen.saves.high
    assert chosen.saves.value > 0.3


def judged(row: Labelled) -> dict[str, bool | None]:
    """Which arms a pool of many such calls counts as right; None for an unknown one."""
    rows = [row] + [labelled(CHEAP, DEAR, True, at=at) for at in range(1, LEAST_CALLS + 1)]
    pool = pool_of(rows, "traffic", dear=DEAR)
    if pool.tasks[0].id != "0":
        return {}
    return {
        arm.name.replace("|", "@"): bool(pool.right[0, at, 0]) if pool.there[0, at, 0] else None
        for at, arm in enumerate(pool.arms)
    }


@pytest.mark.parametrize(
    ("row", "cheap", "dear"),
    [
        (labelled(CHEAP, DEAR, True), True, True),
        (labelled(CHEAP, DEAR, False), False, True),
        (labelled(DEAR, CHEAP, True), True, True),
        (labelled(DEAR, CHEAP, False), False, True),
        (labelled(CHEAP, DEAR, False, success=1.0), True, None),
        (labelled(CHEAP, DEAR, False, success=0.0), False, True),
        (labelled(CHEAP, DEAR, True, success=0.2), False, False),
        (labelled(CHEAP, DEAR, None, success=0.8), True, None),
        (labelled(DEAR, CHEAP, False, success=0.0), None, False),
        (labelled(DEAR, CHEAP, True, success=1.0), True, True),
    ],
)
def test_who_is_right(row: Labelled, cheap: bool | None, dear: bool | None) -> None:
    assert judged(row) == {CHEAP: cheap, DEAR: dear}


def test_what_nothing_tells_is_left_out() -> None:
    assert judged(labelled(CHEAP, DEAR, None)) == {}


def test_too_little_says_how_much_is_missing() -> None:
    with pytest.raises(InvalidInputError, match=r"63 are missing; serve on with --shadow"):
        pool_of([labelled(CHEAP, DEAR, True, at=at) for at in range(LEAST_CALLS - 63)], "traffic")
    with pytest.raises(InvalidInputError, match="100 are missing"):
        pool_of([], "traffic")
    rows = [labelled(CHEAP, CHEAP, True, success=1.0, at=at) for at in range(LEAST_CALLS)]
    with pytest.raises(InvalidInputError, match="too few answers to compare arms"):
        pool_of(rows, "traffic")
    few = [labelled(CHEAP, DEAR, at < 40 or None, success=1.0, at=at) for at in range(150)]
    others = [labelled(DEAR, CHEAP, None, success=1.0, at=at) for at in range(150, 200)]
    with pytest.raises(
        InvalidInputError, match=r"where two arms answered, has 40 .* 10 are missin"
    ):
        study_traffic(pool_of([*few, *others], "traffic"))


def test_rare_kinds_count_for_all_callers() -> None:
    rows = [labelled(CHEAP, DEAR, True, at=at) for at in range(LEAST_CALLS)]
    rows.append(labelled(CHEAP, DEAR, True, kind="cccccccc/begins", at=999))
    pool = pool_of(rows, "traffic")
    assert {task.kind for task in pool.tasks} == {EASY, "*/begins"}
    assert known_kind("cccccccc/begins", ["*/begins", EASY]) == "*/begins"
    assert known_kind(EASY, ["*/begins", EASY]) == EASY
    assert known_kind("cccccccc/goes on", ["*/begins", EASY]) == ""


@given(st.sampled_from(["", "low", "xhigh"]), st.integers(1, 16), st.sampled_from(["m", "a/b:c"]))
def test_an_arm_has_one_name_in_a_pool(effort: str, samples: int, model: str) -> None:
    arm = Arm(model, effort, samples)
    assert arm_of(pool_name(arm)) == arm
    assert pool_name(arm).partition("|")[0] == model


@pytest.mark.slow
def test_the_command_learns_and_writes_a_pool(tmp_path: Path) -> None:
    path, prices = tmp_path / "traffic.sqlite", tmp_path / "prices.toml"
    kept, outcome = Traffic(path, Keep(content=True)), CliRunner()
    now = new_id()
    for row in traffic():
        kept.call(replace(row.call, asked="What?", id=now + row.call.id))
        for one in row.answers:
            kept.answer(replace(one, call=now + one.call))
    kept.close()
    to, pool = tmp_path / "policy.safetensors", tmp_path / "pool.jsonl.gz"
    found = outcome.invoke(
        app, ["train", "--from-traffic", str(path), "--to", str(to), "--to-pool", str(pool)]
    )
    assert found.exit_code == 0, found.output
    assert "240 calls, 240 answers of other arms, 0 outcomes; learned from 240 calls" in (
        " ".join(found.output.split())
    )
    assert Learned(to).decide(conversation(EASY), OFFERS, Wish()).arm.name == CHEAP
    prices.write_text('"cheap" = { prompt = 1.0, completion = 1.0 }\n"dear" = { prompt = 9.0,'
                      ' completion = 9.0 }\n')  # fmt: skip
    read = read_pool(pool, prices=prices)
    assert (len(read.tasks), read.tasks[0].question) == (240, "What?")
    assert [arm.name for arm in read.arms] == ["cheap|low", "dear"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from-traffic", "t.sqlite"], "--to is missing"),
        (["c.toml", "--from-traffic", "t.sqlite"], "takes no CONFIG"),
        (["c.toml"], "--out is missing"),
        (["--from-traffic", "none.sqlite", "--to", "p.safetensors"], "no traffic at none.sqlite"),
    ],
)
def test_what_lacks_is_said(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["train", *arguments])
    assert said in str(found.exception)
