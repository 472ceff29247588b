"""Mixed labels are in proportion to mixed pixels, and the loss is the mean of its parts' losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data
from torch.nn import functional

from quorate.data.signature import ImageSignature
from quorate.members.net import Net, NetParams
from quorate.training.augment import Augment
from quorate.training.loop import LoopSettings, training_loss
from quorate.training.mixing import MixedBatch, mix

CLASSES = 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixed(
    kinds: dict, *, seed: int = 0, n: int = 6, weight: torch.Tensor | None = None, **memory
) -> tuple[torch.Tensor, torch.Tensor, MixedBatch]:
    """A batch of images of one value each, no two alike, its labels, and what became of both."""
    values = torch.arange(1, n + 1).float()
    x = values[:, None, None, None].expand(n, 2, 20, 20).contiguous(**memory)
    y = torch.arange(n) % CLASSES
    augment = Augment.model_validate(kinds)
    return x, y, mix(augment.mixing, x, y, n_classes=CLASSES, weight=weight, generator=generator(seed))


def before(values: torch.Tensor) -> torch.Tensor:
    """Of the row before each one, the last before the first."""
    return values.roll(1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_mixup_mixes_labels_and_pixels_in_the_same_proportion(seed):
    x, y, batch = mixed({"mixup": 1.0}, seed=seed)

    value, first, second = batch.x[:, 0, 0, 0], x[:, 0, 0, 0], before(x)[:, 0, 0, 0]
    share = (value - second) / (first - second)
    assert torch.equal(batch.x, value[:, None, None, None].expand_as(x)), "the same share everywhere"
    torch.testing.assert_close(share, share[:1].expand_as(share), atol=1e-5, rtol=0)
    assert 0 < float(share[0]) < 1
    expected = share[:, None] * functional.one_hot(y, CLASSES) + (1 - share[:, None]) * functional.one_hot(
        before(y), CLASSES
    )
    torch.testing.assert_close(batch.shares, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.shares.sum(dim=1), torch.ones(len(y)))


@pytest.mark.parametrize("seed", range(5))
def test_the_area_that_cutmix_takes_is_the_share_of_the_label(seed):
    x, y, batch = mixed({"cutmix": 1.0}, seed=seed)

    foreign = (batch.x == before(x)).all(dim=1)
    assert (foreign | (batch.x == x).all(dim=1)).all(), "each pixel is of one of the two"
    assert torch.equal(foreign, foreign[:1].expand_as(foreign))
    rows, columns = foreign[0].any(dim=1).sum(), foreign[0].any(dim=0).sum()
    assert int(foreign[0].sum()) == int(rows * columns), "a rectangle"
    area = float(foreign[0].float().mean())
    expected = (1 - area) * functional.one_hot(y, CLASSES) + area * functional.one_hot(before(y), CLASSES)
    torch.testing.assert_close(batch.shares, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(batch.shares.sum(dim=1), torch.ones(len(y)))


def test_the_shares_of_mixup_are_beta_distributed():
    from scipy import stats

    shares = [float(mixed({"mixup": 0.4}, seed=seed, n=2)[2].shares[0, 0]) for seed in range(300)]

    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_each_batch_is_mixed_in_one_of_the_ways_or_not_at_all():
    ways = {"mixup": {"alpha": 1.0, "probability": 0.5}, "cutmix": {"probability": 0.5}}
    found = {"as it was": 0, "mixup": 0, "cutmix": 0}

    for seed in range(120):
        x, _, batch = mixed(ways, seed=seed, n=4)
        same = torch.equal(batch.x, x)
        flat = torch.equal(batch.x, batch.x[:, :, :1, :1].expand_as(x))
        found["as it was" if same else "mixup" if flat else "cutmix"] += 1

    # half of 120, and a quarter each but for rectangles without a pixel or of the whole image: three deviations are 16
    assert abs(found["as it was"] - 60) < 20 and found["mixup"] > 12 and found["cutmix"] > 12


def test_the_seed_decides_and_the_memory_format_stays():
    torch.manual_seed(1)
    _, _, one = mixed({"mixup": 1.0}, seed=3)
    torch.manual_seed(2)
    x, _, two = mixed({"mixup": 1.0}, seed=3, memory_format=torch.channels_last)
    _, _, other = mixed({"mixup": 1.0}, seed=4)

    assert torch.equal(one.x, two.x) and torch.equal(one.shares, two.shares)
    assert not torch.equal(one.x, other.x)
    assert two.x.stride() == x.stride()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_cross_entropy_with_soft_targets(smoothing):
    _, _, batch = mixed({"mixup": 1.0})
    logits = torch.randn(6, CLASSES, generator=generator(1))

    loss = batch.loss(logits, smoothing)

    torch.testing.assert_close(loss, functional.cross_entropy(logits, batch.shares, label_smoothing=smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_with_weights_each_part_counts_by_its_fraction_times_the_weight_of_its_row(smoothing):
    # given
    weight = torch.tensor([0.2, 3.0, 1.0, 0.0, 0.5, 1.3])
    _, y, batch = mixed({"mixup": 1.0}, weight=weight)
    logits = torch.randn(6, CLASSES, generator=generator(1))
    share = batch.shares[1, y[1]]  # the first row is of the same class as the last

    # when
    loss = batch.loss(logits, smoothing)

    # then
    def of(labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")

    expected = (share * weight * of(y) + (1 - share) * before(weight) * of(before(y))).mean()
    torch.testing.assert_close(loss, expected)


def test_without_mixing_the_loss_is_the_usual_one():
    weight = torch.tensor([0.2, 3.0, 1.0, 0.0, 0.5, 1.3])
    rows, y, logits = torch.arange(6), torch.arange(6) % CLASSES, torch.randn(6, CLASSES, generator=generator(2))
    hard = functional.one_hot(y, CLASSES).float()

    loss = MixedBatch(torch.zeros(6), hard, hard * weight[:, None]).loss(logits, 0.1)

    nothing: dict = {"epochs": 1, "optimizer": None, "schedule": None}
    torch.testing.assert_close(
        loss, training_loss(logits, y, rows, LoopSettings(**nothing, weight=weight, label_smoothing=0.1))
    )


def test_training_accuracy_counts_the_greater_part():
    _, y, batch = mixed({"cutmix": 1.0}, seed=2)

    share = float(batch.shares[1, y[1]])

    assert torch.equal(batch.y, y if share > 0.5 else before(y))


@pytest.mark.parametrize("kinds", [{"mixup": 0.4}, {"cutmix": 1.0}, {"crop": 1, "mixup": 0.2, "cutmix": 1.0}])
def test_a_network_learns_from_mixed_rows(kinds):
    train, valid = tiny_data(rows=150), tiny_data(rows=30, seed=1)
    params = NetParams.model_validate(
        {"arch": {"kind": "mlp", "hidden": [32]}, "epochs": 15, "batch_size": 32, "lr": 0.05, "augment": kinds}
    )

    net = Net(params, signature=ImageSignature((8, 8, 1)), n_classes=3).fit(train, valid, PlainRun())

    assert net.history[-1]["valid_accuracy"] > 0.9
    assert net.history[-1]["train_loss"] > net.history[-1]["valid_loss"], "mixed rows are harder"
    np.testing.assert_allclose(net.predict_proba(valid.x).sum(axis=1), 1, atol=1e-6)
