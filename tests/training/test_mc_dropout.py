"""Monte Carlo dropout at prediction: an average over thinned networks, whatever the batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tests.tiny import tiny_data
from tests.training.test_averages import VALID, net
from torch import nn
from torch.nn import functional

from quorate.members.net import Net
from quorate.training.loop import predict
from quorate.training.mc_dropout import ThinnedNetwork


class Rows:
    """A feed of rows that are there."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def batches(self, size: int) -> tuple[torch.Tensor, ...]:
        return self.x.split(size)


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Dropout(0.4), nn.Linear(50, 3), nn.Dropout(0.0))


X = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))


def test_the_prediction_is_the_mean_over_networks_whose_units_are_dropped_by_hand() -> None:
    network, passes = layers(), 7

    found = predict(network, Rows(X), passes=passes)  # type: ignore[arg-type]

    expected = torch.zeros(30, 3)
    for number in range(passes):
        kept = torch.rand(50, generator=torch.Generator().manual_seed(0x5EED + number)) >= 0.4
        hidden = network[:2](X) * kept / 0.6
        expected += functional.softmax(network[3](hidden), dim=1) / passes
    torch.testing.assert_close(found, expected.detach(), atol=1e-6, rtol=1e-5)


def test_it_does_not_depend_on_the_batches_and_draws_nothing_from_the_common_stream() -> None:
    network = layers()
    before = torch.get_rng_state()

    whole, parts = (predict(network, Rows(X), size=size, passes=5) for size in (30, 7))  # type: ignore[arg-type]

    torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-5)
    assert torch.equal(torch.get_rng_state(), before)


def test_over_many_passes_units_are_kept_at_the_dropout_rate() -> None:
    kept = []
    for number in range(200):
        with ThinnedNetwork(number):
            kept.append(functional.dropout(torch.ones(1, 50), 0.3, training=False))
    values = torch.cat(kept)

    assert set(values.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.7))}
    assert abs(float((values == 0).float().mean()) - 0.3) < 0.02


def test_functional_dropout_of_timm_is_dropped_too() -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=3, drop_rate=0.5)
    x = torch.randn(4, 3, 32, 32)

    plain, thinned = (predict(network, Rows(x), passes=passes) for passes in (0, 3))  # type: ignore[arg-type]

    assert not torch.allclose(plain, thinned)


def test_a_saved_member_predicts_as_it_did(tmp_path: Path) -> None:
    member = net(dropout=0.3, mc_dropout=4)
    member.save(tmp_path)

    np.testing.assert_allclose(Net.load(tmp_path).predict_proba(VALID.x), member.predict_proba(VALID.x), atol=1e-6)
    plain = net(dropout=0.3)
    assert not np.allclose(plain.predict_proba(VALID.x), member.predict_proba(VALID.x))
    assert tiny_data().n_classes == member.n_classes
