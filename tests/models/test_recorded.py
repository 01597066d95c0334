from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.errors import InvalidInputError, RecordingError
from amp.models.base import Capabilities, Completion, Message, ModelCard, Prompt, Request
from amp.models.llamacpp import LlamaCppModel
from amp.models.recorded import RecordedModel, request_key
from amp.models.scripted import ALL_CAPABILITIES, ScriptedModel
from amp.types import ToolUse, Usage


def ask(text: str = "go", version: str = "test/1", **more: int) -> Prompt:
    messages = (Message("system", "Be brief."), Message("user", text))
    return Prompt(messages, more.get("max_tokens", 10), version=version)


def scripted() -> ScriptedModel:
    return ScriptedModel(lambda prompt, index: f"{prompt.messages[-1].content} {index}")


def total(completions: Sequence[Completion]) -> Usage:
    return sum((c.usage for c in completions), Usage())


# --------------------------------------------------------------------------- laws

prompts = st.sampled_from(["red", "green", "blue"]).map(ask)
requests = st.builds(
    Request,
    prompts,
    n=st.integers(1, 4),
    first_sample=st.integers(0, 3),
    temperature=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 1),
)
calls = st.one_of(
    st.tuples(st.just("generate"), requests),
    st.tuples(st.just("probe"), prompts),
    st.tuples(st.just("probe hidden"), prompts),
    st.tuples(st.just("score"), prompts),
    st.tuples(st.just("count"), prompts),
)


class OneByOne(ScriptedModel):
    """A server without n: every sample is a call of its own and is charged as one."""

    async def generate(self, request: Request) -> list[Completion]:
        indices = range(request.first_sample, request.first_sample + request.n)
        singles = [dataclasses.replace(request, n=1, first_sample=i) for i in indices]
        return [(await super(OneByOne, self).generate(single))[0] for single in singles]


async def make(model: RecordedModel, sequence: Sequence[tuple[str, object]]) -> list[object]:
    answers: list[object] = []
    for kind, what in sequence:
        if isinstance(what, Request):
            answers.append(await model.generate(what))
        elif isinstance(what, Prompt) and kind == "score":
            answers.append(await model.score(what, ["left", "right turn", "left"]))
        elif isinstance(what, Prompt) and kind == "count":
            answers.append(await model.count_tokens(what))
        elif isinstance(what, Prompt):
            answers.append(await model.next_token(what, hidden=kind == "probe hidden"))
    await model.close()
    return answers


@settings(max_examples=40, deadline=None)
@given(st.lists(calls, max_size=8), st.booleans())
def test_any_sequence_of_calls_replays_to_the_same_answers_and_usage(
    sequence: list[tuple[str, object]], together: bool
) -> None:
    inner = scripted() if together else OneByOne(lambda prompt, index: f"answer {index}")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pool.sqlite"
        recorded = asyncio.run(make(RecordedModel(inner, path, "record"), sequence))
        replayed = asyncio.run(make(RecordedModel(None, path, "replay"), sequence))
    assert replayed == recorded


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=6))
def test_a_sample_is_asked_for_once(asked: list[tuple[int, int]]) -> None:
    inner = scripted()

    async def run(path: Path) -> None:
        model = RecordedModel(inner, path, "auto")
        for first, n in asked:
            await model.generate(Request(ask(), n=n, first_sample=first))
        await model.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory) / "pool.sqlite"))
    drawn = [i for r in inner.requests for i in range(r.first_sample, r.first_sample + r.n)]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {i for first, n in asked for i in range(first, first + n)}


@pytest.mark.parametrize("kind", [ScriptedModel, OneByOne])
async def test_a_first_recording_costs_what_the_model_says(
    tmp_path: Path, kind: type[ScriptedModel]
) -> None:
    request = Request(ask(), n=3)
    plain = await kind(["a", "b", "c"]).generate(request)
    model = RecordedModel(kind(["a", "b", "c"]), tmp_path / "pool.sqlite")
    recorded = await model.generate(request)
    await model.close()
    assert total(recorded) == total(plain)
    assert [c.text for c in recorded] == [c.text for c in plain]


