"""What it takes to listen to calls and to decide by a learned policy: `python -m perf.traffic`.

Processor time of one core in milliseconds, median and 99 %. Listening comes after the client has
its answer, and lets other calls go on between its slices.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fakes.traffic import CHEAP, DEAR, PRICE, traffic

from amp.allocate.policy_file import Origin, save_router
from amp.serve.decide.base import CallArm, Forecast, Wish
from amp.serve.decide.conversation import Conversation
from amp.serve.decide.desk import Desk
from amp.serve.decide.learned import Learned
from amp.serve.dialects.apis import CHAT
from amp.serve.exchange import Exchange
from amp.serve.metrics import Metrics
from amp.serve.traffic.pool import pool_of
from amp.serve.traffic.study import study_traffic
from amp.serve.traffic.watch import Watch
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Fleet, Route
from amp.serve.upstreams.upstream import UpstreamConfig

CALLS = 500
WORDS = 400


def shown(name: str, times: Sequence[float]) -> None:
    percentiles = statistics.quantiles(times, n=100)
    print(f"{name:42} {percentiles[49] * 1e3:.2f} / {percentiles[98] * 1e3:.2f}")


def decisions(folder: Path) -> list[float]:
    """Times to decide by a policy of two arms."""
    study = study_traffic(pool_of(traffic(), "traffic"))
    path = folder / "policy.safetensors"
    save_router(study.router, path, Origin("traffic", "", "", (), study.curve, trade_off=0.75))
    policy, times = Learned(path), []
    conversation = Conversation("e", prompt_tokens=100, caller="aaaaaaaa")
    offers = [Forecast(CallArm.read(arm), PRICE[arm]) for arm in (CHEAP, DEAR)]
    for _ in range(CALLS):
        begun = time.thread_time()
        policy.decide(conversation, offers, Wish())
        times.append(time.thread_time() - begun)
    return times


def answers() -> dict[str, bytes]:
    """What clients are sent."""
    choice = {"index": 0, "message": {"content": "word " * WORDS}, "finish_reason": "stop"}
    delta = json.dumps({"choices": [{"index": 0, "delta": {"content": "word "}}]}).encode()
    return {
        "listening to a whole answer": json.dumps({"choices": [choice]}).encode(),
        f"listening to a stream of {WORDS} events": b"data: %b\n\n" % delta * WORDS,
    }


async def listening(folder: Path) -> None:
    """Times from the end of an answer until it is kept."""
    route = Route("m")
    fleet = Fleet([UpstreamConfig("http://127.0.0.1:9/v1", is_free=True)], [route])
    watch, desk = Watch(Watching(folder / "traffic.sqlite"), fleet, Metrics()), Desk(fleet)

    async def nobody(*message: Any) -> Any:
        return None

    messages = [{"role": "user", "content": "word " * 2_000}]
    asked = CHAT.read(json.dumps({"model": "m", "messages": messages}).encode())
    for name, content in answers().items():
        times = []
        for _ in range(CALLS):
            exchange = Exchange("POST", CHAT.path, [], nobody, nobody, status=200)
            ruling = desk.decide(exchange, CHAT, asked, route)
            heard = watch.overhear(exchange)
            heard.content += content
            begun = time.thread_time()
            watch.answered(heard, exchange, CHAT, asked, route, ruling)
            await watch.settled()
            times.append(time.thread_time() - begun)
        shown(name, times)
    await watch.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shown("deciding by a learned policy", decisions(Path(folder)))
        asyncio.run(listening(Path(folder)))


if __name__ == "__main__":
    main()
