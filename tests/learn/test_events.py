"""What TensorBoard shows of a training is what metrics.jsonl says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.fakes.problems import UntilRight
from tests.learn.test_trainer import SHORT, metrics, stored

from amp.learn.trainer import CHECKPOINT, Metrics, train


def test_an_interrupted_training_shows_every_update_once(tmp_path: Path) -> None:
    # Here, since its import takes longer than the test.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def interrupt(told: Metrics) -> None:
        if told["update"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(UntilRight(), SHORT, tmp_path, on_update=interrupt)
    for first in tmp_path.glob("events.*"):  # files of one second are read in any order
        first.rename(first.with_name("events.out.tfevents.1.before"))
    train(UntilRight(), SHORT, tmp_path, resume=True)
    noted = metrics(tmp_path)
    shown = EventAccumulator(str(tmp_path))
    shown.Reload()
    names = set(shown.Tags()["scalars"])
    assert {"seconds_updating", "seconds_rolling_out"} < names
    for name in noted[-1]:
        expected = [(m["update"], m[name]) for m in noted if m[name] is not None]
        if name != "update" and expected:
            found = [(event.step, event.value) for event in shown.Scalars(name)]
            assert [step for step, _ in found] == [update for update, _ in expected]
            assert [value for _, value in found] == pytest.approx([v for _, v in expected])


@pytest.mark.slow
def test_without_tensorboard_the_training_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(UntilRight(), SHORT, tmp_path / "with")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    train(UntilRight(), SHORT, tmp_path / "without")
    assert [p.name for p in (tmp_path / "with").glob("events.*")]
    assert not list((tmp_path / "without").glob("events.*"))
    assert stored(tmp_path / "with" / CHECKPOINT) == stored(tmp_path / "without" / CHECKPOINT)
