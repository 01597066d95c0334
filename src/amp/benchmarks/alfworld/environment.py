"""One ALFWorld episode: commands in, the game's own words out; and the judge of its steps.

The judge asks the planner of the game, which sees what is hidden.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Hashable, Iterator, Sequence

from amp.benchmarks.alfworld.process import GameSession, GameState
from amp.benchmarks.alfworld.scene import TOOLS, Goal, Scene, distance, facts, kind, read_goal
from amp.errors import InvalidInputError
from amp.types import UNAIDED, Observation, Task, Transition

MAX_STEPS = 50
"""Commands of an episode, as in the literature."""

MAX_ACTIONS = 52
"""As many as there are letters to label a choice with."""

_TELLS_NOTHING_NEW = re.compile(r"help|inventory|look")
_TAKE = re.compile(r"take (\w+ \d+) from \w+ \d+")
_PUT = re.compile(r"(?:put|move) (\w+ \d+) (?:to|in/on|in|on|into) (\w+ \d+)")


class ALFWorldEnvironment:
    """Carries a plan out in a game; `Environment` of the planner, with `fork`.

    `Transition.feedback` is the game's own text. `Observation.state` tells what is known so far,
    made from these texts alone; `Observation.symbols` tells the same as facts
    (`amp.benchmarks.alfworld.scene`). `Observation.actions` are the game's admissible commands
    without those that neither tell anything that the state does not nor bring the goal forward
    (help, inventory, look; to examine what is known; to go to a place that was looked into and has
    to do with nothing in the goal; to turn on a lit lamp; to close anything; what was done in this
    very state before, unless nothing else is left), at most `MAX_ACTIONS`; `step` takes all of
    them, and "put X in/on Y" for "move X to Y" and the other way round. With the tool `UNAIDED`
    what was done before is listed, too.

    Args:
        open_game: returns the game of a task.

    Attributes:
        scene: what is known so far.
    """

    def __init__(self, open_game: Callable[[Task], GameSession]) -> None:
        self.scene = Scene()
        self._open_game = open_game
        self._session: GameSession | None = None
        self._state: GameState | None = None
        self._goal: Goal | None = None
        self._steps = 0
        self._tried: dict[Hashable, frozenset[str]] = {}

    def reset(self, task: Task) -> Observation:
        """Starts a task; waits until its game is loaded.

        Raises:
            InvalidInputError: if the task is not one of ALFWorld's, or its game is damaged.
            MissingDependencyError: if a package is not installed.
        """
        self._session = None  # so that its game is there for the second episode on one task
        self._session = self._open_game(task)
        self._state = self._session.start
        self._goal = read_goal(task.goal)
        self._steps = 0
        self._tried = {}
        self.scene = Scene()
        self.scene.hear(self._state.text, self._state.commands)
        return self._observation(self._state)

    def step(self, action: str) -> Transition:
        """Carries a command out. Nothing happens if it is not admissible, as the game has it.

        The episode is over when the goal is reached, or after `MAX_STEPS`.

        Raises:
            InvalidInputError: if the episode is over or was never begun.
        """
        if self._state is None or self._session is None or self._over:
            raise InvalidInputError("the ALFWorld episode is over; reset the environment first")
        command, known = as_listed(action, self._state.commands), self.scene.known()
        # The game is deterministic: the same again would only walk in a circle.
        self._tried[known] = self._tried.get(known, frozenset()) | {command}
        self._state = self._session.step(self._state.at, command)
        self._steps += 1
        extent = self.scene.extent()
        self.scene.hear(self._state.text, self._state.commands)
        if self.scene.extent() > extent:  # nobody comes back to where less was known
            self._tried = {}
        done, won, text = self._over, self._state.won, self._state.text
        observation = self._observation(self._state)
        return Transition(observation, done, won if done else None, 1.0 if won else 0.0, text)

    def fork(self) -> ALFWorldEnvironment:
        """Returns a second environment in the same state; what is done in one leaves the other."""
        twin = copy.copy(self)
        twin.scene = copy.deepcopy(self.scene)
        twin._tried = dict(self._tried)
        return twin

    def fingerprint(self) -> str:
        """Returns what tells the game's state, what is known and what was tried from any other."""
        scene = self.scene
        told = (
            *(self._steps, self._state and self._state.facts),
            *(scene.known(), tuple(scene.contents.items()), scene.near, scene.receptacles),
            frozenset(self._tried.items()),
        )
        return _text(told)

    @property
    def _over(self) -> bool:
        return self._state is None or self._state.won or self._steps >= MAX_STEPS

    def _observation(self, state: GameState) -> Observation:
        goal, scene = self._goal, self.scene
        actions = offered(state.commands, scene, goal)
        tried = self._tried.get(scene.known(), frozenset())
        new = tuple(action for action in actions if action not in tried) or actions
        return Observation(
            state=scene.describe(),
            actions=new,
            tool_actions={} if new == actions else {UNAIDED: actions},
            # A few games are won with a thing that was in two places at once, one of them unseen.
            distance=0.0 if state.won else None if goal is None else distance(goal, scene),
            symbols=None if goal is None else facts(goal, scene),
        )


