"""Where environments of other people meet the loop."""

from __future__ import annotations

import asyncio
import enum
import re
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.allocate.base import FixedAllocator
from amp.environment import Environment
from amp.errors import EnvironmentFailedError, InvalidInputError
from amp.evaluate.many import run_many
from amp.execute.base import PlainPrompts
from amp.execute.boundary import GymEnvironment, act, open_task
from amp.execute.executor import Executor
from amp.methods.base import AnyPlanner
from amp.methods.beam_search import BeamPlanner
from amp.methods.react import ReActPlanner
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import Allocation, Episode, Limits, Observation, Task, Transition

TASK = Task("door", "open the door")
DOORS = ("push", "pull")
Seen: Any = Observation
Went: Any = Transition
"""The same classes, for values that a type checker would refuse."""


class Door:
    """A door, whose answers are whatever a test says."""

    def __init__(self, opening: object = None, answer: Callable[[str], object] | None = None):
        self.opening = Observation("a door", DOORS) if opening is None else opening
        self.answer = answer or (lambda action: Transition(Observation("open"), True, True, 1.0))

    def reset(self, task: Task) -> Any:
        return self.opening

    def step(self, action: str) -> Any:
        return self.answer(action)


async def planned(world: Environment, **limits: int) -> Episode:
    model = ScriptedModel(["push"], next_tokens=lambda prompt: {"1": 0.9, "2": 0.1, "A": 0.5})
    return await Planner(model, limits={"steps": 4, **limits}).run("open the door", world)


@pytest.mark.parametrize(
    ("opening", "said"),
    [
        (None, "the observation is None"),
        ("a door", "the observation is 'a door' (str), expected an amp.Observation"),
        (Seen(state={"door": 1}), "state is {'door': 1} (dict), expected a string"),
        (Seen(actions="push"), "actions is 'push' (str), expected a tuple of different"),
        (Seen(actions=("a", "b", "a")), "actions has 'a' twice"),
        (Seen(actions=("a", 7)), "one of actions is 7 (int), expected a string"),
        (Seen(actions=("a", " ")), "one of actions is ' ' (str)"),
        (Seen(tool_actions={"map": "a"}), "tool_actions['map'] is 'a' (str)"),
        (Seen(tool_actions={(1, 2): ("a",)}), "a key of tool_actions is (1, 2) (tuple)"),
        (Seen(symbols=["door"]), "symbols is ['door'] (list), expected a mapping from names"),
        (Seen(symbols={"door": ...}), "symbols is {'door': Ellipsis} (dict), expected a mapping"),
        (Seen(symbols={"door": float("nan")}), "symbols is {'door': nan} (dict)"),
        (Seen(symbols={"door": "\ud800"}), "symbols is "),
        (Seen(symbols={(1, 2): "door"}), "symbols is {(1, 2): 'door'} (dict)"),
        (Seen(distance=7.0), "distance is 7.0 (float), expected a number from 0 to 1"),
    ],
)
async def test_a_wrong_first_state_is_named_before_anything_is_spent(
    opening: object, said: str
) -> None:
    class Opening(Door):
        def reset(self, task: Task) -> Any:
            return opening

    with pytest.raises(EnvironmentFailedError) as caught:
        await planned(Opening())
    assert str(caught.value).startswith(f"Opening.reset: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda action: None, "the result is None"),
        (lambda action: (Seen(), 1.0, True, False, {}), "the result is (Observation("),
        (lambda action: Went(Seen(), "no"), "done is 'no' (str), expected True or"),
        (lambda action: Went(Seen(), 1), "done is 1 (int)"),
        (lambda action: Went(Seen(), True, "yes"), "success is 'yes' (str)"),
        (lambda action: Went(Seen(), True, score=42), "score is 42 (int), expected"),
        (lambda action: Went(Seen(), True, score=float("nan")), "score is nan"),
        (lambda action: Went(Seen(), True, feedback=None), "feedback is None"),
        (lambda action: Went({"s": 1}, True), "the observation is {'s': 1} (dict)"),
    ],
)
async def test_a_wrong_result_ends_the_episode_with_its_record(
    answer: Callable[[str], object], said: str
) -> None:
    episode = await planned(Door(answer=answer))
    assert (episode.ended, episode.success) == ("environment error", False)
    (step,) = episode.steps
    assert step.action == "push"
    assert (step.failure or "").startswith(f"Door.step: {said}")
    assert episode.usage == step.usage
    assert episode.usage.tokens > 0


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ZeroDivisionError("division by zero"), "Door.step failed: ZeroDivisionError: division by"),
        (InvalidInputError("push is not admissible"), "push is not admissible"),
        (AssertionError(), "Door.step failed: AssertionError"),
    ],
)
async def test_an_error_of_step_ends_the_episode_with_its_record(
    raised: Exception, said: str
) -> None:
    def answer(action: str) -> object:
        raise raised

    for episode in (
        await planned(Door(answer=answer)),
        await ReActPlanner(
            ScriptedModel(["push"], next_tokens=lambda prompt: {"1": 0.9, "2": 0.1}),
            Planner(ScriptedModel([])).executor,
            Allocation(),
            Limits(steps=4),
        ).run(TASK, Door(answer=answer)),
    ):
        assert episode.ended == "environment error"
        assert (episode.steps[-1].failure or "").startswith(said)
        assert episode.steps[-1].feedback == ""
        assert episode.usage.tokens > 0


