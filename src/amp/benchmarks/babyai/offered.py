"""What a tool offers, worked out when somebody looks: many steps are decided without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property


class Offered(Mapping[str, tuple[str, ...]]):
    """Actions by the name of their one tool; empty if it offers none.

    A pickle and a deep copy of it are plain dictionaries, and so is what is written of it.

    Args:
        tool: the tool's name.
        find: finds the actions; called once at most, at any time, so it must not depend on what
            changes meanwhile.
    """

    def __init__(self, tool: str, find: Callable[[], tuple[str, ...]]) -> None:
        self._tool = tool
        self._find = find

    @cached_property
    def _found(self) -> dict[str, tuple[str, ...]]:
        actions = self._find()
        return {self._tool: actions} if actions else {}

    def __getitem__(self, tool: str) -> tuple[str, ...]:
        return self._found[tool]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(self._found)

    def __reduce__(self) -> tuple[type[dict[str, tuple[str, ...]]], tuple[object]]:
        return dict, (self._found,)
