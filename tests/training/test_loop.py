"""Early stopping, label smoothing, divergence and metrics of the training loop."""

from __future__ import annotations

import itertools
import math
import weakref

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, precision_score, recall_score
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data
from torch import nn

from quorate.data.dataset import Dataset
from quorate.data.signature import ImageSignature
from quorate.data.standardize import Standardizer
from quorate.members.net import Net, NetParams
from quorate.training.context import Diverged, Numerics, Signal
from quorate.training.curves import Tally
from quorate.training.feed import PixelFeed, labels_of
from quorate.training.loop import Labelled, LoopSettings, Training, evaluate, fit_network, predict
from quorate.training.schedules import Constant, ConstantParams
from quorate.training.stopping import EarlyStopping

TRAIN, VALID = tiny_data(rows=60), tiny_data(rows=30, seed=1)


NOISY = Dataset(VALID.x, np.where(np.arange(30) % 4 == 0, (VALID.y + 1) % 3, VALID.y), VALID.class_names)
"""A quarter of the labels is wrong, so that confidence helps for a while and then hurts."""


def labelled(data: Dataset) -> Labelled:
    feed = PixelFeed(data.x, standardize=Standardizer("none"), numerics=Numerics(), size=None)
    return feed, labels_of(data, Numerics())


def recipe(*, lr: float = 0.1, epochs: int = 1, **rest) -> LoopSettings:
    return LoopSettings(
        epochs=epochs,
        optimizer=lambda network: torch.optim.SGD(network.parameters(), lr=lr),
        schedule=lambda optimizer, epochs, steps: Constant.build(
            ConstantParams(), optimizer, epochs=epochs, steps=steps
        ),
        **rest,
    )


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def fit(network: nn.Module, asked: LoopSettings, run: PlainRun | None = None, *, valid: Dataset = VALID):
    world = run if run is not None else PlainRun(numerics=Numerics(batch_size=60))
    return fit_network(
        network, train=labelled(TRAIN), valid=labelled(valid), n_classes=3, recipe=asked, context=world
    ).history


def log_proba(network: nn.Module, data: Dataset) -> np.ndarray:
    x = torch.from_numpy(data.x.take(np.arange(len(data)))).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return torch.log_softmax(network(x).double(), dim=1).numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_training_loss_is_the_smoothed_cross_entropy(smoothing):
    # given: one epoch of one batch, so that its loss is that of the first weights
    network = linear()
    before = log_proba(network, TRAIN)

    # when
    (figures,) = fit(network, recipe(label_smoothing=smoothing))

    # then: equation 3 and the text below it of Szegedy et al., 2016
    true = -before[np.arange(60), TRAIN.y]
    expected = (1 - smoothing) * true.mean() + smoothing * -before.mean()
    assert figures["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_validation_figures_are_those_of_scikit_learn_without_smoothing():
    network = linear()

    (figures,) = fit(network, recipe(label_smoothing=0.3))

    proba = np.exp(log_proba(network, VALID))
    assert figures["valid_loss"] == pytest.approx(log_loss(VALID.y, proba), rel=1e-5)
    assert figures["valid_accuracy"] == pytest.approx(accuracy_score(VALID.y, proba.argmax(axis=1)))
    np.testing.assert_allclose(predict(network, labelled(VALID)[0]).numpy(), proba, atol=1e-6)


def test_predictions_do_not_depend_on_the_size_of_a_batch():
    feed = labelled(TRAIN)[0]

    np.testing.assert_allclose(predict(linear(), feed, size=7), predict(linear(), feed), atol=1e-6)


def test_every_row_is_trained_on_once_an_epoch_in_another_order_each_time():
    # given: a network that notes the batches that it sees
    seen: list[torch.Tensor] = []

    class Noting(nn.Sequential):
        def forward(self, x):
            if self.training:
                seen.append(x.detach().clone())
            return super().forward(x)

    # when
    run = PlainRun(numerics=Numerics(batch_size=25))
    fit(Noting(nn.Flatten(), nn.Linear(64, 3)), recipe(epochs=2), run)

    # then
    assert [len(batch) for batch in seen] == [25, 25, 10] * 2
    epochs = [torch.cat(seen[:3]).flatten(1).numpy(), torch.cat(seen[3:]).flatten(1).numpy()]
    rows = TRAIN.x.take(np.arange(60)).reshape(60, 64) / np.float32(255)
    for epoch in epochs:
        np.testing.assert_allclose(np.sort(epoch, axis=0), np.sort(rows, axis=0), rtol=1e-6)
        assert not np.allclose(epoch, rows)
    assert not np.allclose(*epochs)


def test_an_epoch_takes_one_part_of_the_rows_after_the_other():
    labels = torch.arange(12) % 3
    training = Training(linear(), n_classes=3, recipe=recipe(), steps=1, seed=0)

    orders = []
    for epoch in range(4):
        training.epoch = epoch
        orders.append(training.order(labels, balanced=False, parts=3).tolist())

    assert [sorted(order) for order in orders] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [0, 1, 2, 3]]
    assert orders[0] != orders[3]


