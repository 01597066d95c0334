"""What is made of single behaviours of servers: answers, outcomes, substitutes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.server import Answer, serving
from tests.faults.forks import seconds_of
from tests.faults.honest import DIALECTS, Call, Dialect, honest
from tests.faults.server import serving as misbehaving
from tests.faults.test_server import make
from tests.models.conformance import ask

from amp.cost import Ledger
from amp.errors import ModelError
from amp.execute.choice_step import ask as ask_for_label
from amp.execute.meter import Meter
from amp.models.base import Completion, Request
from amp.models.openai import OpenAIModel
from amp.models.recorded import RecordedModel
from amp.types import Limits

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs' first wait is half a second."""
    for package in ("openai", "anthropic"):
        monkeypatch.setattr(f"{package}._base_client.INITIAL_RETRY_DELAY", 0.001)


async def of(
    dialect: Dialect, quirk: str, *stop: str, record: Path | None = None, n: int = 1
) -> list[Completion]:
    """The samples that come of a behaviour."""
    with misbehaving() as server:
        model = make(dialect, server.of(dialect, quirk), max_retries=1)
        if record is not None:
            model = RecordedModel(model, record)
        try:
            request = Request(ask("12 * 7?", 40, stop=stop), n=n, temperature=0.5)
            return await model.generate(request)
        finally:
            await model.close()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("quirk", "text", "reason"),
    [
        ("parts-text", "#### 84", "stop"),
        ("parts-thinking", "#### 84", "stop"),
        ("parts-reasoning", "#### 84", "stop"),
        ("text-think", "#### 84", "stop"),
        ("text-think-end", "#### 84", "stop"),
        ("text-thinking", "#### 84", "stop"),
        ("text-think-open", "", "length"),
        ("thinks", "12 * 7 = 84.\n#### 84\nQuestion: and now?", "stop"),
        ("thinks-only", "", "stop"),
        ("text-low-surrogate", "\ufffd#### 84", "stop"),
        ("reason-MAX_TOKENS", "12 * 7 = 84.\n#### 84\nQuestion: and now?", "length"),
        ("reason-content_filter", "", "filtered"),
        ("reason-SAFETY", "", "filtered"),
        ("reason-refusal", "", "filtered"),
        ("reason-brand_new", "12 * 7 = 84.\n#### 84\nQuestion: and now?", "stop"),
    ],
)
async def test_a_text_is_what_was_said(
    dialect: Dialect, quirk: str, text: str, reason: str
) -> None:
    (sample,) = await of(dialect, quirk)
    assert (sample.text, sample.finish_reason) == (text, reason)
    if "think" in quirk or "reasoning" in quirk:
        assert sample.usage.reasoning_tokens > 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "quirk", ["reason-error", "reason-abort", "reason-insufficient_system_resource", "error-string"]
)
async def test_a_failure_in_an_answer_is_never_recorded(
    dialect: Dialect, quirk: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError):
        await of(dialect, quirk, record=tmp_path / "r.sqlite")
    model = RecordedModel(None, tmp_path / "r.sqlite")
    assert not model.recording.store.samples(b"", 0, 1)
    await model.close()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_failure_that_may_pass_is_tried_again(dialect: Dialect) -> None:
    with misbehaving() as server:
        model = make(dialect, server.of(dialect, "reason-error"), max_retries=2)
        with pytest.raises(ModelError, match=r"status 502, tried 3 times.*ended with 'error'"):
            await model.generate(Request(ask("x")))
        await model.close()
        assert len(server.asked) == 3


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_is_withheld_is_not_recorded(dialect: Dialect, tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    (sample,) = await of(dialect, "reason-content_filter", record=path)
    assert sample.finish_reason == "filtered"
    (sample,) = await of(dialect, "", record=path)
    assert sample.finish_reason == "stop"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("quirk", ["", "stop-ignored", "blank-stop", "refuses-stop-param"])
async def test_a_text_ends_at_a_stop_string_whoever_knows_it(dialect: Dialect, quirk: str) -> None:
    (sample,) = await of(dialect, quirk, "\n", "Question:")
    assert sample.text == "12 * 7 = 84."
    assert sample.finish_reason == "stop"
    assert len(sample.log_probs) in (0, len(["12", "*", "7", "=", "84", "."]))


async def test_malformed_log_probabilities_leave_text_and_usage() -> None:
    for quirk in ("logprobs-number", "listed-nan", "logprob-nan", "logprob-null", "top-null"):
        (sample,) = await of("openai", quirk)
        assert "#### 84" in sample.text
        assert sample.usage.completion_tokens > 0
        assert not any(value == 0.0 for value in sample.log_probs), quirk
    (sample,) = await of("openai", "top-one-null")
    assert len(sample.log_probs) == len(sample.entropies) == sample.usage.completion_tokens


@pytest.mark.parametrize("quirk", ["one-choice", "one-choice-500", "refuses-n-wordless"])
async def test_samples_are_asked_for_one_by_one_where_n_is_refused(quirk: str) -> None:
    samples = await of("openai", quirk, n=3)
    assert [sample.usage.model_calls for sample in samples] == [1, 1, 1]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("quirk", ["no-system", "no-system-role", "alternate"])
async def test_system_messages_go_before_the_users(dialect: Dialect, quirk: str) -> None:
    with misbehaving() as server:
        model = make(dialect, server.of(dialect, quirk))
        await model.generate(Request(ask("x")))
        await model.close()
        assert "You are helpful.\n\nx" in json.dumps(server.asked[-1]).replace("\\n", "\n")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("quirk", ["gzip-bomb", "endless", "endless-refusal", "body-deep-list"])
async def test_what_is_too_much_is_not_held(dialect: Dialect, quirk: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = seconds_of(os.getpid())
    with pytest.raises(ModelError, match="MB|nested|status 400"):
        await of(dialect, quirk)
    assert seconds_of(os.getpid()) - begun < 10.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


async def test_a_model_that_thinks_first_is_sampled_where_it_cannot_be_probed() -> None:
    """The episode goes on: the probe has shown that the model cannot be probed."""
    with misbehaving(text="B") as server:
        model = make("openai", server.of("openai", "thinks"))
        with pytest.raises(ModelError, match="thinks before it answers; it cannot be probed"):
            await model.next_token(ask("x"))
        assert not model.capabilities.log_probs
        await model.close()
        model = make("openai", server.of("openai", "thinks"))
        meter = Meter(model, Ledger(Limits()))
        assert await ask_for_label(meter, ask("x"), ["A", "B"]) == [0.0, 1.0]
        await model.close()


@pytest.mark.parametrize("status", [404, 405])
async def test_a_missing_path_hints_at_base_url(status: int) -> None:
    with pytest.raises(ModelError, match="base_url, to which /chat/completions is added"):
        await of("openai", f"status-{status}")
    with pytest.raises(ModelError, match="base_url, to which /v1/messages is added"):
        await of("anthropic", f"status-{status}")


@pytest.mark.parametrize("status", [403, 404, 406, 415, 501])
async def test_a_field_that_is_refused_with_another_status_is_given_up(status: int) -> None:
    def respond(question: Any) -> Answer:
        if "completions" not in question.path:
            return Answer(404)
        body = json.loads(question.body)
        if "seed" in body:
            said = {"error": {"message": "seed is not supported by any endpoint"}}
            return Answer(status, json.dumps(said).encode(), JSON)
        reply = honest(Call("openai", body, {}, 1))
        return Answer(200, json.dumps(reply.body).encode(), JSON)

    with serving(respond) as address:
        model = make("openai", address)
        (sample,) = await model.generate(Request(ask("x", 40)))
        await model.close()
    assert "84" in sample.text


async def test_an_anthropic_address_may_hold_version_endpoint_and_query() -> None:
    with misbehaving() as server:
        for tail in ("/v1", "/v1/", "/v1/messages", "/v1/messages?key=12345678", "?key=12345678"):
            model = make("anthropic", server.anthropic() + tail)
            await model.generate(Request(ask("x", 40)))
            await model.close()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_key_follows_a_redirect(dialect: Dialect) -> None:
    seen: list[dict[str, Any]] = []

    def elsewhere(question: Any) -> Answer:
        seen.append({**question.headers, "path": question.path})
        return Answer(500)

    with serving(elsewhere) as other:

        def respond(question: Any) -> Answer:
            return Answer(307, b"", {"Location": f"{other}/x"})

        with serving(respond) as address:
            model = make(
                dialect, address.replace("://", "://user:hunter22@") + "/v1?token=hunter33"
            )
            with pytest.raises(ModelError):
                await model.generate(Request(ask("x")))
            await model.close()
    assert seen
    assert not [each for each in seen if "sk-1234" in str(each) or "hunter" in str(each)]
    assert not [each for each in seen if "Basic" in str(each)]


async def test_azure_gets_its_version_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def respond(question: Any) -> Answer:
        seen.append(question)
        return Answer(404)

    with serving(respond) as address:
        monkeypatch.setattr("amp.models.connection._AZURE", ("127.0.0.1",))
        url = f"{address}/openai/deployments/m/chat/completions?api-version=2024-10-21"
        model = OpenAIModel("m", base_url=url, api_key="sk-1234567890")
        with pytest.raises(ModelError, match="status 404"):
            await model.generate(Request(ask("x")))
        await model.close()
    asked = [each for each in seen if "completions" in each.path]
    assert asked[0].path == "/openai/deployments/m/chat/completions?api-version=2024-10-21"
    assert {name.lower(): value for name, value in asked[0].headers.items()}["api-key"]


async def test_calls_side_by_side_learn_a_refusal_once(caplog: pytest.LogCaptureFixture) -> None:
    with misbehaving() as server, caplog.at_level(logging.WARNING):
        for quirk in ("refuses-seed-loc", "refuses-temperature-wordless", "refuses-stop-text"):
            caplog.clear()
            model = make("openai", server.of("openai", quirk))
            request = Request(ask("x", 40, stop=("\n",)), temperature=0.5)
            await asyncio.gather(*(model.generate(request) for _ in range(6)))
            await model.close()
            said = [r.getMessage() for r in caplog.records if r.name.startswith("amp")]
            assert len(said) == 1, said
