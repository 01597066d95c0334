"""The benchmarks, by name. Each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, did_you_mean


def _gsm8k(data: Path | None, level: str | None, step: str | None) -> Benchmark:
    from amp.benchmarks.gsm8k import GSM8K

    if level is not None:
        raise InvalidInputError(f"level is {level!r}, but gsm8k has no levels; leave --level out")
    return GSM8K(data) if step is None else GSM8K(data, step=step)


def _babyai(data: Path | None, level: str | None, step: str | None) -> Benchmark:
    from amp.benchmarks.babyai import BabyAI

    if step is not None:
        raise InvalidInputError(
            f"step is {step!r}, but a step of babyai is an action; leave it out"
        )
    return BabyAI() if level is None else BabyAI(level)


def _alfworld(data: Path | None, level: str | None, step: str | None) -> Benchmark:
    from amp.benchmarks.alfworld import ALFWorld

    if step is not None:
        raise InvalidInputError(
            f"step is {step!r}, but a step of alfworld is a command; leave it out"
        )
    return ALFWorld(data, level)


def _webshop(data: Path | None, level: str | None, step: str | None) -> Benchmark:
    from amp.benchmarks.webshop import WebShop

    if step is not None:
        raise InvalidInputError(
            f"step is {step!r}, but a step of webshop is an action; leave it out"
        )
    return WebShop(data) if level is None else WebShop(data, level)


BENCHMARKS: dict[str, Callable[[Path | None, str | None, str | None], Benchmark]] = {
    "alfworld": _alfworld,
    "babyai": _babyai,
    "gsm8k": _gsm8k,
    "webshop": _webshop,
}


def load_benchmark(
    name: str, *, data: Path | None = None, level: str | None = None, step: str | None = None
) -> Benchmark:
    """Makes a benchmark.

    Args:
        name: a key of `BENCHMARKS`.
        data: directory of the benchmarks' data; None to look in the usual places.
        level: level of a benchmark that has levels; None for its usual one.
        step: what a plan step is, of a benchmark that offers several; None for its usual one.

    Raises:
        InvalidInputError: for an unknown name or level.
        MissingDependencyError: if a package is missing.
    """
    if name not in BENCHMARKS:
        known = sorted(BENCHMARKS)
        raise InvalidInputError(
            f"unknown benchmark {name!r}{did_you_mean(name, known)} "
            f"(benchmarks: {', '.join(known)})"
        )
    return BENCHMARKS[name](data, level, step)
