"""Where a policy comes from, in one TOML file: the recording, what is read, how it is learned."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amp.errors import InvalidInputError, did_you_mean
from amp.learn.trainsettings import TrainSettings, train_settings

Count = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """From a recording to a policy; the same recipe gives the same policy.

    Attributes:
        benchmark: whose tasks are learned on; of one plan step a task.
        recording: holds the samples. Paths are relative to where the command runs.
        split: of the tasks.
        limit: tasks at most, the first ones; None for all that are recorded.
        arms: ways to ask (`amp.evaluate.presets.ARMS`).
        samples: of each.
        rounds: a task at most.
        features: of the complexity, that the policy reads.
        assessor: file of a trained assessor of this model and benchmark that does not look; its
            score is what the policy sees. None takes the weighted sum with its initial weights.
        end_to_end: whether that assessor, a network, learns with the policy in PPO (spec 2.5, 4b).
        lessons: episodes on which the oracle is imitated before PPO; 0 for no pre-training.
        hidden: units of each hidden layer.
        epochs: passes over the lessons.
        learn: whether PPO follows.
        ppo: its settings (`amp.learn.trainsettings.TrainSettings`), a ``preset`` among them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    recording: Path
    split: str = "train"
    limit: Count | None = None
    arms: Annotated[tuple[str, ...], Field(min_length=1)] = ("program", "chain")
    samples: Count = 4
    rounds: Count = 4
    features: tuple[str, ...] = ()
    assessor: Path | None = None
    end_to_end: bool = False
    lessons: Annotated[int, Field(ge=0)] = 6000
    hidden: Count = 32
    epochs: Count = 15
    learn: bool = True
    ppo: dict[str, Any] = {}

    @property
    def settings(self) -> TrainSettings:
        """Those of PPO."""
        return train_settings({"hidden": self.hidden, **self.ppo})


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    With ``like = "other.toml"``, a path from its own folder, it has the keys of that recipe but for
    those that it names; of the table ``ppo``, key by key.

    Raises:
        InvalidInputError: if there is no such file, it is no TOML, has a key that is none, or a
            value that does not fit; the message names the file and the key.
    """
    try:
        recipe = Recipe.model_validate(_values(path))
        if not recipe.lessons and not recipe.learn:
            raise InvalidInputError("lessons is 0 and learn is false, expected one of them")
        if recipe.end_to_end and (recipe.assessor is None or not recipe.learn):
            lacking = "no assessor is named" if recipe.assessor is None else "learn is false"
            raise InvalidInputError(f"end_to_end is true and {lacking}, expected both or neither")
        _ = recipe.settings
    except OSError as error:
        raise InvalidInputError(f"recipe {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"recipe {path} is no TOML: {error}") from None
    except ValidationError as error:
        raise InvalidInputError(f"recipe {path}: {_told(error)}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"recipe {path}: {error}") from None
    return recipe


def _values(path: Path) -> dict[str, Any]:
    """The keys of a recipe, those of the one that it is `like` among them."""
    own = tomllib.loads(path.read_text("utf-8"))
    if "like" not in own:
        return own
    like = own.pop("like")
    if not isinstance(like, str):
        raise InvalidInputError(f"like is {like!r}, expected the path of another recipe")
    base = path.parent / like
    if not base.is_file():
        raise InvalidInputError(f"like is {like!r}, but there is no recipe {base}")
    inherited = tomllib.loads(base.read_text("utf-8"))
    if "like" in inherited:
        raise InvalidInputError(
            f"like is {like!r}, which is like {inherited['like']!r}; name that one"
        )
    if isinstance(own.get("ppo"), dict) and isinstance(inherited.get("ppo"), dict):
        own["ppo"] = {**inherited["ppo"], **own["ppo"]}
    return {**inherited, **own}


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = sorted(Recipe.model_fields)
        return f"{where} is no key{did_you_mean(where, known)} (keys: {', '.join(known)})"
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where} is {first['input']!r}: {first['msg']}"
