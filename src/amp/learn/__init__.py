"""Learning what to spend: policies by imitation and PPO, on a table or online, and assessors.

A policy from Python::

    from amp.learn import load_dataset, load_train_config, train_policy
    config = load_train_config(Path("configs/train-gsm8k.toml"))
    policy = train_policy(config, load_dataset(config, benchmark), Path("runs/policy"))

The modules by what is learned:

- the policy network: `pipeline` is the whole way, from `config` and `dataset` by
  `behaviour_cloning` to `trainer`, which plays (`rollout`, `live_rollout`; which tasks, by
  `curriculum`) and improves (`ppo`, `networks`);
- policies of long plans: `lattices`, with `arm_values` and `value_trees`, and `departures`, on
  `walks`, compared by `lattice_study` and `lattice_ablations`;
- routers: `routing`, `router_training` and `priors`, compared by ``pool_*``;
- assessors (`pretrain`), heads that rate candidates (`correctness`, `candidates`) and that give up
  (`giving_up`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amp.plugins import exported_later

if TYPE_CHECKING:
    from amp.learn.behaviour_cloning import Demonstrations, ImitationSettings, demonstrate, imitate
    from amp.learn.config import OnlineConfig, PPOConfig, TrainConfig, load_train_config
    from amp.learn.dataset import Dataset, load_dataset
    from amp.learn.live_rollout import LiveRollouts
    from amp.learn.pipeline import curve, served, train_online, train_policy
    from amp.learn.pretrain import PretrainSettings, train_assessor
    from amp.learn.rollout import Rollout, Rollouts, roll_out
    from amp.learn.trainer import train, train_on


__all__ = [
    "Dataset",
    "Demonstrations",
    "ImitationSettings",
    "LiveRollouts",
    "OnlineConfig",
    "PPOConfig",
    "PretrainSettings",
    "Rollout",
    "Rollouts",
    "TrainConfig",
    "curve",
    "demonstrate",
    "imitate",
    "load_dataset",
    "load_train_config",
    "roll_out",
    "served",
    "train",
    "train_assessor",
    "train_on",
    "train_online",
    "train_policy",
]

__getattr__ = exported_later(
    __name__,
    {
        "behaviour_cloning": ("Demonstrations", "ImitationSettings", "demonstrate", "imitate"),
        "config": ("OnlineConfig", "PPOConfig", "TrainConfig", "load_train_config"),
        "dataset": ("Dataset", "load_dataset"),
        "live_rollout": ("LiveRollouts",),
        "pipeline": ("curve", "served", "train_online", "train_policy"),
        "pretrain": ("PretrainSettings", "train_assessor"),
        "rollout": ("Rollout", "Rollouts", "roll_out"),
        "trainer": ("train", "train_on"),
    },
)