def _text(value: object) -> str:
    """Values as text, sets in the order of their elements' texts."""
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    return f"({', '.join(map(_text, value))})" if isinstance(value, tuple) else repr(value)


def offered(commands: Sequence[str], scene: Scene, goal: Goal | None) -> tuple[str, ...]:
    """Returns the commands that a plan can use, the game's order kept; see `ALFWorldEnvironment`.

    To examine is kept for a place within reach that was not looked into and is not known to be
    closed, such as the next shelf: there is no going to it. Large kitchens have more commands than
    `MAX_ACTIONS`; there goes first what `_least_useful` names first.
    """
    kept = [command for command in commands if not _in_vain(command, scene, goal)]
    for command in list(_least_useful(kept, scene, goal))[: max(0, len(kept) - MAX_ACTIONS)]:
        kept.remove(command)
    return tuple(kept[:MAX_ACTIONS])


def _in_vain(command: str, scene: Scene, goal: Goal | None) -> bool:
    """Whether a command can neither show anything new nor bring the goal forward."""
    if _TELLS_NOTHING_NEW.fullmatch(command) or command.startswith("close "):
        return True
    if command.startswith("examine "):
        place = command.removeprefix("examine ")
        return place not in scene.unexplored() or bool(scene.shut.get(place))
    if command.startswith("use "):
        return command.removeprefix("use ") in scene.lit
    place = command.removeprefix("go to ")
    if goal is None or place == command or place not in scene.contents:
        return False
    return not {kind(name) for name in (place, *scene.contents[place])} & _concerned(goal)


def _concerned(goal: Goal) -> set[str]:
    """The kinds of things and places that a goal is about."""
    return {goal.object, goal.place, goal.lamp, TOOLS.get(goal.state, "")} - {""}


def _least_useful(commands: Sequence[str], scene: Scene, goal: Goal | None) -> Iterator[str]:
    """Yields what can be left out: to take what the goal does not name, to go to places.

    Places that were looked into go before those that were not, of which the last ones go first:
    they come back as the others are searched. Those that have to do with the goal stay.
    """
    wanted = _concerned(goal) if goal else set()
    if goal is not None:
        for command in commands:
            if (taken := _TAKE.fullmatch(command)) and kind(taken[1]) not in wanted:
                yield command
    known: list[str] = []
    unknown: list[str] = []
    for place in (c.removeprefix("go to ") for c in commands if c.startswith("go to ")):
        things = scene.contents.get(place)
        if not {kind(name) for name in (place, *(things or ()))} & wanted:
            (unknown if things is None else known).append(place)
    yield from (f"go to {place}" for place in (*known, *reversed(unknown)))


def as_listed(action: str, commands: Sequence[str]) -> str:
    """Returns the listed command that an action is another wording of; else the action."""
    plain = " ".join(action.lower().split())
    if plain in commands or not (put := _PUT.fullmatch(plain)):
        return plain
    others = ((_PUT.fullmatch(command), command) for command in commands)
    return next((c for other, c in others if other and other.groups() == put.groups()), plain)


_SEARCHES = re.compile(r"(?:go to|open|examine) (\w+ \d+)")


class ALFWorldJudge:
    """Says which actions begin no shortest plan; `Judge` of benchmarks.

    An action is mistaken if the plan that the game's planner finds is not shorter after it than
    before. The planner knows where everything is, which an agent cannot know: as long as something
    that the goal needs was not seen, it is undecided whether to search a place that was not
    searched yet is a mistake, unless the planner would go there, too (then it is none).

    Args:
        task: the task at whose start it begins.
        session: its game.
    """

    def __init__(self, task: Task, session: GameSession) -> None:
        self._session = session
        self._state = session.start
        self._goal = read_goal(task.goal)
        self._scene = Scene()
        self._scene.hear(self._state.text, self._state.commands)

    def mistaken(self, action: str | None) -> bool | None:
        """Whether the goal is no nearer after it.

        True for no action; None after the end, where no plan is left, and for a search that only
        who knows what is hidden could judge.
        """
        if action is None:
            return True
        command = as_listed(action, self._state.commands)
        now, (after,) = self._session.remaining(self._state.at, [command])
        if self._state.won or now is None:
            return None
        if after is not None and after < now:
            return False
        return None if self._searches(command) else True

    def remaining(self) -> int | None:
        """Length of the planner's plan from here; None if there is none."""
        return self._session.remaining(self._state.at, [])[0]

    def advance(self, action: str) -> None:
        """Carries an action of the plan out."""
        command = as_listed(action, self._state.commands)
        self._state = self._session.step(self._state.at, command)
        self._scene.hear(self._state.text, self._state.commands)

    def _searches(self, command: str) -> bool:
        """Whether a command searches a new place for what is missing."""
        if not (place := _SEARCHES.fullmatch(command)) or command not in self._state.commands:
            return False
        unknown = place[1] not in self._scene.contents and place[1] != (
            self._scene.at if command.startswith("go to") else None
        )
        return unknown and _missing(self._goal, self._scene)


def _missing(goal: Goal | None, scene: Scene) -> bool:
    """Whether something that the goal needs was not seen yet."""
    if goal is None:
        return True
    lamp = bool(goal.lamp) and not scene.found(goal.lamp)
    return lamp or len(scene.found(goal.object)) < goal.count
