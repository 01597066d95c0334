"""What every back end promises, as one suite that each of them runs.

To hook a back end in, subclass `Conformance` in a test file under a name that begins with ``Test``
and override the fixture `model`:

    class TestMyModel(Conformance):
        exact_counts = True

        @pytest.fixture
        async def model(self) -> AsyncIterator[LanguageModel]:
            model = MyModel(...)
            yield model
            await model.close()

Every test closes or breaks nothing but its own model, except those that close it: a model that is
dear to load may be shared between tests if `fresh` gives those a model of their own. What a model
need not hold is decided by its capabilities alone; what no capability states is stated by the class
attributes below. No test looks at the type of the model.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from typing import ClassVar

import pytest

from amp.errors import InvalidInputError, ModelError
from amp.models.base import LanguageModel, Message, Prompt, Request

STORY = "Tell me a story about a cat."


def ask(text: str, max_tokens: int = 12, prefix: str = "", stop: tuple[str, ...] = ()) -> Prompt:
    """A short chat; with a prefix, the assistant has begun to answer."""
    messages = [Message("system", "You are helpful."), Message("user", text)]
    if prefix:
        messages.append(Message("assistant", prefix))
    return Prompt(tuple(messages), max_tokens, stop)


class Conformance:
    """The suite. A subclass gives the fixture `model`, and says what no capability states.

    Attributes:
        seeded: whether equal seeds give equal samples, however a request is split into calls.
        exact_counts: whether `count_tokens` is exact, and no mere upper bound.
        patience_seconds: within this time the model cannot write 1000 tokens.
    """

    seeded: ClassVar[bool] = True
    exact_counts: ClassVar[bool] = False
    patience_seconds: ClassVar[float] = 0.3

    @pytest.fixture
    def model(self) -> LanguageModel:
        raise NotImplementedError("override the fixture `model`")

    @pytest.fixture
    def fresh(self, model: LanguageModel) -> LanguageModel:
        """A model that the test may close; override it where `model` is shared."""
        return model

    @pytest.fixture(autouse=True)
    async def warm(self, model: LanguageModel) -> None:
        """Has the prompt of most tests in the cache before they begin.

        What a cache holds is computed in batches of another shape, which round differently: the
        greedy answers to a cold and to a warm prompt may part. So may those of two slots of a
        server, later on, which is why the tests compare short beginnings only.
        """
        await model.generate(Request(ask(STORY, 1)))

    async def test_it_is_a_language_model_with_a_name(self, model: LanguageModel) -> None:
        assert isinstance(model, LanguageModel)
        assert model.card.name

    # ----------------------------------------------------------------------- samples

    async def test_n_samples_come_and_the_first_carries_the_call(
        self, model: LanguageModel
    ) -> None:
        samples = await model.generate(Request(ask(STORY), n=3, temperature=1.0))
        assert len(samples) == 3
        calls = [sample.usage.model_calls for sample in samples]
        assert calls == ([1, 0, 0] if model.capabilities.parallel_samples else [1, 1, 1])
        for sample in samples:
            assert (sample.usage.prompt_tokens > 0) == (sample.usage.model_calls > 0)
            assert 0 < sample.usage.completion_tokens <= 12
            assert sample.usage.seconds >= 0.0

    async def test_samples_differ_among_themselves(self, model: LanguageModel) -> None:
        samples = await model.generate(Request(ask(STORY, 16), n=3, temperature=1.0))
        assert len({sample.text for sample in samples}) > 1

    async def test_samples_are_numbered_from_the_first(self, model: LanguageModel) -> None:
        # A batch of another shape rounds differently, so only short beginnings are compared.
        request = Request(ask(STORY, 4), n=3, temperature=1.0, seed=5)
        whole = await model.generate(request)
        tail = await model.generate(replace(request, n=2, first_sample=1))
        assert len(tail) == 2
        if self.seeded:
            assert [s.text for s in tail] == [s.text for s in whole[1:]]

    async def test_the_seed_is_forwarded(self, model: LanguageModel) -> None:
        if not self.seeded:
            pytest.skip("this model takes no seed")
        request = Request(ask(STORY, 8), temperature=1.0)
        first, again, other = [
            (await model.generate(replace(request, seed=seed)))[0].text for seed in (1, 1, 2)
        ]
        assert first == again
        assert first != other

    async def test_temperature_zero_repeats_itself(self, model: LanguageModel) -> None:
        first, again = [(await model.generate(Request(ask(STORY, 3))))[0].text for _ in range(2)]
        assert first == again

    async def test_a_tiny_nucleus_is_greedy(self, model: LanguageModel) -> None:
        (greedy,) = await model.generate(Request(ask(STORY, 3)))
        (nucleus,) = await model.generate(Request(ask(STORY, 3), temperature=1.0, top_p=1e-6))
        assert nucleus.text == greedy.text

    async def test_calls_may_overlap(self, model: LanguageModel) -> None:
        prompts = [ask(f"Say {word}.", 4) for word in ("one", "two", "three")]
        answers = await asyncio.gather(*(model.generate(Request(p)) for p in prompts))
        assert [len(answer) for answer in answers] == [1, 1, 1]

    # ----------------------------------------------------------------------- how an answer ends

    async def test_the_cap_ends_an_answer(self, model: LanguageModel) -> None:
        (sample,) = await model.generate(Request(ask(STORY, 5)))
        assert sample.finish_reason == "length"
        assert sample.usage.completion_tokens == 5

    async def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(
        self, model: LanguageModel
    ) -> None:
        (whole,) = await model.generate(Request(ask(STORY)))
        stop = whole.text.split()[1]
        (sample,) = await model.generate(Request(ask(STORY, stop=(stop,))))
        assert sample.finish_reason == "stop"
        assert stop not in sample.text
        assert whole.text.startswith(sample.text)

    async def test_a_timeout_ends_an_answer(self, model: LanguageModel) -> None:
        prompt = ask(STORY, 1000)
        begun = time.monotonic()
        request = Request(prompt, n=2, temperature=1.0, timeout_seconds=self.patience_seconds)
        samples = await model.generate(request)
        assert time.monotonic() - begun < self.patience_seconds + 15.0
        assert [sample.finish_reason for sample in samples] == ["timeout", "timeout"]
        calls = [sample.usage.model_calls for sample in samples]
        assert calls == ([1, 0] if model.capabilities.parallel_samples else [1, 1])
        assert 0 < samples[0].usage.prompt_tokens <= await model.count_tokens(prompt)

    async def test_a_cancelled_call_ends_at_once_and_breaks_nothing(
        self, model: LanguageModel
    ) -> None:
        task = asyncio.ensure_future(model.generate(Request(ask(STORY, 1000), temperature=1.0)))
        await asyncio.sleep(self.patience_seconds / 2)
        begun = time.monotonic()
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < 5.0
        assert len(await model.generate(Request(ask(STORY, 2)))) == 1

    # ----------------------------------------------------------------------- what it costs

    async def test_a_prompt_is_counted_before_as_it_is_charged(self, model: LanguageModel) -> None:
        for prompt in (ask(STORY), ask("日本 naïve\n\n{}"), ask("Count.", prefix="1, 2, 3,")):
            (sample,) = await model.generate(Request(prompt))
            counted = await model.count_tokens(prompt)
            assert sample.usage.prompt_tokens <= counted
            if self.exact_counts:
                assert sample.usage.prompt_tokens == counted

    async def test_completion_tokens_are_those_of_the_text(self, model: LanguageModel) -> None:
        (sample,) = await model.generate(Request(ask(STORY)))
        with_text = await model.count_tokens(ask(STORY, prefix=f"So: {sample.text}"))
        without = await model.count_tokens(ask(STORY, prefix="So: "))
        assert sample.usage.completion_tokens <= with_text - without + 1  # a space may move over
        if self.exact_counts:
            assert sample.usage.completion_tokens >= with_text - without - 1

    async def test_cached_prompt_tokens_are_a_part_of_all(self, model: LanguageModel) -> None:
        request = Request(ask(f"{STORY} " + "Go on. " * 20, 2))
        (cold,), (warm,) = await model.generate(request), await model.generate(request)
        assert warm.usage.prompt_tokens == cold.usage.prompt_tokens
        assert 0 <= warm.usage.cached_prompt_tokens <= warm.usage.prompt_tokens
        assert warm.usage.cached_prompt_tokens >= cold.usage.cached_prompt_tokens

    # ----------------------------------------------------------------------- capabilities

    async def test_log_probabilities_come_where_they_are_claimed(
        self, model: LanguageModel
    ) -> None:
        (sample,) = await model.generate(Request(ask(STORY, 6)))
        if not model.capabilities.log_probs:
            assert sample.log_probs == sample.entropies == ()
            return
        assert len(sample.log_probs) == len(sample.entropies) == sample.usage.completion_tokens
        assert all(value <= 0.0 for value in sample.log_probs)
        assert all(value >= 0.0 for value in sample.entropies)
        hot = Request(ask(STORY, 1), temperature=1.0, top_p=1e-6)
        (nucleus,) = await model.generate(hot)  # the model's own, before temperature and top_p
        assert nucleus.log_probs[0] == pytest.approx(sample.log_probs[0], abs=0.05)

    async def test_a_probe_tells_the_next_token(self, model: LanguageModel) -> None:
        await model.generate(Request(ask(STORY, 1)))  # some learn only now what a server can tell
        if not model.capabilities.log_probs:
            with pytest.raises(ModelError):
                await model.next_token(ask(STORY))
            return
        (sample,) = await model.generate(Request(ask(STORY, 1)))
        told = await model.next_token(ask(STORY), hidden=True)
        assert max(told.log_probs, key=told.log_probs.__getitem__) == sample.text
        mass = math.fsum(map(math.exp, told.log_probs.values()))
        assert 0.0 < mass <= 1.0 + 1e-6
        assert told.complete == model.capabilities.full_distribution
        if told.complete:
            assert mass == pytest.approx(1.0, abs=1e-3)
        assert (told.hidden is not None) == model.capabilities.hidden_states
        assert all(math.isfinite(value) for value in told.hidden or ())
        assert told.usage.model_calls >= 1
        assert told.usage.prompt_tokens > 0

    async def test_scores_come_where_they_are_claimed(self, model: LanguageModel) -> None:
        if not model.capabilities.scoring:
            with pytest.raises(ModelError):
                await model.score(ask(STORY), ["Once"])
            return
        (sample,) = await model.generate(Request(ask(STORY, 1)))
        own, other = await model.score(ask(STORY), [sample.text, " zebra"])
        assert all(value <= 0.0 for value in own.log_probs + other.log_probs)
        assert sum(own.log_probs) >= sum(other.log_probs)
        assert min(own.usage.model_calls, own.usage.prompt_tokens) > 0
        if model.capabilities.log_probs:
            assert own.log_probs == pytest.approx(sample.log_probs, abs=0.05)

    async def test_a_prefix_is_continued_and_not_repeated(self, model: LanguageModel) -> None:
        (whole,) = await model.generate(Request(ask(STORY)))
        words = whole.text.split(" ")
        prefix, rest = " ".join(words[:3]), " " + " ".join(words[3:])
        (sample,) = await model.generate(Request(ask(STORY, 2, prefix=prefix)))
        assert not sample.text.startswith(prefix)
        if model.capabilities.prefix:  # the greedy text goes on as it would have anyway
            assert sample.text
            # Only the first words: what else is in a batch may turn a near tie further on.
            assert rest.startswith(" ".join(sample.text.split(" ")[:2]))

    async def test_a_grammar_is_kept_or_refused(self, model: LanguageModel) -> None:
        request = Request(ask("Say yes."), grammar='root ::= "yes"')
        if not model.capabilities.grammar:
            with pytest.raises((ModelError, InvalidInputError)):
                await model.generate(request)
            return
        assert (await model.generate(request))[0].text == "yes"

    async def test_thinking_is_budgeted_or_refused(self, model: LanguageModel) -> None:
        request = Request(ask("Say yes."), thinking_tokens=16)
        if not model.capabilities.thinking_budget:
            with pytest.raises((ModelError, InvalidInputError), match="think"):
                await model.generate(request)
            return
        (sample,) = await model.generate(request)
        assert 0 <= sample.usage.reasoning_tokens <= sample.usage.completion_tokens

    # ----------------------------------------------------------------------- the end

    async def test_closing_twice_is_fine_and_a_closed_model_says_so(
        self, fresh: LanguageModel
    ) -> None:
        await fresh.generate(Request(ask(STORY, 1)))
        await fresh.close()
        await fresh.close()
        with pytest.raises(ModelError, match="closed"):
            await fresh.generate(Request(ask(STORY, 1)))
