"""Pretraining without labels: its losses against formulas by hand, its rows, and what the training starts from."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from tests.members.plain_run import PlainRun
from tests.tiny import LAPTOP, alone, plan_of, spec_of, tiny_data
from torch import nn
from torchvision.transforms.v2 import functional as vision

from quorate.data.dataset import ArrayImages, Dataset, Images
from quorate.data.standardize import Standardizer
from quorate.execution.estimates import epochs_of
from quorate.members.base import load_member
from quorate.members.net import Net, NetParams
from quorate.plan.planner import make_plan
from quorate.plan.tasks import JobData
from quorate.registry import ARCHS, PRETRAININGS
from quorate.training.context import Diverged, Numerics, Signal
from quorate.training.curves import with_labels
from quorate.training.feed import PixelFeed
from quorate.training.pretraining import phase
from quorate.training.pretraining.autoencoder import Autoencoder, AutoencoderParams
from quorate.training.pretraining.simclr import SimclrParams, _Contrast, nt_xent
from quorate.training.pretraining.views import ViewSettings

CNN = {"kind": "small_cnn", "width": 8}
TRAIN, VALID = tiny_data(rows=60), tiny_data(rows=30, seed=1)
MORE = ArrayImages(tiny_data(rows=50, seed=2).x.pixels)
SIMCLR = {"kind": "simclr", "epochs": 2, "batch_size": 32}


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def fit(run: PlainRun | None = None, *, train=TRAIN, valid=VALID, **params) -> Net:
    asked = {"arch": CNN, "epochs": 2, "lr": 0.05, "pretrain": SIMCLR, **params}
    net = Net(NetParams.model_validate(asked), signature=train.signature, n_classes=3)
    return net.fit(train, valid, run if run is not None else PlainRun())


def weights(net: Net) -> dict[str, torch.Tensor]:
    assert net.network is not None
    return net.network.state_dict()


# NT-Xent


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_equation_1_of_simclr_in_a_loop_by_hand(temperature):
    first, second = torch.randn(2, 5, 7, generator=seeded(), dtype=torch.float64)

    found = nt_xent(first, second, temperature=temperature)

    z = [row.numpy() / np.linalg.norm(row.numpy()) for row in (*first, *second)]
    losses = []
    for i in range(10):
        partner = (i + 5) % 10
        similar = [math.exp(z[i] @ z[k] / temperature) for k in range(10)]
        losses.append(-math.log(similar[partner] / sum(similar[k] for k in range(10) if k != i)))
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-12)


def test_nt_xent_of_uninformative_views_is_the_logarithm_of_the_number_of_others():
    z = torch.ones(4, 3)

    assert float(nt_xent(z, z, temperature=0.5)) == pytest.approx(math.log(7))


# Views


def test_a_view_is_the_crop_of_torchvision_resized():
    image = torch.rand(3, 2, 12, 12, generator=seeded())
    views = ViewSettings(least_area=0.3, jitter=0)

    found = views(image, seeded(1))

    for row, box in enumerate(views.boxes(3, seeded(1))):
        left, top, wide, high = (12 * box).tolist()
        # torchvision crops whole pixels: a crop of a picture that was made a hundred times as large has them
        large = nn.functional.interpolate(image[row, None], scale_factor=100, mode="bilinear")
        crop = vision.crop(large, round(100 * top), round(100 * left), round(100 * high), round(100 * wide))
        expected = vision.resize(crop, [12, 12], antialias=False)
        torch.testing.assert_close(found[row], expected[0], atol=0.02, rtol=0)


def test_crops_lie_in_the_image_and_have_the_requested_areas_and_ratios():
    left, top, wide, high = ViewSettings(least_area=0.2).boxes(4000, seeded()).T

    assert left.min() >= 0 and top.min() >= 0 and (left + wide).max() <= 1 + 1e-6 and (top + high).max() <= 1 + 1e-6
    inside = (wide < 1) & (high < 1)
    area, ratio = (wide * high)[inside], (wide / high)[inside]
    assert 0.2 - 1e-6 <= area.min() < 0.21 and 0.9 < area.max() <= 1
    assert 3 / 4 - 1e-6 <= ratio.min() < 0.76 and 1.32 < ratio.max() <= 4 / 3 + 1e-6


def test_a_mirror_turns_half_of_the_rows():
    ramp = torch.linspace(0, 1, 16).expand(400, 1, 16, 16)

    view = ViewSettings(least_area=1, jitter=0, mirror=True)(ramp, seeded())

    turned = view[:, 0, 8, 2] > view[:, 0, 8, 13]
    assert 160 < int(turned.sum()) < 240
    still = ViewSettings(least_area=1, jitter=0)(ramp, seeded())
    assert not bool((still[:, 0, 8, 2] > still[:, 0, 8, 13]).any())


def test_jitter_changes_mean_and_contrast_of_each_row_within_its_bounds_and_nothing_else():
    x = torch.randn(300, 1, 8, 8, generator=seeded())
    still, jittered = (ViewSettings(least_area=0.5, jitter=jitter)(x, seeded(3)) for jitter in (0, 0.4))

    mean, deviation = (still.mean((1, 2, 3)), still.std((1, 2, 3)))
    contrast = jittered.std((1, 2, 3)) / deviation
    brightness = (jittered.mean((1, 2, 3)) - mean) / deviation
    for drawn in (contrast - 1, brightness):
        assert -0.4 <= drawn.min() < -0.38 and 0.38 < drawn.max() <= 0.4001
    rest = (jittered - jittered.mean((1, 2, 3), keepdim=True)) / contrast[:, None, None, None]
    torch.testing.assert_close(rest, still - mean[:, None, None, None], atol=1e-5, rtol=0)


def test_noise_has_the_requested_deviation():
    x = torch.linspace(-3, 3, 64).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    noisy, still = (ViewSettings(least_area=1, jitter=0, noise=noise)(x, seeded()) for noise in (0.3, 0))

    assert float((noisy - still).std() / still[0].std()) == pytest.approx(0.3, rel=0.03)


# The autoencoder


def test_the_requested_fraction_of_pixels_is_hidden_in_all_channels_at_once():
    params = AutoencoderParams(masked=0.3)
    objective = Autoencoder.build(params, encoder=nn.Flatten(), width=192, shape=(8, 8, 3))

    damaged = objective.damaged(torch.ones(200, 3, 8, 8), seeded())

    assert float((damaged == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(damaged[:, 0], damaged[:, 2])


@pytest.mark.parametrize("arch", ["mlp", "small_cnn", "small_resnet"])
def test_the_decoder_learns_to_restore_the_images(arch):
    pretrain = {"kind": "autoencoder", "epochs": 12, "batch_size": 16, "lr": 3e-3}
    net = fit(arch=arch, epochs=1, pretrain=pretrain)

    losses = [figures["pretrain_loss"] for figures in net.history[:-1]]
    assert len(losses) == 12
    # restoring nothing but the mean has a loss of 1, the variance of standardized pixels
    assert losses[0] > losses[5] > losses[-1] and losses[-1] < 0.9


@pytest.mark.parametrize("shape", [(5, 5, 1), (8, 12, 3), (28, 28, 1)])
def test_the_restored_image_has_the_shape_of_the_image(shape):
    kind = ARCHS.get("small_cnn")
    encoder = kind.build(kind.Params(width=8), shape=shape, n_classes=2, dropout=0.0)[:-1]
    x = torch.randn(2, shape[2], *shape[:2])
    width = encoder(x).shape[1]

    objective = Autoencoder.build(AutoencoderParams(), encoder=encoder, width=width, shape=shape)

    assert objective.decoder(encoder(x)).shape == x.shape


# What is learned from


class Reads(ArrayImages):
    """Images that record which rows were read."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__(pixels)
        object.__setattr__(self, "taken", set())

    def take(self, rows):
        self.taken.update(np.asarray(rows).tolist())
        return super().take(rows)


