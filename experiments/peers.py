"""AMP beside what others run in its place, on the same problems through one counting upstream.

    amp serve --model qwen2.5-coder-0.5b --port 8091 &
    amp serve --model qwen2.5-coder-1.5b --port 8092 &
    python -m experiments.peers recordings/peers.sqlite \\
        --server qwen2.5-coder-0.5b=http://127.0.0.1:8091/v1 \\
        --server qwen2.5-coder-1.5b=http://127.0.0.1:8092/v1

Without servers the answers are those of the file (`experiments.counted`), and with `--table` what
came of each method is, too, so that no rival has to be installed; `--page docs/peers.md` puts it
into the page. Answers are kept as they come, so a run that was stopped goes on where it was. Rivals
run unpatched, each in an environment of its own under `--environments` (`make test-rivals` makes
them).

All get the same messages, a system's and a user's, and the same cap. What a method sets itself
(temperatures, further prompts, how many samples) is its default. NOT covered: wall-clock time,
which `python -m perf.peers` measures, since answers may come from the file here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, takewhile
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from tests.serve.running import gateway

from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.benchmarks.gsm8k.environment import read_answer
from amp.benchmarks.gsm8k.numbers import normalise
from amp.errors import AmpError, InvalidInputError, ModelError
from amp.evaluate import PlannerConfig, build_planner
from amp.evaluate.run import run_episodes
from amp.models.recorded import RecordedModel
from amp.report.metrics import wilson
from amp.report.stats import bootstrap_interval, ratio
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.types import Task
from experiments.counted import Answers, Ask, CountingUpstream, Defaults
from experiments.rivals.running import (
    AUTO,
    ENVIRONMENTS,
    free_port,
    litellm,
    optillm,
    printed_by,
    program,
)

CHEAP, DEAR = "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"
MODELS = (CHEAP, DEAR)
PRICES = {CHEAP: (0.02, 0.06), DEAR: (0.1, 0.1)}
"""Dollars per million prompt and completion tokens: tables `reference` of the shipped prices."""

SYSTEM = """\
You solve math word problems. Reason in at most 4 short numbered steps, one line each. Then give \
the answer as a last line `#### N`, where N is a bare number.

Problem: A bakery bakes 3 trays of 12 rolls each and sells 20 of the rolls. The rolls that are \
left are packed into bags of 4. How many bags are there?
Solution:
1. The bakery bakes 3 * 12 = 36 rolls.
2. After selling 20 rolls, 36 - 20 = 16 rolls are left.
3. These fill 16 / 4 = 4 bags.
#### 4

Problem: Tom has 5 boxes of 6 pens each and gives away 9 of the pens. Every pen is worth 2 \
dollars. How many dollars are the pens worth that he has left?
Solution:
1. The boxes hold 5 * 6 = 30 pens.
2. Tom has 30 - 9 = 21 pens left.
3. These are worth 21 * 2 = 42 dollars.
#### 42"""
USER = "Problem: {question}\nSolution:"
PATTERN = r"####\s*\$?(-?[\d.,]*\d)"
"""Where its-hub finds the result of an answer."""
MAX_TOKENS, TEMPERATURE, SAMPLES = 256, 0.7, 4
AT_ONCE = 8
BASELINE = "one answer"

_RECORDINGS = Path(__file__).parent.parent / "recordings"
_ITS_HUB = Path(__file__).parent / "rivals" / "its_hub_answers.py"
_TIERS = ("SIMPLE", "MEDIUM", "COMPLEX", "REASONING")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client gets.

    Attributes:
        text: the answer; empty where the method judges itself.
        told: the completion tokens that it is told of; None for none.
        right: the benchmark's verdict, where the method knows it.
        spent: calls and tokens by model, where they come from a recording.
    """

    text: str
    told: int | None
    right: bool | None = None
    spent: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What a method is run with.

    Attributes:
        url: of the counting upstream, as this method has it.
        benchmark: GSM8K.
        tasks: its problems.
        environments: the folder of the rivals' environments.
    """

    url: str
    benchmark: Benchmark
    tasks: Sequence[Task]
    environments: Path

    @property
    def problems(self) -> dict[str, list[dict[str, str]]]:
        """What a client sends of each problem, by its id."""
        system = {"role": "system", "content": SYSTEM}
        return {
            task.id: [system, {"role": "user", "content": USER.format(question=task.goal)}]
            for task in self.tasks
        }


