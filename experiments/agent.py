"""What policies of the gateway are worth to an agent with tools: the same episodes under each.

The agent is the program ``examples/agent_through_gateway.py``, which knows the OpenAI SDK and
levels of BabyAI, and nothing of amp. First it plays seeds of their own with the dear model, where
the gateway also asks another arm at each call (shadows); a policy is learned of that. Then each
seed is played under ``pass`` (the dear model always), ``rules`` and what was learned, in an order
that changes with the seed, since who comes later may find the prompt in a cache.

    amp serve --model qwen2.5-coder-1.5b --port 8091 &
    amp serve --model qwen2.5-coder-0.5b --port 8092 &
    python -m experiments.agent qwen2.5-coder-1.5b=http://127.0.0.1:8091/v1 \\
        qwen2.5-coder-0.5b=http://127.0.0.1:8092/v1 --out runs/agent

Dollars are those of hosted models of about these sizes (tables ``reference`` of the prices that
ship with amp). What was played is kept in the folder, so a run that is stopped goes on from there.
NOT covered: the chance of the models apart from that of the episodes. At temperature 0 not all of
them always answer the same, so look at the episodes in which a policy asked the dear model alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from examples import agent_through_gateway as agent
from examples.agent_through_gateway import Played
from openai import OpenAI
from tests.serve.running import Running, gateway

from amp.errors import AmpError, InvalidInputError
from amp.report.metrics import wilson
from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.upstream import UpstreamConfig
from experiments.traffic import beside, learned, saved

MODEL = "amp/agent"
LEVELS = ",".join(
    f"BabyAI-{name}-v0" for name in ("PutNextLocalS5N3", "UnlockLocal", "OpenTwoDoors", "PickupLoc")
)
POLICIES = ("pass", "rules", "learned")
PRICES = ((0.1, 0.01, 0.1), (0.02, 0.002, 0.06))
"""Dollars per million tokens of the dear and of the cheap model: prompt, cached, completion."""

FIRST_OF_LEARNING = 1_000
"""Seed; those of the comparison begin at 0."""

Play = Callable[[OpenAI, str, int], Played]


def upstreams(told: Sequence[str]) -> list[UpstreamConfig]:
    """The servers, the dear one first, each named ``MODEL=URL``."""
    found = []
    for each in told:
        name, _, url = each.partition("=")
        if not url:
            raise InvalidInputError(f"server {each!r} has no address, expected MODEL=URL")
        found.append(UpstreamConfig(url, key="any", api="chat", name=name, models=(name,)))
    return found


def prepared(models: Sequence[str], folder: Path) -> None:
    """Prices as the gateway reads them, and the key that pays for shadows."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [
        f'[openai."{name}"]\nprompt = {prompt}\ncached = {cached}\ncompletion = {completion}\n'
        for name, (prompt, cached, completion) in zip(models, PRICES, strict=True)
    ]
    (folder / "prices.toml").write_text("\n".join(tables))
    if not (folder / "accounts.sqlite").exists():
        books = AccountsFile(folder / "accounts.sqlite")
        books.add("shadow", KeyLimits(dollars_per_day=1000.0))
        books.close()


def read(rows: Path) -> list[dict[str, Any]]:
    """Episodes that were played before."""
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


def keep(rows: Path, row: dict[str, Any]) -> None:
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")


async def shadows(amp: Running) -> int:
    """How many calls have had theirs, whatever came of it."""
    async with httpx2.AsyncClient() as client:
        shown = (await client.get(f"{amp.url}/metrics")).text
    return sum(int(float(n)) for n in re.findall(r"^amp_shadows_total\S* (\S+)$", shown, re.M))


async def taught(
    behind: Sequence[UpstreamConfig],
    folder: Path,
    play: Play,
    seeds: Sequence[int],
    may_lose: float,
) -> None:
    """Plays with shadows, and writes the policy that is learned of them."""
    route = Route(MODEL, arms=tuple(each.name for each in behind))
    watching = Watching(folder / "traffic.sqlite", shadow=1.0, accounts=folder / "accounts.sqlite")
    async with gateway(
        *behind, routes=[route], prices=folder / "prices.toml", watching=watching
    ) as amp:
        client, calls = OpenAI(base_url=amp.v1, api_key="any", timeout=600), 0
        rows = folder / "learning.jsonl"
        done = {row["seed"] for row in read(rows)}
        for seed in (seed for seed in seeds if seed not in done):
            played = await asyncio.to_thread(play, client, MODEL, seed)
            calls += played.calls
            while await shadows(amp) < calls:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.1)
            keep(rows, asdict(played))
            print(f"to learn from: {played}", flush=True)
        client.close()
    study, chosen = learned(folder, may_lose)
    for each in (*study.arms, chosen):
        same, saves = each.success, each.saves
        print(
            f"{each.name}: the same as the dear arm {100 * same.value:.0f} %"
            f" ({100 * same.low:.0f} to {100 * same.high:.0f}), saves {100 * saves.value:.0f} %"
        )