class ManyDoors(Door):
    """Doors that can be copied, for several plans side by side."""

    def fork(self) -> ManyDoors:
        return ManyDoors(self.opening, self.answer)


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError()])
async def test_an_environment_that_ends_the_program_ends_its_episode(raised: BaseException) -> None:
    def leave(action: str) -> object:
        raise raised

    episode = await planned(Door(answer=leave))
    assert (episode.ended, episode.plan) == ("environment error", ("push",))
    assert f"Door.step failed: {type(raised).__name__}" in (episode.steps[-1].failure or "")
    with pytest.raises(EnvironmentFailedError, match="no environment for task 'a': SystemExit"):
        await run_many(Planner("random"), ["a"], lambda: sys.exit(3))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Went, "expected an amp.Task or a goal in words"),
        (Task(cast(str, 1), "go"), "task 1: id is 1, expected a string"),
        (Task("a", cast(str, None)), "task 'a': goal is None, expected a string"),
        (Task("a", "go", cast(Any, [1])), r"task 'a': data is \[1\], expected a mapping"),
        (Task("a", "go", seed=cast(int, "x")), "task 'a': seed is 'x', expected a whole number"),
    ],
)
async def test_a_task_that_could_not_be_saved_is_refused(task: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        await Planner("random").run(task, Door())


async def test_actions_that_are_enumerations_are_the_texts_that_they_stand_for() -> None:
    class Move(str, enum.Enum):  # noqa: UP042 # unlike a StrEnum, it is written Move.PUSH
        PUSH = "push"
        PULL = "pull"

    seen = await open_task(Door(Seen("a door", list(Move))), TASK)
    assert [f"{action}" for action in seen.actions or ()] == ["push", "pull"]


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        (lambda action: Transition(Observation("a wall", ()), False), "dead end"),
        (lambda action: None, "environment error"),
    ],
)
async def test_beam_search_ends_with_its_record_too(
    answer: Callable[[str], object], ended: str
) -> None:
    model = ScriptedModel(["push"], next_tokens=lambda prompt: {"1": 0.5, "2": 0.5})
    two = FixedAllocator(Allocation(temperature=1.0, beam_width=2))
    planner = BeamPlanner(model, allocator=two, limits=Limits(steps=4))
    episode = await planner.run(TASK, ManyDoors(answer=answer))
    assert (episode.ended, episode.success, len(episode.steps)) == (ended, False, 1)
    assert episode.usage.tokens > 0


async def test_a_dead_end_is_an_ending_of_its_own() -> None:
    stuck = Transition(Observation("a wall", ()), False, feedback="bump")
    episode = await planned(Door(answer=lambda action: stuck))
    assert (episode.ended, episode.success, len(episode.steps)) == ("dead end", False, 1)


async def test_reset_and_step_may_be_async_and_answer_with_numpys_types() -> None:
    np = pytest.importorskip("numpy")

    class Slow:
        async def reset(self, task: Task) -> Observation:
            return Observation("a door", cast(Any, list(DOORS)))

        async def step(self, action: str) -> Transition:
            return Transition(Observation("open"), np.bool_(True), np.bool_(True), np.float64(1.0))

    model = ScriptedModel([], next_tokens=lambda prompt: {"1": 0.9, "2": 0.1})
    episode = await Planner(model).run(TASK, Slow())
    assert (episode.ended, episode.success, episode.score) == ("done", True, 1.0)
    assert type(episode.success) is bool
    assert episode.steps[0].observation.actions == DOORS