Method = Callable[[Setting], Awaitable[dict[str, Answered]]]


async def chats(
    base: str,
    setting: Setting,
    model: str,
    headers: Mapping[str, str] = {},
    **fields: object,
) -> dict[str, Answered]:
    """The answers of a server of chat completions."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with httpx2.AsyncClient(timeout=3_600, headers=dict(headers)) as client:

        async def one(messages: list[dict[str, str]]) -> Answered:
            body = {"model": model, "messages": messages, "max_tokens": MAX_TOKENS, **fields}
            try:
                async with gate:
                    got = await client.post(f"{base}/chat/completions", json=body)
            except httpx2.HTTPError as error:
                raise ModelError(f"{base} gives no answer: {error!r}") from None
            if got.status_code != 200:
                raise ModelError(f"{base} answers {got.status_code}: {got.text[:500]}")
            answer = got.json()
            text = answer["choices"][0]["message"]["content"]
            return Answered(text or "", (answer.get("usage") or {}).get("completion_tokens"))

        made = await asyncio.gather(*(one(each) for each in setting.problems.values()))
    return dict(zip(setting.problems, made, strict=True))


def one_answer(model: str) -> Method:
    """One greedy answer of a model."""

    async def answers(setting: Setting) -> dict[str, Answered]:
        return await chats(setting.url, setting, model, temperature=0)

    return answers


def amp_gateway(policy: str, samples: int) -> Method:
    """AMP's gateway: rules that may ask either model, or a vote."""

    async def answers(setting: Setting) -> dict[str, Answered]:
        route = Route("amp/any", policy=policy, arms=MODELS)
        behind = UpstreamConfig(setting.url, key="any", api="chat", is_free=True)
        async with gateway(behind, routes=[route]) as amp:
            if samples == 1:
                return await chats(amp.v1, setting, "amp/any", temperature=0)
            headers = {"x-amp-samples": str(samples)}
            return await chats(amp.v1, setting, CHEAP, headers, temperature=TEMPERATURE)

    return answers


def amp_planner(allocator: str, recording: str, model: str) -> Method:
    """AMP's planner, which has prompts of its own and runs the programs that the model writes.

    Its answers are those of a recording of the same model, which has their tokens.
    """

    async def answers(setting: Setting) -> dict[str, Answered]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(shutil.copy(_RECORDINGS / recording, folder))
            recorded = RecordedModel(None, path, mode="replay")
            config = PlannerConfig(allocator=allocator)
            planner = build_planner(config, recorded, setting.benchmark)
            found = {}
            async for each in run_episodes(planner, setting.benchmark, setting.tasks):
                spent = {
                    f"{model} calls": each.usage.model_calls,
                    f"{model} prompt": each.usage.prompt_tokens,
                    f"{model} completion": each.usage.completion_tokens,
                }
                found[each.task.id] = Answered("", None, each.success, spent)
            await recorded.close()
        return found

    return answers


def of_optillm(approach: str) -> Method:
    """OptiLLM's server with one of its approaches."""

    async def answers(setting: Setting) -> dict[str, Answered]:
        async with optillm(setting.environments, setting.url, approach, CHEAP) as rival:
            return await chats(rival.url, setting, CHEAP, temperature=TEMPERATURE)

    return answers


def of_litellm(tiers: Sequence[str], classifier: str = "heuristic") -> Method:
    """LiteLLM's proxy with its auto router in front of both models."""

    async def answers(setting: Setting) -> dict[str, Answered]:
        routing = {"classifier_type": classifier, "tiers": dict(zip(_TIERS, tiers, strict=True))}
        async with litellm(setting.environments, setting.url, MODELS, routing) as rival:
            return await chats(rival.url, setting, AUTO, temperature=0)

    return answers


