"""Benchmarks, models, tools and allocators of other packages, found by their entry points.

A package names them in its ``pyproject.toml``, and installing it is all that it takes:

    [project.entry-points."amp.benchmarks"]
    sorting = "my_package.sorting:Sorting"

Nothing is imported before it is used by name, so a broken package affects only its own entries.
Names that packages of amp export are imported in the same way (`exported_later`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from importlib import import_module, metadata
from typing import Any, Literal

from amp.errors import AmpError, InvalidInputError, MissingDependencyError

Group = Literal["amp.benchmarks", "amp.models", "amp.tools", "amp.allocators"]

_log = logging.getLogger(__name__)


def plugin_names(group: Group, builtin: Collection[str] = ()) -> tuple[str, ...]:
    """Names that installed packages register, in alphabetical order, without those of `builtin`."""
    return tuple(sorted({point.name for point in _points(group)} - set(builtin)))


def load_plugin(group: Group, name: str) -> Any:
    """Imports the object that a package registers under a name.

    Args:
        group: what it is.
        name: one of `plugin_names`.

    Raises:
        InvalidInputError: if no package registers it, or two do; the message names them.
        MissingDependencyError: if importing it fails; the message says which package and why.
    """
    points = [point for point in _points(group) if point.name == name]
    if not points:
        raise InvalidInputError(f"no installed package brings {name!r} to {group}")
    if len({point.value for point in points}) > 1:
        packages = ", ".join(sorted(_package(point) for point in points))
        raise InvalidInputError(
            f"{name!r} of {group} is brought by {len(points)} packages ({packages}); uninstall all"
            " but one"
        )
    try:
        return points[0].load()
    except Exception as error:  # whatever a stranger's module does while it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise MissingDependencyError(
            f"{name!r} of {group} cannot be imported from {_package(points[0])}"
            f" ({points[0].value}): {reason}"
        ) from error


def make_plugin(group: Group, name: str, kind: type, *arguments: Any) -> Any:
    """Makes what a package brings under a name, by calling it.

    Args:
        group: what it is.
        name: one of `plugin_names`.
        kind: the protocol that what is made has to have the members of.
        arguments: of the call.

    Raises:
        InvalidInputError: if it cannot be made or lacks members; or as `load_plugin`.
        MissingDependencyError: as `load_plugin`.
    """
    brought = load_plugin(group, name)
    try:
        made = brought(*arguments)
        needed = [m for m in (*dir(kind), *kind.__annotations__) if not m.startswith("_")]
        lacking = sorted({member for member in needed if not hasattr(made, member)})
    except AmpError:
        raise
    except Exception as error:  # whatever a stranger's function does
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidInputError(f"{name!r} of {group} cannot be made: {reason}") from error
    if lacking:
        raise InvalidInputError(
            f"{name!r} of {group} makes something of type {type(made).__name__}, which lacks "
            f"{', '.join(lacking)}; see {kind.__module__}.{kind.__qualname__}"
        )
    return made


@cache
def note_shadowed(group: Group, name: str) -> None:
    """Says once that amp's own is meant by a name, if a package brings that name, too."""
    for point in _points(group):
        if point.name == name:
            _log.warning(
                "%r of %s in %s is not used: amp has its own", name, group, _package(point)
            )


def exported_later(package: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package that imports what it exports when it is used.

    Args:
        package: its ``__name__``.
        places: the exported names, by the module of the package that has them.
    """
    home = {name: module for module, names in places.items() for name in names}

    def imported(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return imported


def _points(group: Group) -> list[metadata.EntryPoint]:
    return sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value))


def _package(point: metadata.EntryPoint) -> str:
    return "an unknown package" if point.dist is None else str(point.dist.name)
