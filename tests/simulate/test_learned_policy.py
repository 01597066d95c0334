"""A learned policy is compared only where it was learned, and on no task that it knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.recorded import ARMS, GSM8K, POLICY_SPACE
from tests.fakes.synthetic import CARD, synthetic

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.policy_file import Origin, save_policy
from amp.errors import InvalidInputError
from amp.simulate.compare import learned
from amp.simulate.samples import Arm, SampleTable

SPACE = POLICY_SPACE
POLICY = replace(MlpPolicy.initial(SPACE, ("unread",)), max_samples=3)
ORIGIN = Origin("gsm8k", CARD.name, CARD.sha256 or "", ("gsm8k/train/1",))


def table(*names: str) -> SampleTable:
    made = synthetic(4, samples=3)
    arms = tuple(Arm(name, ARMS[name]) for name in names)
    cells = [dict(zip(names, row.by_arm.values(), strict=False)) for row in made.tasks]
    tasks = tuple(replace(row, by_arm=c) for row, c in zip(made.tasks, cells, strict=True))
    return replace(made, benchmark="gsm8k", arms=arms, tasks=tasks)


TEST = table("program", "chain")
WEIGHED = replace(TEST, card=replace(CARD, sha256="aa"))


def test_a_policy_that_was_learned_for_these_draws_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    save_policy(POLICY, path, ORIGIN)
    assert learned(path, TEST).features == ("unread",)
    save_policy(POLICY, path, replace(ORIGIN, model="another name", sha256="aa"))
    assert learned(path, WEIGHED).max_samples == 3


@pytest.mark.parametrize(
    ("policy", "origin", "test", "said"),
    [
        (
            replace(MlpPolicy.initial(GSM8K.defaults.space, ()), max_samples=3),
            *(ORIGIN, TEST, "does not fit: it was made for depth"),
        ),
        (SigmoidPolicy.initial(SPACE), ORIGIN, TEST, "takes no trade-off"),
        (POLICY, None, TEST, "does not say where it was learned"),
        (POLICY, replace(ORIGIN, benchmark="babyai"), TEST, "learned on babyai, .* of gsm8k"),
        (POLICY, replace(ORIGIN, model="other"), TEST, "learned with other, .* synthetic"),
        (POLICY, replace(ORIGIN, sha256="bb"), WEIGHED, "with synthetic of other weights"),
        (POLICY, replace(ORIGIN, tasks=(TEST.tasks[2].task,)), TEST, "on task .* of the test"),
        (POLICY, ORIGIN, table("program"), "may ask for a chain"),
        (
            POLICY,
            replace(ORIGIN, correctness="cc"),
            TEST,
            "on rated samples, .* those of the table",
        ),
        (replace(POLICY, max_samples=4), ORIGIN, TEST, "ask for 4 samples .*, the table has 3"),
        (replace(POLICY, max_samples=None), ORIGIN, TEST, "ask for any number of samples"),
    ],
)
def test_any_other_is_refused_in_one_line_that_names_its_file(
    policy: MlpPolicy | SigmoidPolicy,
    origin: Origin | None,
    test: SampleTable,
    said: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "policy.safetensors"
    save_policy(policy, path, origin)
    with pytest.raises(InvalidInputError, match=said) as refused:
        learned(path, test)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no policy .*nowhere"):
        learned(tmp_path / "nowhere", TEST)
