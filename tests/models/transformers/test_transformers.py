from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.models.conformance import STORY, Conformance, ask

from amp.errors import InvalidInputError, ModelError
from amp.models import catalog
from amp.models.base import LanguageModel, Request
from amp.models.bill import Bill, open_bill
from amp.models.transformers import TransformersModel
from amp.models.transformers_decode import draw
from amp.types import Usage


@dataclass
class Work:
    """What went through a network: how many tokens, in how many passes."""

    tokens: int = 0
    passes: int = 0
    begun: threading.Event = field(default_factory=threading.Event)


@contextmanager
def watched(model: TransformersModel) -> Iterator[Work]:
    work = Work()

    def count(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        work.tokens += named["input_ids"].numel()
        work.passes += 1
        work.begun.set()

    handle = model._decoder._network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield work
    finally:
        handle.remove()


def plain_log_probs(model: TransformersModel, tokens: list[int]) -> torch.Tensor:
    """Log-probabilities after each of the tokens, by one plain pass of the network."""
    with torch.inference_mode():
        logits = model._decoder._network(torch.tensor([tokens])).logits[0]
    log_probs: torch.Tensor = logits.float().log_softmax(-1)
    return log_probs


def test_it_says_who_it_is(smol: TransformersModel) -> None:
    assert isinstance(smol, LanguageModel)
    known = catalog.find("smollm2-135m")
    assert smol.card.sha256 == known.file.sha256
    assert smol.card.parameters == known.parameters
    assert (smol.card.layers, smol.card.attention_width) == (30, 576)
    assert smol.card.context_tokens == 4096


# --------------------------------------------------------------------------- samples


async def test_a_greedy_answer_is_that_of_transformers_own_loop(smol: TransformersModel) -> None:
    prompt = ask(STORY, max_tokens=20)
    (completion,) = await smol.generate(Request(prompt))
    tokens = smol._text.encode(smol._text.prompt(prompt))
    network = smol._decoder._network
    theirs = network.generate(torch.tensor([tokens]), max_new_tokens=20, do_sample=False)
    assert completion.text == smol._text.decode(theirs[0, len(tokens) :].tolist())
    assert completion.usage.completion_tokens == 20


async def test_sample_i_does_not_depend_on_how_the_request_is_split(
    smol: TransformersModel,
) -> None:
    request = Request(ask(STORY), n=4, temperature=1.0, top_p=0.95, seed=3)
    whole = await smol.generate(request)
    tail = await smol.generate(replace(request, n=2, first_sample=2))
    assert [c.text for c in tail] == [c.text for c in whole[2:]]
    assert len({c.text for c in whole}) == 4


async def test_samples_beyond_the_slots_are_the_same(
    tiny: TransformersModel, directory: Path
) -> None:
    narrow = TransformersModel(directory, slots=2)
    request = Request(ask(STORY), n=5, temperature=1.0, seed=1)
    with watched(narrow) as work:
        grouped = await narrow.generate(request)
    assert [c.text for c in grouped] == [c.text for c in await tiny.generate(request)]
    assert work.tokens == grouped[0].usage.prompt_tokens + 5 * 11
    await narrow.close()


async def test_log_probs_and_entropies_are_those_of_a_plain_pass(smol: TransformersModel) -> None:
    prompt = ask(STORY, max_tokens=8)
    (completion,) = await smol.generate(Request(prompt, temperature=1.5, top_p=0.5, seed=2))
    text = smol._text.prompt(prompt)
    tokens = smol._text.encode(text)
    answer = smol._text.continuation(text, completion.text)
    table = plain_log_probs(smol, tokens + answer)[len(tokens) - 1 : -1]
    told = [float(row[token]) for row, token in zip(table, answer, strict=True)]
    entropies = torch.special.entr(table.double().exp()).sum(-1).tolist()
    assert completion.log_probs == pytest.approx(told, abs=1e-3)
    assert completion.entropies == pytest.approx(entropies, abs=1e-3)


@pytest.mark.parametrize("stop", [(), ("i",)])
async def test_a_prompt_is_read_once_and_no_sample_after_its_end(
    tiny: TransformersModel, stop: tuple[str, ...]
) -> None:
    """Every token but the last of a sample goes through the network once, and nothing else does."""
    prompt = ask(f"Nobody asked this before: {stop}", max_tokens=16, stop=stop)
    with watched(tiny) as work:
        samples = await tiny.generate(Request(prompt, n=4, temperature=1.0))
    usage = samples[0].usage
    unread = usage.prompt_tokens - usage.cached_prompt_tokens
    assert work.tokens == unread + sum(s.usage.completion_tokens - 1 for s in samples)
    if stop:
        assert len({s.usage.completion_tokens for s in samples}) > 1


async def test_a_prompt_that_begins_like_a_recent_one_is_read_from_there_on(
    smol: TransformersModel,
) -> None:
    facts = "The facts: " + "one and two is three. " * 10
    (cold,) = await smol.generate(Request(ask(facts + "What is one?", max_tokens=4)))
    await smol.generate(Request(ask("Something else.", max_tokens=1)))
    prompt = ask(facts + "What is two?", max_tokens=4)
    with watched(smol) as work:
        (warm,) = await smol.generate(Request(prompt))
    assert cold.usage.cached_prompt_tokens < 20
    assert warm.usage.cached_prompt_tokens > 60
    assert work.tokens == warm.usage.prompt_tokens - warm.usage.cached_prompt_tokens + 3
    text = smol._text.prompt(prompt)
    tokens = smol._text.encode(text)
    answer = smol._text.continuation(text, warm.text)
    table = plain_log_probs(smol, tokens + answer)[len(tokens) - 1 : -1]
    told = [float(row[token]) for row, token in zip(table, answer, strict=True)]
    assert warm.log_probs == pytest.approx(told, abs=1e-3)


async def test_the_same_prompt_is_read_but_for_its_last_token(tiny: TransformersModel) -> None:
    request = Request(ask("Twice.", max_tokens=1))
    await tiny.generate(request)
    (again,) = await tiny.generate(request)
    assert again.usage.cached_prompt_tokens == again.usage.prompt_tokens - 1


async def test_what_generation_adds_is_not_taken_for_the_prompt(tiny: TransformersModel) -> None:
    """The memory of a prompt must not grow with its samples."""
    first = await tiny.generate(Request(ask("Once more."), n=3, temperature=1.0))
    again = await tiny.generate(Request(ask("Once more."), n=3, temperature=1.0))
    assert [c.text for c in again] == [c.text for c in first]


async def test_the_context_ends_an_answer(tiny: TransformersModel) -> None:
    (completion,) = await tiny.generate(Request(ask(STORY, max_tokens=1000)))
    assert completion.finish_reason == "length"
    assert completion.usage.prompt_tokens + completion.usage.completion_tokens == 256


@settings(max_examples=50)
@given(
    st.lists(st.floats(-6, 6), min_size=2, max_size=12),
    st.floats(0.3, 2.0),
    st.floats(0.05, 1.0),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_token_is_drawn_by_its_share_of_the_nucleus(
    logits: list[float], temperature: float, top_p: float, uniform: float
) -> None:
    weights = [math.exp(value / temperature) for value in logits]
    probs = [weight / math.fsum(weights) for weight in weights]
    nucleus: set[int] = set()
    for token in sorted(range(len(probs)), key=lambda token: -probs[token]):
        if math.fsum(probs[kept] for kept in nucleus) < top_p - 1e-9 or not nucleus:
            nucleus.add(token)
    (chosen,) = draw(torch.tensor([logits]), [uniform], temperature, top_p).tolist()
    smallest = min(probs[token] for token in nucleus)
    assert probs[chosen] >= smallest - 1e-6  # equally likely tokens may change places
    if top_p == 1.0:
        below = math.fsum(probs[:chosen])
        assert below - 1e-6 <= uniform <= below + probs[chosen] + 1e-6


# --------------------------------------------------------------------------- ends


async def test_a_stop_string_may_lie_across_tokens(smol: TransformersModel) -> None:
    prompt = ask("Count.", max_tokens=30, prefix="1, 2, 3,", stop=("x", " 5, 6"))
    (completion,) = await smol.generate(Request(prompt))
    assert completion.text == " 4,"
    assert completion.finish_reason == "stop"
    assert len(completion.log_probs) == len(completion.entropies) == 3
    assert completion.usage.completion_tokens > 3


async def test_the_end_of_text_counts_and_is_no_part_of_the_text(smol: TransformersModel) -> None:
    prompt = ask("Repeat after me: yes", max_tokens=30, prefix="yes.")
    (completion,) = await smol.generate(Request(prompt))
    assert completion.finish_reason == "stop"
    assert len(completion.log_probs) == completion.usage.completion_tokens - 1
    assert "<|im_end|>" not in completion.text


def test_what_the_template_writes_after_an_answer_ends_it(tiny: TransformersModel) -> None:
    assert tiny._text._turn_end() == frozenset(tiny._text.encode("<|im_end|>"))


async def test_a_timeout_returns_what_there_is(smol: TransformersModel) -> None:
    prompt = ask(STORY, max_tokens=2000)
    request = Request(prompt, n=2, temperature=1.0, timeout_seconds=1.0)
    completions = await smol.generate(request)
    assert [c.finish_reason for c in completions] == ["timeout", "timeout"]
    assert completions[0].usage.prompt_tokens == await smol.count_tokens(prompt)
    assert all(c.usage.completion_tokens == len(c.log_probs) for c in completions)


async def test_time_that_ends_in_the_prompt_leaves_empty_answers(tiny: TransformersModel) -> None:
    (completion,) = await tiny.generate(Request(ask(STORY), timeout_seconds=0.0))
    assert (completion.text, completion.finish_reason) == ("", "timeout")
    assert completion.usage.prompt_tokens > completion.usage.completion_tokens == 0


async def test_a_call_cut_off_by_its_payer_costs_what_had_come(smol: TransformersModel) -> None:
    bill = Bill(Usage(1, 1), 1, lambda samples: None)
    prompt = ask(STORY, max_tokens=2000)
    with pytest.raises(TimeoutError), open_bill(bill):
        async with asyncio.timeout(0.7):
            await smol.generate(Request(prompt, n=2, temperature=1.0))
    spent = sum(bill.usages() or (), Usage())
    assert (spent.model_calls, spent.estimated_calls) == (1, 1)
    assert spent.prompt_tokens == await smol.count_tokens(prompt)
    assert 0 < spent.completion_tokens < 4000


async def test_a_cancelled_task_ends_its_work_at_the_next_token(smol: TransformersModel) -> None:
    with watched(smol) as work:
        request = Request(ask(STORY, max_tokens=2000), n=2, temperature=1.0)
        running = asyncio.create_task(smol.generate(request))
        waiting = asyncio.create_task(smol.generate(replace(request, seed=1)))
        await asyncio.to_thread(work.begun.wait, 20)
        waiting.cancel()
        running.cancel()
        passes = work.passes
        for task in (running, waiting):
            with pytest.raises(asyncio.CancelledError):
                await task
        await smol.generate(Request(ask(STORY, max_tokens=1)))
    assert work.passes <= passes + 1 + 1


async def test_closing_ends_what_is_running(directory: Path) -> None:
    model = TransformersModel(directory)
    await model.next_token(ask(STORY))
    with watched(model) as work:
        request = Request(ask(STORY, max_tokens=200), temperature=1.0)
        tasks = [asyncio.create_task(model.generate(replace(request, seed=i))) for i in range(3)]
        await asyncio.to_thread(work.begun.wait, 20)
        await model.close()
    await model.close()
    for task in tasks:
        with pytest.raises(ModelError, match="closed"):
            await task
    for call in (model.generate(request), model.count_tokens(ask("x")), model.next_token(ask("x"))):
        with pytest.raises(ModelError, match="the model is closed"):
            await call


# --------------------------------------------------------------------------- scores and probes


async def test_a_score_is_the_sum_of_probes(smol: TransformersModel) -> None:
    long, short, one = await smol.score(
        ask("Count to five.", prefix="1, 2, 3,"), [" 4, 5", " cheese, 6", " 4"]
    )
    parts = [" ", "4", ",", " ", "5"]
    probes = [
        await smol.next_token(ask("Count to five.", prefix="1, 2, 3," + "".join(parts[:i])))
        for i in range(len(parts))
    ]
    told = [next_token.log_probs[part] for next_token, part in zip(probes, parts, strict=True)]
    assert long.log_probs == pytest.approx(told, abs=1e-3)
    assert one.log_probs == pytest.approx(told[:2], abs=1e-3)
    assert sum(long.log_probs) > sum(short.log_probs)
    assert long.usage.prompt_tokens == probes[0].usage.prompt_tokens + 5
    assert (short.usage.model_calls, one.usage.prompt_tokens) == (0, 2)


async def test_scores_do_not_depend_on_what_is_scored_beside(tiny: TransformersModel) -> None:
    texts = ["a", "a long continuation " * 6, "日本", "😀", " b c", "\n\n", "<b>"]
    together = await tiny.score(ask("Say it."), texts)
    for text, score in zip(texts, together, strict=True):
        (alone,) = await tiny.score(ask("Say it."), [text])
        assert score.log_probs == pytest.approx(alone.log_probs, abs=1e-4)
    assert await tiny.score(ask("Say it."), []) == []


@pytest.mark.parametrize(
    ("prefix", "text", "first"),
    [("Action: ", "3", "3"), ("A", "B", "B"), ("x\n", "\ny", "\n"), ("wal", "king", "king")],
)
async def test_tokens_of_the_prompt_never_merge_with_a_continuation(
    tiny: TransformersModel, prefix: str, text: str, first: str
) -> None:
    prompt = ask("Which?", prefix=prefix)
    (score,) = await tiny.score(prompt, [text])
    told = await tiny.next_token(prompt)
    assert score.log_probs[0] == pytest.approx(told.log_probs[first], abs=1e-4)


@pytest.mark.parametrize("text", ["", "<|im_end|>"])
async def test_what_reads_as_nothing_cannot_be_scored(tiny: TransformersModel, text: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be scored"):
        await tiny.score(ask("Say it."), [text])


async def test_a_probe_tells_the_whole_distribution(smol: TransformersModel) -> None:
    told = await smol.next_token(ask(STORY), hidden=True)
    assert told.complete
    assert math.fsum(map(math.exp, told.log_probs.values())) == pytest.approx(1.0, abs=1e-9)
    (answer,) = await smol.generate(Request(ask(STORY, max_tokens=1)))
    assert next(iter(told.log_probs)) == answer.text
    assert told.log_probs[answer.text] == pytest.approx(answer.log_probs[0], abs=1e-3)
    assert told.log_probs[""] < 0.0  # the end of the answer
    tokens = smol._text.encode(smol._text.prompt(ask(STORY)))
    with torch.inference_mode():
        plain = smol._decoder._network(torch.tensor([tokens]), output_hidden_states=True)
    assert told.hidden == pytest.approx(plain.hidden_states[-1][0, -1].tolist(), abs=1e-2)
    assert len(told.hidden or ()) == 576


async def test_a_probe_may_be_cut_to_the_likeliest(directory: Path) -> None:
    model = TransformersModel(directory, probe_tokens=3)
    told = await model.next_token(ask(STORY))
    assert (len(told.log_probs), told.complete, told.hidden) == (3, False, None)
    assert not model.capabilities.full_distribution
    assert list(told.log_probs.values()) == sorted(told.log_probs.values(), reverse=True)
    await model.close()


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.sampled_from(["", "Action: ", "So", "\n", "|", " 日"]),
)
def test_the_count_is_what_a_call_is_charged(
    tiny: TransformersModel, text: str, prefix: str
) -> None:
    async def both() -> tuple[int, int]:
        prompt = ask(text, max_tokens=1, prefix=prefix)
        (completion,) = await tiny.generate(Request(prompt))
        return await tiny.count_tokens(prompt), completion.usage.prompt_tokens

    counted, charged = asyncio.run(both())
    assert counted == charged
    assert tiny._text.prompt(ask(text, prefix=prefix)).endswith(prefix or "assistant\n")


class TestConformance(Conformance):
    exact_counts = True

    @pytest.fixture
    def model(self, smol: TransformersModel) -> LanguageModel:
        return smol

    @pytest.fixture
    async def fresh(self, directory: Path) -> AsyncIterator[LanguageModel]:
        model = TransformersModel(directory)
        yield model
        await model.close()
