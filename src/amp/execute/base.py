"""What the executor needs from outside: prompts for a kind of task, and tools."""

from __future__ import annotations

from typing import Protocol

from amp.models.base import Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse


class Tool(Protocol):
    """Something outside the model that works on what the model wrote."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """One line that says what it does, for people and for prompts."""
        ...

    async def use(self, text: str) -> ToolUse | None:
        """Finds its call in a model's text and runs it.

        Returns:
            What came of it, or None if the text holds no call. A failure of the tool is no
            exception: it is a `ToolUse` with `error`.
        """
        ...


class Prompts(Protocol):
    """All texts for one kind of task, in one module, under one version.

    A changed prompt is a new version: recordings made with another version are refused.
    """

    @property
    def version(self) -> str:
        """Name and number, such as ``gsm8k/3``."""
        ...

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        """Prompt of an open-ended step: the answer states the action in free text.

        `allocation.depth` is the number of reasoning steps to ask for, `allocation.tools` the tools
        to explain.
        """
        ...

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        """Reads the action from an answer to `solve` and from what tools made of it.

        The same meaning gives the same string, since candidates vote by equality.

        Returns:
            The action, or None if the answer states none.
        """
        ...

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        """Prompt of a choice step whose answer is a thought of at most `depth` short steps."""
        ...

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        """Prompt after which the next token is the label (one character) of the best action.

        `labels[i]` stands for `actions[i]`. `thought` is empty when acting at once.
        """
        ...

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt after which the next token says "yes" or "no": is this candidate right?"""
        ...
