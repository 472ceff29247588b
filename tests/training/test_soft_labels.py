"""The distillation loss is that of Hinton et al., also in the training loop; rows without a teacher are learned from
the label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.test_loop import TRAIN, fit, linear, recipe
from torch import nn
from torch.nn import functional

from quorate.training.augment import Augment
from quorate.training.distillation import with_teacher
from quorate.training.loop import LoopSettings, training_loss
from quorate.training.mixing import mix

K = 3


def some_proba(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(K), rows)


def whole_loss(asked: LoopSettings, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of all rows in one batch, as the loop takes it."""
    rows = torch.arange(len(y))
    assert asked.soft is not None
    return training_loss(logits, y, rows, asked) + asked.soft.loss(logits, asked.soft.of(rows))


def by_hand(proba: np.ndarray, logits: torch.Tensor, y: torch.Tensor, *, t: float, hard: float) -> torch.Tensor:
    """Each row's loss (n,), from torch's own functions."""
    teacher = functional.softmax(torch.from_numpy(proba).log() / t, dim=1)
    student = functional.log_softmax(logits.double() / t, dim=1)
    distance = functional.kl_div(student, teacher, reduction="none").sum(dim=1)
    return (1 - hard) * t**2 * distance + hard * functional.cross_entropy(logits.double(), y, reduction="none")


@pytest.mark.parametrize("temperature", [1.0, 2.5, 8.0])
@pytest.mark.parametrize("hard", [0.0, 0.1, 1.0])
def test_the_loss_is_the_mix_of_softened_divergence_and_cross_entropy(temperature: float, hard: float) -> None:
    proba, y = some_proba(20), torch.arange(20) % K
    logits = torch.randn(20, K, generator=torch.Generator().manual_seed(1))
    asked = with_teacher(recipe(), proba, temperature=temperature, hard=hard, device="cpu")

    found = whole_loss(asked, logits, y)

    expected = by_hand(proba, logits, y, t=temperature, hard=hard).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


def test_the_gradient_is_that_of_the_paper() -> None:
    """Hinton et al. 2015, equation 2, times T squared: T (q - p) for each row."""
    proba, y, t = some_proba(20), torch.arange(20) % K, 3.0
    logits = torch.randn(20, K, generator=torch.Generator().manual_seed(1)).requires_grad_()

    whole_loss(with_teacher(recipe(), proba, temperature=t, hard=0.0, device="cpu"), logits, y).backward()

    q = functional.softmax(logits.detach().double() / t, dim=1)
    p = functional.softmax(torch.from_numpy(proba).log() / t, dim=1)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.double(), t * (q - p) / 20, rtol=1e-4, atol=1e-7)


def test_a_row_without_a_teacher_is_learned_from_its_label_alone_and_weights_count_for_both() -> None:
    proba, y = some_proba(20), torch.arange(20) % K
    proba[::4] = np.nan
    weight = torch.linspace(0.5, 1.5, 20)
    logits = torch.randn(20, K, generator=torch.Generator().manual_seed(1))

    found = whole_loss(with_teacher(recipe(weight=weight), proba, temperature=2.0, hard=0.3, device="cpu"), logits, y)

    taught_rows = by_hand(np.where(np.isnan(proba), 1.0, proba), logits, y, t=2.0, hard=0.3)
    alone = functional.cross_entropy(logits.double(), y, reduction="none")
    known = torch.from_numpy(~np.isnan(proba).any(axis=1))
    expected = (weight * torch.where(known, taught_rows, alone)).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


def test_unlabelled_rows_are_learned_from_the_teacher_alone() -> None:
    proba, y = some_proba(20), torch.arange(20) % K
    labelled = np.arange(20) % 3 == 0
    logits = torch.randn(20, K, generator=torch.Generator().manual_seed(1))
    asked = with_teacher(recipe(), proba, temperature=2.0, hard=0.3, device="cpu", labelled=labelled)

    found = whole_loss(asked, logits, y)

    both, alone = by_hand(proba, logits, y, t=2.0, hard=0.3), by_hand(proba, logits, y, t=2.0, hard=0.0)
    expected = torch.where(torch.from_numpy(labelled), both, alone).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


