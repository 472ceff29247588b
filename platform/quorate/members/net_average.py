"""Average the weights of networks."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from quorate.training.averages import average
from quorate.training.feed import Feed, split_batches, training_order

AVERAGING_BATCH = 256
"""Number of rows per batch when normalization statistics of averaged weights are recomputed. An assumption, not a
measurement."""


def average_network(networks: Sequence[nn.Module], feed: Feed, *, seed: int) -> nn.Module:
    """A copy of the first network with the mean of all weights, and normalization statistics of the rows of `feed`."""
    made = copy.deepcopy(networks[0])
    order = training_order(torch.zeros(len(feed)), seed=seed, epoch=0)
    torch.manual_seed(seed)  # dropout is active while statistics are estimated
    states = [network.state_dict() for network in networks]
    average(made, states, map(feed.batch, split_batches(order, AVERAGING_BATCH)))
    return made.eval()
