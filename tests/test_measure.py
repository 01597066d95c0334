"""A fit recovers the law that made the measurements, and measuring a model finds its law."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.laws import BATCHES, CARD, law

from amp import cli
from amp.errors import InvalidInputError
from amp.latency import Measurement, Profile, load_profile
from amp.models.base import Completion, ModelCard, Request
from amp.models.registry import load_model
from amp.models.scripted import ScriptedModel
from amp.profiling import QUICK, Plan, fit_profile, measure

laws = st.builds(
    law,
    st.floats(0, 0.5),
    st.floats(1e-4, 0.1),
    st.floats(0, 1e-5),
    st.floats(0, 1e-5),
    st.lists(st.floats(1e-3, 0.5), min_size=4, max_size=4).map(sorted),
)


def measured(profile: Profile) -> list[Measurement]:
    """What is measured where the law holds exactly."""
    plan, calls = Plan(), []
    for context in plan.contexts:
        calls.append((1, context, 0, 1))
        calls += [(n, context, context - 1, n * plan.completion_tokens) for n in plan.batches]
    return [
        Measurement(
            n, prompt, cached, written, written // n, profile.seconds(prompt, written, n, cached)
        )
        for n, prompt, cached, written in calls
    ]


calls = st.tuples(st.integers(0, 4000), st.integers(0, 3000), st.integers(1, 12))


@settings(max_examples=25)
@given(laws, st.lists(calls, min_size=1, max_size=20))
def test_the_fit_recovers_the_law_that_made_the_measurements(
    truth: Profile, unseen: list[tuple[int, int, int]]
) -> None:
    found = fit_profile(CARD, measured(truth))
    assert found.error < 1e-6
    assert found.batches == BATCHES
    for prompt, written, n in unseen:
        expected = truth.seconds(prompt, written, n)
        assert found.seconds(prompt, written, n) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@settings(max_examples=25)
@given(
    st.lists(st.floats(1e-3, 10), min_size=15, max_size=15),
    st.lists(calls, min_size=1, max_size=10),
)
def test_whatever_was_measured_no_call_gets_cheaper_with_more_of_anything(
    noise: list[float], unseen: list[tuple[int, int, int]]
) -> None:
    exact = measured(law(0.1, 0.01, 0, 0, [0.1, 0.1, 0.2, 0.4]))
    found = fit_profile(CARD, [replace(m, seconds=s) for m, s in zip(exact, noise, strict=True)])
    for prompt, written, n in unseen:
        seconds = found.seconds(prompt, written * n, n)
        assert seconds >= 0
        slack = 1e-9 * (1 + seconds)
        assert found.seconds(prompt + 50, written * n, n) >= seconds - slack
        assert found.seconds(prompt, (written + 5) * n, n) >= seconds - slack
        assert found.seconds(prompt, written * (n + 1), n + 1) >= seconds - slack
        assert found.seconds(prompt, written * n, n, prompt // 2) <= seconds + slack


@settings(max_examples=25)
@given(st.lists(st.floats(0.5, 2), min_size=15, max_size=15))
def test_no_other_law_without_negatives_fits_better(noise: list[float]) -> None:
    truth = law(0.1, 0.01, 1e-6, 1e-6, [0.1, 0.12, 0.2, 0.4])
    noisy = [replace(m, seconds=m.seconds * f) for m, f in zip(measured(truth), noise, strict=True)]

    def error(profile: Profile) -> float:
        ratios = (
            profile.seconds(m.prompt_tokens, m.completion_tokens, m.n, m.cached_prompt_tokens)
            / m.seconds
            for m in noisy
        )
        return sum((ratio - 1) ** 2 for ratio in ratios)

    found = fit_profile(CARD, noisy)
    least = error(found)
    assert least == pytest.approx(found.error**2 * len(noisy), rel=1e-6, abs=1e-12)
    assert least <= error(truth) + 1e-9
    for name in ("call_seconds", "prompt_token_seconds", "completion_pair_seconds"):
        for factor in (0.9, 1.1):
            changed: dict[str, float] = {name: getattr(found, name) * factor}
            assert least <= error(replace(found, **changed)) + 1e-9  # type: ignore[arg-type]


def test_samples_that_end_early_take_as_long_as_the_longest() -> None:
    truth = law(0.1, 0.01, 1e-6, 0.0, [0.1, 0.12, 0.2, 0.4])
    ended_early = [
        replace(m, completion_tokens=m.longest_completion + (m.n - 1) * (m.prompt_tokens % 7))
        for m in measured(truth)
    ]
    found = fit_profile(CARD, ended_early)
    assert found.error < 1e-6
    assert found.step_seconds == pytest.approx(truth.step_seconds, rel=1e-3)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ([], "0 different batches"),
        ([Measurement(n, 10, 0, n, 1, 1.0) for n in range(1, 10)], "9 different batches"),
        ([Measurement(1, 10, 0, 1, 1, 0.0)], "took no time"),
    ],
)
def test_measurements_that_tell_nothing_are_refused(wrong: list[Measurement], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        fit_profile(CARD, wrong)


# ------------------------------------------------------------------ measuring


class LawfulModel(ScriptedModel):
    """A model whose calls take what a law says, and which keeps its last prompt in a cache."""

    def __init__(
        self,
        truth: Profile,
        calls: int = 1,
        card: ModelCard | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        super().__init__(["word " * 5000], card=card, delay_seconds=delay_seconds)
        self.truth = truth
        self.calls = calls
        self.cached = ""

    async def generate(self, request: Request) -> list[Completion]:
        completions = await super().generate(request)
        text = request.prompt.messages[-1].content
        prompt = completions[0].usage.prompt_tokens
        cached, self.cached = (prompt - 1 if text == self.cached else 0), text
        written = sum(c.usage.completion_tokens for c in completions)
        seconds = self.truth.seconds(prompt, written, request.n, cached)
        calls = self.calls if request.n > 1 else 1
        usage = replace(
            completions[0].usage, model_calls=calls, cached_prompt_tokens=cached, seconds=seconds
        )
        return [replace(completions[0], usage=usage), *completions[1:]]


async def test_measuring_a_model_finds_its_law() -> None:
    truth = law(0.2, 0.01, 1e-6, 1e-6, [0.1, 0.12, 0.2, 0.4])
    seen: list[tuple[int, int]] = []
    measurements = await measure(
        LawfulModel(truth), progress=lambda done, total, what: seen.append((done, total))
    )
    found = fit_profile(CARD, measurements)
    assert found.error < 1e-6
    assert found.seconds(900, 300, 3) == pytest.approx(truth.seconds(900, 300, 3), rel=1e-3)
    assert seen == [(i, 15) for i in range(16)]
    sizes = sorted({m.prompt_tokens for m in measurements})
    assert sizes == pytest.approx([128, 512, 2048], rel=0.05)


async def test_time_that_has_run_out_leaves_a_profile_of_what_was_measured() -> None:
    truth = law(0.2, 0.01, 0, 0, [0.1, 0.12, 0.2, 0.4])
    measurements = await measure(LawfulModel(truth), Plan(max_seconds=0.0))
    assert len(measurements) == 1
    assert fit_profile(CARD, measurements).batches == (1,)


async def test_a_call_that_time_cuts_off_is_no_measurement() -> None:
    truth = law(0.2, 0.01, 0, 0, [0.1, 0.12, 0.2, 0.4])
    slow = LawfulModel(truth, delay_seconds=0.2)
    measurements = await measure(slow, Plan(max_seconds=0.7))
    assert 1 <= len(measurements) <= 3
    assert len(slow.requests) <= 5
    assert all(m.completion_tokens > 0 for m in measurements)


async def test_contexts_that_the_model_cannot_hold_are_left_out() -> None:
    truth = law(0.2, 0.01, 0, 0, [0.1, 0.12, 0.2, 0.4])
    small = LawfulModel(truth, card=ModelCard("small", context_tokens=600))
    assert max(m.prompt_tokens for m in await measure(small)) < 600


async def test_batches_that_are_several_calls_are_no_batches() -> None:
    truth = law(0.2, 0.01, 0, 0, [0.1, 0.12, 0.2, 0.4])
    measurements = await measure(LawfulModel(truth, calls=4))
    assert {m.n for m in measurements} == {1}


async def test_a_real_model_is_profiled(smollm2: str) -> None:
    model = load_model(smollm2)
    try:
        plan = replace(QUICK, contexts=(48, 96), batches=(1, 2), completion_tokens=4)
        profile = fit_profile(model.card, await measure(model, plan))
    finally:
        await model.close()
    assert profile.sha256 == model.card.sha256
    assert profile.batches == (1, 2)
    assert 0 < profile.seconds(100, 20) < 60


# ------------------------------------------------------------------ the command


def run_profile(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["amp", "profile", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
        raise SystemExit(0)
    return int(exit_info.value.code or 0)


def test_the_command_saves_a_profile_and_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = law(0.0, 0.01, 0.0, 0.0, [0.1, 0.1, 0.1, 0.1])
    registry = "amp.models.registry"
    monkeypatch.setattr(f"{registry}.load_model", lambda *a, **k: LawfulModel(truth, card=CARD))
    assert run_profile(monkeypatch, tmp_path, "a/model") == 0
    out = capsys.readouterr().out
    assert re.search(r"reading +100\.0 +100\.0 +100\.0", out)
    assert re.search(r"writing, 4 at a time +40\.0 +40\.0 +40\.0", out)
    assert load_profile(CARD).batches == BATCHES
    assert run_profile(monkeypatch, tmp_path, "a/model", "--quick", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["batches"] == [1, 4]
    assert shown["step_seconds"] == pytest.approx([0.1, 0.1], rel=1e-3)
    assert Path(shown["file"]).is_file()


def test_a_model_that_takes_no_time_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_profile(monkeypatch, tmp_path, "random") == 2
    error = capsys.readouterr().err.strip()
    assert error.endswith("a measurement took no time; measure a model that works")
    assert list(tmp_path.iterdir()) == []
