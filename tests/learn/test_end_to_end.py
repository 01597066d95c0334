"""Training through CAM and RAC: the loss reaches the assessor, and what it learns pays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import problems
from tests.fakes.problems import TwoArmed
from tests.learn.test_trainer import SHORT, metrics, same, stored

from amp.allocate.mlp_policy import EXTRAS, MlpPolicy, allocations
from amp.allocate.space import Space
from amp.assess.base import Training
from amp.assess.features import FEATURES
from amp.assess.neural import NeuralAssessor, load_assessor
from amp.errors import InvalidInputError
from amp.learn.config import PPOConfig
from amp.learn.networks import Networks, encoded
from amp.learn.ppo import Batch, batch_of, losses, update
from amp.learn.rollout import Rollout, roll_out
from amp.learn.trainer import ASSESSOR, CHECKPOINT, POLICY, Metrics, train
from amp.mlp import Floats, Ints, Layer
from amp.reward import Reward
from amp.simulate.table_env import BatchObservation, StepResult, VectorEpisodes

NAMES = tuple(feature.name for feature in FEATURES[:6])
TRAINED_ON = Training(model="chance", environment="hinted", tasks=("a",))
SCORE = EXTRAS.index("score")
SETTINGS = SHORT.replace(episodes=100, decisions=1_000, curriculum=False, min_trade_off=0.9)
seeds = st.integers(0, 2**32 - 1)


def assessor(seed: int = 0, **changes: Any) -> NeuralAssessor:
    """Random weights, none of them on the feature that tells something: its score is useless."""
    rng = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> Layer:
        weight = rng.normal(0.0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        return Layer(weight, rng.normal(0.0, 0.1, outputs).astype(np.float32))

    first, second = layer(3 * len(NAMES), 8), layer(8, 1)
    first.weight[0] = 0.0
    unit = np.ones(len(NAMES), np.float32)
    made = NeuralAssessor(NAMES, 0 * unit, unit, (first, second))
    return replace(made, **changes)


@dataclass
class Hinted:
    """With the tool or without: which is better, a feature says that only the assessor sees.

    Attributes:
        scorer: what gives the score among the values; None for none.
    """

    scorer: NeuralAssessor | None = None
    tasks: int = 40
    space: Space = field(default_factory=lambda: problems.space(1))
    max_rounds: int = 1
    max_samples: int | None = None
    features: tuple[str, ...] = ()

    @property
    def difficulties(self) -> Floats:
        return np.zeros(self.tasks)

    def reset(self, tasks: Ints, rng: np.random.Generator) -> VectorEpisodes:
        return _HintedEpisodes(self, tasks, rng)


class _HintedEpisodes:
    def __init__(self, problem: Hinted, tasks: Ints, rng: np.random.Generator) -> None:
        self.problem, self.rng = problem, rng
        self.hint = tasks % 2 > 0
        noise = rng.normal(size=(len(tasks), 3 * len(NAMES)))
        self.assessed = np.where(np.arange(3 * len(NAMES)) < len(NAMES), noise, 0.0)
        self.assessed[:, 0] = np.where(self.hint, 1.0, -1.0)

    def observe(self, rows: Ints) -> BatchObservation:
        values = np.full((len(rows), len(EXTRAS)), np.nan)
        assessed = self.assessed[rows].astype(np.float32)
        if self.problem.scorer is not None:
            values[:, SCORE] = self.problem.scorer.predict(assessed)
        free = np.array([name == "tool python" for name in self.problem.space.dims])
        return BatchObservation(values, np.tile(free, (len(rows), 1)), assessed)

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        tool = allocations(self.problem.space, latents).tools[:, 0]
        chance = np.where(tool == self.hint[rows], 0.9, 0.1)
        success = (self.rng.random(len(rows)) < chance).astype(float)
        return StepResult(
            np.full(len(rows), problems.TOKENS), success, np.ones(len(rows), np.bool_)
        )


def frame(seed: int = 0) -> MlpPolicy:
    values = len(EXTRAS)
    made = MlpPolicy.initial(
        problems.space(1),
        (),
        mean=np.full(values, 0.4),
        std=np.full(values, 0.2),
        hidden=8,
        seed=seed,
    )
    return replace(made, max_rounds=1)


def played(policy: MlpPolicy, scorer: NeuralAssessor | None, problem: Hinted) -> Rollout:
    rng = np.random.default_rng(0)
    tasks = np.resize(np.arange(problem.tasks), 2_000)
    trade_offs = rng.uniform(0.5, 1.0, len(tasks))
    return roll_out(policy, problem, Reward(400.0), tasks, trade_offs, rng, scorer)


def moved(networks: Networks, by: float) -> Networks:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return networks


@settings(max_examples=20)
@given(seeds)
def test_torch_scores_and_decides_as_numpy_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scorer, policy = assessor(seed), frame()
    networks = moved(Networks(policy, 0, scorer), 0.1)
    exported, policy = networks.export_assessor(scorer), networks.export(policy)
    assert exported is not None
    assessed = rng.normal(0.0, 2.0, (30, 3 * len(NAMES))).astype(np.float32)
    values = rng.normal(size=(30, len(EXTRAS)))
    blank = encoded(values, policy.mean, policy.std)
    values[:, SCORE] = exported.predict(assessed)
    seen = encoded(values, policy.mean, policy.std)
    with torch.no_grad():
        ours = networks.scored(torch.as_tensor(blank), torch.as_tensor(assessed))
        locations = networks.policy(ours).numpy()
    assert ours.numpy() == pytest.approx(seen, abs=1e-5)
    assert locations == pytest.approx(policy.locations(seen), abs=1e-5)


def test_ratios_are_one_before_the_first_step() -> None:
    networks = moved(Networks(frame(), 0, assessor()), 0.3)
    rollout = played(networks.export(frame()), networks.export_assessor(assessor()), Hinted())
    batch, _ = batch_of(rollout, networks, SETTINGS)
    loss = losses(networks, batch, epsilon=0.2)
    assert loss.clip_fraction.item() == 0.0
    assert loss.kl.item() == pytest.approx(0.0, abs=1e-7)
    inputs = networks.scored(batch.inputs, batch.assessed)
    log_probs, _ = networks.log_probs(inputs, batch.latents, batch.free)
    assert torch.exp(log_probs - batch.log_probs).detach().numpy() == pytest.approx(1.0, abs=1e-5)


def in_double(batch: Batch) -> Batch:
    return Batch(
        batch.inputs.double(),
        batch.assessed.double(),
        batch.latents.double(),
        batch.free,
        batch.log_probs.double(),
        batch.advantages.double(),
        batch.returns.double(),
    )


@pytest.mark.parametrize(("name", "place"), [("0.weight", (3, 1)), ("2.weight", (0, 5))])
def test_the_gradient_of_a_weight_of_the_assessor_is_the_slope_of_the_loss(
    name: str, place: tuple[int, int]
) -> None:
    networks = moved(Networks(frame(), 0, assessor()), 0.3)
    rollout = played(networks.export(frame()), networks.export_assessor(assessor()), Hinted())
    batch = in_double(batch_of(rollout, networks, SETTINGS)[0])
    moved(networks, 0.01).double()
    assert networks.assessor is not None
    weight = networks.assessor.get_parameter(name)

    def loss() -> torch.Tensor:
        return losses(networks, batch, 0.2).total(SETTINGS)

    loss().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    step, around = 1e-6, []
    with torch.no_grad():
        for side in (step, -2.0 * step):
            weight[place] += side
            around.append(loss().item())
    slope = (around[0] - around[1]) / (2.0 * step)
    assert abs(slope) > 1e-4
    assert weight.grad[place].item() == pytest.approx(slope, rel=1e-4)


def test_gradients_of_policy_and_assessor_are_clipped_apart() -> None:
    networks = moved(Networks(frame(), 0, assessor()), 0.3)
    rollout = played(networks.export(frame()), networks.export_assessor(assessor()), Hinted())
    settings = SETTINGS.replace(epochs=1, batch_size=len(rollout.inputs), gradient_norm=1e-3)
    still = torch.optim.SGD(networks.parameters(), lr=0.0)
    done = update(networks, still, rollout, settings, np.random.default_rng(0))
    assert done.assessor_gradient_norm is not None
    assert min(done.gradient_norm, done.assessor_gradient_norm) > 1e-3
    for group in networks.groups():
        squares = [p.grad.square().sum().item() for p in group if p.grad is not None]
        assert math.sqrt(sum(squares)) == pytest.approx(1e-3, rel=1e-2)


def arrays(policy: MlpPolicy) -> Iterator[Floats]:
    for layer in policy.layers:
        yield from (layer.weight, layer.bias)


def test_an_assessor_that_does_not_learn_trains_the_policy_of_its_frozen_score(
    tmp_path: Path,
) -> None:
    settings = SETTINGS.replace(decisions=400, assessor_learning_rate=0.0)
    scorer = assessor()
    still = train(
        Hinted(),
        settings,
        tmp_path / "still",
        start=frame(),
        assessor=scorer,
        trained_on=TRAINED_ON,
    )
    frozen = train(Hinted(scorer), settings, tmp_path / "frozen", start=frame())
    for ours, theirs in zip(arrays(still), arrays(frozen), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert any((a != b).any() for a, b in zip(arrays(still), arrays(frame()), strict=True))
    kept, trained_on = load_assessor(tmp_path / "still" / ASSESSOR)
    assert isinstance(kept, NeuralAssessor)
    assert trained_on == TRAINED_ON
    for mine, its in zip(kept.layers, scorer.layers, strict=True):
        assert (mine.weight == its.weight).all()
        assert (mine.bias == its.bias).all()


@pytest.mark.slow
def test_end_to_end_learns_what_a_useless_frozen_score_hides(tmp_path: Path) -> None:
    settings = PPOConfig(
        reference_cost=400.0,
        decisions=6_000,
        episodes=250,
        hidden=16,
        learning_rate=5e-3,
        assessor_learning_rate=1e-2,
        min_trade_off=0.9,
        curriculum=False,
    )
    scorer = assessor()
    frozen = train(Hinted(scorer), settings, tmp_path / "frozen")
    both = train(
        Hinted(),
        settings,
        tmp_path / "both",
        assessor=scorer,
        trained_on=TRAINED_ON,
    )
    learned, _ = load_assessor(tmp_path / "both" / ASSESSOR)
    assert isinstance(learned, NeuralAssessor)
    assert played(frozen, None, Hinted(scorer)).success.mean() < 0.6
    assert played(both, learned, Hinted()).success.mean() > 0.8


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    scorer = assessor()
    more: dict[str, Any] = {"assessor": scorer, "trained_on": TRAINED_ON}
    whole = train(Hinted(), SETTINGS, tmp_path / "whole", **more)

    def interrupt(told: Metrics) -> None:
        if told["update"] == 5:
            raise KeyboardInterrupt

    part = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        train(Hinted(), SETTINGS, part, on_update=interrupt, **more)
    for other, now in ((None, "none"), (assessor(1), "[0-9a-f]{12}")):
        with pytest.raises(
            InvalidInputError, match=f"assessor was [0-9a-f]{{12}}, now it is {now}"
        ):
            trained_on = None if other is None else TRAINED_ON
            train(Hinted(), SETTINGS, part, assessor=other, trained_on=trained_on, resume=True)
    resumed = train(Hinted(), SETTINGS, part, resume=True, **more)
    assert same(whole, resumed)
    assert metrics(part) == metrics(tmp_path / "whole")
    for name in (CHECKPOINT, POLICY, ASSESSOR):
        assert stored(part / name) == stored(tmp_path / "whole" / name)
    assert all((told["assessor_gradient_norm"] or 0.0) > 0.0 for told in metrics(part))
    learned, _ = load_assessor(part / ASSESSOR)
    assert isinstance(learned, NeuralAssessor)
    assert (learned.layers[0].weight != scorer.layers[0].weight).any()


def test_no_score_is_cut_where_those_of_the_beginning_lie_close_together(tmp_path: Path) -> None:
    first, second = assessor().layers
    flat = assessor(layers=(first, Layer(second.weight * 1e-3, second.bias)))
    policy = train(Hinted(), SETTINGS, tmp_path, assessor=flat, trained_on=TRAINED_ON)
    networks = Networks(policy, 0, assessor(layers=(first, Layer(second.weight, second.bias + 9))))
    seen = networks.scored(torch.zeros(1, 2 * len(EXTRAS)), torch.zeros(1, 3 * len(NAMES)))
    assert 0.0 < seen[0, SCORE].item() < 10.0


def test_nor_is_one_cut_where_the_policy_to_begin_with_knew_them_close_together(
    tmp_path: Path,
) -> None:
    start = frame()
    start = replace(start, std=np.where(np.arange(len(EXTRAS)) == SCORE, 0.002, start.std))
    still = SETTINGS.replace(decisions=100, learning_rate=1e-9, assessor_learning_rate=0.0)
    made = train(Hinted(), still, tmp_path, start=start, assessor=assessor(), trained_on=TRAINED_ON)
    assert made.std[SCORE] == pytest.approx(0.1)
    values = np.full((20, len(EXTRAS)), 0.5)
    values[:, SCORE] = np.linspace(0.385, 0.415, 20)  # cut by neither
    ours, theirs = (p.locations(encoded(values, p.mean, p.std)) for p in (made, start))
    assert ours == pytest.approx(theirs, abs=1e-4)
    values[:, SCORE] = np.linspace(0.0, 1.0, 20)
    seen = encoded(values, made.mean, made.std)[:, SCORE]
    assert len(set(seen.tolist())) == 20


@dataclass
class Changed(Hinted):
    """Gives inputs of the assessor that are none."""

    assessed: Floats | None = None

    def reset(self, tasks: Ints, rng: np.random.Generator) -> VectorEpisodes:
        return _ChangedEpisodes(self, tasks, rng)


class _ChangedEpisodes(_HintedEpisodes):
    def observe(self, rows: Ints) -> BatchObservation:
        assert isinstance(self.problem, Changed)
        return replace(super().observe(rows), assessed=self.problem.assessed)


@pytest.mark.parametrize(
    ("assessed", "message"),
    [
        (None, r"inputs of the assessor are missing in the view, expected the shape \(2000, 18\)"),
        (np.zeros((2_000, 6)), r"the assessor have the shape \(2000, 6\) .* shape \(2000, 18\)"),
        (np.full((2_000, 18), np.nan), "inputs of the assessor have a number that is not finite"),
    ],
)
def test_a_simulator_that_gives_no_inputs_of_the_assessor_is_named(
    assessed: Floats | None, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        played(frame(), assessor(), Changed(assessed=assessed))


def test_an_assessor_needs_word_of_what_it_is_trained_on(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="assessor and trained_on belong together"):
        train(TwoArmed(), SETTINGS, tmp_path, assessor=assessor())
    assert not list(tmp_path.iterdir())
