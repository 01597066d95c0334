"""What learning from traffic is worth on recorded answers: shadow, train, serve.

An upstream answers as a pool has recorded it, and bills its recorded tokens. Clients ask the
training half of the tasks of the dear arm, with shadows; a policy is learned of that; and the other
half is asked once of the dear arm and once of the policy. What is right is the pool's own grade,
which nobody is told:

    python -m experiments.traffic --data DIR mcq_effort_concise_cot "gpt-35-turbo|concise" \\
        "gpt-4|baseline" "gpt-4|concise"

The last arm is the dear one. The system's prompt of a call is the task's kind, as parts of an agent
have prompts of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from tests.fakes.upstream import Asked, Reply, serving
from tests.serve.running import gateway

from amp.allocate.policy_file import Origin, save_router
from amp.benchmarks.download import data_directory
from amp.errors import AmpError, InvalidInputError
from amp.pools.pool import Pool, read_pool_prices
from amp.pools.pool_file import read_pool
from amp.report.curves import IntervalEstimate
from amp.report.stats import RESAMPLES, Array, bootstrap
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.traffic.pool import pool_of
from amp.serve.traffic.study import MAY_LOSE, Expected, TrafficStudy, study_traffic
from amp.serve.traffic.tables import TrafficFile
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.upstream import UpstreamConfig


class Recorded:
    """An upstream that answers as a pool has recorded it, each time with the next sample."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.names = [arm.name.replace("|", "-") for arm in pool.arms]
        self._tasks = {task.id: at for at, task in enumerate(pool.tasks)}
        self._given: dict[tuple[int, int], int] = {}

    def question(self, task: int) -> dict[str, Any]:
        """A client's request."""
        one = self.pool.tasks[task]
        system = {"role": "system", "content": f"You solve tasks of the kind {one.kind}."}
        asked = {"role": "user", "content": f"{one.question}\n\n[{one.id}]"}
        return {"model": "amp/auto", "messages": [system, asked], "max_tokens": 8_000}

    def answer(self, asked: Asked) -> Reply:
        """What the arm said, and whether it was right, which only the experiment reads."""
        body = asked.json
        arm = self.names.index(body["model"])
        task = self._tasks[body["messages"][1]["content"].rpartition("[")[2][:-1]]
        number = self._given.get((task, arm), 0)
        self._given[task, arm] = number + 1
        place = task, arm, number % int(self.pool.there[task, arm].sum())
        said = int(self.pool.answer[place])
        text = f"Answer: {self.pool.answers[task][said]}" if said >= 0 else "I can't say. " * 20
        tokens = {
            "prompt_tokens": round(float(self.pool.prompt_tokens[place])),
            "completion_tokens": max(1, round(float(self.pool.completion_tokens[place]))),
        }
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        told: dict[str, Any] = {
            "id": "c",
            "object": "chat.completion",
            "choices": [choice],
            "usage": tokens,
        }
        told |= {"model": body["model"], "created": 1, "was_right": int(self.pool.right[place])}
        return Reply([json.dumps(told).encode()], headers={"content-type": "application/json"})