def of_its_hub(algorithm: str) -> Method:
    """An algorithm of its-hub's library."""

    async def answers(setting: Setting) -> dict[str, Answered]:
        told = {
            "url": setting.url, "model": CHEAP, "algorithm": algorithm, "pattern": PATTERN,
            "max_tokens": MAX_TOKENS, "temperature": TEMPERATURE, "at_once": AT_ONCE,
            "problems": setting.problems,
        }  # fmt: skip
        python = program(setting.environments, "its-hub", "python")
        printed = await printed_by(python, str(_ITS_HUB), told=json.dumps(told))
        found = json.loads(printed.splitlines()[-1])
        return {name: Answered(each["text"], each["told"]) for name, each in found.items()}

    return answers


METHODS: Mapping[str, Method] = {
    BASELINE: one_answer(CHEAP),
    f"AMP gateway, votes of up to {SAMPLES}": amp_gateway("pass", SAMPLES),
    "its-hub self-consistency": of_its_hub("self-consistency"),
    "its-hub adaptive self-consistency": of_its_hub("adaptive"),
    "OptiLLM self_consistency": of_optillm("self_consistency"),
    "OptiLLM bon": of_optillm("bon"),
    "OptiLLM moa": of_optillm("moa"),
    "its-hub best-of-n, judged by the model": of_its_hub("best-of-n"),
    "AMP planner, heuristic": amp_planner("heuristic", "gsm8k-0.5b.sqlite", CHEAP),
    "one answer of the 1.5B": one_answer(DEAR),
    "AMP gateway, rules": amp_gateway("rules", 1),
    "LiteLLM router, dear from MEDIUM": of_litellm((CHEAP, DEAR, DEAR, DEAR)),
    "LiteLLM router, dear from COMPLEX": of_litellm((CHEAP, CHEAP, DEAR, DEAR)),
    "LiteLLM router v2, dear from MEDIUM": of_litellm((CHEAP, DEAR, DEAR, DEAR), "heuristic_v2"),
    "AMP planner, router, on the 1.5B": amp_planner("auto", "gsm8k-300.sqlite", DEAR),
}


@asynccontextmanager
async def counting(upstream: CountingUpstream) -> AsyncIterator[str]:
    """Runs the counting upstream in this event loop; its address."""
    port = free_port()
    config = uvicorn.Config(
        upstream, host="127.0.0.1", port=port, log_level="warning", lifespan="off"
    )
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving.serve())
    while not serving.started:  # noqa: ASYNC110  # it sets no event
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        serving.should_exit = True
        await task


def asking(servers: Mapping[str, str]) -> Ask:
    """Asks the models' servers, those of one model in turn."""
    turns = {model: cycle(urls.split(",")) for model, urls in servers.items()}

    async def ask(model: str, request: dict[str, Any]) -> dict[str, Any]:
        body = {"model": model, **request}
        async with httpx2.AsyncClient(timeout=3_600) as client:
            got = await client.post(f"{next(turns[model])}/chat/completions", json=body)
        got.raise_for_status()
        return dict(got.json())

    return ask


async def compare(
    answers: Answers,
    methods: Mapping[str, Method],
    benchmark: Benchmark,
    tasks: Sequence[Task],
    environments: Path,
    ask: Ask | None,
) -> None:
    """Runs methods one after the other, and keeps what came of each problem.

    One that can't be run is left out, with a line on stderr.
    """
    gold = {task.id: normalise(str(task.data["answer"])) for task in tasks}
    questions = {task.id: task.goal for task in tasks}
    for method, run in methods.items():
        upstream = CountingUpstream(
            answers, questions, MODELS, ask, Defaults(MAX_TOKENS, TEMPERATURE), AT_ONCE
        )
        place = re.sub(r"\W+", "-", method)
        async with counting(upstream) as url:
            try:
                found = await run(Setting(f"{url}/{place}/v1", benchmark, tasks, environments))
            except AmpError as error:
                said = upstream.refused[0] if upstream.refused else error
                print(f"{method} is left out: {said}", file=sys.stderr)
                continue
        if upstream.refused:  # a method that lives with it has not had what it asked for
            print(f"{method} is left out: {upstream.refused[0]}", file=sys.stderr)
            continue
        for name, answered in found.items():
            right = answered.right
            if right is None:
                right = read_answer(answered.text) == gold[name]
            spent = answered.spent or upstream.spent[place, name]
            answers.settle(method, name, {"right": right, "told": answered.told, **spent})


