from __future__ import annotations

import math

import pytest

from amp.errors import ModelError
from amp.models.base import Capabilities, LanguageModel, Message, Prompt, Request
from amp.models.registry import load_model
from amp.models.scripted import ScriptedModel, random_model, tokens


def ask(text: str, max_tokens: int = 10, stop: tuple[str, ...] = ()) -> Prompt:
    return Prompt((Message("system", "Be brief."), Message("user", text)), max_tokens, stop)


async def test_sample_i_is_the_same_however_it_is_asked_for() -> None:
    model = ScriptedModel(lambda prompt, index: f"{prompt.messages[-1].content} {index}")
    together = await model.generate(Request(ask("x"), n=4))
    apart = [(await model.generate(Request(ask("x"), first_sample=i)))[0] for i in range(4)]
    assert [c.text for c in together] == [c.text for c in apart] == ["x 0", "x 1", "x 2", "x 3"]
    assert [request.n for request in model.requests] == [4, 1, 1, 1, 1]


async def test_lists_go_round_and_mappings_match_the_longest_part() -> None:
    listed = ScriptedModel(["a", "b"])
    assert [c.text for c in await listed.generate(Request(ask("?"), n=3))] == ["a", "b", "a"]
    mapped = ScriptedModel({"red": "1", "red ball": ["2", "3"]})
    assert [c.text for c in await mapped.generate(Request(ask("a red ball"), n=2))] == ["2", "3"]
    with pytest.raises(ModelError, match="no answer to 'blue'"):
        await mapped.generate(Request(ask("blue")))


async def test_usage_is_what_was_said() -> None:
    model = ScriptedModel(["one two three", "four"])
    first, second = await model.generate(Request(ask("go"), n=2))
    assert first.usage.model_calls == 1
    assert first.usage.prompt_tokens == await model.count_tokens(ask("go"))
    assert first.usage.completion_tokens == len(tokens("one two three")) == 3
    assert (second.usage.model_calls, second.usage.prompt_tokens) == (0, 0)
    assert first.log_prob == pytest.approx(3 * math.log(0.5))
    assert first.entropy == pytest.approx(math.log(2))


async def test_caps_and_stop_strings_end_an_answer() -> None:
    model = ScriptedModel(["one two three"])
    (cut,) = await model.generate(Request(ask("go", max_tokens=2)))
    assert (cut.text, cut.finish_reason, cut.usage.completion_tokens) == ("one two", "length", 2)
    (stopped,) = await model.generate(Request(ask("go", stop=(" three",))))
    assert (stopped.text, stopped.finish_reason) == ("one two", "stop")


async def test_a_capability_that_it_lacks_leaves_its_answers_empty() -> None:
    model = ScriptedModel(["one"], capabilities=Capabilities())
    (completion,) = await model.generate(Request(ask("go")))
    assert completion.log_prob is None
    assert completion.entropy is None
    assert (await model.next_token(ask("go"), hidden=True)).hidden is None


async def test_a_delay_longer_than_the_timeout_times_out() -> None:
    model = ScriptedModel(["one"], delay_seconds=5.0)
    completions = await model.generate(Request(ask("go"), n=2, timeout_seconds=0.01))
    assert [c.finish_reason for c in completions] == ["timeout", "timeout"]
    assert sum(c.usage.model_calls for c in completions) == 1


async def test_probes_follow_the_script() -> None:
    model = ScriptedModel([], next_tokens={"ball": {"1": 0.75, "2": 0.25}}, hidden=(1.0, 2.0))
    told = await model.next_token(ask("a ball"), hidden=True)
    assert told.log_probs == {"1": math.log(0.75), "2": math.log(0.25)}
    assert told.hidden == (1.0, 2.0)
    assert (await ScriptedModel([]).next_token(ask("?"))).log_probs.keys() == {"yes", "no"}


async def test_scores_are_foretold() -> None:
    (score,) = await ScriptedModel([]).score(ask("go"), ["left or right"])
    assert score.log_probs == (math.log(0.5),) * 3
    assert score.usage.model_calls == 1


async def test_a_closed_model_says_so() -> None:
    model = ScriptedModel(["one"])
    assert isinstance(model, LanguageModel)
    await model.close()
    await model.close()
    with pytest.raises(ModelError, match="closed"):
        await model.generate(Request(ask("go")))


async def test_the_random_model_prefers_no_label_and_is_called_as_it_is_loaded() -> None:
    prompt = Prompt((Message("user", "1. go left"), Message("assistant", "Action: ")), 1)
    told = (await random_model().next_token(prompt)).log_probs
    assert set("123456789ABCabc") <= set(told)
    assert len(set(told.values())) == 1
    assert load_model("random").card.name == "random"
