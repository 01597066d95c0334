from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.models.conformance import STORY, ask

from amp.errors import InvalidInputError, MissingDependencyError, ModelError
from amp.models import catalog
from amp.models.base import LanguageModel, Message, Prompt, Request
from amp.models.bill import Bill, open_bill
from amp.models.llamacpp import LlamaCppModel
from amp.models.llamacpp_server import ServerCall
from amp.types import Usage

ENDLESS = "root ::= [a-z ] root"


def test_it_is_a_language_model(smol: LlamaCppModel) -> None:
    assert isinstance(smol, LanguageModel)
    assert smol.card.name == "smollm2-135m"
    assert smol.card.context_tokens == 4096
    assert smol.address.startswith("http://127.0.0.1:")


# --------------------------------------------------------------------------- samples


async def test_sample_i_does_not_depend_on_how_the_request_is_split(smol: LlamaCppModel) -> None:
    request = Request(ask(STORY), n=6, temperature=1.0, seed=3)
    whole = await smol.generate(request)
    tail = await smol.generate(replace(request, n=2, first_sample=4))
    # A batch of another shape rounds differently, so only a short beginning is compared.
    brief = ask(STORY, max_tokens=3)
    (single,) = await smol.generate(replace(request, prompt=brief, n=1, first_sample=1))
    assert [c.text for c in tail] == [c.text for c in whole[4:]]
    assert single.text
    assert whole[1].text.startswith(single.text)
    assert len({c.text for c in whole}) == 6


async def test_another_seed_gives_other_samples(smol: LlamaCppModel) -> None:
    one = await smol.generate(Request(ask(STORY), n=3, temperature=1.0, seed=0))
    two = await smol.generate(Request(ask(STORY), n=3, temperature=1.0, seed=1))
    assert not {c.text for c in one} & {c.text for c in two}


async def test_a_tiny_nucleus_is_greedy(smol: LlamaCppModel) -> None:
    greedy = await smol.generate(Request(ask(STORY)))
    nucleus = await smol.generate(Request(ask(STORY), temperature=1.5, top_p=1e-6))
    assert nucleus[0].text == greedy[0].text


async def test_the_call_is_charged_once_and_every_sample_counts(smol: LlamaCppModel) -> None:
    prompt = ask("Count the tokens of this.")
    completions = await smol.generate(Request(prompt, n=6, temperature=1.0))
    assert [c.usage.model_calls for c in completions] == [1, 0, 0, 0, 0, 0]
    assert completions[0].usage.prompt_tokens == await smol.count_tokens(prompt)
    assert all(c.usage.prompt_tokens == 0 for c in completions[1:])
    assert all(c.usage.completion_tokens >= len(c.log_probs) for c in completions)
    assert all(c.usage.completion_tokens == 12 for c in completions if c.finish_reason == "length")
    assert all(c.usage.seconds > 0 for c in completions)


@pytest.mark.parametrize(
    ("grammar", "stop", "generated", "unseen"),
    [
        ('root ::= "yes"', (), "yes", 1),
        # " three" may come as one token: its space is text, so that it has a log-probability.
        ('root ::= "one two three"', ("three",), "one two ", 0),
        ('root ::= "naïve 日本"', (), "naïve 日本", 1),
    ],
)
async def test_the_count_is_the_servers_own(
    smol: LlamaCppModel, grammar: str, stop: tuple[str, ...], generated: str, unseen: int
) -> None:
    """The end-of-text token and those of a stop string were generated, so they count."""
    prompt = ask("Say it.", max_tokens=40, stop=stop)
    (completion,) = await smol.generate(Request(prompt, grammar=grammar))
    body = smol._body(prompt, max_tokens=40) | {"grammar": grammar, "stop": list(stop)}
    plain = await asyncio.to_thread(smol._server.complete, ServerCall(slots=1), body)
    assert completion.usage.completion_tokens == plain["usage"]["completion_tokens"]
    assert completion.usage.completion_tokens >= len(completion.log_probs) + unseen
    assert completion.text == generated
    assert completion.finish_reason == "stop"


async def test_a_cached_prefix_is_told_apart(smol: LlamaCppModel) -> None:
    prompt = ask("A prompt that nobody has asked before: " + "well, " * 60)
    (cold,) = await smol.generate(Request(prompt))
    (warm,) = await smol.generate(Request(prompt))
    assert cold.usage.cached_prompt_tokens < 20
    assert warm.usage.cached_prompt_tokens == warm.usage.prompt_tokens - 1
    assert warm.usage.prompt_tokens == cold.usage.prompt_tokens


async def test_log_probs_and_entropies_do_not_depend_on_the_temperature(
    smol: LlamaCppModel,
) -> None:
    (greedy,) = await smol.generate(Request(ask(STORY, max_tokens=1)))
    (hot,) = await smol.generate(Request(ask(STORY, max_tokens=1), temperature=2.0, top_p=1e-6))
    assert hot.text == greedy.text
    assert hot.log_probs == pytest.approx(greedy.log_probs, abs=0.05)
    assert hot.entropies == pytest.approx(greedy.entropies, abs=0.05)
    assert 0.0 < greedy.entropies[0] < math.log(21)


