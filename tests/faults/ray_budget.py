"""Two agents on a Ray cluster that share a budget: `python -m tests.faults.ray_budget ADDRESS`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from amp.errors import LimitReachedError
from amp.shared_budget.on_ray import RayBudget

TOTAL, FLOOR, WANT = 100, 30, 7


def spends(budget: RayBudget, agent: str) -> float:
    """Makes calls of one size, each of which costs less, until one is refused."""

    async def work() -> float:
        spent = 0.0
        while True:
            try:
                async with budget.turn(agent, 1.0, WANT) as now:
                    now.cost = 5
                    spent += now.cost
            except LimitReachedError:
                return spent

    return asyncio.run(work())


def main(address: str) -> None:
    import ray

    cluster: Any = ray
    cluster.init(address, log_to_driver=False)
    budget = RayBudget.begin(TOTAL, {"ann": FLOOR, "bob": FLOOR}, unit="tokens", at_once=2)
    work = cluster.remote(num_cpus=1)(spends)
    agents = ("ann", "bob")
    costs = cluster.get([work.remote(budget, agent) for agent in agents])
    told = dict(zip(agents, costs, strict=True))
    print(json.dumps([told, asyncio.run(budget.spent())]))
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
