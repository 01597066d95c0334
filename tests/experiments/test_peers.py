"""The comparison with other gateways: what is counted, what is repeated, and what is told of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from experiments.counted import Answers, Ask, CountingUpstream, Defaults
from experiments.peers import BASELINE, CHEAP, METHODS, MODELS, compare, counting, table
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.benchmarks import load_benchmark
from amp.errors import RecordingError

QUESTIONS = {"a": "How many eggs?", "b": "How many rolls?"}


def scripted(asked: list[dict[str, Any]]) -> Ask:
    """A model whose answers differ with the seed, and which notes what it is asked."""

    async def ask(model: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        text = f"1. So it is.\n#### {request['seed'] % 3}"
        message = {"role": "assistant", "content": text}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(str(request["messages"])), "completion_tokens": 7},
        }

    return ask


def request(name: str, temperature: float = 0.7, **fields: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": f"Please: {QUESTIONS[name]}"}]
    return {"model": CHEAP, "messages": said, "temperature": temperature, **fields}


CALLS = st.tuples(
    st.sampled_from(["one", "two"]),
    st.sampled_from(sorted(QUESTIONS)),
    st.sampled_from([0.0, 0.7]),
    st.integers(1, 3),
)


@settings(max_examples=25, deadline=None)
@given(calls=st.lists(CALLS, max_size=8))
async def test_all_is_counted_nothing_is_made_twice_and_all_can_be_repeated(
    calls: list[tuple[str, str, float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    answers = Answers(tmp_path_factory.mktemp("peers") / "answers.sqlite")
    asked: list[dict[str, Any]] = []
    live = CountingUpstream(answers, QUESTIONS, MODELS, scripted(asked))
    replay = CountingUpstream(answers, QUESTIONS, MODELS)
    given_answers, expected = [], Counter[tuple[str, str]]()
    for method, name, temperature, n in calls:
        given_answers.append(await live.complete(method, request(name, temperature, n=n)))
        expected[method, name] += 7 * n
    repeated = [
        await replay.complete(method, request(name, temperature, n=n))
        for method, name, temperature, n in calls
    ]
    answers.close()
    assert repeated == given_answers
    assert replay.spent == live.spent
    written = {key: spent[f"{CHEAP} completion"] for key, spent in live.spent.items()}
    assert written == dict(expected)
    # As many as the method that asked for most of a request; greedily there is only one.
    drawn = Counter[tuple[str, str, float]]()
    for method, name, temperature, n in calls:
        drawn[method, name, temperature] += n
    most = Counter[tuple[str, float]]()
    for (_, name, temperature), n in drawn.items():
        most[name, temperature] = max(most[name, temperature], n if temperature else 1)
    assert len(asked) == sum(most.values())


async def test_the_prompt_of_several_answers_counts_once_and_answers_differ(
    tmp_path: Path,
) -> None:
    upstream = CountingUpstream(Answers(tmp_path / "a"), QUESTIONS, MODELS, scripted([]))
    three = await upstream.complete("m", request("a", n=3))
    prompt = three["usage"]["prompt_tokens"]
    spent = upstream.spent["m", "a"]
    assert spent == {f"{CHEAP} calls": 1, f"{CHEAP} prompt": prompt, f"{CHEAP} completion": 21}
    fourth = await upstream.complete("m", request("a"))
    shared = await upstream.complete("other", request("a", n=4))
    assert shared["choices"][3]["message"] == fourth["choices"][0]["message"]


async def test_what_a_request_leaves_open_is_the_same_as_saying_it(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []
    defaults = Defaults(max_tokens=99, temperature=0.7)
    upstream = CountingUpstream(
        Answers(tmp_path / "a"), QUESTIONS, MODELS, scripted(asked), defaults
    )
    said = request("a")["messages"]
    ways: dict[str, dict[str, Any]] = {
        "open": {},
        "said": {"max_tokens": 99, "temperature": 0.7},
        "new name": {"max_completion_tokens": 99, "seed": 3, "stream": False},
        "parts": {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": said[0]["content"]}]}
            ]
        },
    }
    for method, fields in ways.items():
        await upstream.complete(method, {"model": CHEAP, "messages": said, **fields})
    assert len(asked) == 1
    assert asked[0]["max_tokens"] == 99


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "other"}, "model 'other' is none of"),
        ({"messages": [{"role": "user", "content": "Hello"}]}, "holds no question"),
        ({}, "to request"),
    ],
)
async def test_what_it_cannot_count_or_answer_is_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    upstream = CountingUpstream(Answers(tmp_path / "a"), QUESTIONS, MODELS)
    with pytest.raises(RecordingError, match=said):
        await upstream.complete("m", {**request("a"), **changed})
    async with counting(upstream) as url, httpx2.AsyncClient() as client:
        got = await client.post(f"{url}/m/v1/chat/completions", json={**request("a"), **changed})
    assert got.status_code == 400
    assert said in got.json()["error"]["message"]
    assert said in upstream.refused[0]
    assert not upstream.spent


async def test_a_client_gets_streams_and_the_models(tmp_path: Path) -> None:
    upstream = CountingUpstream(Answers(tmp_path / "a"), QUESTIONS, MODELS, scripted([]))
    async with counting(upstream) as url, httpx2.AsyncClient() as client:
        body = request("a", stream=True)
        got = await client.post(f"{url}/m/v1/chat/completions", json=body)
        listed = (await client.get(f"{url}/m/v1/models")).json()
    events = [line.removeprefix("data: ") for line in got.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert "####" in json.loads(events[0])["choices"][0]["delta"]["content"]
    assert json.loads(events[1])["usage"]["completion_tokens"] == 7
    assert [each["id"] for each in listed["data"]] == list(MODELS)


async def test_methods_without_a_rival_run_and_repeat(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.sqlite")
    benchmark = load_benchmark("gsm8k")
    tasks = benchmark.tasks("demo", 2)
    names = [BASELINE, "AMP gateway, votes of up to 4", "AMP gateway, rules"]
    methods = {name: METHODS[name] for name in names}
    await compare(answers, methods, benchmark, tasks, tmp_path, scripted([]))
    first = {name: answers.outcomes(name) for name in names}
    await compare(answers, methods, benchmark, tasks, tmp_path, None)
    assert {name: answers.outcomes(name) for name in names} == first
    one, votes, rules = (list(first[name].values()) for name in names)
    assert [row[f"{CHEAP} completion"] for row in one] == [7, 7]
    assert rules == one  # a question of its own gives the rules no sign
    assert all(row["told"] == row[f"{CHEAP} completion"] for row in votes)
    assert all(14 <= row[f"{CHEAP} completion"] <= 28 for row in votes)
    printed = table(answers, names).splitlines()
    assert len(printed) == 2 + len(names)
    answers.close()


async def test_a_rival_that_is_not_there_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = Answers(tmp_path / "answers.sqlite")
    benchmark = load_benchmark("gsm8k")
    methods = {name: run for name, run in METHODS.items() if not name.startswith(("AMP", "one"))}
    await compare(answers, methods, benchmark, benchmark.tasks("demo", 1), tmp_path, None)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(" is left out: ")[0] for line in told] == list(methods)
    assert all("make test-rivals" in line for line in told)
    answers.close()
