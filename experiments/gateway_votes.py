"""What votes of the gateway are worth: one answer against a vote among several, the same ones.

Run as a module, on a recording with four chains of thought a problem:

    python -m experiments.gateway_votes recordings/gsm8k-300.sqlite --data DIR

Every call goes through the gateway, whose upstream is the recording. One that gets a single answer
gets each of a problem's samples in turn, the vote has the first of them, as many as it takes, and
a vote of all of them is counted beside it. NOT covered: problems with fewer samples.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.benchmarks.gsm8k.numbers import normalise
from amp.errors import AmpError
from amp.report.stats import bootstrap_interval, ratio
from amp.serve.app import make_app
from amp.serve.config import ServeConfig
from amp.serve.decide.samples import elected
from amp.serve.dialects.said import Said
from amp.serve.upstreams.upstream import recorded
from amp.simulate.build import opening_contexts
from amp.types import Task

SAMPLES = 4

Answer = dict[str, Any]
"""As the client gets it."""


def requests_of(benchmark: Benchmark, tasks: Sequence[Task]) -> dict[str, dict[str, Any]]:
    """What a client would send for each problem, by its id."""
    allocation = benchmark.defaults.arms["chain"]
    found = {}
    for name, context in opening_contexts(benchmark, tasks).items():
        prompt = benchmark.prompts.solve(context, allocation)
        found[name] = {
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "max_tokens": prompt.max_tokens,
            "temperature": allocation.temperature,
            "top_p": allocation.top_p,
            **({"stop": list(prompt.stop)} if prompt.stop else {}),
        }
    return found


async def answers(
    recording: Path, requests: dict[str, dict[str, Any]], samples: int
) -> dict[str, list[Answer]]:
    """The answers of the gateway to each problem, until the recording has no more of them."""
    config = ServeConfig([recorded(recording)])
    model = config.upstreams[0].models[0]
    app = make_app(config)
    found: dict[str, list[Answer]] = {}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url="http://127.0.0.1",
            headers={"x-amp-samples": str(samples)},
        ) as client,
    ):
        for name, fields in requests.items():
            for _ in range(SAMPLES // samples):
                got = await client.post("/v1/chat/completions", json={"model": model, **fields})
                if got.status_code != 200:
                    break
                found.setdefault(name, []).append(got.json())
    return found


def is_right(answer: Answer, gold: str) -> float:
    """1 if its marked result is the number."""
    said = Said()
    said.hear(answer)
    value = normalise(said.normal().text or "")
    return float(value is not None and value == normalise(gold))


def tokens_of(answers: Sequence[Answer]) -> float:
    """Completion tokens of some answers together."""
    return float(sum(answer["usage"]["completion_tokens"] for answer in answers))


def line(name: str, tasks: Sequence[str], right: Sequence[float], tokens: float) -> str:
    """A row of the table; the interval resamples problems."""
    sure = bootstrap_interval(tasks, (right, [1.0] * len(right)), ratio)
    share = sum(right) / len(right)
    return f"| {name} | {share:.1%} ({sure.low:.1%} to {sure.high:.1%}) | {tokens:.0f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--data", type=Path, help="directory of the problems; AMP_DATA if left out")
    parser.add_argument("--limit", type=int, default=300, help="problems at most")
    wanted = parser.parse_args(arguments)
    try:
        benchmark = load_benchmark("gsm8k", data=wanted.data)
        tasks = benchmark.tasks("test", wanted.limit)
        gold = {task.id: str(task.data["answer"]) for task in tasks}
        requests = requests_of(benchmark, tasks)
        single = asyncio.run(answers(wanted.recording, requests, 1))
        voted = asyncio.run(answers(wanted.recording, requests, SAMPLES))
    except AmpError as error:
        sys.exit(f"gateway_votes: {error}")
    ids = [name for name in voted if len(single.get(name, ())) == SAMPLES]
    count, all_four = len(ids), [single[name][elected(single[name])[0]] for name in ids]
    one = [sum(is_right(each, gold[name]) for each in single[name]) / SAMPLES for name in ids]
    vote = [is_right(voted[name][0], gold[name]) for name in ids]
    every = [is_right(each, gold[name]) for each, name in zip(all_four, ids, strict=True)]
    written = sum(tokens_of(single[name]) for name in ids) / count
    print(f"{count} problems")
    print("| answers | right | completion tokens a problem |")
    print("|---|---|---|")
    print(line("one", ids, one, written / SAMPLES))
    taken = sum(tokens_of(voted[name]) for name in ids) / count
    print(line(f"a vote of up to {SAMPLES}", ids, vote, taken))
    print(line(f"a vote of all {SAMPLES}", ids, every, written))
    gained = [after - before for after, before in zip(vote, one, strict=True)]
    sure = bootstrap_interval(ids, (gained, [1.0] * len(ids)), ratio)
    print(f"gained {sum(gained) / len(ids):+.1%} ({sure.low:+.1%} to {sure.high:+.1%}), paired")


if __name__ == "__main__":
    main()