async def test_a_prefix_is_continued_and_not_repeated(smol: LlamaCppModel) -> None:
    (completion,) = await smol.generate(Request(ask("Count to five.", prefix="1, 2, 3,")))
    assert completion.text.startswith(" 4")


async def test_a_stop_string_is_not_part_of_the_text(smol: LlamaCppModel) -> None:
    prompt = ask("Count.", max_tokens=30, prefix="1, 2, 3,", stop=(" 5",))
    (completion,) = await smol.generate(Request(prompt))
    assert " 5" not in completion.text
    assert completion.finish_reason == "stop"


# --------------------------------------------------------------------------- time


async def test_a_timeout_returns_what_there_is(smol: LlamaCppModel) -> None:
    prompt = ask(STORY, max_tokens=2000)
    request = Request(prompt, n=2, temperature=1.0, grammar=ENDLESS, timeout_seconds=2.0)
    completions = await smol.generate(request)
    assert [c.finish_reason for c in completions] == ["timeout", "timeout"]
    assert completions[0].usage.prompt_tokens == await smol.count_tokens(prompt)
    assert all(0 < c.usage.completion_tokens < 2000 for c in completions)
    assert all(c.usage.completion_tokens == len(c.log_probs) for c in completions)


async def test_a_call_cut_off_by_its_payer_costs_what_had_come(smol: LlamaCppModel) -> None:
    """The first call is at work, the second one waits for its slots and has cost nothing."""
    prompt = ask(STORY, max_tokens=2000)
    request = Request(prompt, n=4, temperature=1.0, grammar=ENDLESS)
    prompt_tokens = await smol.count_tokens(prompt)

    async def paid(bill: Bill) -> None:
        with open_bill(bill):
            await smol.generate(request)

    for seconds in (0.7, 3.0, 10.0):  # on a busy machine the first token takes its time
        bills = [Bill(Usage(1, prompt_tokens), 1, lambda samples: None) for _ in range(2)]
        tasks = [asyncio.create_task(paid(bill)) for bill in bills]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        working, waiting = (sum(bill.usages() or (), Usage()) for bill in bills)
        if working.completion_tokens:
            break
    assert (working.model_calls, working.estimated_calls) == (1, 1)
    assert working.prompt_tokens == prompt_tokens
    assert 0 < working.completion_tokens < 8000
    assert waiting == Usage()


async def test_a_cancelled_task_frees_its_slots(smol: LlamaCppModel) -> None:
    request = Request(ask(STORY, max_tokens=2000), n=4, temperature=1.0, grammar=ENDLESS)
    task = asyncio.create_task(smol.generate(request))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(15):  # the rest of those answers would take longer
        await smol.generate(Request(ask(STORY, max_tokens=2), n=4))


async def test_calls_wait_for_each_other_off_the_clock(smol: LlamaCppModel) -> None:
    request = Request(ask(STORY), n=4, temperature=1.0)
    begun = time.monotonic()
    answers = await asyncio.gather(*(smol.generate(replace(request, seed=i)) for i in range(4)))
    elapsed = time.monotonic() - begun
    worked = sum(c.usage.seconds for completions in answers for c in completions)
    assert worked <= elapsed * 1.1


# --------------------------------------------------------------------------- scores, probes, counts


async def test_probabilities_of_alternatives_add_up(smol: LlamaCppModel) -> None:
    """The first token's log-probability is the same in a score, a probe, and an answer."""
    prompt = ask("Is water wet? Answer yes or no.", max_tokens=1)
    told = await smol.next_token(prompt)
    assert 0.5 < sum(math.exp(value) for value in told.log_probs.values()) <= 1.0 + 1e-6
    (answer,) = await smol.generate(Request(prompt))
    assert answer.log_probs[0] == pytest.approx(told.log_probs[answer.text], abs=0.05)
    likeliest = max(told.log_probs, key=told.log_probs.__getitem__)
    assert likeliest == answer.text
    (score,) = await smol.score(prompt, [answer.text])
    assert score.log_probs == pytest.approx(answer.log_probs, abs=0.05)  # and no end of text


async def test_a_likely_text_scores_higher(smol: LlamaCppModel) -> None:
    prompt = ask("Count to five.", prefix="1, 2, 3,")
    likely, unlikely = await smol.score(prompt, [" 4, 5", " cheese"])
    assert sum(likely.log_probs) > sum(unlikely.log_probs)
    assert likely.usage.model_calls == unlikely.usage.model_calls == 1
    assert unlikely.usage.cached_prompt_tokens == unlikely.usage.prompt_tokens - 1


@pytest.mark.parametrize("text", ['say "hi"\\n', "line\nand\ttab", "{[(|*+?)]}", " naïve café"])
async def test_any_text_can_be_scored(smol: LlamaCppModel, text: str) -> None:
    (score,) = await smol.score(ask("Say it."), [text])
    assert 0 < len(score.log_probs) <= len(text.encode())
    assert len(score.log_probs) == score.usage.completion_tokens - 1  # all but the end of text
    assert all(value <= 0.0 for value in score.log_probs)


