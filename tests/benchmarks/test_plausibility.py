"""What candidates look like, benchmark by benchmark: laws for any text, then examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.alfworld.scene import Goal, Scene, facts
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.benchmarks.base import Defaults
from amp.execute.choice_step import choice_looks
from amp.types import Candidate, Complexity, Observation, StepContext, StepRecord, Task, Usage

LOOKS = {name: load_benchmark(name).defaults.plausibility for name in BENCHMARKS}
GOALS = (
    "go to the red ball",
    "open a blue door, then put the key next to the red box",
    "put a clean mug in desk.",
    "look at mug under the desklamp.",
    "Find me soft socks with color: red, and size: s, and price lower than 40.00 dollars",
)
STATES = (
    "You carry a red key\nYou see a locked blue door 1 step forward\nYou see a red ball 2 steps"
    " left\nYou remember a red ball 3 steps right",
    "I [SEP] x [SEP] Back to Search [SEP] Page 1 (Total results: 2) [SEP] B01 [SEP] T [SEP] $5",
    "I [SEP] x [SEP] Back [SEP] < Prev [SEP] color [SEP] red [SEP] Socks [SEP] Price: $50.0 [SEP] "
    "Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now",
    "Price: [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now",
)
ACTIONS = (
    *PRIMITIVES,
    *(
        "go to the red ball 2 steps left",
        "open the locked blue door",
        "explore",
        "drop the red key",
    ),
    *("put the red key next to the red box", "go to desk 1", "take mug 1 from desk 1"),
    *("put mug 1 in/on desk 1", "clean mug 1 with sinkbasin 1", "use desklamp 1"),
    *("search[red socks]", "click[buy now]", "click[red]", "click[b01]", "click[", "]["),
)
CLEAN_MUG = Goal("mug", state="clean", place="desk")
SYMBOLS = facts(CLEAN_MUG, Scene(("desk 1", "shelf 1"), held="mug 1"))
texts = st.sampled_from(STATES) | st.text(max_size=40)
actions = st.sampled_from(ACTIONS) | st.text(max_size=20)


def at(
    goal: str,
    state: str,
    listed: Sequence[str] | None = None,
    done: Sequence[tuple[str, str]] = (),
    symbols: object = None,
) -> StepContext:
    """A step after actions and their feedback, all in one state."""
    now = Observation(
        state, None if listed is None else tuple(listed), symbols=symbols  # type: ignore[arg-type]
    )  # fmt: skip
    steps = tuple(
        StepRecord(now, (), Complexity(0.0), action, Usage(), feedback=said)
        for action, said in done
    )
    return StepContext(Task("t", goal), now, steps)


@pytest.mark.parametrize("name", BENCHMARKS)
@settings(max_examples=30)
@given(
    st.sampled_from(GOALS) | st.text(max_size=30),
    texts,
    st.none() | st.lists(actions, max_size=4),
    st.lists(st.tuples(actions, texts), max_size=4),
    st.none() | actions,
    st.none() | st.just(SYMBOLS),
)
def test_any_text_gives_finite_numbers_and_the_same_ones_again(
    name: str,
    goal: str,
    state: str,
    listed: list[str] | None,
    done: list[tuple[str, str]],
    action: str | None,
    symbols: object,
) -> None:
    context = at(goal, state, listed, done, symbols)
    told = LOOKS[name](context, Candidate("", action))
    assert all(math.isfinite(value) for value in told.values())
    assert told == LOOKS[name](context, Candidate("", action))
    if name != "gsm8k":
        assert choice_looks(context, Candidate("", action)).items() <= told.items()
    if listed is not None and action is not None and name != "gsm8k":
        assert told["tried"] == sum(before == action for before, _ in done)


def of(name: str, action: str, context: StepContext) -> dict[str, float]:
    return dict(LOOKS[name](context, Candidate("", action)))


BALL, KEY = "You see a red ball 2 steps left", "You see a red key 1 step forward"
DOOR = "You see a locked red door 3 steps forward"
PUT = "put the red key next to the red ball"


@pytest.mark.parametrize(
    ("mission", "state", "action", "is_so"),
    [
        ("go to the red ball", BALL, "go to the red ball", {"names_goal", "fulfils", "goal_seen"}),
        ("go to the red ball", f"{KEY}\n{BALL}", "go to the red key", {"strays", "goal_seen"}),
        ("go to the red ball", BALL, "explore", {"explores", "explores_in_vain", "goal_seen"}),
        ("go to the red ball", KEY, "explore", {"explores"}),
        ("pick up the red ball", BALL, "go to the red ball", {"names_goal", "goal_seen"}),
        (
            *("open the red door", f"{KEY}\n{DOOR}", "pick up the red key"),
            {"names_goal", "fulfils", "key", "goal_seen"},
        ),
        (
            *("open the red door", f"{KEY}\n{DOOR}", "go to the locked red door"),
            {"strays", "locked_out", "goal_seen"},
        ),
        (
            *("open the red door", f"You carry a red key\n{DOOR}", "go to the locked red door"),
            {"names_goal", "carries", "goal_seen"},
        ),
        (PUT, f"{KEY}\n{BALL}", "pick up the red ball", {"strays", "takes_other", "goal_seen"}),
        (
            *(PUT, f"You carry a blue box\n{KEY}", "drop the blue box"),
            {"frees", "hindered", "carries", "goal_seen"},
        ),
        (
            *(PUT, f"You carry a red key\n{BALL}", PUT),
            {"names_goal", "fulfils", "carries", "goal_seen"},
        ),
        (
            *(PUT, f"You carry a red key\n{BALL}", "drop the red key"),
            {"loses", "strays", "carries", "goal_seen"},
        ),
        (
            *(PUT, f"You carry a red key\n{BALL}", "put the red key next to the red box"),
            {"puts_other", "loses", "strays", "carries", "goal_seen"},
        ),
        ("go to the red ball", BALL, "turn left", {"towards", "goal_seen"}),
        ("go to the red ball", BALL, "turn right", {"away", "goal_seen"}),
        ("go to the red ball", KEY, "go forward", {"in_vain"}),
        ("go to the red ball", KEY, "pick up", set()),
        ("go to the red ball", KEY, "drop", {"in_vain"}),
    ],
)
def test_a_subgoal_or_move_is_held_against_the_mission(
    mission: str, state: str, action: str, is_so: set[str]
) -> None:
    told = of("babyai", action, at(mission, state, (*PRIMITIVES, "explore")))
    counts = {"options", "admissible", "steps", "visits", "tried", "done", "repeats"}
    assert {name for name, value in told.items() if value and name not in counts} == is_so


def test_of_several_things_that_fit_the_farther_one_is_known() -> None:
    state = f"{BALL}\nYou remember a red ball 3 steps right"
    context = at("go to the red ball", state, PRIMITIVES)
    assert of("babyai", "go to the red ball 2 steps left", context)["farther"] == 0
    assert of("babyai", "go to the red ball 3 steps right", context)["farther"] == 1


def test_a_clause_that_was_carried_out_counts_no_more() -> None:
    done = [("go to the red key", "You went to the red key.")]
    mission, state = "go to the red ball after you go to the red key", f"{KEY}\n{BALL}"
    ball = "go to the red ball"
    assert of("babyai", ball, at(mission, state, PRIMITIVES))["names_goal"] == 0.0
    assert of("babyai", ball, at(mission, state, PRIMITIVES, done))["names_goal"] == 1.0
    failed = [("go to the red key", "You could not go to the red key: no way leads there.")]
    assert of("babyai", ball, at(mission, state, PRIMITIVES, failed))["names_goal"] == 0.0


SOCKS = GOALS[-1]
RESULTS = (
    "I [SEP] x [SEP] Back to Search [SEP] Page 1 (Total results: 2) [SEP] Next > [SEP] B01 [SEP] "
    "Soft Socks [SEP] $45.0 to $50.0 [SEP] B02 [SEP] Hard Hat [SEP] $5.0"
)
ITEM = (
    "I [SEP] x [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] blue [SEP] Soft Socks "
    "[SEP] Price: $5.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] "
    "Buy Now"
)
BUTTONS = tuple(
    f"click[{text}]"
    for text in ("back to search", "< prev", "description", "buy now", "red", "blue")
)


def test_a_product_is_held_against_what_is_wanted() -> None:
    context = at(SOCKS, RESULTS, ("click[b01]", "click[b02]"))
    dear, other = (of("webshop", f"click[{link}]", context) for link in ("b01", "b02"))
    assert (dear["opens"], dear["over_limit"], dear["words_missing"]) == (1.0, 1.0, 0.0)
    assert (other["opens"], other["over_limit"], other["words_missing"]) == (1.0, 0.0, 1.0)


def test_a_purchase_is_held_against_the_options_that_were_chosen() -> None:
    before = of("webshop", "click[buy now]", at(SOCKS, ITEM, BUTTONS))
    after = of("webshop", "click[buy now]", at(SOCKS, ITEM, BUTTONS, [("click[red]", "")]))
    assert (before["buys"], before["over_limit"]) == (1.0, 0.0)
    assert (before["options_left"], before["options_lacking"]) == (2.0, 1.0)
    assert (after["options_left"], after["options_lacking"]) == (1.0, 1.0)
    wanted, other = (of("webshop", c, at(SOCKS, ITEM, BUTTONS)) for c in BUTTONS[-2:])
    assert (wanted["selects"], wanted["selects_wanted"]) == (1.0, 1.0)
    assert (other["selects"], other["selects_wanted"]) == (1.0, 0.0)


def test_a_search_is_held_against_the_instruction() -> None:
    context = at(SOCKS, "WebShop", done=[("search[hats]", "")])
    good, bad = (of("webshop", f"search[{words}]", context) for words in ("soft red socks", "hats"))
    assert good["query_lacks"] < bad["query_lacks"]
    assert (good["query_adds"], bad["query_adds"]) == (0.0, 1.0)
    assert (good["searched"], bad["searched"]) == (0, 1)


@pytest.mark.parametrize(
    ("held", "action", "is_so"),
    [
        (None, "take mug 1 from desk 1", {"takes", "found"}),
        (None, "take pen 1 from desk 1", {"takes_other", "found"}),
        (None, "go to shelf 1", {"searches", "searches_in_vain", "found"}),
        ("mug 1", "put mug 1 in/on desk 1", {"puts_elsewhere", "holds", "found"}),
        ("mug 1", "clean mug 1 with sinkbasin 1", {"changes", "holds", "found"}),
        ("mug 1", "heat mug 1 with microwave 1", {"changes_other", "holds", "found"}),
        ("mug 1", "go to sinkbasin 1", {"goes_on", "holds", "found"}),
        ("pen 1", "use desklamp 1", {"lights_early", "holds_other", "found"}),
    ],
)
def test_a_command_is_held_against_goal_and_room(
    held: str | None, action: str, is_so: set[str]
) -> None:
    scene = Scene(("desk 1", "shelf 1"), held=held, contents={"desk 1": ("mug 1", "pen 1")})
    if held is not None:
        scene.contents["desk 1"] = ("mug 2",)
    symbols = facts(CLEAN_MUG, scene)
    told = of("alfworld", action, at("put a clean mug in desk.", "s", (action,), symbols=symbols))
    counts = {"options", "admissible", "steps"}
    assert {name for name, value in told.items() if value and name not in counts} == is_so


def test_a_clean_mug_belongs_on_the_desk() -> None:
    scene = Scene(("desk 1",), held="mug 1", states={"mug 1": frozenset({"clean"})})
    symbols = facts(CLEAN_MUG, scene)
    action = "move mug 1 to desk 1"
    told = of("alfworld", action, at("", "s", (action,), symbols=symbols))
    assert (told["puts"], told["puts_elsewhere"]) == (1.0, 0.0)


def test_a_benchmark_that_says_nothing_of_its_own_has_the_looks_of_any_choice() -> None:
    ours = load_benchmark("babyai").defaults
    assert Defaults(ours.fixed, ours.space, ours.lengths).plausibility is choice_looks
