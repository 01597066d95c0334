"""What is believed follows the game's words, and nothing else."""

from __future__ import annotations

from amp.benchmarks.alfworld.scene import Scene

INTRO = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around"
    " you, you see a cabinet 10, a cabinet 2, a fridge 1, a shelf 1, and a shelf 2.\n\n"
    "Your task is to: put a hot apple in fridge."
)


def after(*texts: str) -> Scene:
    scene = Scene()
    for text in (INTRO, *texts):
        scene.hear(text)
    return scene


def test_the_room_lists_its_places_in_the_order_of_their_numbers() -> None:
    scene = after()
    assert scene.receptacles == ("cabinet 2", "cabinet 10", "fridge 1", "shelf 1", "shelf 2")
    assert scene.unexplored() == scene.receptacles
    assert scene.at is None


def test_what_was_seen_on_a_place_stays_known() -> None:
    scene = after(
        "You arrive at shelf 1. On the shelf 1, you see a apple 1, a mug 2, and a pen 1.",
        "You arrive at shelf 2. On the shelf 2, you see nothing.",
    )
    assert scene.contents == {"shelf 1": ("apple 1", "mug 2", "pen 1"), "shelf 2": ()}
    assert scene.visited == ["shelf 1", "shelf 2"]
    assert scene.found("apple") == ("apple 1",)
    assert scene.where("apple 1") == "shelf 1"
    assert "shelf 1: apple 1, mug 2, pen 1" in scene.describe()
    assert "shelf 2, with nothing" in scene.describe()


def test_a_closed_place_is_unknown_until_it_is_opened() -> None:
    scene = after("You arrive at fridge 1. The fridge 1 is closed.")
    assert scene.shut == {"fridge 1": True}
    assert "fridge 1" in scene.unexplored()
    scene.hear("You open the fridge 1. The fridge 1 is open. In it, you see a egg 1.")
    assert scene.shut == {"fridge 1": False}
    assert scene.contents == {"fridge 1": ("egg 1",)}
    scene.hear("You close the fridge 1.")
    assert scene.shut == {"fridge 1": True}
    assert scene.contents == {"fridge 1": ("egg 1",)}


def test_things_are_taken_changed_and_put_down() -> None:
    scene = after(
        "You arrive at shelf 1. On the shelf 1, you see a apple 1.",
        "You pick up the apple 1 from the shelf 1.",
    )
    assert scene.held == "apple 1"
    assert scene.contents["shelf 1"] == ()
    scene.hear("You heat the apple 1 using the microwave 1.")
    assert scene.told("apple 1") == "apple 1 (hot)"
    scene.hear("You cool the apple 1 using the fridge 1.")
    scene.hear("You clean the apple 1 using the sinkbasin 1.")
    assert scene.told("apple 1") == "apple 1 (clean, cool)"
    scene.hear("You move the apple 1 to the shelf 2.")
    assert scene.where("apple 1") == "shelf 2"
    assert "You hold nothing." in scene.describe()


def test_the_old_wording_of_putting_is_understood() -> None:
    scene = after("You pick up the apple 1 from the shelf 1.")
    scene.hear("You put the apple 1 in/on the fridge 1.")
    assert scene.where("apple 1") == "fridge 1"


def test_a_lamp_that_was_turned_on_is_lit() -> None:
    scene = after("You turn on the desklamp 1.")
    assert scene.told("desklamp 1") == "desklamp 1 (lit)"


def test_nothing_is_learned_where_nothing_happens() -> None:
    before = after()
    again = after("Nothing happens.", "You are not carrying anything.")
    again.hear("You are in the middle of a room. Looking quickly around you, you see nothing.")
    assert again == before


def test_places_within_reach_are_those_that_can_be_examined() -> None:
    scene = after()
    said = "You arrive at shelf 1. On the shelf 1, you see a pen 1."
    scene.hear(said, ["examine pen 1", "examine shelf 1", "examine shelf 2", "go to fridge 1"])
    assert scene.near == ("shelf 2",)
    assert "You can also reach shelf 2." in scene.describe()


def test_what_can_be_taken_or_used_is_there() -> None:
    scene = after()
    said = "You arrive at shelf 1. On the shelf 1, you see a pen 1."
    scene.hear(said, ["take apple 1 from shelf 2", "take pen 1 from shelf 1", "use desklamp 1"])
    assert scene.contents == {"shelf 1": ("pen 1", "desklamp 1"), "shelf 2": ("apple 1",)}
