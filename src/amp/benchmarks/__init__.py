"""The benchmarks, by name. Each is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from amp.benchmarks.base import Benchmark
from amp.errors import AmpError, InvalidInputError, did_you_mean
from amp.plugins import load_plugin, plugin_names

BENCHMARKS: dict[str, str] = {
    "alfworld": "amp.benchmarks.alfworld:ALFWorld",
    "babyai": "amp.benchmarks.babyai:BabyAI",
    "gsm8k": "amp.benchmarks.gsm8k:GSM8K",
    "webshop": "amp.benchmarks.webshop:WebShop",
}
"""Where the class of each benchmark is that comes with amp."""


def benchmark_names() -> tuple[str, ...]:
    """Names of all benchmarks that are here: amp's own, then those of other packages."""
    return (*BENCHMARKS, *plugin_names("amp.benchmarks", builtin=BENCHMARKS))


def shadowed() -> tuple[str, ...]:
    """Names of amp's own benchmarks that other packages bring, too; theirs are not used."""
    return tuple(name for name in BENCHMARKS if name in plugin_names("amp.benchmarks"))


def load_benchmark(
    name: str, *, data: Path | None = None, level: str | None = None, step: str | None = None
) -> Benchmark:
    """Makes a benchmark.

    Args:
        name: one of `benchmark_names`.
        data: directory of the benchmarks' data; None to look in the usual places.
        level: level of a benchmark that has levels; None for its usual one.
        step: what a plan step is, of a benchmark that offers several; None for its usual one.

    Raises:
        InvalidInputError: for an unknown name, level or step, or a benchmark of another package
            that is none.
        MissingDependencyError: if a package is missing.
    """
    if name in BENCHMARKS:
        module, _, class_name = BENCHMARKS[name].partition(":")
        own: type[Benchmark] = getattr(import_module(module), class_name)
        return own.load(data, level, step)
    known = benchmark_names()
    if name not in known:
        raise InvalidInputError(
            f"unknown benchmark {name!r}{did_you_mean(name, known)} "
            f"(benchmarks: {', '.join(known)})"
        )
    return _from_outside(name, data, level, step)


def _from_outside(name: str, data: Path | None, level: str | None, step: str | None) -> Benchmark:
    """A benchmark of another package, which may be anything."""
    brought = load_plugin("amp.benchmarks", name)
    try:
        benchmark: Benchmark = brought.load(data, level, step)
        lacking = [member for member in _MEMBERS if not hasattr(benchmark, member)]
    except AmpError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidInputError(
            f"benchmark {name!r} cannot be loaded from {_place(brought)}: {reason}"
        ) from error
    if lacking:
        raise InvalidInputError(
            f"benchmark {name!r} of {_place(brought)} lacks {', '.join(lacking)}; see "
            "amp.benchmarks.base.Benchmark for what one has to bring"
        )
    if benchmark.name != name:
        raise InvalidInputError(
            f"benchmark {name!r} of {_place(brought)} calls itself {benchmark.name!r}, expected "
            "the name of its entry point"
        )
    return benchmark


_MEMBERS = tuple(member for member in dir(Benchmark) if not member.startswith("_"))


def _place(brought: object) -> str:
    return f"{getattr(brought, '__module__', '?')}:{getattr(brought, '__qualname__', brought)}"
