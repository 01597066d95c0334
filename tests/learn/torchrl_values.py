"""What TorchRL makes of the same decisions, with a head each for the stop, the reals and tools."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import (
    CompositeDistribution,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    set_composite_lp_aggregate,
)
from torch import nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value.functional import generalized_advantage_estimate

from amp.allocate.space import TOOLS_FROM
from amp.learn.networks import Networks
from amp.learn.ppo import Batch
from amp.mlp import Floats

HEADS = ("stop", "reals", "tools")


class _Heads(nn.Module):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        locations = self.networks.policy(inputs)
        reals = locations[:, 1:TOOLS_FROM]
        scale = torch.exp(self.networks.log_stds).expand_as(reals)
        return locations[:, :1], reals, scale, locations[:, TOOLS_FROM:]


def _bits(logits: torch.Tensor) -> Distribution:
    return Independent(Bernoulli(logits=logits), 1)


def _normals(loc: torch.Tensor, scale: torch.Tensor) -> Distribution:
    return Independent(Normal(loc, scale), 1)


def _actor(networks: Networks) -> ProbabilisticTensorDictSequential:
    parameters = [
        ("params", *names)
        for names in (("stop", "logits"), ("reals", "loc"), ("reals", "scale"), ("tools", "logits"))
    ]
    return ProbabilisticTensorDictSequential(
        TensorDictModule(_Heads(networks), in_keys=["inputs"], out_keys=parameters),
        ProbabilisticTensorDictModule(
            in_keys=["params"],
            out_keys=list(HEADS),
            distribution_class=partial(
                CompositeDistribution,
                distribution_map={"stop": _bits, "reals": _normals, "tools": _bits},
            ),
            return_log_prob=True,
        ),
    )


def _table(batch: Batch) -> TensorDict:
    stop, reals, tools = torch.tensor_split(batch.latents, (1, TOOLS_FROM), dim=1)
    return TensorDict(
        {"inputs": batch.inputs, "stop": stop, "reals": reals, "tools": tools},
        batch_size=[len(batch.inputs)],
    )


def heads_log_probs(networks: Networks, batch: Batch) -> dict[str, torch.Tensor]:
    """Log-probability of each head's latents."""
    table = _table(batch)
    with set_composite_lp_aggregate(False):
        found = _actor(networks).get_dist(table).log_prob(table)
    return {head: found[f"{head}_log_prob"] for head in HEADS}


def losses(
    networks: Networks, batch: Batch, old: dict[str, torch.Tensor], epsilon: float
) -> dict[str, float]:
    """`ClipPPOLoss` of a composite action, given the heads' old log-probabilities."""
    critic = TensorDictModule(networks.value, in_keys=["inputs"], out_keys=["state_value"])
    with set_composite_lp_aggregate(False):
        loss = ClipPPOLoss(
            _actor(networks),
            critic,
            clip_epsilon=epsilon,
            loss_critic_type="l2",
            entropy_bonus=False,
        )
        names = [f"{head}_log_prob" for head in HEADS]
        loss.set_keys(action=list(HEADS), sample_log_prob=names)
        table = _table(batch).update({f"{head}_log_prob": value for head, value in old.items()})
        table["advantage"] = batch.advantages[:, None]
        table["value_target"] = batch.returns[:, None]
        with torch.no_grad():
            found = loss(table)
    return {name: float(found[name]) for name in ("loss_objective", "loss_critic", "clip_fraction")}


def advantages(rewards: Floats, values: Floats, gamma: float, gae_lambda: float) -> Floats:
    """TorchRL's estimates of episodes that all end in the last row."""
    done = torch.zeros(*rewards.shape, 1, dtype=torch.bool)
    done[-1] = True
    following = np.concatenate((values[1:], np.zeros_like(values[:1])))
    tables = [torch.as_tensor(table)[..., None] for table in (values, following, rewards)]
    # Theirs have the shape (episodes, turns, 1).
    turned = [table.transpose(0, 1) for table in (*tables, done)]
    found, _ = generalized_advantage_estimate(gamma, gae_lambda, *turned, turned[-1])
    return np.asarray(found[..., 0].T.numpy())
