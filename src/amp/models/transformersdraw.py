"""From logits to tokens: drawing one for every sample, and telling the whole distribution.

Sample i has a stream of random numbers of its own and takes one for each token. It picks the token
by cumulative probability in the order of the vocabulary, which rounding in batches of another shape
hardly moves.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from amp.models.base import FinishReason
from amp.models.transformerstext import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Row:
    """One sample as it grows.

    Attributes:
        draws: its own stream of random numbers.
        tokens: what was generated, the token that ends it among them.
        log_probs: of these tokens, before temperature and top_p.
        entropies: of the distributions they were drawn from, in nats, before temperature and top_p.
        finish_reason: None as long as it grows.
    """

    draws: random.Random
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None


def append_tokens(rows: Sequence[Row], logits: Tensor, temperature: float, top_p: float) -> None:
    """Adds one token to every row, with what the model itself thought of it.

    Args:
        rows: the samples.
        logits: of the token after each, of shape (rows, vocabulary), in 32 bits.
        temperature: 0 takes the likeliest token.
        top_p: nucleus mass in (0, 1].
    """
    log_probs = logits.log_softmax(-1)
    entropies = log_probs.exp().mul(log_probs.clamp(min=-1e4)).sum(-1).neg().clamp(min=0.0)
    if temperature == 0.0:
        chosen = logits.argmax(-1)
    else:
        uniforms = [row.draws.random() for row in rows]
        chosen = draw(logits, uniforms, temperature, top_p)
    told = log_probs.gather(-1, chosen.unsqueeze(-1)).squeeze(-1).clamp(max=0.0)
    for row, token, log_prob, entropy in zip(
        rows, chosen.tolist(), told.tolist(), entropies.tolist(), strict=True
    ):
        row.tokens.append(token)
        row.log_probs.append(log_prob)
        row.entropies.append(entropy)


def draw(logits: Tensor, uniforms: Sequence[float], temperature: float, top_p: float) -> Tensor:
    """Draws one token a row: temperature, then the nucleus of mass top_p, then inverse CDF.

    Args:
        logits: of shape (rows, vocabulary).
        uniforms: one number in [0, 1) a row.
        temperature: above 0.
        top_p: the smallest set of likeliest tokens that holds this mass is kept.

    Returns:
        A token a row.
    """
    import torch

    probs = (logits.double() / temperature).softmax(-1)
    if top_p < 1.0:
        # Tokens under this bound hold less than 1 - top_p together, so no nucleus has them: only
        # the few above it need to be sorted.
        bound = (1.0 - top_p) / probs.shape[-1]
        most = int((probs >= bound).sum(-1).max())
        ordered, tokens = probs.topk(most)
        within = ordered.cumsum(-1) - ordered < top_p
        probs = torch.zeros_like(probs).scatter(-1, tokens, ordered * within)
    cumulative = probs.cumsum(-1)
    wanted = cumulative.new_tensor(uniforms).unsqueeze(-1) * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, wanted, right=True).squeeze(-1)
    return chosen.clamp(max=probs.shape[-1] - 1)


def next_texts(logits: Tensor, vocabulary: Vocabulary, most: int | None) -> dict[str, float]:
    """Returns the log-probability of every text that the next token may read, likeliest first.

    Args:
        logits: of the next token, one row.
        vocabulary: what each token reads. Outputs of the network beyond it have no text.
        most: how many texts; None returns all.
    """
    import torch

    probs = logits.double().softmax(-1)
    groups = torch.zeros(len(probs), dtype=torch.long)
    known = min(len(probs), len(vocabulary.groups))
    groups[:known] = torch.tensor(vocabulary.groups[:known])
    masses = probs.new_zeros(len(vocabulary.texts)).index_add(0, groups.to(probs.device), probs)
    ordered, indices = masses.sort(descending=True)
    return {
        vocabulary.texts[index]: log_prob
        for index, log_prob in zip(
            indices[:most].tolist(), ordered[:most].log().clamp(max=0.0).tolist(), strict=True
        )
        if log_prob > -math.inf
    }