def table(answers: Answers, methods: Sequence[str]) -> str:
    """What came of methods, as Markdown."""
    base = answers.outcomes(BASELINE)
    lines = [
        "| method | right | against one answer, points | calls | prompt tokens | completion tokens"
        " | of them told to the client | dollars per 1,000 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        if not (found := answers.outcomes(method)):
            continue
        ids = [name for name in base if name in found]
        rows, count = [found[name] for name in ids], len(ids)
        right = [float(row["right"]) for row in rows]
        sure = wilson(int(sum(right)), count)
        gained = [now - float(base[name]["right"]) for now, name in zip(right, ids, strict=True)]
        paired = "-"
        if method != BASELINE:
            interval = bootstrap_interval(ids, (gained, [1.0] * count), ratio)
            paired = (
                f"{100 * sum(gained) / count:+.1f}"
                f" ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
            )
        sums = {
            kind: {m: sum(row.get(f"{m} {kind}", 0) for row in rows) / count for m in MODELS}
            for kind in ("calls", "prompt", "completion")
        }
        cells = [f"{sum(sums['calls'].values()):.1f}"]
        for kind in ("prompt", "completion"):
            cheap, dear = (sums[kind][m] for m in MODELS)
            cells.append(f"{cheap + dear:,.0f}" + (f" ({dear:,.0f} of the 1.5B)" if dear else ""))
        known = [row["told"] for row in rows if row["told"] is not None]
        cells.append(f"{sum(known) / count:,.0f}" if known else "-")
        dollars = sum(
            sums["prompt"][m] * PRICES[m][0] + sums["completion"][m] * PRICES[m][1] for m in MODELS
        )
        cells.append(f"{dollars / 1_000:.4f}")
        share = f"{int(sum(right))}/{count} ({sure.low:.2f} to {sure.high:.2f})"
        lines.append(f"| {method} | {share} | {paired} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(page: str, table: str) -> str:
    """A page with this table in place of the one that has the same head.

    Raises:
        InvalidInputError: if it has none.
    """
    head = table.partition("\n")[0] + "\n"
    before, found, after = page.partition(head)
    if not found:
        raise InvalidInputError(f"the page has no table that begins with {head[:40]!r}")
    rows = takewhile(lambda line: line.startswith("|"), after.splitlines(keepends=True))
    return f"{before}{table}\n{after.removeprefix(''.join(rows))}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs methods, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="answers and outcomes")
    parser.add_argument("--server", action="append", default=[], metavar="MODEL=URL[,URL]")
    parser.add_argument(
        "--method", action="append", default=[], help="one of them; all if left out"
    )
    parser.add_argument("--limit", type=int, default=40, help="problems")
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    parser.add_argument("--table", action="store_true", help="print what the file has, and end")
    parser.add_argument("--page", type=Path, help="a page whose table is to be this one")
    parser.add_argument("--data", type=Path, help="directory of the problems; AMP_DATA if left out")
    told = parser.parse_args(arguments)
    chosen = told.method or list(METHODS)
    if unknown := [name for name in chosen if name not in METHODS]:
        sys.exit(f"peers: unknown method {unknown[0]!r} (methods: {', '.join(METHODS)})")
    answers = Answers(told.file)
    try:
        if not told.table:
            benchmark = load_benchmark("gsm8k", data=told.data)
            tasks = benchmark.tasks("test", told.limit)
            methods = {name: METHODS[name] for name in chosen}
            servers = dict(each.split("=", 1) for each in told.server)
            ask = asking(servers) if servers else None
            asyncio.run(compare(answers, methods, benchmark, tasks, told.environments, ask))
        made = table(answers, list(METHODS))
        print(made)
        if told.page is not None:
            told.page.write_text(with_table(told.page.read_text(), made))
    except AmpError as error:
        sys.exit(f"peers: {error}")
    finally:
        answers.close()


if __name__ == "__main__":
    main()