async def test_a_class_in_place_of_an_environment_is_told_apart() -> None:
    with pytest.raises(EnvironmentFailedError, match=r"the class Door; pass Door\(\) instead"):
        await open_task(cast(Any, Door), TASK)


@pytest.mark.parametrize("planner", ["planner", "react", "beams"])
@pytest.mark.parametrize("hangs", ["reset", "step"])
async def test_an_async_environment_that_hangs_ends_the_episode(planner: str, hangs: str) -> None:
    class Server(Door):
        async def reset(self, task: Task) -> Any:
            return await asyncio.sleep(60 * (hangs == "reset"), Observation("a door", DOORS))

        async def step(self, action: str) -> Any:
            await asyncio.sleep(60)

        def fork(self) -> Any:
            return Server()

    model = ScriptedModel(["push"], next_tokens=lambda prompt: {"1": 0.9, "2": 0.1})
    limits = Limits(steps=4, environment_seconds=0.01)
    planners: dict[str, AnyPlanner] = {
        "planner": Planner(model, limits=limits),
        "react": ReActPlanner(model, Executor(PlainPrompts()), limits=limits),
        "beams": BeamPlanner(model, limits=limits),
    }
    said = rf"Server\.{hangs} took longer than 0\.01 s \(limit environment_seconds\)"
    if hangs == "reset":
        with pytest.raises(EnvironmentFailedError, match=said):
            await planners[planner].run(TASK, cast(Any, Server()))
        return
    episode = await planners[planner].run(TASK, cast(Any, Server()))
    assert episode.ended == "environment error"
    assert re.search(said, episode.steps[-1].failure or "")


async def test_an_interruption_is_no_failure_of_the_environment() -> None:
    def answer(action: str) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await act(Door(answer=answer), "push")


@settings(max_examples=15)
@given(count=st.integers(53, 400), data=st.data())
async def test_of_any_number_of_actions_the_one_that_the_model_wants_is_chosen(
    count: int, data: st.DataObject
) -> None:
    actions = tuple(f"door {n}" for n in range(count))
    wanted = data.draw(st.sampled_from(actions))

    def next_token(prompt: Prompt) -> dict[str, float]:
        lines = str(prompt.messages[-2].content).splitlines()
        listed = {line[3:]: line[0] for line in lines if line[1:3] == ". "}
        assert len(listed) <= 52
        return {label: 0.9 if name == wanted else 0.1 / 52 for name, label in listed.items()}

    planner = Planner(ScriptedModel([], next_tokens=next_token), limits=Limits(steps=1))
    (step,) = (await planner.run(TASK, Door(Observation("a hall", actions)))).steps
    assert step.action == wanted
    assert step.probe is not None
    assert sum(step.probe.options.values()) == pytest.approx(1.0)
    assert tuple(step.probe.options) == actions


@settings(max_examples=10)
@given(count=st.integers(53, 200), react=st.booleans(), data=st.data())
async def test_of_any_number_of_actions_the_likeliest_are_reasoned_about(
    count: int, react: bool, data: st.DataObject
) -> None:
    actions = tuple(f"door {n}" for n in range(count))
    wanted = data.draw(st.sampled_from(actions))

    def next_token(prompt: Prompt) -> dict[str, float]:
        lines = r"^- (door \d+) \((.)\)|^(.)\. (door \d+)$"
        listed = re.findall(lines, asked(prompt), re.MULTILINE)
        labels = {name or other: label or mark for name, label, mark, other in listed}
        assert 0 < len(labels) <= 52
        return {label: 0.9 if n == wanted else 0.1 / 52 for n, label in labels.items()}

    def asked(prompt: Prompt) -> str:
        return next(m.content for m in reversed(prompt.messages) if m.role == "user")

    model = ScriptedModel(["Let me see."], next_tokens=next_token)
    hall = Door(Observation("a hall", actions))
    if react:
        episode = await ReActPlanner(model, Executor(PlainPrompts())).run(TASK, hall)
    else:
        fixed = FixedAllocator(Allocation(depth=2))
        episode = await Planner(model, allocator=fixed, limits={"steps": 1}).run(TASK, hall)
    assert episode.steps[0].action == wanted
    (thought,) = model.requests
    assert wanted in asked(thought.prompt)
    assert asked(thought.prompt).count("door ") <= 53


