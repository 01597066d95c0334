"""Texts without thinking, ends at stop strings, log-probabilities that can be some."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.models.answer_text import (
    AnswerText,
    answer_text,
    cut_at_stop,
    listed,
    log_probability,
    mended,
    tokens_of,
    without_thinking,
)
from amp.models.base import Message, Prompt

TAGS = [
    ("<think>", "</think>"),
    ("<THINK>", "</Think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]
plain = st.text(st.characters(exclude_characters="<>[]◁▷|`~"))
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "thinking", "content", "token", "logprob", "summary"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def prompt(*stop: str, prefix: str = "") -> Prompt:
    begun = [Message("assistant", prefix)] if prefix else []
    return Prompt((Message("user", "?"), *begun), 9, stop)


# ------------------------------------------------------------------ laws

few = settings(max_examples=30)


@few
@given(plain)
def test_a_text_without_tags_is_itself(text: str) -> None:
    assert without_thinking(text) == AnswerText(text)


@few
@given(plain, plain, st.sampled_from(TAGS))
def test_what_is_between_the_tags_is_thinking(
    thought: str, answer: str, tags: tuple[str, str]
) -> None:
    begin, end = tags
    assert without_thinking(f"{begin}{thought}{end}{answer}") == AnswerText(
        answer.lstrip(), thought
    )
    assert without_thinking(f"{thought}{end}{answer}") == AnswerText(answer.lstrip(), thought)
    assert without_thinking(f"{begin}{thought}") == AnswerText("", thought, unfinished=True)


@few
@given(st.lists(st.sampled_from([*"ab ", *(tag for pair in TAGS for tag in pair)])))
def test_no_tag_is_left(parts: list[str]) -> None:
    answer = without_thinking("".join(parts))
    assert without_thinking(answer.text) == AnswerText(answer.text)


@few
@given(odd, odd)
def test_any_content_is_a_text_or_refused(content: Any, thought: Any) -> None:
    try:
        found = answer_text(content, thought)
    except ValueError as error:
        assert "content" in str(error)
        return
    assert isinstance(found.text, str)
    assert isinstance(found.thought, str)


@few
@given(st.text("ab\n`python 9", max_size=40), st.sampled_from(["\n", "9", "ab", "\n```\n", "```"]))
def test_a_text_is_cut_at_most_once(text: str, stop: str) -> None:
    cut = cut_at_stop(text, prompt(stop))
    assert text.startswith(cut)
    assert cut_at_stop(cut, prompt(stop)) == cut
    if "`" not in stop:
        assert stop not in cut.lstrip()


@few
@given(st.floats() | st.integers() | st.none() | st.text() | st.booleans() | st.just(10**400))
def test_a_log_probability_is_one_or_is_not_told(value: Any) -> None:
    found = log_probability(value)
    assert found is None or (math.isfinite(found) and found <= 0.0)


@few
@given(odd)
def test_log_probabilities_of_any_form_are_read(logprobs: Any) -> None:
    for token in listed({"content": logprobs}) + listed(logprobs):
        assert token.log_prob is None or token.log_prob <= 0.0


@few
@given(st.text(st.characters(exclude_categories=())))
def test_a_mended_text_can_be_written(text: str) -> None:
    mended(text).encode()
    assert mended(mended(text)) == mended(text)


# ------------------------------------------------------------------ examples


@pytest.mark.parametrize(
    ("content", "text", "thought"),
    [
        ([{"type": "text", "text": "#### "}, {"type": "text", "text": "84"}], "#### 84", ""),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "5?"}]}, "84"], "84", "5?"),
        ([{"type": "reasoning", "summary": [{"text": "5?"}]}, {"text": "84"}], "84", "5?"),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "84"}], "84", ""),
        ([{"type": "output_text", "text": "<think>5</think>84"}], "84", "5"),
        ({"type": "text", "text": "84"}, "84", ""),
        ("84 <think>or 5?</think>", "84 ", "or 5?"),
        ("<think>\n#### 5\n</think>\n\n#### 84", "#### 84", "\n#### 5\n"),
        ([{"type": "text", "text": {"value": "84", "annotations": []}}], "84", ""),
        ([{"type": "text", "content": "84"}], "84", ""),
        ("&lt;think&gt;5&lt;/think&gt;84", "84", "5"),
        ('<think effort="low">5</think >84', "84", "5"),
        (None, "", ""),
        ([], "", ""),
    ],
)
def test_parts_and_tags(content: Any, text: str, thought: str) -> None:
    found = answer_text(content)
    assert (found.text, found.thought) == (text, thought)


@pytest.mark.parametrize("content", [7, True, 0.5, [7, None], [{"type": "video"}]])
def test_what_is_no_text_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match="content"):
        answer_text(content)


@pytest.mark.parametrize(
    ("text", "stop", "prefix", "expected"),
    [
        ("#### 84\nQuestion: ...", "\n", "", "#### 84"),
        ("\n\n#### 84\nmore", "\n", "", "\n\n#### 84"),
        ("```python\nx = 1\n```\nmore", "\n```\n", "", "```python\nx = 1"),
        ("x = 1\n```\nmore", "\n```\n", "```python\n", "x = 1"),
        # The same characters begin a block that names no language.
        ("Here:\n```\nx = 1\n```\nmore", "\n```\n", "", "Here:\n```\nx = 1"),
        ("Here:\n~~~\nx = 1\n~~~\nmore", "\n~~~\n", "", "Here:\n~~~\nx = 1"),
    ],
)
def test_where_a_text_ends(text: str, stop: str, prefix: str, expected: str) -> None:
    assert cut_at_stop(text, prompt(stop, prefix=prefix)) == expected


def test_the_tokens_of_a_text_that_was_cut_on_both_sides() -> None:
    content = [{"token": t, "logprob": -1.0} for t in ("hm", "</think>", "\n", "8", "4", "\n", "x")]
    assert [token.text for token in tokens_of("84", listed({"content": content}))] == ["8", "4"]


def test_half_a_character_is_replaced_once() -> None:
    assert mended(json.loads('"a\\ud83d b\\ud83d\\ude00"')) == "a\ufffd b\U0001f600"


@pytest.mark.parametrize(
    "content",
    [
        "<|START_THINKING|>5<|END_THINKING|>84",
        "<thought_process>5</thought_process>84",
        "<mm:think>5</mm:think>84",
        "<chain_of_thought>5</chain_of_thought>84",
        "<inner_monologue>5</inner_monologue>84",
        "< think >5</ think >84",
        "&#60;think&#62;5&#60;/think&#62;84",
        "<|channel>thought\n5<channel|>84",
        "<|channel|>analysis<|message|>5<|end|><|start|>assistant<|channel|>final"
        " <|constrain|>json<|message|>84",
        "<think />84",
        [{"text": "5", "thought": True}, {"text": "84"}],
    ],
)
def test_thinking_in_the_forms_of_other_models(content: Any) -> None:
    part = answer_text(content)
    assert part.text.removeprefix("<think />") == "84"
    assert not part.unfinished