@pytest.mark.parametrize("text", ["", "a\0b"])
async def test_no_text_cannot_be_scored(smol: LlamaCppModel, text: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be scored"):
        await smol.score(ask("Say it."), [text])


async def test_tokens_that_are_parts_of_characters_are_refused(smol: LlamaCppModel) -> None:
    with pytest.raises(ModelError, match="cannot be scored"):
        await smol.score(ask("Say it."), ["😀"])


async def test_a_probe_works_where_the_answer_begins_with_a_part_of_a_character(
    smol: LlamaCppModel,
) -> None:
    told = await smol.next_token(Prompt((Message("user", "<|im_end|> hé 日本 😀"),), 5))
    assert len(told.log_probs) > 10


async def test_hidden_states_come_on_demand_and_are_charged(smol: LlamaCppModel) -> None:
    prompt = ask("Is it red?")
    without, with_state = await smol.next_token(prompt), await smol.next_token(prompt, hidden=True)
    assert without.hidden is None
    assert with_state.hidden is not None
    assert len(with_state.hidden) == 576
    assert with_state.usage.prompt_tokens == 2 * without.usage.prompt_tokens
    again = await smol.next_token(prompt, hidden=True)
    assert again.hidden == pytest.approx(with_state.hidden, abs=0.05)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    st.sampled_from(["", "Action: ", "So", "\n"]),
)
def test_the_count_is_what_a_call_is_charged(smol: LlamaCppModel, text: str, prefix: str) -> None:
    async def both() -> tuple[int, int]:
        prompt = ask(text, max_tokens=1, prefix=prefix)
        (completion,) = await smol.generate(Request(prompt))
        return await smol.count_tokens(prompt), completion.usage.prompt_tokens

    counted, charged = asyncio.run(both())
    assert counted == charged


# --------------------------------------------------------------------------- errors


async def test_a_prompt_that_is_too_long_says_by_how_much(smol: LlamaCppModel) -> None:
    with pytest.raises(ModelError, match=r"prompt has \d+ tokens, the context has 4096;"):
        await smol.generate(Request(ask("x " * 5000)))


async def test_a_broken_grammar_is_one_line(smol: LlamaCppModel) -> None:
    with pytest.raises(ModelError, match="failed to parse grammar") as caught:
        await smol.generate(Request(ask("x"), grammar="root ::= ("))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="amp models pull"):
        LlamaCppModel(tmp_path / "none.gguf")


def test_another_kind_of_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(InvalidInputError, match="expected b'GGUF'"):
        LlamaCppModel(tmp_path / "text.gguf")


@pytest.mark.parametrize("kept", [4, 3_000_000])
def test_a_truncated_file_is_told(smol: LlamaCppModel, tmp_path: Path, kept: int) -> None:
    whole = catalog.resolve("smollm2-135m")
    with whole.open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(kept))
    with pytest.raises(InvalidInputError, match="cannot be loaded") as caught:
        LlamaCppModel(tmp_path / "cut.gguf")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["threads", "slots", "context_tokens"])
def test_nonsense_sizes_are_refused(name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(InvalidInputError, match=f"{name} is 0, expected at least 1"):
        LlamaCppModel("any.gguf", **options)


def test_a_missing_package_says_what_to_install(
    smol: LlamaCppModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingDependencyError, match=r"adaptive-meta-planning\[local\]"):
        LlamaCppModel(catalog.resolve("smollm2-135m"))


# --------------------------------------------------------------------------- the end

_LEFT_OPEN = """
import asyncio, sys
from amp.models.base import Message, Prompt, Request
from amp.models.llamacpp import LlamaCppModel
model = LlamaCppModel(sys.argv[1], threads=1, context_tokens=512)
prompt = Prompt((Message("system", "s"), Message("user", "u")), 400)
request = Request(prompt, n=2, temperature=1.0, grammar="root ::= [a-z] root")
async def main():
    task = asyncio.create_task(model.generate(request))
    await asyncio.sleep(0.5)
    if sys.argv[2] == "close":
        await model.close()
        await model.close()
        try:
            await task
        except Exception as error:
            print(type(error).__name__, error)
        try:
            await model.generate(request)
        except Exception as error:
            print(type(error).__name__, error)
asyncio.run(main())
print("end")
"""


@pytest.mark.parametrize("how", ["close", "leave open"])
def test_it_shuts_down_cleanly_in_the_middle_of_a_call(smol: LlamaCppModel, how: str) -> None:
    path = catalog.resolve("smollm2-135m")
    command = [sys.executable, "-W", "error", "-c", _LEFT_OPEN, str(path), how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines[-1] == "end"
    if how == "close":
        assert lines[0].startswith("ModelError the embedded server ended the call early")
        assert lines[1].startswith("ModelError the model is closed")


def test_import_amp_loads_no_back_end() -> None:
    code = "import sys, amp.models.catalog, amp.models.llamacpp, amp.models.openai;"
    code += "print([m for m in ('xllamacpp', 'openai', 'numpy', 'torch') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
