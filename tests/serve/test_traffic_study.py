"""What traffic teaches is what is true of it, where that is known."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.traffic import CHEAP, DEAR, DOES, EASY, HARD, PRICE, labelled, traffic
from typer.testing import CliRunner

from amp.allocate.policy_file import Origin, save_router
from amp.cli.app import app
from amp.errors import InvalidInputError
from amp.pools.pool_file import read_pool
from amp.serve.decide.base import CallArm, Forecast, Wish
from amp.serve.decide.conversation import Conversation, known_kind
from amp.serve.decide.learned import Learned, arm_of, pool_name
from amp.serve.traffic.pool import LEAST_CALLS, pool_of
from amp.serve.traffic.study import TrafficStudy, study_traffic
from amp.serve.traffic.tables import new_id
from amp.serve.traffic.writer import Keep, Traffic


@pytest.fixture(scope="module")
def study() -> TrafficStudy:
    return study_traffic(pool_of(traffic(), "traffic"))


@pytest.fixture(scope="module")
def policy(study: TrafficStudy, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    path = tmp_path_factory.mktemp("policy") / "mine.safetensors"
    chosen = study.chosen()
    assert chosen is not None
    save_router(
        study.router,
        path,
        Origin("traffic", "", "", (), study.curve, trade_off=chosen.point.trade_off),
    )
    return Learned(path)


def conversation(kind: str) -> Conversation:
    caller, _, stands = kind.partition("/")
    return Conversation(
        "e", int(stands == "goes on"), {}, 100, after_tool="tool" in stands, caller=caller
    )


OFFERS = [Forecast(CallArm.read(arm), PRICE.get(arm)) for arm in (DEAR, CHEAP, "new")]


@pytest.mark.slow
def test_each_kind_goes_to_the_cheapest_arm_that_does_it(policy: Learned) -> None:
    easy, hard = (policy.decide(conversation(kind), OFFERS, Wish()) for kind in (EASY, HARD))
    assert (easy.arm.name, hard.arm.name) == (CHEAP, DEAR)
    assert easy.policy == "mine"
    assert "aaaaaaaa/begins: cheap@low is expected to do it in 9" in easy.why
    expected = {offer.arm.name: offer.success for offer in hard.forecasts}
    assert abs((expected[CHEAP] or 0.0) - DOES[CHEAP, HARD]) < 0.1
    assert abs((expected[DEAR] or 0.0) - DOES[DEAR, HARD]) < 0.1
    assert expected["new"] is None
    assert len(easy.forecasts) == 3
    # A wish for the cheapest, and for the best.
    assert policy.decide(conversation(HARD), OFFERS, Wish(0.0)).arm.name == CHEAP
    assert policy.decide(conversation(HARD), OFFERS, Wish(1.0)).arm.name == DEAR


@pytest.mark.slow
def test_what_cannot_be_had_is_not_chosen(policy: Learned) -> None:
    masked = [
        Forecast(CallArm.read(CHEAP), masked="no upstream has it"),
        Forecast(CallArm.read(DEAR)),
    ]
    assert policy.decide(conversation(EASY), masked, Wish()).arm.name == DEAR
    other = policy.decide(conversation(EASY), [Forecast(CallArm("new"))], Wish())
    assert (other.arm.name, other.why) == ("new", "none of the arms that it knows can be had")
    # A warm cache makes the dear arm the cheaper one.
    warm = [
        Forecast(CallArm.read(CHEAP), 0.02, lost_dollars=0.05),
        Forecast(CallArm.read(DEAR), 0.01),
    ]
    assert policy.decide(conversation(EASY), warm, Wish(0.1)).arm.name == DEAR


@pytest.mark.slow
def test_a_new_kind_of_call_gets_what_all_kinds_share(policy: Learned) -> None:
    decision = policy.decide(conversation("cccccccc/goes on"), OFFERS, Wish())
    expected = {offer.arm.name: offer.success for offer in decision.forecasts}
    assert 0.3 < (expected[CHEAP] or 0.0) < 0.8
    assert "a new kind of call" in decision.why


@pytest.mark.slow
def test_what_is_expected_is_what_is_true(study: TrafficStudy) -> None:
    """Of each arm alone, and of the policy: cheap on one kind, dear on the other."""
    for report, arm in zip(study.arms, (CHEAP, DEAR), strict=True):
        true = np.mean([DOES[arm, kind] for kind in (EASY, HARD)])
        assert report.name == arm.replace("@", "|")
        assert report.success.low < true < report.success.high
        assert report.saves.value == pytest.approx(1.0 - PRICE[arm] / PRICE[DEAR], abs=0.02)
    chosen = study.chosen()
    assert chosen is not None
    assert chosen.success.low < (DOES[CHEAP, EASY] + DOES[DEAR, HARD]) / 2 < chosen.success.high
    assert chosen.saves.low < 0.45 < chosen.saves.high
    assert chosen.saves.value > 0.3


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10**6))
def test_a_promise_is_kept(seed: int) -> None:
    """What a policy is expected to reach is what it reaches on the truth, whatever was drawn."""
    study = study_traffic(pool_of(traffic(300, seed), "traffic"))
    chosen = study.chosen()
    assert chosen is None or chosen.success.low - 0.05 < 0.875 < chosen.success.high + 0.05
    assert study.arms[-1].success.low - 0.05 < 0.885 < study.arms[-1].success.high + 0.05


@pytest.mark.slow
def test_outcomes_teach_as_well(tmp_path: Path) -> None:
    """Of a gateway that asked either arm, and was told what came of it."""
    rng = random.Random(0)
    rows = []
    for at in range(800):
        kind, arm = rng.choice((EASY, HARD)), rng.choice((CHEAP, DEAR))
        good = float(rng.random() < DOES[arm, kind])
        rows.append(labelled(arm, None, kind=kind, success=good, at=at))
    found = pool_of([*rows, labelled(at=999)], "traffic")
    assert found.by == "outcomes"
    study = study_traffic(found)
    chosen = study.chosen()
    assert chosen is not None
    assert chosen.saves.low < 0.45 < chosen.saves.high
    assert study.arms[0].success.low < 0.525 < study.arms[0].success.high


def test_shadows_and_outcomes_are_not_mixed() -> None:
    rows = [labelled(judged=(CHEAP, DEAR)[at % 2], at=at) for at in range(200)]
    rows += [labelled(success=0.0, judged=None, at=at) for at in range(200, 350)]
    found = pool_of(rows, "traffic")  # the outcomes are of one arm alone
    assert (found.by, len(found.pool.tasks)) == ("shadows", 200)
    assert found.pool.right[found.pool.there].all()
    assert [arm.name for arm in found.pool.arms] == ["cheap|low", "dear"]
    with pytest.raises(InvalidInputError, match="too few outcomes to compare arms"):
        pool_of(rows, "traffic", by="outcomes")


@pytest.mark.slow
def test_where_nothing_is_sure_no_policy_is_written(tmp_path: Path) -> None:
    """Of an arm that looks as good, and of which too little is known."""
    rng, kept, now = random.Random(0), Traffic(tmp_path / "t.sqlite"), new_id()
    for at in range(120):
        arm = rng.choice((CHEAP, DEAR))
        row = labelled(DEAR, arm, rng.random() < 0.8, at=at)
        kept.call(replace(row.call, id=now + at))
        if row.shadow is not None:
            kept.shadow(replace(row.shadow, call=now + at))
    kept.close()
    to, traffic = tmp_path / "policy.safetensors", tmp_path / "t.sqlite"
    arguments = ["train", "--from-traffic", str(traffic), "--to", str(to)]
    found = CliRunner().invoke(app, arguments)
    assert "loses up to" in found.output
    assert "no trade-off is known to lose at most 2 points beside dear" in str(found.exception)
    assert not to.exists()
    found = CliRunner().invoke(app, [*arguments, "--may-lose", "0.5"])
    assert found.exit_code == 0, found.output
    assert to.exists()


def test_too_little_says_how_much_is_missing() -> None:
    with pytest.raises(InvalidInputError, match=r"63 are missing; serve on with --shadow"):
        pool_of([labelled(at=at) for at in range(LEAST_CALLS - 63)], "traffic")
    with pytest.raises(InvalidInputError, match="100 are missing"):
        pool_of([labelled(same=None)], "traffic")
    with pytest.raises(InvalidInputError, match="too few shadows to compare arms"):
        pool_of([labelled(at=at) for at in range(LEAST_CALLS)], "traffic")


def test_rare_kinds_and_rare_arms_count_for_all_or_nothing() -> None:
    rows = [labelled(judged=(CHEAP, DEAR)[at % 2], at=at) for at in range(LEAST_CALLS)]
    rows.append(labelled(kind="cccccccc/begins", at=998))
    rows.append(labelled(judged="rare", at=999))
    found = pool_of(rows, "traffic").pool
    assert Counter(task.kind for task in found.tasks) == {EASY: LEAST_CALLS, "*/begins": 1}
    assert found.notes == ("arms of fewer than 30 shadows are left out: rare",)
    assert known_kind("cccccccc/begins", ["*/begins", EASY]) == "*/begins"
    assert known_kind(EASY, ["*/begins", EASY]) == EASY
    assert known_kind("cccccccc/goes on", ["*/begins", EASY]) == ""


@given(st.sampled_from(["", "low", "xhigh"]), st.integers(1, 16), st.sampled_from(["m", "a/b:c"]))
def test_an_arm_has_one_name_in_a_pool(effort: str, samples: int, model: str) -> None:
    arm = CallArm(model, effort, samples)
    assert arm_of(pool_name(arm)) == arm
    assert pool_name(arm).partition("|")[0] == model


@pytest.mark.slow
def test_the_command_learns_and_writes_a_pool(tmp_path: Path) -> None:
    path, prices = tmp_path / "traffic.sqlite", tmp_path / "prices.toml"
    kept, now = Traffic(path, Keep(content=True)), new_id()
    for row in traffic():
        kept.call(replace(row.call, asked="What?", id=now + row.call.id))
        if row.shadow is not None:
            kept.shadow(replace(row.shadow, call=now + row.call.id))
    kept.close()
    to, pool = tmp_path / "policy.safetensors", tmp_path / "pool.jsonl.gz"
    arguments = ["train", "--from-traffic", str(path), "--to", str(to), "--to-pool", str(pool)]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    said = " ".join(found.output.split())
    assert "400 calls, 400 shadows, 0 outcomes; learned from 400 shadows in 200 episodes" in said
    assert Learned(to).decide(conversation(EASY), OFFERS, Wish()).arm.name == CHEAP
    prices.write_text(
        '"cheap" = { prompt = 1.0, completion = 1.0 }\n"dear" = { prompt = 9.0, completion = 9.0 }'
    )
    read = read_pool(pool, prices=prices)
    assert (len(read.tasks), read.tasks[0].question) == (400, "What?")
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


def test_no_price_is_charged_in_tokens() -> None:
    rows = [
        replace(row, shadow=replace(row.shadow, own=replace(row.shadow.own, dollars=0.0)))
        for row in traffic(LEAST_CALLS)
        if row.shadow is not None
    ]
    free: Any = pool_of(rows, "traffic")
    with pytest.raises(InvalidInputError, match="cost is 'seconds'"):
        study_traffic(free, "seconds")