def gymnasium(rewards: Mapping[int, float], **info: Any) -> Any:
    """An environment of two actions with gymnasium's interface."""
    return SimpleNamespace(
        action_space=SimpleNamespace(n=2),
        reset=lambda seed: (f"a door, seed {seed}", {}),
        step=lambda action: ("open", rewards[action], True, False, info),
    )


async def test_an_environment_of_gymnasium_is_planned_in() -> None:
    adapted = GymEnvironment(gymnasium({0: 1.0, 1: 0.0}), DOORS)
    assert (await open_task(adapted, TASK)).state == "a door, seed 0"
    assert (await planned(adapted)).success
    assert not (await planned(GymEnvironment(gymnasium({0: 0.0, 1: 1.0}), DOORS))).success
    told = GymEnvironment(gymnasium({0: 1.0, 1: 0.0}, is_success=False), DOORS)
    assert not (await planned(told)).success
    with pytest.raises(InvalidInputError, match="1 names of actions, expected 2"):
        GymEnvironment(gymnasium({}), ("push",))
    with pytest.raises(InvalidInputError, match="actions is 'ab', expected a list of names"):
        GymEnvironment(gymnasium({}), "ab")
    for unlisted in ("push", {"push", "pull"}):  # would be letters, or in another order each time
        with pytest.raises(EnvironmentFailedError, match="expected a tuple of different strings"):
            await open_task(GymEnvironment(gymnasium({}), lambda *_, u=unlisted: u), TASK)
    continuous = SimpleNamespace(action_space=SimpleNamespace(shape=(2,)))
    flags = SimpleNamespace(action_space=SimpleNamespace(n=2, shape=(2,)))
    for space in (continuous, flags):
        with pytest.raises(InvalidInputError, match="is not discrete; expected a function"):
            GymEnvironment(space, DOORS)


async def test_an_environment_made_with_gymnasium_itself_is_planned_in() -> None:
    gym = pytest.importorskip("gymnasium")

    class Hall(gym.Env):  # type: ignore[misc,name-defined] # known only where it is installed
        observation_space = gym.spaces.Text(40)
        action_space = gym.spaces.Discrete(2, start=5)

        def reset(self, *, seed: int | None = None, options: object = None) -> Any:
            super().reset(seed=seed)
            return "a hall with a door", {}

        def step(self, action: int) -> Any:
            assert self.action_space.contains(action)
            return "outside", float(action == 5), True, False, {}

    episode = await planned(GymEnvironment(gym.wrappers.TimeLimit(Hall(), 9), DOORS))
    assert (episode.ended, episode.success, episode.plan) == ("done", True, ("push",))


def test_a_planner_is_made_of_names() -> None:
    planner = Planner("random", allocator="fixed", limits={"steps": 3, "tokens": 500})
    assert planner.model.card.name == "random"
    assert planner.limits == Limits(steps=3, tokens=500)
    with pytest.raises(InvalidInputError, match=r"unknown allocator 'fixd'; did you mean 'fixed'"):
        Planner("random", allocator="fixd")
    with pytest.raises(InvalidInputError, match=r"unknown limit 'step'; did you mean 'steps'"):
        Planner("random", limits={"step": 3})
    with pytest.raises(InvalidInputError, match="limit tokens is 'many', expected a number"):
        Planner("random", limits={"tokens": "many"})


class Evil:
    """Whatever is asked of it fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no words\nfor this")

    def __getattr__(self, name: str) -> object:
        raise ValueError(name)


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.builds(Evil)
    | st.sampled_from([10**400, "\ud800", b"bytes", object, Evil, ...]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
        | st.builds(Seen, inner, inner, inner, inner, inner)
        | st.builds(Went, inner, inner, inner, inner, inner)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(JUNK, st.just(Seen("a door", DOORS)) | JUNK, JUNK)
async def test_whatever_an_environment_returns_is_planned_with_or_named_in_one_line(
    junk: Any, opening: Any, part: Any
) -> None:
    class Anything(Door):
        def reset(self, task: Task) -> Any:
            return opening

    answers = iter([Went(Seen("a door", DOORS), part), Went(Seen(part), False), junk])
    try:
        episode = await planned(Anything(answer=lambda action: next(answers)))
    except EnvironmentFailedError as error:
        assert "\n" not in str(error)
        return
    assert episode.ended in ("done", "limit of steps", "dead end", "environment error")
    assert "\n" not in (episode.steps[-1].failure or "") if episode.steps else True