def test_pretraining_uses_the_training_and_unlabelled_rows_only():
    # given: rows of a fold in one sequence of images, and a network that is stopped before its training
    everything = Reads(np.concatenate([TRAIN.x.pixels, VALID.x.pixels]))
    train = Dataset(everything.subset(np.arange(60)), TRAIN.y, TRAIN.class_names)
    valid = Dataset(everything.subset(np.arange(60, 90)), VALID.y, TRAIN.class_names)
    unlabelled = Reads(MORE.pixels)
    run = PlainRun(unlabelled=unlabelled, answers={4: Signal.STOP})

    # when: 110 images are four batches of 32 or less
    net = fit(run, train=train, valid=valid)

    # then
    assert len(net.history) == 1 and len(run.reports) == 4
    assert everything.taken == set(range(60)), "neither validation rows nor test rows"
    assert unlabelled.taken == set(range(50))


def test_pretraining_does_not_depend_on_validation_rows_and_labels():
    first = fit(epochs=1, lr=1e-12, weight_decay=0)
    shuffled = Dataset(TRAIN.x, np.roll(TRAIN.y, 1), TRAIN.class_names)

    second = fit(train=shuffled, valid=tiny_data(rows=30, seed=9), epochs=1, lr=1e-12, weight_decay=0)

    for name, tensor in weights(first).items():
        torch.testing.assert_close(tensor, weights(second)[name], atol=1e-9, rtol=0)
    more = fit(PlainRun(unlabelled=MORE), epochs=1, lr=1e-12, weight_decay=0)
    assert not torch.allclose(weights(more)["0.weight"], weights(first)["0.weight"], atol=1e-4)