def test_early_stopping_ends_after_its_patience_and_restores_the_best_epoch():
    # given: the state of each epoch
    network = linear()
    run = PlainRun(numerics=Numerics(batch_size=60), answers=dict.fromkeys(range(1, 60), Signal.CHECKPOINT))

    # when
    history = fit(network, recipe(lr=0.5, epochs=60, early_stopping=EarlyStopping(patience=3)), run, valid=NOISY)

    # then
    losses = [figures["valid_loss"] for figures in history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 60
    state = run.resumed(best + 1).restored
    assert state is not None and best > 0
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state["network"].items())
    assert evaluate(network, *labelled(NOISY), n_classes=3, numerics=Numerics())["valid_loss"] == losses[best]


def test_a_decrease_below_min_delta_is_no_improvement():
    # given: a rate so small that the loss falls by less than .01 an epoch
    small, none = (EarlyStopping(patience=2, min_delta=delta) for delta in (0.5, 0.0))

    stopped, went_on = (fit(linear(), recipe(lr=1e-3, epochs=8, early_stopping=rule)) for rule in (small, none))

    assert len(stopped) == 1 + 2
    assert len(went_on) == 8
    assert all(b["valid_loss"] < a["valid_loss"] for a, b in itertools.pairwise(went_on))


def test_without_early_stopping_the_last_epoch_is_kept():
    network = linear()

    history = fit(network, recipe(lr=0.5, epochs=60), valid=NOISY)

    losses = [figures["valid_loss"] for figures in history]
    last = evaluate(network, *labelled(NOISY), n_classes=3, numerics=Numerics())
    assert last["valid_loss"] == losses[-1] > min(losses)


def test_a_nan_loss_ends_the_training_with_epoch_and_learning_rate():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))

    with pytest.raises(
        Diverged,
        match=r"loss is (nan|inf) in epoch \d at learning rate 1e\+25, with a gradient norm of .*; "
        r"try a tenth of the rate, a warm-up, or clip_norm: 1",
    ):
        fit(network, recipe(lr=1e25, epochs=5))


def test_nan_weights_diverge_in_the_first_epoch():
    network = linear()
    with torch.no_grad():
        network[1].bias[0] = math.nan

    with pytest.raises(Diverged, match=r"train_loss is nan in epoch 1 at learning rate 0\.1"):
        fit(network, recipe())


def test_a_network_with_batch_normalization_trains_where_one_row_would_be_left_over():
    rows = TRAIN.take(np.arange(33))
    net = Net(NetParams(arch="mlp", epochs=2, batch_size=32), signature=ImageSignature((8, 8, 1)), n_classes=3)

    run = PlainRun(numerics=Numerics(batch_size=32))
    net.fit(rows, VALID, run)

    assert [metrics is None for metrics in run.reports] == [False, False], "one batch of 33 an epoch"


@pytest.mark.parametrize("seed", range(3))
def test_a_tally_agrees_with_scikit_learn(seed):
    # given: uneven batches, a class that nobody has, one that nobody predicts and one that only is predicted
    rng = np.random.default_rng(seed)
    y = rng.choice([0, 1, 2, 5], 101)
    logits = rng.normal(0, 2, (101, 7))
    logits[:, [3, 5]] = -50
    tally = Tally(7, "cpu")

    # when
    for part in np.array_split(np.arange(101), [10, 11, 60]):
        x, t = torch.from_numpy(logits[part]), torch.from_numpy(y[part])
        tally.add(nn.functional.cross_entropy(x, t), x, t)
    figures = tally.figures("train")

    # then
    predicted = logits.argmax(axis=1)
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    macro = {"average": "macro", "zero_division": 0}
    assert figures == {
        "train_loss": pytest.approx(-np.log(proba[np.arange(101), y]).mean()),
        "train_accuracy": pytest.approx(accuracy_score(y, predicted)),
        "train_precision": pytest.approx(precision_score(y, predicted, **macro)),
        "train_recall": pytest.approx(recall_score(y, predicted, **macro)),
    }


def test_a_tally_resumes_from_its_state():
    x, y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    whole, part = Tally(3, "cpu"), Tally(3, "cpu")
    for rows in (slice(0, 8), slice(8, 20)):
        whole.add(nn.functional.cross_entropy(x[rows], y[rows]), x[rows], y[rows])
    part.add(nn.functional.cross_entropy(x[:8], y[:8]), x[:8], y[:8])

    resumed = Tally(3, "cpu")
    resumed.restore({name: tensor.clone() for name, tensor in part.state().items()})
    resumed.add(nn.functional.cross_entropy(x[8:], y[8:]), x[8:], y[8:])

    assert resumed.figures("a") == whole.figures("a")


def test_only_one_batch_is_held_when_rows_are_predicted_or_evaluated():
    # given: a feed that notes whether the batch before is still held when the next one is made
    made: list[weakref.ref[torch.Tensor]] = []
    held: list[bool] = []

    class Watched(PixelFeed):
        def batch(self, rows, augment=None, generator=None):
            held.append(bool(made) and made[-1]() is not None)
            found = super().batch(rows)
            made.append(weakref.ref(found))
            return found

    feed = Watched(TRAIN.x, standardize=Standardizer("none"), numerics=Numerics(), size=None)

    # when
    proba = predict(linear(), feed, size=20)
    figures = evaluate(linear(), feed, labels_of(TRAIN, Numerics()), n_classes=3, numerics=Numerics())

    # then
    assert len(held) == 4
    assert not any(held)
    assert proba.shape == (60, 3)
    assert figures["valid_loss"] == pytest.approx(log_loss(TRAIN.y, proba.numpy()), rel=1e-5)
