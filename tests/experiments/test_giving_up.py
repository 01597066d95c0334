"""What giving up saves is measured on games that nothing was learned from."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from experiments.giving_up import (
    by_head,
    by_rule,
    counted,
    give_up,
    halves,
    repeats,
)
from experiments.giving_up_episodes import POOL, read_episodes_of, read_pool, read_runs
from tests.fakes.files import DATA

from amp.errors import InvalidInputError, MissingDependencyError
from amp.trace import RunDirectory
from experiments import giving_up

GOOD = """You are in the middle of a room. Looking quickly around you, you see a shelf 1.
Your task is to: put a cup on shelf.
> Think: First I look.
> go to table 1
On the table 1, you see a cup 1.
> ActionPath: Start->Goto(table 1)
> take cup 1 from table 1
You pick up the cup 1 from the table 1.
> put cup 1 in/on shelf 1
"""
BAD = GOOD.partition("> take")[0] + "> take cup 2 from table 1\nNothing happens.\n" * 6


def made_pool(directory: Path, games: int = 24) -> Path:
    rows = (
        {
            "id": f"alfworld/put-Cup-{game % 12}/trial {game}",
            "arms": {
                agent: [{"correct": int(good), "text": GOOD if good else BAD}]
                for agent, good in (("a", game % 2 == 0), ("b", game % 3 == 0))
            },
        }
        for game in range(games)
    )
    with gzip.open(directory / "pool.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return directory


def test_a_pool_is_read_step_by_step(tmp_path: Path) -> None:
    pool = read_pool(made_pool(tmp_path))
    assert len(pool) == 48
    good, bad = pool["alfworld/put-Cup-0/trial 0 a 0"], pool["alfworld/put-Cup-1/trial 1 a 0"]
    assert good.episode.plan == (
        *("go to table 1", "take cup 1 from table 1"),
        "put cup 1 in/on shelf 1",
    )
    assert good.episode.task.goal == "put a cup on shelf."
    assert good.trial.group == bad.trial.group[:-1] + "0" == "alfworld/put-Cup-0"
    assert (good.steps, len(good.trial.moments), bad.steps) == (3, 2, 7)
    assert counted(repeats)(bad) == [0, 0, 1, 2, 3, 4]


def test_no_task_is_in_both_halves_and_nobody_is_lost(tmp_path: Path) -> None:
    pool = read_pool(made_pool(tmp_path))
    train, test = halves(pool)
    assert sorted(train + test) == sorted(pool)
    assert not {pool[k].trial.group for k in train} & {pool[k].trial.group for k in test}


def test_circles_are_given_up_and_the_shares_say_how_much_that_saves(tmp_path: Path) -> None:
    pool = read_pool(made_pool(tmp_path, 120))
    train, test = halves(pool)
    saved = give_up(pool, *by_head(pool, train, test), 0.9)
    shares = {what: giving_up._share(saved, pool, what) for what in ("kept", "saved of failed")}
    assert shares["kept"] == 1.0
    assert shares["saved of failed"] >= 4 / 7
    for key, after in zip(saved.keys, saved.after, strict=True):
        assert (after == pool[key].steps) == bool(pool[key].episode.success)


@pytest.mark.parametrize(
    ("line", "said"),
    [("{}", "line 1 is no game"), ('{"id": 1, "arms": {"a": [{}]}}', "line 1"), ("[", "line 1")],
)
def test_what_is_no_pool_is_refused_in_one_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(MissingDependencyError, match="no pool of episodes: neither"):
        read_pool(tmp_path)
    with gzip.open(tmp_path / "pool.jsonl.gz", "wt") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidInputError, match=said):
        read_pool(tmp_path)


@pytest.mark.data(POOL)
def test_on_the_real_pool_the_head_saves_more_than_a_cut_and_keeps_what_it_says() -> None:
    pool = read_pool(DATA)
    train, test = halves(pool)
    learned = by_head(pool, train, test)
    cut = by_rule(pool, train, test, "cut after n steps")
    for recall in giving_up.RECALLS:
        ours, other = (give_up(pool, *one, recall) for one in (learned, cut))
        assert giving_up._share(ours, pool, "kept") > recall - 0.1
        if len(learned[0]) >= 80:  # a part of the pool has too few successes to tell them apart
            gained, interval = giving_up.gain(pool, ours, other)
            assert gained > interval.low > 0.0
    others = [halves(pool, f"{number} ") for number in range(3)]
    kept = [giving_up._share(give_up(pool, *by_head(pool, *h), 0.9), pool, "kept") for h in others]
    assert np.mean(kept) == pytest.approx(0.9, abs=0.1)


def test_runs_of_the_planner_serve_as_well_but_are_not_mixed_with_pools(
    tmp_path: Path,
) -> None:
    pool = read_pool(made_pool(tmp_path))
    run = tmp_path / "run"
    with RunDirectory.create(run, {}) as directory:
        for one in list(pool.values())[:6:2]:
            directory.append(one.episode)
    read = read_runs([run])
    assert [one.episode.plan for one in read.values()] == [
        one.episode.plan for one in list(pool.values())[:6:2]
    ]
    with pytest.raises(InvalidInputError, match="is no run; name one pool, or runs"):
        read_episodes_of([run, tmp_path])