def test_every_image_is_seen_once_in_an_epoch():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[float] = []
            self.weight = nn.Parameter(torch.zeros(()))

        def loss(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            self.seen += x.mean((1, 2, 3)).tolist()
            return self.weight * 1

    feeds = [
        PixelFeed(images, standardize=Standardizer("none"), numerics=Numerics(), size=None)
        for images in (TRAIN.x, MORE)
    ]
    pool, counting = phase.JoinedFeeds(feeds), Counting()
    progress = phase._Progress(counting, SimclrParams(epochs=1, batch_size=32), steps=4, seed=1)

    phase._train(progress, pool, PlainRun(), reserve=lambda pace: 0.0)

    pixels = np.concatenate([TRAIN.x.pixels, MORE.pixels])
    assert sorted(counting.seen) == pytest.approx(sorted(pixels.mean((1, 2, 3)) / 255))


# What the training starts from


@pytest.mark.parametrize(
    "arch",
    [CNN, {"kind": "small_resnet", "width": 8}, "timm/test_resnet", "torchvision/shufflenet_v2_x0_5"],
    ids=["small_cnn", "small_resnet", "timm", "torchvision"],
)
def test_the_training_starts_from_the_pretrained_weights_and_a_fresh_head(arch):
    kept = {}

    class AtTheEnd(PlainRun):
        def report(self, metrics, state, so_far=None):
            if metrics is not None and "pretrain_loss" in metrics:
                kept.update({name: tensor.clone() for name, tensor in state()["objective"].items()})
            return super().report(metrics, state)

    barely = {"epochs": 1, "lr": 1e-12, "weight_decay": 0, "size": 32, "dropout": 0.1}
    pretrained = fit(AtTheEnd(), arch=arch, pretrain={**SIMCLR, "epochs": 1}, **barely)
    fresh = fit(arch=arch, pretrain=None, **barely)

    changed = 0
    for name, tensor in weights(pretrained).items():
        if "running" in name or "batches" in name:
            continue
        if f"encoder.{name}" in kept:
            torch.testing.assert_close(tensor, kept[f"encoder.{name}"], atol=1e-7, rtol=0)
            changed += not torch.allclose(tensor, weights(fresh)[name], atol=1e-5)
        else:
            torch.testing.assert_close(tensor, weights(fresh)[name], atol=1e-7, rtol=0, msg=f"the head: {name}")
    assert changed > 5


def test_the_contrastive_loss_makes_views_of_one_image_similar():
    """The loss falls below that of uninformative features."""
    net = fit(PlainRun(unlabelled=MORE), epochs=1, pretrain={**SIMCLR, "epochs": 15, "batch_size": 64, "lr": 3e-3})

    losses = [figures["pretrain_loss"] for figures in net.history[:-1]]
    assert losses[-1] < losses[0] - 0.3 < math.log(2 * 64 - 1)


def test_the_figures_of_both_phases_are_one_history_of_all_epochs(tmp_path):
    run = PlainRun()
    net = fit(run)

    names = [set(figures) for figures in net.history]
    assert names[:2] == [{"pretrain_loss", "lr", "seconds"}] * 2
    assert all("valid_loss" in figures for figures in net.history[2:]) and len(net.history) == 4
    assert [report for report in run.reports if report is not None] == net.history
    assert with_labels(net.history) == net.history[2:]
    net.save(tmp_path)
    loaded = load_member(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(VALID.x), net.predict_proba(VALID.x))


def test_a_pretraining_that_diverges_says_at_which_epoch_and_rate(monkeypatch):
    whole = _Contrast.loss
    epochs = []

    def loss(self, x, generator):
        epochs.append(generator.initial_seed())
        return whole(self, x, generator) * (math.nan if len(set(epochs)) == 2 else 1)

    monkeypatch.setattr(_Contrast, "loss", loss)

    with pytest.raises(Diverged, match=r"pretrain_loss is nan in epoch 2 of the pretraining at .*pretrain\.lr"):
        fit(pretrain={**SIMCLR, "epochs": 3})


# A deadline


def test_with_a_deadline_pretraining_leaves_time_for_training_and_can_be_resumed():
    # given: a deadline that comes in the first epoch of a long pretraining
    def asked() -> dict:
        return {"pretrain": {**SIMCLR, "epochs": 40}, "epochs": 2}

    class Late(PlainRun):
        def report(self, metrics, state, so_far=None):
            if len(self.reports) == 3:
                self.deadline = time.monotonic()
            if metrics is not None and "valid_loss" in metrics:
                self.last = state()
            return super().report(metrics, state)

    late = Late()

    # when
    net = fit(late, **asked())

    # then: the training has had all its epochs, the whole is not the whole
    assert len(with_labels(net.history)) == 2
    assert 0 < len(net.history) - 2 < 40
    assert not net.finished and fit().finished
    # and its states go on with the pretraining
    resumed = PlainRun(restored=late.last)
    again, undisturbed = fit(resumed, **asked()), fit(**asked())
    assert again.finished and len(again.history) == 42
    for name, tensor in weights(undisturbed).items():
        assert torch.equal(weights(again)[name], tensor), name


# The plan


def keyed(member: str, unlabelled: Images | None = None):
    plan = plan_of(f"{{m: {member}}}")
    spec_plan = JobData(plan.context.train, None, plan.context.folds, {}, unlabelled)
    return make_plan(spec_of(f"seed: 0\ndata: digits\nmembers: {{m: {member}}}\n"), spec_plan, alone(LAPTOP)).tasks[0]


PLAIN = "{kind: net, arch: small_cnn, epochs: 3}"
PRETRAINED = "{kind: net, arch: small_cnn, epochs: 3, pretrain: {kind: simclr, epochs: 4}}"


def test_unlabelled_images_are_in_the_key_of_members_that_pretrain_and_of_no_others():
    other = ArrayImages(MORE.pixels + np.uint8(1))

    assert keyed(PLAIN).key == keyed(PLAIN, MORE).key
    assert len({keyed(PRETRAINED, more).key for more in (None, MORE, other)}) == 3
    assert keyed(PRETRAINED).key != keyed(PLAIN).key


def test_the_pretraining_is_in_the_cost_with_its_views_and_its_unlabelled_images():
    plain, pretrained = keyed(PLAIN).cost / 3, keyed(PRETRAINED).cost
    rows = len(plan_of(f"{{m: {PLAIN}}}").context.folds[0].train)

    assert pretrained == pytest.approx(plain * (3 + 2 * 4))
    assert keyed(PRETRAINED, MORE).cost == pytest.approx(plain * (3 + 2 * 4 * (rows + 50) / rows))


def test_the_epochs_of_a_task_are_those_of_both_phases():
    assert epochs_of(keyed(PLAIN)) == 3
    assert epochs_of(keyed(PRETRAINED)) == 7


def test_the_registry_has_both_kinds():
    assert {"autoencoder", "simclr"} <= set(PRETRAININGS.names())
