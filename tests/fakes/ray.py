"""As much of Ray as the driver uses, in this process, with actors that are lost on command.

Whatever goes to an actor or comes back is pickled, as Ray would. What it cannot show, since all
actors share a process, is tested on a cluster: tests/faults/test_ray.py.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

Loss = Literal["", "before", "after"]
"""Whether an actor is lost with a trade, and if so before or after it was carried out."""


class ActorLostError(Exception):
    """What Ray raises for actors that are gone."""


def sent(value: Any) -> Any:
    """What arrives elsewhere."""
    return pickle.loads(pickle.dumps(value))


@dataclass(eq=False)
class Actor:
    """A handle: ``handle.method.remote(...)`` can be awaited."""

    ray: FakeRay
    made: Any
    node: str
    is_lost: bool = False

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: asyncio.ensure_future(self._call(name, args)))

    async def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        loss: Loss = next(self.ray.losses, "") if name == "trade" else ""
        if loss == "before":
            self.lose()
        self._check()
        come = sent(await getattr(self.made, name)(*sent(args)))
        if loss == "after":
            self.lose()
        self._check()
        return come

    def lose(self) -> None:
        """Ends it as a process that is killed: nothing of it goes on, and nobody is told."""
        self.is_lost = True
        for task in self.made._desk.under_way:
            task.cancel()
        self.made._scratch.cleanup()

    def _check(self) -> None:
        if not self.is_lost and self.node not in self.ray.living:
            self.lose()
        if self.is_lost:
            raise ActorLostError(f"the actor on {self.node} is gone")


@dataclass(eq=False)
class FakeRay:
    """The module `ray`, connected to a cluster of so many CPUs by node."""

    cpus: dict[str, int]
    losses: Iterator[Loss] = field(default_factory=lambda: iter(()))
    version: str = ""
    actors: list[Actor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.living = set(self.cpus)
        self.exceptions = SimpleNamespace(
            RayActorError=ActorLostError, ActorUnschedulableError=ActorLostError
        )
        affinity = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=affinity)

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": name,
                "NodeManagerHostname": name,
                "Alive": name in self.living,
                "Resources": {"CPU": float(count)},
            }
            for name, count in self.cpus.items()
        ]

    def put(self, value: Any) -> Any:
        return sent(value)

    def kill(self, actor: Actor) -> None:
        actor.lose()

    def remote(self, **options: Any) -> Any:
        """A decorator of classes, and of functions, which run where they are called."""

        def decorated(made: Any) -> Any:
            def placed(scheduling_strategy: str) -> Any:
                if not isinstance(made, type):
                    return SimpleNamespace(remote=lambda: self._told(made))

                def begun(folder: str, variables: dict[str, str]) -> Actor:
                    actor = Actor(self, made(folder, {}), scheduling_strategy)
                    self.actors.append(actor)
                    return actor

                return SimpleNamespace(remote=begun)

            return SimpleNamespace(options=placed)

        return decorated

    async def _told(self, function: Any) -> Any:
        return self.version or function()
