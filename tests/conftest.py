"""What several tests share, and the marks that they get from where they stand and what they use."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings
from tests.fakes.files import DATA

from amp.errors import InvalidInputError
from amp.models import catalog

# A shell's background job ignores Ctrl-C, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What the tests take the data from, so do the commands that they run.
os.environ.setdefault("AMP_DATA", str(DATA))

# Else what is learned from pools would depend on the number of cores, see `amp.cli.pools`.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SMALL = "smollm2-135m"
REAL_MODELS = {"smollm2", "smol"}
"""Fixtures that load a real model."""
SLOW_FOLDERS = {"docs", "experiments", "faults"}
"""Folders below tests/ that replay whole recordings, train, or break things by the hundred."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--thorough`: the campaigns of tests/faults at full length; CI runs a share of each."""
    parser.addoption(
        "--thorough", action="store_true", help="run the whole fault campaigns, with --draws 3"
    )
    parser.addoption(
        "--draws",
        type=int,
        metavar="N",
        help="draw the examples of properties at random, N times as many; else as the last time",
    )


def _draws(config: pytest.Config) -> int:
    """How often properties are tested at random; 0 if they draw the same in every run."""
    return int(config.getoption("draws") or 3 * config.getoption("thorough"))


def pytest_configure(config: pytest.Config) -> None:
    """Has a verdict depend on the code alone: neither on chance nor on how busy the machine is.

    What is promised about speed is measured in perf/.
    """
    settings.register_profile("amp", deadline=None, derandomize=not _draws(config))
    settings.load_profile("amp")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeats properties that draw at random."""
    if (draws := _draws(metafunc.config)) and is_hypothesis_test(metafunc.function):
        metafunc.fixturenames.append("draw")
        metafunc.parametrize("draw", range(draws))


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether the campaigns of tests/faults run at full length."""
    return bool(pytestconfig.getoption("thorough"))


@pytest.fixture(scope="session")
def smollm2() -> str:
    """Name of the small real model; it is pulled if it is not on this machine."""
    for _ in range(600):
        if SMALL in {model.name for model in catalog.installed()}:
            return SMALL
        try:
            catalog.pull(SMALL)
        except InvalidInputError as error:
            if "in use by" not in str(error):
                raise
            time.sleep(0.5)  # another worker of the tests pulls it
    raise TimeoutError(f"model {SMALL} is being pulled by another process for minutes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests: `model` by fixture, `slow` by folder, `unit` what has no other mark.

    A test marked ``data("NAME")`` is skipped where the data of that benchmark is not at hand.
    """
    for item in items:
        if REAL_MODELS & set(getattr(item, "fixturenames", ())):
            item.add_marker("model")
        if item.path.relative_to(Path(__file__).parent).parts[0] in SLOW_FOLDERS:
            item.add_marker("slow")
        names = [name for mark in item.iter_markers("data") for name in mark.args]
        missing = [name for name in names if not (DATA / name).is_dir()]
        if missing:
            reason = f"needs the data of {', '.join(missing)} in {DATA}"
            item.add_marker(pytest.mark.skip(reason=reason))
        if not {"model", "slow", "data"} & {mark.name for mark in item.iter_markers()}:
            item.add_marker("unit")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many tests were skipped for want of data, so that nobody takes them for passed."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("data" in getattr(report, "keywords", ()) for report in skipped)
    terminalreporter.write_line(
        f"{count} tests of benchmarks' data skipped (AMP_DATA names the folder)"
    )
