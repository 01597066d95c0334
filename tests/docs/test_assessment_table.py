"""The table of symbols in docs/assessment.md names functions that exist, each with a tested law."""

from __future__ import annotations

import importlib
import re

import pytest
from tests.fakes.files import ROOT

from amp.assess.features import FEATURES
from amp.assess.text import INDICATORS

PAGE = (ROOT / "docs" / "assessment.md").read_text(encoding="utf-8").partition("\n## Report\n")[0]
ROWS = [row for row in PAGE.splitlines() if row.startswith("|")][2:]
NAMED = sorted(set(re.findall(r"\(reference/\w+\.md#(amp\.[\w.]+)\)", PAGE)))
LAWS = {
    "amp.assess.base.WeightedAssessor": [
        "test_the_score_is_a_weighted_mean_and_stays_in_bounds",
        "test_alpha_beta_gamma_weigh_uncertainty_indicators_distance",
    ],
    "amp.assess.uncertainty.uncertainty": [
        "test_uncertainty_names_its_source_and_prefers_answers_to_tokens_to_the_look",
    ],
    "amp.assess.uncertainty.entropy": [
        "test_entropy_lies_between_zero_and_log_of_the_support",
    ],
    "amp.models.base.entropy": [
        "test_entropy_lies_between_zero_and_the_log_of_the_support",
    ],
    "amp.assess.evidence.first_entropy": [
        "test_the_first_round_shows_the_entropy_of_the_next_token",
    ],
    "amp.assess.uncertainty.entropy_bounds": [
        "test_the_true_entropy_lies_between_the_bounds_of_its_top",
    ],
    "amp.assess.uncertainty.entropy_share": [
        "test_the_share_of_entropy_is_one_only_for_even_odds",
    ],
    "amp.assess.text.reasoning_indicators": [
        "test_density_is_the_total_of_the_classes_and_stays_in_bounds",
    ],
    "amp.assess.text.indicator_counts": [
        "test_one_more_indicator_never_lowers_a_count",
    ],
    "amp.assess.evidence.goal_distance": [
        "test_saying_more_brings_the_goal_no_further_away",
    ],
    "amp.models.base.perplexity": [
        "test_perplexity_is_at_least_one_and_one_for_certainty",
    ],
    "amp.assess.evidence.answer_perplexity": [
        "test_perplexity_is_at_least_one_and_one_for_certainty",
    ],
    "amp.assess.uncertainty.divergence": [
        "test_divergence_is_exactly_zero_for_equal_shares",
    ],
    "amp.assess.evidence.answer_divergence": [
        "test_a_candidate_that_confirms_moves_less_than_one_that_differs",
    ],
    "amp.assess.text.structural": [
        "test_one_more_sentence_never_lowers_a_measure",
    ],
    "amp.assess.text.parse_dependencies": [
        "test_a_sentence_has_its_entities_links_and_depth",
    ],
    "amp.assess.neural.Projection": [
        "test_coordinates_of_the_training_states_have_mean_0_and_variance_1",
    ],
    "amp.assess.features.observe": [
        "test_every_feature_is_finite_and_within_its_bounds",
    ],
    "amp.assess.evidence.stand_ins": [
        "test_a_model_that_tells_nothing_has_no_feature_of_its_own",
    ],
    "amp.assess.neural.NeuralAssessor": [
        "test_any_step_has_a_complexity_between_0_and_1",
    ],
}
"""The tests that state the law of each function of the table."""


@pytest.mark.parametrize("name", NAMED)
def test_a_function_that_the_page_names_exists_and_is_in_the_reference(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)
    (page,) = set(re.findall(rf"\((reference/\w+\.md)#{re.escape(name)}\)", PAGE))
    assert f"::: {module}\n" in (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_every_function_of_the_page_has_a_law_that_is_tested() -> None:
    assert set(NAMED) == LAWS.keys()
    folders = (ROOT / "tests" / name for name in ("assess", "models"))
    files = [path for folder in folders for path in folder.glob("test_*.py")]
    tested = {
        name
        for path in files
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert {law for laws in LAWS.values() for law in laws} <= tested


def test_every_symbol_of_the_two_sections_has_a_row() -> None:
    symbols = {row.split("|")[1].strip() for row in ROWS}
    assert symbols >= {
        *("C(s, p)", "H", "H(P(x\\", "I(s, p)", "D(s, p)", "perplexity", "KL", "hidden states"),
        *("\N{GREEK SMALL LETTER ALPHA}, β, \N{GREEK SMALL LETTER GAMMA}", "NN_φ"),
        *("f_1, ..., f_n", "entities, relationships, tree depth"),
    }


def test_every_row_names_a_function() -> None:
    assert ROWS
    assert all("](reference/" in row for row in ROWS)


def test_the_page_names_the_classes_of_indicators() -> None:
    assert all(name in PAGE for name in INDICATORS)
    assert {feature.name for feature in FEATURES} >= INDICATORS.keys()
