"""Giving up within a step is compared with a cap on the samples, on the same samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
from experiments.giving_up_samples import HEADS, ORDERS, lines, load_samples, outcomes
from tests.fakes.files import ROOT

from amp.benchmarks import load_benchmark


@pytest.mark.data("gsm8k")
def test_giving_up_only_takes_samples_away_and_the_cap_is_the_same_everywhere() -> None:
    recording = ROOT / "recordings" / "gsm8k-train.sqlite"
    samples = load_samples(recording, load_benchmark("gsm8k"), 100)
    tables = [replace(samples, tasks=samples.tasks[:80]).permuted(0)]
    for features in (HEADS["all"], None):
        found = outcomes(tables, ORDERS["programs and chains"], features)
        for pairs in found.values():
            assert len({before.task.id for before, _ in pairs}) == len(pairs) == 80
            for before, after in pairs:
                given, taken = after.steps[0].rounds, before.steps[0].rounds
                assert given == taken[: len(given)]
        kept = [row.split(" | ")[4] for row in lines("a", "b", found)]
        assert len(kept) == 2
        assert all(float(cell.partition("%")[0]) > 60.0 for cell in kept)
    capped = {len(after.steps[0].rounds) for _, after in found[0.9]}
    assert max(capped) < 8
