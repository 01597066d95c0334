"""Whatever a step and its evidence hold, its features are numbers within their bounds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import context

from amp.assess.evidence import goal_distance
from amp.assess.features import BY_NAME, FEATURES, VERSION, observe
from amp.assess.text import MAX_CHARACTERS, Structure, reasoning_indicators
from amp.assess.uncertainty import divergence, entropy
from amp.types import (
    Candidate,
    Complexity,
    Evidence,
    Observation,
    Probe,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

number = st.none() | st.floats() | st.floats(0, 1) | st.floats(-5, 0)
text = st.text(max_size=60) | st.sampled_from(["If 3 dogs eat 2 of the 5 bones, then", "2"])
action = st.sampled_from([None, "a", "b", "c"])
options = st.dictionaries(st.sampled_from("abc"), st.floats(0, 1) | st.floats(), max_size=3)
distributions = st.lists(st.floats(1e-9, 1), min_size=2, max_size=5).map(
    lambda masses: {f"{index}": mass / math.fsum(masses) for index, mass in enumerate(masses)}
)
probes = st.none() | st.builds(Probe, number, options | distributions, number)
candidates = st.builds(
    Candidate,
    text=text,
    action=action,
    log_prob=number,
    entropy=number,
    probability=number,
    completion_tokens=st.integers(0, 10**6),
    cut_off=st.booleans(),
    p_correct=number,
)
silent_candidates = st.builds(
    Candidate, text=text, action=action, completion_tokens=st.integers(0, 9)
)
observations = st.builds(
    Observation,
    text,
    st.none() | st.just(("a", "b")),
    st.just({"guide": ("a", "b", "c")}),
    st.none() | st.floats(),
)


def record(observation: Observation, probe: Probe | None = None) -> StepRecord:
    return StepRecord(observation, (), Complexity(0.5), "a", Usage(), probe=probe)


def contexts(made: st.SearchStrategy[Candidate]) -> st.SearchStrategy[StepContext]:
    return st.builds(
        StepContext,
        st.builds(Task, st.just("t"), text),
        observations,
        st.lists(st.builds(record, observations, probes), max_size=3).map(tuple),
        st.builds(Evidence, st.lists(made, max_size=5).map(tuple), st.integers(0, 3), probes),
    )


def answered(*answers: str | None) -> Evidence:
    return Evidence(tuple(Candidate("", answer) for answer in answers), 1)


def with_evidence(evidence: Evidence) -> StepContext:
    return replace(context(), evidence=evidence)


@given(contexts(candidates))
def test_every_feature_is_finite_and_within_its_bounds(at: StepContext) -> None:
    observed = observe(at)
    for name, value in observed.values.items():
        assert math.isfinite(value)
        assert BY_NAME[name].low <= value <= BY_NAME[name].high
    assert observed.substituted <= observed.values.keys()
    assert len(set(observed.substitutes)) == len(observed.substitutes)


@given(contexts(candidates))
def test_what_is_left_out_for_being_no_number_is_said(at: StepContext) -> None:
    observed = observe(at)
    masked = {phrase.split(":")[0] for phrase in observed.substitutes if phrase.startswith("no ")}
    assert not masked & {f"no {name}" for name in observed.values}
    probe = at.evidence.probe
    if probe is not None and probe.entropy is not None and not math.isfinite(probe.entropy):
        assert "no entropy" in masked
    told = [c.log_prob for c in at.evidence.candidates if c.log_prob is not None]
    if not all(-math.inf < value <= 0.0 for value in told):
        assert "no log_prob" in masked
        assert "log_prob" not in observed.values


@given(contexts(silent_candidates))
def test_a_model_that_tells_nothing_has_no_feature_of_its_own(at: StepContext) -> None:
    at = replace(at, evidence=replace(at.evidence, probe=None))
    observed = observe(at)
    own = {feature.name for feature in FEATURES if feature.source == "model"}
    assert own & observed.values.keys() <= observed.substituted
    if len(at.evidence.candidates) > 1 and at.evidence.agreement:
        assert own <= observed.substituted
    if not at.evidence.candidates:
        assert not own & observed.values.keys()


@given(contexts(candidates))
def test_what_needs_a_round_is_absent_before_one(at: StepContext) -> None:
    observed = observe(replace(at, evidence=replace(at.evidence, candidates=())))
    needs = {feature.name for feature in FEATURES if feature.source == "evidence"}
    assert needs & observed.values.keys() == {"candidates"}


@given(contexts(candidates))
def test_looking_again_shows_the_same(at: StepContext) -> None:
    assert observe(at) == observe(at)


@given(text, text)
def test_h_i_and_d_are_those_of_their_own_functions(goal: str, state: str) -> None:
    at = StepContext(Task("t", goal), Observation(state))
    values = observe(at).values
    assert values["indicators"] == reasoning_indicators(f"{goal} {state}")
    assert values["distance"] == goal_distance(at)[0]
    assert "uncertainty" not in values


def test_the_schema_of_version_2_is_this() -> None:
    assert VERSION == 2
    assert " ".join(feature.name for feature in FEATURES) == (
        "entropy choice_entropy choice_margin perplexity divergence token_entropy log_prob "
        "uncertainty causal conditional contrastive hypothetical quantitative temporal indicators "
        "words quantities entities relations syntactic_depth distance options plan_steps revisits "
        "candidates agreement margin answer_entropy answer_tokens cut_off unread unused p_correct "
        "p_right leader_right runner_up_right gain_with_tools gain_without_tools"
    )
    assert all(feature.low < feature.high for feature in FEATURES)
    assert len(BY_NAME) == len(FEATURES)


def test_the_look_tells_entropy_options_and_perplexity() -> None:
    open_step = observe(with_evidence(Evidence(probe=Probe(entropy=1.5, perplexity=20.0))))
    assert open_step.values["entropy"] == 1.5
    assert open_step.values["perplexity"] == 20.0
    assert not {"choice_entropy", "divergence", "options"} & open_step.values.keys()
    choice = observe(with_evidence(Evidence(probe=Probe(options={"a": 0.75, "b": 0.25}))))
    assert choice.values["choice_margin"] == 0.5
    expected = entropy([0.75, 0.25]) / math.log(2)
    assert choice.values["choice_entropy"] == pytest.approx(expected)
    assert choice.values["uncertainty"] == pytest.approx(expected)
    assert choice.substituted == {"distance"}


def test_options_diverge_from_those_of_the_step_before() -> None:
    now, then = {"a": 0.9, "b": 0.1}, {"a": 0.5, "c": 0.5}
    at = replace(
        context(),
        steps=(
            record(Observation(), Probe(options=now)),
            record(Observation(), Probe(options=then)),
        ),
        evidence=Evidence(probe=Probe(options=now)),
    )
    observed = observe(at)
    assert observed.values["divergence"] == divergence(now, then)
    assert "divergence" not in observed.substituted
    answers = observe(
        replace(at, evidence=replace(at.evidence, candidates=(Candidate("", "a"),) * 2))
    )
    assert answers.values["divergence"] == 0.0
    assert "divergence" in answers.substituted


def test_agreement_stands_in_for_a_model_without_log_probabilities() -> None:
    observed = observe(with_evidence(answered("a", "a", "b", "b")))
    assert observed.values["entropy"] == pytest.approx(math.log(2))
    assert observed.values["perplexity"] == pytest.approx(2.0)
    assert observed.values["log_prob"] == math.log(0.5)
    assert observed.values["choice_margin"] == 0.0
    assert "entropy of the answers for next-token entropy" in observed.substitutes


def test_what_the_model_tells_is_not_replaced() -> None:
    made = tuple(Candidate("", name, -3.0, 0.5, completion_tokens=6) for name in "ab")
    observed = observe(with_evidence(Evidence(made, 1, Probe(2.0, perplexity=9.0))))
    assert observed.values["log_prob"] == -3.0
    assert observed.values["token_entropy"] == 0.5
    assert observed.values["perplexity"] == 9.0
    assert not {"entropy", "log_prob", "token_entropy", "perplexity"} & observed.substituted
    own = observe(with_evidence(Evidence(made, 1)))
    assert own.values["perplexity"] == pytest.approx(math.exp(0.5))
    assert "perplexity of the answers for that of the context" in own.substitutes


@pytest.mark.parametrize(
    ("evidence", "phrase"),
    [
        (Evidence(probe=Probe(entropy=math.nan)), "no entropy: the model told nan"),
        (Evidence(probe=Probe(entropy=-1.0)), "no entropy: the model told -1"),
        (Evidence(probe=Probe(perplexity=math.inf)), "no perplexity: the model told inf"),
        (
            Evidence(probe=Probe(options={"a": 0.7, "b": 0.7})),
            "no choice_entropy: the model told probabilities that add up to 1.4",
        ),
        (
            Evidence(probe=Probe(options={"a": math.nan, "b": 1.0})),
            "no choice_margin: the model told a probability of nan",
        ),
        (
            Evidence((Candidate("", "a", math.nan), Candidate("", "a", -1.0)), 1),
            "no log_prob: the model told nan",
        ),
        (
            Evidence((Candidate("", "a", math.nan, completion_tokens=1),) * 2, 1),
            "no perplexity: the model told nan",
        ),
        (
            Evidence((Candidate("", "a", p_correct=7.0),), 1),
            "no p_correct: the model told 7",
        ),
    ],
)
def test_what_is_no_number_of_a_feature_is_left_out_with_a_phrase(
    evidence: Evidence, phrase: str
) -> None:
    observed = observe(with_evidence(evidence))
    assert phrase in observed.substitutes
    assert phrase.split(":")[0].removeprefix("no ") not in observed.values


def test_the_plan_and_the_actions_are_counted() -> None:
    here = Observation("a cell", ("a", "b"), {"guide": ("a", "b", "c")})
    there = replace(here, state="another cell")
    at = StepContext(Task("t", "go"), here, (record(here), record(there), record(here)))
    values = observe(at).values
    assert values["options"] == 3
    assert values["plan_steps"] == 3
    assert values["revisits"] == 2
    blank = Observation()
    assert observe(StepContext(Task("t", "go"), blank, (record(blank),))).values["revisits"] == 0


def test_a_long_text_is_read_from_its_end_and_that_is_said() -> None:
    at = context(Task("t", "because " * 2000), Observation("if 2"))
    observed = observe(at)
    assert observed.values["causal"] == (MAX_CHARACTERS - len(" if 2")) // len("because ")
    assert observed.values["conditional"] == 1
    phrase = "last 3,000 characters for the whole goal and state"
    assert phrase in observed.substitutes
    assert {"causal", "words", "entities"} <= observed.substituted


def test_another_parser_reads_the_structure_and_says_what_it_left_out() -> None:
    observed = observe(context(), lambda text: Structure(len(text), 2, 3, "a part for the whole"))
    assert observed.values["syntactic_depth"] == 3
    assert observed.values["relations"] == 2
    assert {"entities", "relations", "syntactic_depth"} <= observed.substituted
    assert "a part for the whole" in observed.substitutes
