"""The constraints of a step, against torch and manual calculations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from tests.members.plain_run import PlainRun
from tests.training.test_loop import TRAIN, fit, linear, recipe
from torch import nn

from quorate.training.context import Numerics, Signal
from quorate.training.step import Constraints, matrices, penalty, take_step


def loss_of(network: nn.Module, rows: slice = slice(None)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 64, generator=generator), torch.arange(12) % 3
    return nn.functional.cross_entropy(network(x[rows]), y[rows])


def stepped(network: nn.Module, constraints: Constraints) -> tuple[nn.Module, torch.Tensor]:
    network = copy.deepcopy(network)
    loss = loss_of(network)
    beside = penalty(network, constraints)
    (loss if beside is None else loss + beside).backward()
    return network, take_step(network, torch.optim.SGD(network.parameters(), lr=0.5), constraints)


def test_clipped_gradients_have_the_maximum_norm_and_their_direction() -> None:
    plain, norm = stepped(linear(), Constraints())
    clipped, same = stepped(linear(), Constraints(clip_norm=0.1))

    assert norm == same > 0.1, "what is told is the norm before clipping"
    for start, free, held in zip(linear().parameters(), plain.parameters(), clipped.parameters(), strict=True):
        torch.testing.assert_close(held - start, (free - start) * 0.1 / norm, atol=1e-6, rtol=1e-4)


def test_a_norm_below_the_maximum_is_unchanged() -> None:
    plain, _ = stepped(linear(), Constraints())
    clipped, _ = stepped(linear(), Constraints(clip_norm=1e6))

    for free, held in zip(plain.parameters(), clipped.parameters(), strict=True):
        torch.testing.assert_close(free, held)


def test_the_l1_penalty_pulls_each_weight_by_its_sign_and_no_bias() -> None:
    start = linear()
    plain, _ = stepped(start, Constraints())
    pulled, _ = stepped(start, Constraints(l1=0.01))

    torch.testing.assert_close(plain[1].weight - pulled[1].weight, 0.5 * 0.01 * start[1].weight.sign())
    torch.testing.assert_close(plain[1].bias, pulled[1].bias)


def test_max_norm_scales_the_weights_into_a_unit_and_only_those_above_it() -> None:
    free, _ = stepped(linear(), Constraints())
    norms = free[1].weight.norm(dim=1)
    limit = float(norms.detach().median())
    held, _ = stepped(linear(), Constraints(max_norm=limit))

    torch.testing.assert_close(held[1].weight.norm(dim=1), norms.clamp(max=limit))
    assert (held[1].weight[norms < limit] == free[1].weight[norms < limit]).all()


def test_weights_of_layers_are_those_without_biases_and_normalizations() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))

    assert [weight.shape for weight in matrices(network)] == [(2, 1, 3, 3), (3, 8)]


def test_the_embeddings_of_a_transformer_are_no_layers() -> None:
    network = timm.create_model("test_vit", num_classes=3)

    held = {id(weight) for weight in matrices(network)}

    assert id(network.pos_embed) not in held and id(network.cls_token) not in held
    assert id(network.head.weight) in held


@pytest.mark.parametrize(("size", "accumulate"), [(20, 3), (25, 3), (60, 2)])
def test_accumulated_batches_make_the_step_of_one_large_batch(size: int, accumulate: int) -> None:
    whole, parts = linear(), linear()

    fit(whole, recipe(epochs=3), PlainRun(numerics=Numerics(batch_size=60)))
    fit(parts, recipe(epochs=3, accumulate=accumulate), PlainRun(numerics=Numerics(batch_size=size)))

    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_an_accumulated_training_reports_between_steps_only_and_resumes_to_the_same_bits() -> None:
    undisturbed, stopped, resumed = linear(), linear(), linear()
    asked = {"epochs": 2, "accumulate": 2}
    fit(undisturbed, recipe(**asked), PlainRun(numerics=Numerics(batch_size=10)))

    run = PlainRun(numerics=Numerics(batch_size=10), answers={2: Signal.STOP})
    fit(stopped, recipe(**asked), run)
    fit(resumed, recipe(**asked), run.resumed(2))

    assert len(run.reports) == 2, "six batches are three steps"
    assert torch.equal(undisturbed[1].weight, resumed[1].weight)


def test_the_epoch_s_gradient_norm_is_the_mean_over_its_steps() -> None:
    network = linear()
    (figures,) = fit(network, recipe(lr=1e-12))

    plain = linear()
    pixels = torch.from_numpy(TRAIN.x.take(np.arange(60))).permute(0, 3, 1, 2) / 255
    nn.functional.cross_entropy(plain(pixels), torch.from_numpy(TRAIN.y)).backward()
    expected = torch.cat([weight.grad.flatten() for weight in plain.parameters()]).norm()
    assert figures["grad_norm"] == pytest.approx(float(expected), rel=1e-4)