async def compared(
    behind: Sequence[UpstreamConfig],
    folder: Path,
    play: Play,
    seeds: Sequence[int],
    policies: Sequence[str],
) -> list[dict[str, Any]]:
    """Plays each seed under each policy; goes on with what the folder has."""
    rows = folder / "episodes.jsonl"
    found = read(rows)
    done = {(row["policy"], row["seed"]) for row in found}
    arms = tuple(each.name for each in behind)
    paths = {"learned": str(folder / "policy.safetensors")}
    async with AsyncExitStack() as stack:
        clients = {}
        for policy in policies:
            route = Route(MODEL, policy=paths.get(policy, policy), arms=arms)
            amp = await stack.enter_async_context(
                gateway(*behind, routes=[route], prices=folder / "prices.toml")
            )
            client = OpenAI(base_url=amp.v1, api_key="any", timeout=600)
            clients[policy] = stack.enter_context(client)
        for seed in seeds:
            turn = seed % len(policies)
            for policy in (*policies[turn:], *policies[:turn]):
                if (policy, seed) in done:
                    continue
                played = await asyncio.to_thread(play, clients[policy], MODEL, seed)
                found.append({"policy": policy, **asdict(played)})
                keep(rows, found[-1])
                print(f"seed {seed}, {policy}: {played}", flush=True)
    return found


def table(
    found: Sequence[dict[str, Any]], dear: str, policies: Sequence[str] = POLICIES
) -> list[str]:
    """The comparison, of the seeds that all policies have played; pairs against ``pass``."""
    by = {(row["policy"], row["seed"]): row for row in found}
    seeds = sorted({seed for _, seed in by if all((p, seed) in by for p in policies)})
    groups = [str(seed) for seed in seeds]

    def of(policy: str, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([float(by[policy, seed][name]) for seed in seeds])

    lines = [
        f"{len(seeds)} episodes",
        "| policy | success | calls | of the dear model | tokens | dollars for 1,000 episodes"
        " | success against pass, points | dollars saved, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for policy in policies:
        good, calls = of(policy, "success"), of(policy, "calls")
        sure, paid = wilson(good.sum(), len(seeds)), of(policy, "dollars")
        arms = [arm for seed in seeds for arm in by[policy, seed]["arms"]]
        cells = [
            policy,
            f"{good.sum():.0f}/{len(seeds)} ({sure.low:.2f}-{sure.high:.2f})",
            f"{calls.mean():.1f}",
            f"{arms.count(dear) / max(1, len(arms)):.0%}",
            f"{of(policy, 'tokens').mean():,.0f}",
            f"{1000 * paid.mean():.3f}",
        ]
        if policy == "pass":
            cells += ["", ""]
        else:
            gain = beside(groups, of("pass", "success"), good)
            less = saved(groups, of("pass", "dollars"), paid)
            cells += [
                f"{100 * each.value:+.0f} ({100 * each.low:+.0f} to {100 * each.high:+.0f})"
                for each in (gain, less)
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


async def experiment(wanted: argparse.Namespace) -> list[str]:
    """Learns unless the folder has a policy, plays, and returns the table."""
    behind, folder = upstreams((wanted.dear, wanted.cheap)), Path(wanted.out)

    def play(client: OpenAI, model: str, seed: int) -> Played:
        levels = wanted.level.split(",")
        return agent.play(client, model, seed, levels[seed % len(levels)], wanted.calls)

    prepared([each.name for each in behind], folder)
    policies = POLICIES if wanted.learn else POLICIES[:-1]
    if wanted.learn and not (folder / "policy.safetensors").exists():
        seeds = range(FIRST_OF_LEARNING, FIRST_OF_LEARNING + wanted.learn)
        await taught(behind, folder, play, seeds, wanted.may_lose)
    found = await compared(behind, folder, play, range(wanted.episodes), policies)
    return table(found, behind[0].name, policies)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dear", help="MODEL=URL of the dear model")
    parser.add_argument("cheap", help="likewise of the cheap one")
    parser.add_argument("--out", required=True, help="folder for what is played and learned")
    parser.add_argument("--level", default=LEVELS, help="of BabyAI, in turn, apart by commas")
    parser.add_argument("--calls", type=int, default=8, help="of an episode at most")
    parser.add_argument(
        "--learn",
        type=int,
        default=24,
        help="episodes to learn from; 0 to compare without what is learned",
    )
    parser.add_argument("--episodes", type=int, default=24, help="to compare")
    parser.add_argument("--may-lose", type=float, default=0.1, help="as amp train takes it")
    try:
        print("\n".join(asyncio.run(experiment(parser.parse_args(arguments)))))
    except AmpError as error:
        sys.exit(f"experiments.agent: {error}")


if __name__ == "__main__":
    main()