async def asked(
    recorded: Recorded, tasks: Sequence[int], route: Route, folder: Path, watching: Watching | None
) -> tuple[Array, Array, list[str]]:
    """Asks tasks through a gateway: whether each answer is right, its price, and its arm."""
    async with (
        serving(recorded.answer) as upstream,
        gateway(
            UpstreamConfig(upstream.url, key="sk-recorded"), routes=[route],
            prices=folder / "prices.toml", watching=watching,
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        found = []
        for task in tasks:  # one by one, so that chance draws the same each time
            url = f"{amp.v1}/chat/completions"
            got = await client.post(url, json=recorded.question(task))
            price, arm = float(got.headers["x-amp-dollars"]), got.headers["x-amp-arm"]
            found.append((float(got.json()["was_right"]), price, arm))
            if watching is not None:
                await asyncio.sleep(0.02)  # its shadow comes first
    right, price = np.array([each[:2] for each in found]).T
    return right, price, [each[2] for each in found]


def prepared(pool: Pool, folder: Path, prices: Path | None) -> None:
    """Prices of the arms as the gateway reads them, and the key that pays for shadows."""
    table = read_pool_prices(prices)
    lines = []
    for name, arm in zip(Recorded(pool).names, pool.arms, strict=True):
        price = table[arm.model]
        lines.append(f'[openai."{name}"]\nprompt = {price.prompt}\ncached = {price.prompt}')
        lines.append(f"completion = {price.completion}\n")
    (folder / "prices.toml").write_text("\n".join(lines))
    books = AccountsFile(folder / "accounts.sqlite")
    books.add("shadow", KeyLimits(dollars_per_day=1000.0))
    books.close()


def learned(folder: Path, may_lose: float = MAY_LOSE) -> tuple[TrafficStudy, Expected]:
    """The policy of the traffic, and what it promises."""
    file = TrafficFile(folder / "traffic.sqlite", create=False)
    rows = list(file.labelled())
    file.close()
    study = study_traffic(pool_of(rows, "traffic"))
    path, chosen = folder / "policy.safetensors", study.chosen(may_lose)
    if chosen is None:
        raise InvalidInputError("no trade-off is known to lose as little as it may")
    save_router(
        study.router,
        path,
        Origin("traffic", "", "", (), study.curve, trade_off=chosen.point.trade_off),
    )
    return study, chosen


def beside(groups: Sequence[str], dear: Array, own: Array) -> IntervalEstimate:
    """The gain of one mean over another, over resamples of the groups."""

    def gain(weights: Array) -> Array:
        return np.asarray(weights @ (own - dear) / weights.sum(1))

    (value,) = gain(np.ones((1, len(groups))))
    return IntervalEstimate.of(float(value), bootstrap(groups, gain, RESAMPLES, 0))


def saved(groups: Sequence[str], dear: Array, own: Array) -> IntervalEstimate:
    """The share of a cost that another one saves, likewise."""

    def share(weights: Array) -> Array:
        return np.asarray(1.0 - (weights @ own) / (weights @ dear))

    (value,) = share(np.ones((1, len(groups))))
    return IntervalEstimate.of(float(value), bootstrap(groups, share, RESAMPLES, 0))


def percent(one: IntervalEstimate) -> str:
    return f"{100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})"


async def experiment(pool: Pool, folder: Path, shadow: float) -> Mapping[str, str]:
    """Shadow, train, serve; what was promised, and what came."""
    recorded = Recorded(pool)
    training, test = (half.tolist() for half in pool.halves())
    *others, dear = recorded.names
    passing = Route("amp/auto", arms=(dear, *others))
    watching = Watching(
        folder / "traffic.sqlite", shadow=shadow, accounts=folder / "accounts.sqlite"
    )
    _, bill, _ = await asked(recorded, training, passing, folder, watching)
    study, chosen = learned(folder)
    books = AccountsFile(folder / "accounts.sqlite")
    (spend,) = books.spend("shadow")
    books.close()
    policy = Route("amp/auto", policy=str(folder / "policy.safetensors"), arms=(dear, *others))
    groups = [pool.tasks[task].group for task in test]
    right, price, _ = await asked(recorded, test, passing, folder, None)
    own_right, own_price, arms = await asked(recorded, test, policy, folder, None)
    shares = {name: arms.count(name) / len(arms) for name in recorded.names}
    return {
        "calls of the dear arm, shadows of them": f"{len(training)}, {len(study.traffic.arm)}",
        "shadows cost, of the bill, %": f"{100 * spend.day.dollars / 1e9 / bill.sum():.1f}",
        "promised: the same as the dear arm, %": percent(chosen.success),
        "the dear arm itself, %": percent(study.arms[-1].success),
        "promised: saves, %": percent(chosen.saves),
        "calls served": str(len(test)),
        "right: dear arm, policy, %": f"{100 * right.mean():.1f}, {100 * own_right.mean():.1f}",
        "gain, points": percent(beside(groups, right, own_right)),
        "saves, %": percent(saved(groups, price, own_price)),
        "sent to": ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--shadow", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("pool")
    parser.add_argument("arms", nargs="+", help="the dear one last")
    chosen = parser.parse_args()
    random.seed(chosen.seed)  # what chance decides of shadows
    folder = data_directory(chosen.data).path / "pools" / chosen.pool
    pool = read_pool(folder, keep_good=True).with_arms(chosen.arms)
    asked_all = np.asarray(pool.there.any(2)).all(1)
    pool = pool.part(np.flatnonzero(asked_all))
    with tempfile.TemporaryDirectory() as scratch:
        prepared(pool, Path(scratch), None)
        found = asyncio.run(experiment(pool, Path(scratch), chosen.shadow))
    for name, value in found.items():
        print(f"{name:45} {value}")


if __name__ == "__main__":
    try:
        main()
    except AmpError as error:
        sys.exit(f"experiments.traffic: {error}")
