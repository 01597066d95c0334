"""What a recording says over HTTP is what it says to the planner, and it makes nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from tests.fakes import recorded as fake
from tests.serve.running import Running, gateway
from typer.testing import CliRunner

from amp.allocate.base import FixedAllocator
from amp.cli.app import app
from amp.execute.executor import Executor
from amp.models.base import LanguageModel, Message, ModelCard, Prompt, Request
from amp.models.openai import OpenAIModel
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.serve.upstreams.upstream import recorded
from amp.types import Limits, StepRecord

pytestmark = pytest.mark.slow

PROMPT = Prompt(
    (Message("system", "Be brief."), Message("user", "How much are two and two?")),
    64,
    version="q/1",
)
SAMPLED = Request(PROMPT, n=4, temperature=0.7, top_p=0.95)
ASKED: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": each.role, "content": each.content} for each in PROMPT.messages],
    "max_tokens": 64,
    "temperature": 0.7,
    "top_p": 0.95,
}
REQUESTS = [
    SAMPLED,
    replace(SAMPLED, seed=3, n=2),
    Request(PROMPT),
    Request(replace(PROMPT, stop=("\n", "Q:"), max_tokens=8)),
    Request(replace(PROMPT, messages=(*PROMPT.messages, Message("assistant", "Two and")))),
]


def said(prompt: Prompt, index: int) -> str:
    return f"{len(prompt.messages)} messages, sample {index} of at most {prompt.max_tokens}.\n Bye."


def texts(step: StepRecord) -> list[str]:
    return [each.text for record in step.rounds for each in record.candidates]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    async def record() -> None:
        path = tmp_path / "made.sqlite"
        model = RecordedModel(ScriptedModel(said, card=ModelCard("scripted")), path, "record")
        for request in REQUESTS:
            await model.generate(request)
        await model.close()

    asyncio.run(record())
    return tmp_path / "made.sqlite"


@pytest.fixture
async def amp(file: Path) -> AsyncIterator[Running]:
    async with gateway(recorded(file)) as running:
        yield running


@pytest.fixture
async def client(amp: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=amp.v1, api_key="any", max_retries=0) as client:
        yield client


async def refused(client: AsyncOpenAI, **fields: Any) -> str:
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)) as error:
        await client.chat.completions.create(**{**ASKED, **fields})
    return str(error.value.body["message"])  # type: ignore[index]  # a table


async def test_every_request_has_the_answers_that_it_has_in_a_replay(
    amp: Running, file: Path
) -> None:
    there = OpenAIModel("scripted", base_url=amp.v1, api_key="any", prefix=True)
    here = RecordedModel(None, file)
    for request in [*REQUESTS, replace(SAMPLED, n=2, first_sample=2)]:
        pairs = zip(await there.generate(request), await here.generate(request), strict=True)
        for ours, theirs in pairs:
            assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
        told = [sum(each.usage.tokens for each in await m.generate(request)) for m in (there, here)]
        assert told[0] == told[1]
    await there.close()
    await here.close()


async def test_an_episode_is_the_same_over_http(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.sqlite"
    await asyncio.to_thread(fake.record, path, [fake.CHAIN])
    task, here = fake.TASKS[0], RecordedModel(None, path)

    async def episode(model: LanguageModel) -> Any:
        executor = Executor(fake.GSM8K.prompts, {}, fake.GSM8K.defaults.plausibility)
        allocation = replace(fake.CHAIN.allocation, beam_width=3)
        planner = Planner(model, executor, fake.SILENT, FixedAllocator(allocation), Limits(steps=1))
        return await planner.run(task, fake.GSM8K.environment(task))

    async with gateway(recorded(path)) as amp:
        there = OpenAIModel(here.card.name, base_url=amp.v1, api_key="any", prefix=True)
        ours, theirs = await episode(there), await episode(here)
        spent = amp.accounts.spent
        await there.close()
    await here.close()
    assert [texts(each) for each in ours.steps] == [texts(each) for each in theirs.steps]
    assert len(texts(ours.steps[0])) == 3
    assert ours.usage.tokens == theirs.usage.tokens == spent.tokens


async def test_a_stream_is_the_same_answer(client: AsyncOpenAI) -> None:
    create = client.chat.completions.create
    whole = await create(**ASKED, n=2, seed=8)
    options: Any = {"include_usage": True}
    chunks = [
        c async for c in await create(**ASKED, n=2, seed=8, stream=True, stream_options=options)
    ]
    for index, choice in enumerate(whole.choices):
        parts = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == index]
        assert "".join(part.delta.content or "" for part in parts) == choice.message.content
        assert parts[-1].finish_reason == choice.finish_reason
        assert len(parts) > 5
    assert chunks[-1].usage == whole.usage
    assert [model.id for model in (await client.models.list()).data] == ["scripted"]


async def test_a_model_that_samples_says_each_sample_once(client: AsyncOpenAI) -> None:
    async def one(**fields: Any) -> str:
        answer: Any = await client.chat.completions.create(**{**ASKED, **fields})
        text: str = answer.choices[0].message.content
        return text

    assert len({await one() for _ in range(4)}) == 4
    assert "has 4 samples of this request" in await refused(client)
    assert len({await one(seed=7) for _ in range(3)}) == 1
    assert len({await one(seed=seed) for seed in range(4)}) == 4
    assert len({await one(temperature=0, top_p=1) for _ in range(3)}) == 1
    assert await one(max_tokens=None, seed=7) == await one(seed=7)


async def test_every_api_reads_it(amp: Running, client: AsyncOpenAI) -> None:
    system, question = (each.content for each in PROMPT.messages)
    create = client.chat.completions.create
    chatted = await create(**{**ASKED, "temperature": 0.0, "top_p": 1.0})
    text = chatted.choices[0].message.content
    response = await client.responses.create(
        model="scripted", instructions=system, input=question, max_output_tokens=64, temperature=0
    )
    assert response.output_text == text
    async with AsyncAnthropic(base_url=amp.url, api_key="any", max_retries=0) as claude:
        asked: dict[str, Any] = {"model": "scripted", "system": system, "max_tokens": 64}
        asked |= {"extra_body": {"temperature": 0.0}, "messages": ASKED["messages"][1:]}
        message: Any = await claude.messages.create(**asked)
        assert message.content[0].text == text
        async with claude.messages.stream(**asked) as stream:
            assert "".join([part async for part in stream.text_stream]) == text
        with pytest.raises(anthropic.NotFoundError, match="with max_tokens 64, not 63"):
            await claude.messages.create(**{**asked, "max_tokens": 63})


async def test_what_is_not_recorded_is_refused_with_what_is_nearest(client: AsyncOpenAI) -> None:
    assert "with max_tokens 64, not 65; ask with that" in await refused(client, max_tokens=65)
    assert "with temperature 0.7, not 0.2" in await refused(client, temperature=0.2)
    assert "with top_p 0.95, not 0.5" in await refused(client, top_p=0.5)
    assert 'with stop [], not ["x"]' in await refused(client, stop="x")
    assert "more than one of them differs" in await refused(client, stop="x", top_p=0.5)
    other = await refused(client, messages=[{"role": "user", "content": "Hi"}])
    assert "no request with these messages (prompts: q/1;" in other
    assert "\n" not in other
    tool = {"type": "function", "function": {"name": "add"}}
    assert "tools is not recorded; leave it out" in await refused(client, tools=[tool])
    assert "logprobs is not recorded" in await refused(client, logprobs=True)
    assert "no chat completion of texts" in await refused(client, messages=[{"role": "user"}])
    assert "no upstream has the model 'gpt'" in await refused(client, model="gpt")
    with pytest.raises(openai.NotFoundError, match="chats only"):
        await client.embeddings.create(model="scripted", input="x")


def test_the_command_says_what_it_serves(file: Path, tmp_path: Path) -> None:
    def serve(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["serve", *arguments])

    done = serve("--replay", str(file), "--check")
    assert f"recording {file} of scripted, offline" in done.output
    assert done.exit_code == 0
    both = serve("--replay", str(file), "--model", "x")
    assert "leave --upstream and --model out" in str(both.exception)
    none = serve("--replay", str(tmp_path / "none.sqlite"))
    assert "none.sqlite" in str(none.exception)
