"""Counts what a newcomer has to hold: files, classes, small modules with one importer.

And how long the longest file is, and which names mean several classes.

Run as a module: python -m perf.size [SOURCE]
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "amp"
SMALL = 120
"""A module of fewer lines that one other module imports could be a part of that one."""


@dataclass(frozen=True, slots=True)
class Size:
    """Counts of a package.

    Attributes:
        files: Python files.
        outside_benchmarks: those that are not in ``benchmarks/``.
        lines: of all files.
        classes: at the top level of a module.
        lonely: modules of fewer than `SMALL` lines with a single importer, by path.
        longest: the longest file and its lines.
        namesakes: names of several classes, but for private ones and those of benchmarks, whose
            folders repeat each other on purpose.
    """

    files: int
    outside_benchmarks: int
    lines: int
    classes: int
    lonely: tuple[str, ...]
    longest: tuple[str, int]
    namesakes: tuple[str, ...]


def size(source: Path = SOURCE) -> Size:
    """Counts a package in a directory of its name."""
    paths = sorted(source.rglob("*.py"))
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    modules = {_module(path, source): path for path in paths}
    importers: dict[Path, set[Path]] = defaultdict(set)
    for path, tree in trees.items():
        for name in _imported(tree):
            if name in modules and modules[name] != path:
                importers[modules[name]].add(path)
    lines = {path: len(text.splitlines()) for path, text in texts.items()}
    lonely = (
        str(path.relative_to(source))
        for path in paths
        if path.stem not in ("__init__", "__main__")
        and lines[path] < SMALL
        and len(importers[path]) == 1
    )
    longest = max(paths, key=lambda path: lines[path])
    names = Counter(
        node.name
        for path, tree in trees.items()
        if "benchmarks" not in path.relative_to(source).parts
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return Size(
        files=len(paths),
        outside_benchmarks=sum(
            "benchmarks" not in path.relative_to(source).parts for path in paths
        ),
        lines=sum(lines.values()),
        classes=sum(
            isinstance(node, ast.ClassDef) for tree in trees.values() for node in tree.body
        ),
        lonely=tuple(lonely),
        longest=(str(longest.relative_to(source)), lines[longest]),
        namesakes=tuple(sorted(name for name, count in names.items() if count > 1)),
    )


def _module(path: Path, source: Path) -> str:
    parts = path.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module) -> set[str]:
    """Every name that could be a module: what is imported, and what it is imported from."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


if __name__ == "__main__":
    counted = size(*map(Path, sys.argv[1:2]))
    print(f"files            {counted.files} ({counted.outside_benchmarks} outside benchmarks/)")
    print(f"lines            {counted.lines:,}")
    print(f"classes          {counted.classes}")
    print(f"lonely modules   {len(counted.lonely)} under {SMALL} lines with one importer")
    print(f"longest file     {counted.longest[0]}, {counted.longest[1]} lines")
    print(f"namesakes        {len(counted.namesakes)}: {', '.join(counted.namesakes)}")
    for name in counted.lonely:
        print(f"  {name}")
