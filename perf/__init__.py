"""Speed, as ratios within one run: `make bench`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def median_and_p99(seconds: Sequence[float]) -> str:
    """Median and 99th percentile, in milliseconds."""
    percentiles = statistics.quantiles(seconds, n=100)
    return f"{percentiles[49] * 1e3:.2f} / {percentiles[98] * 1e3:.2f}"
