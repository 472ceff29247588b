"""Built-in networks with batch, group, or no normalization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data
from torch import nn

from quorate.data.signature import ImageSignature
from quorate.members.net import Net, NetParams
from quorate.registry import ARCHS
from quorate.training.context import Numerics
from quorate.training.normalization import groups_of

BATCH = (nn.BatchNorm1d, nn.BatchNorm2d)
ARCH = {"mlp": {"hidden": [32, 16]}, "small_cnn": {"width": 8}, "small_resnet": {"width": 8}}


def built(kind: str, norm: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    arch = ARCHS.get(kind)
    chosen = {"kind": kind, **ARCH[kind]} | ({"norm": norm} if norm else {})
    return arch.build(arch.Params.model_validate(chosen), shape=(8, 8, 1), n_classes=3, dropout=0.0)


def parts(network: nn.Module, *types: type[nn.Module]) -> list[nn.Module]:
    return [part for part in network.modules() if isinstance(part, types)]


@pytest.mark.parametrize("kind", ARCH)
def test_a_layer_has_either_a_norm_after_it_or_a_bias(kind):
    batch, group, none = (built(kind, norm) for norm in ("batch", "group", "none"))
    layers = len(parts(batch, nn.Linear, nn.Conv2d)) - 1

    assert len(parts(batch, *BATCH)) == len(parts(group, nn.GroupNorm)) == layers
    assert not parts(group, *BATCH) and not parts(none, nn.GroupNorm, *BATCH)
    for network, biases in ((batch, 1), (group, 1), (none, layers + 1)):
        assert sum(part.bias is not None for part in parts(network, nn.Linear, nn.Conv2d)) == biases


@pytest.mark.parametrize("kind", ARCH)
def test_batch_is_the_default(kind):
    plain, batch = built(kind).state_dict(), built(kind, "batch").state_dict()

    assert plain.keys() == batch.keys()
    assert all(torch.equal(plain[name], batch[name]) for name in plain)


@pytest.mark.parametrize("norm", ["group", "none"])
@pytest.mark.parametrize("kind", ARCH)
def test_without_batch_normalization_a_row_does_not_depend_on_its_batch(kind, norm):
    network = built(kind, norm).train()
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(network(x)[:2], network(x[:2]), atol=1e-5, rtol=1e-5)


def test_group_normalization_gives_every_group_of_a_row_a_mean_of_0_and_a_variance_of_1():
    network = built("small_cnn", "group")
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    found = network[:2](x).detach().numpy()  # 8 channels in 2 groups of 4

    groups = network[0](x).detach().numpy().reshape(2, 2, -1)
    expected = (groups - groups.mean(-1, keepdims=True)) / np.sqrt(groups.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(1, 1), (3, 1), (4, 1), (7, 1), (8, 2), (12, 3), (16, 4), (20, 5), (32, 8), (64, 8), (30, 6)],
)
def test_there_are_as_many_groups_as_divide_the_channels_up_to_eight_of_at_least_four(channels, groups):
    assert groups_of(channels) == groups


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("kind", ARCH)
def test_every_network_learns_with_every_norm_and_is_the_same_after_saving(kind, norm, tmp_path):
    # given
    arch = {"kind": kind, **ARCH[kind], "norm": norm}
    params = NetParams.model_validate({"arch": arch, "epochs": 8, "batch_size": 32, "lr": 0.01, "optimizer": "adam"})
    train, valid = tiny_data(rows=120), tiny_data(rows=30, seed=1)

    # when
    run = PlainRun(numerics=Numerics(batch_size=32))
    net = Net(params, signature=ImageSignature((8, 8, 1)), n_classes=3).fit(train, valid, run)
    net.save(tmp_path)

    # then
    losses = [figures["train_loss"] for figures in net.history]
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_array_equal(Net.load(tmp_path).predict_proba(valid.x), net.predict_proba(valid.x))