def test_probabilities_of_0_and_1_give_finite_losses() -> None:
    y = torch.arange(6) % K
    proba = np.eye(K)[y.numpy()]
    logits = torch.randn(6, K, generator=torch.Generator().manual_seed(1))

    found = whole_loss(with_teacher(recipe(), proba, temperature=1.0, hard=0.0, device="cpu"), logits, y)

    torch.testing.assert_close(found, functional.cross_entropy(logits, y), rtol=1e-4, atol=1e-5)


def test_the_loop_reports_that_loss_and_the_validation_figures_stay_those_of_the_labels() -> None:
    network, proba = linear(), some_proba(60)
    x = torch.from_numpy(TRAIN.x.take(np.arange(60))).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = network(x)

    (figures,) = fit(network, with_teacher(recipe(), proba, temperature=2.0, hard=0.2, device="cpu"))

    expected = by_hand(proba, logits, torch.from_numpy(TRAIN.y), t=2.0, hard=0.2).mean()
    assert figures["train_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert 0 < figures["valid_loss"] < 5


def test_with_hard_labels_only_it_equals_plain_training() -> None:
    plain, pupil = linear(), linear()

    fit(plain, recipe(epochs=3))
    fit(pupil, with_teacher(recipe(epochs=3), some_proba(60), temperature=4.0, hard=1.0, device="cpu"))

    for one, other in zip(plain.parameters(), pupil.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_network_with_enough_capacity_learns_the_predictions_of_its_teacher() -> None:
    torch.manual_seed(5)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, K))
    x = torch.from_numpy(TRAIN.x.take(np.arange(60))).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        proba = functional.softmax(3 * teacher(x), dim=1)
    network = linear()

    history = fit(
        network, with_teacher(recipe(lr=0.3, epochs=150), proba.numpy(), temperature=2.0, hard=0.0, device="cpu")
    )

    with torch.no_grad():
        found = functional.softmax(network(x), dim=1)
    assert history[-1]["train_loss"] < 0.05 * history[0]["train_loss"]
    torch.testing.assert_close(found, proba, atol=0.1, rtol=0)


@pytest.mark.parametrize("weighed", [False, True])
def test_soft_labels_are_mixed_as_the_rows_are(weighed: bool) -> None:
    """The gradient on mixed rows is the mean of those that the parts would have alone."""
    n, t = 6, 2.0
    values = torch.arange(1, n + 1).float()
    x, y = values[:, None, None, None].expand(n, 1, 8, 8).contiguous(), torch.arange(n) % K
    weight = torch.linspace(0.5, 1.5, n) if weighed else None
    asked = with_teacher(recipe(weight=weight), some_proba(n), temperature=t, hard=0.25, device="cpu")
    assert asked.soft is not None
    kinds = Augment.model_validate({"mixup": 1.0}).mixing

    batch = mix(
        kinds,
        x,
        y,
        n_classes=K,
        weight=asked.weight,
        generator=torch.Generator().manual_seed(3),
        soft=asked.soft.of(torch.arange(n)),
    )

    assert batch.soft is not None
    before = values.roll(1)
    share = ((batch.x[:, 0, 0, 0] - before) / (values - before))[:, None]
    expected = share * asked.soft.targets + (1 - share) * asked.soft.targets.roll(1, 0)
    torch.testing.assert_close(batch.soft, expected, rtol=1e-4, atol=1e-5)
    logits = torch.randn(n, K, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (gradient,) = torch.autograd.grad(asked.soft.loss(logits, batch.soft), logits)
    log_q = functional.log_softmax(logits / t, dim=1)
    parts = [(target * log_q).sum(dim=1) for target in (asked.soft.targets, asked.soft.targets.roll(1, 0))]
    linear_loss = -(share[:, 0] * parts[0] + (1 - share[:, 0]) * parts[1]).mean()
    (by_parts,) = torch.autograd.grad(linear_loss, logits)
    torch.testing.assert_close(gradient, by_parts, rtol=1e-3, atol=1e-5)


def test_mixing_draws_the_same_with_soft_labels_and_without() -> None:
    x, y = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % K
    kinds = Augment.model_validate({"mixup": 0.4, "cutmix": 1.0}).mixing

    def mixed(seed: int, soft: torch.Tensor | None):
        generator = torch.Generator().manual_seed(seed)
        return mix(kinds, x, y, n_classes=K, weight=None, generator=generator, soft=soft)

    for seed in range(6):
        one, other = mixed(seed, None), mixed(seed, torch.rand(8, K))
        assert torch.equal(one.x, other.x) and torch.equal(one.shares, other.shares)