async def test_a_later_sample_shares_the_prompt_that_was_read(tmp_path: Path) -> None:
    model = RecordedModel(scripted(), tmp_path / "pool.sqlite")
    await model.generate(Request(ask(), n=3))
    (alone,) = await model.generate(Request(ask(), first_sample=2))
    await model.close()
    assert alone.usage.model_calls == 1
    assert alone.usage.cached_prompt_tokens == alone.usage.prompt_tokens > 0


CHANGES = {
    "messages": lambda r: dataclasses.replace(r, prompt=ask("stop")),
    "role": lambda r: dataclasses.replace(
        r, prompt=Prompt((Message("user", "Be brief."), Message("user", "go")), 10, (), "test/1")
    ),
    "max_tokens": lambda r: dataclasses.replace(r, prompt=ask(max_tokens=11)),
    "stop": lambda r: dataclasses.replace(r, prompt=dataclasses.replace(r.prompt, stop=("x",))),
    "version": lambda r: dataclasses.replace(r, prompt=ask(version="test/2")),
    "temperature": lambda r: dataclasses.replace(r, temperature=0.1),
    "top_p": lambda r: dataclasses.replace(r, top_p=0.9),
    "seed": lambda r: dataclasses.replace(r, seed=1),
    "grammar": lambda r: dataclasses.replace(r, grammar='root ::= "x"'),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_key_depends_on_whatever_decides_a_sample(name: str) -> None:
    request = Request(ask())
    assert request_key(CHANGES[name](request)) != request_key(request)


@given(st.integers(1, 99), st.integers(0, 99), st.none() | st.floats(0, 9))
def test_the_key_does_not_depend_on_how_many_are_asked_for(
    n: int, first: int, timeout: float | None
) -> None:
    many = Request(ask(), n=n, first_sample=first, temperature=0, timeout_seconds=timeout)
    assert request_key(many) == request_key(Request(ask(), temperature=0.0))


# --------------------------------------------------------------------------- other orders


async def in_order(path: Path, order: int | None, n: int, seed: int = 0) -> list[Completion]:
    replay = RecordedModel(None, path, order=order)
    answers = await replay.generate(Request(ask(), n=n, temperature=0.7, seed=seed))
    await replay.close()
    return answers


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of five samples of one prompt."""
    path = tmp_path_factory.mktemp("five") / "pool.sqlite"
    model = RecordedModel(scripted(), path)
    asyncio.run(model.generate(Request(ask(), n=5, temperature=0.7)))
    asyncio.run(model.close())
    return path


@given(st.integers(1, 99), st.integers(1, 5))
def test_an_order_deals_the_same_samples_and_leaves_the_costs_of_the_prompt(
    five: Path, order: int, n: int
) -> None:
    async def dealt() -> list[list[Completion]]:
        return [
            await in_order(five, None, 5),
            await in_order(five, order, 5, seed=order),
            await in_order(five, order, n, seed=order),
            await in_order(five, 0, 5, seed=order),
        ]

    recorded, whole, some, first = asyncio.run(dealt())
    assert first == recorded
    assert sorted(c.text for c in whole) == sorted(c.text for c in recorded)
    assert some == whole[:n]
    for place, moved in zip(recorded, whole, strict=True):
        own = next(c for c in recorded if c.text == moved.text)
        assert moved.usage.completion_tokens == own.usage.completion_tokens
        assert moved.usage.prompt_tokens == place.usage.prompt_tokens
        assert moved.usage.model_calls == place.usage.model_calls
        assert moved.log_probs == own.log_probs


async def test_orders_differ_between_prompts_and_seeds(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    model = RecordedModel(scripted(), path)
    for text in "abcdefgh":
        await model.generate(Request(ask(text), n=4))
    await model.close()
    firsts = set()
    for order in range(4):
        replay = RecordedModel(None, path, order=order)
        answers = [await replay.generate(Request(ask(text))) for text in "abcdefgh"]
        firsts.add("".join(answer[0].text[-1] for answer in answers))
        await replay.close()
    assert "00000000" in firsts
    assert len(firsts) == 4
    assert all(len(set(first)) > 1 for first in firsts - {"00000000"})


async def test_only_a_replay_has_an_order(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="order is 1, but only a replay has one"):
        RecordedModel(scripted(), tmp_path / "pool.sqlite", "auto", order=1)


# --------------------------------------------------------------------------- details


async def test_what_timed_out_is_not_recorded(tmp_path: Path) -> None:
    inner = ScriptedModel(["a"], delay_seconds=0.05)
    model = RecordedModel(inner, tmp_path / "pool.sqlite")
    (late,) = await model.generate(Request(ask(), timeout_seconds=0.001))
    assert late.finish_reason == "timeout"
    assert late.usage.model_calls == 1
    assert model.recording.store.sizes()["samples"] == 0
    (done,) = await model.generate(Request(ask()))
    assert done.text == "a"
    await model.close()


async def test_a_replay_knows_the_model_and_never_asks_it(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    card = ModelCard("known", sha256="ab" * 32, parameters=7, context_tokens=512)
    inner = ScriptedModel(["a"], card=card, capabilities=Capabilities(prefix=True))
    first = RecordedModel(inner, path, prompts=("test/1",))
    await first.generate(Request(ask()))
    await first.close()
    for model in (None, ScriptedModel(["other"], card=card)):
        replay = RecordedModel(model, path, "replay", prompts=("test/1",))
        assert replay.card == card
        assert replay.capabilities == Capabilities(prefix=True)
        (completion,) = await replay.generate(Request(ask()))
        assert completion.text == "a"
        assert await replay.count_tokens(ask()) == completion.usage.prompt_tokens
        with pytest.raises(RecordingError, match=r"pool.sqlite has no sample 1 .*test/1.*--record"):
            await replay.generate(Request(ask(), n=2))
        with pytest.raises(RecordingError, match="has no probe"):
            await replay.next_token(ask())
        with pytest.raises(RecordingError, match="has no score of 'x'"):
            await replay.score(ask(), ["x"])
        with pytest.raises(RecordingError, match="has no token count"):
            await replay.count_tokens(ask("something else"))
        await replay.close()


async def test_a_capability_that_the_model_lost_is_noted(tmp_path: Path) -> None:
    inner = scripted()
    model = RecordedModel(inner, tmp_path / "pool.sqlite")
    inner._capabilities = Capabilities()
    await model.generate(Request(ask()))
    await model.close()
    replay = RecordedModel(None, tmp_path / "pool.sqlite")
    assert replay.capabilities == Capabilities(hidden_states=True)
    await replay.close()


async def test_a_recording_goes_on_having_the_hidden_states_that_it_has(tmp_path: Path) -> None:
    first = RecordedModel(scripted(), tmp_path / "pool.sqlite")
    shown = await first.next_token(ask(), hidden=True)
    await first.close()
    blind = dataclasses.replace(ALL_CAPABILITIES, hidden_states=False)
    second = RecordedModel(ScriptedModel(["b"], capabilities=blind), tmp_path / "pool.sqlite")
    await second.generate(Request(ask("something else")))
    await second.close()
    replay = RecordedModel(None, tmp_path / "pool.sqlite")
    assert replay.capabilities.hidden_states
    assert (await replay.next_token(ask(), hidden=True)).hidden == shown.hidden
    await replay.close()


async def test_other_prompts_are_refused_unless_recording_anew(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    model = RecordedModel(scripted(), path)
    await model.generate(Request(ask(version="gsm8k/3")))
    await model.generate(Request(ask(version="babyai/1")))  # another family is another matter
    expected = r"made with prompts gsm8k/3, this version uses gsm8k/4; record into a new file"
    with pytest.raises(RecordingError, match=expected):
        await model.generate(Request(ask(version="gsm8k/4")))
    await model.close()
    with pytest.raises(RecordingError, match=expected):
        RecordedModel(scripted(), path, "auto", prompts=("gsm8k/4",))
    with pytest.raises(RecordingError, match=expected):
        RecordedModel(None, path, prompts=("gsm8k/4",))
    anew = RecordedModel(scripted(), path, "record", prompts=("gsm8k/4",))
    await anew.generate(Request(ask(version="gsm8k/4")))
    assert anew.recording.store.sizes()["samples"] == 3  # nothing written so far is lost
    await anew.close()


async def test_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    await RecordedModel(scripted(), path).close()
    for card in (ModelCard("other"), ModelCard("scripted", sha256="cd" * 32)):
        with pytest.raises(RecordingError, match="was made with model scripted, this run uses"):
            RecordedModel(ScriptedModel([], card=card), path)


async def test_tools_are_recorded_and_replayed(tmp_path: Path) -> None:
    path, runs = tmp_path / "pool.sqlite", []

    async def run() -> ToolUse | None:
        runs.append(1)
        return ToolUse("python", "1/0", "", error="division by zero", seconds=0.5)

    async def nothing() -> ToolUse | None:
        runs.append(2)
        return None

    model = RecordedModel(scripted(), path)
    recording = model.recording
    many = await asyncio.gather(*(recording.use("python", "1/0", run) for _ in range(3)))
    assert await recording.use("python", "no call", nothing) is None
    await model.close()
    replay = RecordedModel(None, path)
    assert await replay.recording.use("python", "1/0", run) == many[0] == await run()
    assert await replay.recording.use("python", "no call", nothing) is None
    with pytest.raises(RecordingError, match="has no run of tool calculator"):
        await replay.recording.use("calculator", "1/0", run)
    await replay.close()
    assert runs == [1, 2, 1]


async def test_a_real_model_replays_exactly(smol: LlamaCppModel, tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"

    async def work(model: RecordedModel) -> list[object]:
        return [
            await model.generate(Request(ask("Tell a story."), n=3, temperature=1.0)),
            await model.generate(Request(ask("Tell a story."), n=2, first_sample=2)),
            await model.next_token(ask("Yes or no?"), hidden=True),
            await model.score(ask("Yes or no?"), ["yes", "no"]),
            await model.count_tokens(ask("Tell a story.")),
        ]

    # The recording is closed alone: the model belongs to all tests.
    recording = RecordedModel(smol, path)
    recorded = await work(recording)
    recording.recording.close()
    replay = RecordedModel(None, path)
    assert await work(replay) == recorded
    assert replay.capabilities == smol.capabilities
    await replay.close()


async def test_the_event_loop_is_not_held_up(tmp_path: Path) -> None:
    """Generous, since machines differ: 20 ms is nothing against a model's answer."""
    model = RecordedModel(scripted(), tmp_path / "pool.sqlite")
    begun = time.thread_time()
    for i in range(100):
        await model.generate(Request(ask(str(i)), n=4))
    assert (time.thread_time() - begun) / 100 < 0.02
    await model.close()


async def test_an_estimate_is_one_in_the_replay_too(tmp_path: Path) -> None:
    """Only the call that is one; and a file without any has no trace of it."""

    class Unsure(ScriptedModel):
        """Tells nothing of what its first prompt costs."""

        async def generate(self, request: Request) -> list[Completion]:
            first, *others = await super().generate(request)
            usage = dataclasses.replace(first.usage, estimated_calls=int(request.seed == 0))
            return [dataclasses.replace(first, usage=usage), *others]

    path = tmp_path / "r.sqlite"
    model = RecordedModel(Unsure(["x"]), path)
    requests = [Request(ask(), n=2, temperature=1.0, seed=seed) for seed in (1, 0)]
    told = [[c.usage for c in await model.generate(request)] for request in requests]
    assert [sum(u.estimated_calls for u in usages) for usages in told] == [0, 1]
    await model.close()
    replay = RecordedModel(None, path, "replay")
    assert told == [[c.usage for c in await replay.generate(request)] for request in requests]
    await replay.close()
