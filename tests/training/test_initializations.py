"""Initial weights have the variance of their formula, with the fans of their layer; everything else is left alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from quorate.registry import ARCHS, INITIALIZATIONS, KindParams
from quorate.registry.own_code import OwnCodeError
from quorate.training.initializations import initialize
from quorate.training.own import adopt_initialization
from quorate.training.shapes import TableShape

LAYERS = {
    # name: layer, fan_in, fan_out; a kernel counts as often as it has places
    "wide": (lambda: nn.Linear(150, 600), 150, 600),
    "narrow": (lambda: nn.Linear(600, 150), 600, 150),
    "convolution": (lambda: nn.Conv2d(16, 64, 5), 16 * 25, 64 * 25),
    "pointwise": (lambda: nn.Conv2d(200, 400, 1), 200, 400),
    "signal": (lambda: nn.Conv1d(50, 100, 7), 50 * 7, 100 * 7),
    "grouped": (lambda: nn.Conv2d(128, 256, 3, groups=4), 32 * 9, 64 * 9),
    "depthwise": (lambda: nn.Conv2d(5000, 5000, 3, groups=5000), 9, 9),
}

VARIANCE = {
    "xavier_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "xavier_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_uniform": lambda fan_in, fan_out: 2 / fan_in,
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "lecun_normal": lambda fan_in, fan_out: 1 / fan_in,
}


def params_of(configuration: str | dict[str, Any]) -> KindParams:
    configuration = {"kind": configuration} if isinstance(configuration, str) else configuration
    params: KindParams = INITIALIZATIONS.get(configuration["kind"]).Params.model_validate(configuration)
    return params


def initialized(layer: nn.Module, configuration: str | dict[str, Any], *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    initialize(layer, params_of(configuration))
    return layer


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", VARIANCE)
def test_the_variance_follows_the_formula_with_the_fans_of_the_layer(kind, name):
    make, fan_in, fan_out = LAYERS[name]

    layer = initialized(make(), kind)

    weight = layer.weight.detach().double()
    expected = VARIANCE[kind](fan_in, fan_out)
    assert weight.numel() >= 25_000
    assert weight.var().item() == pytest.approx(expected, rel=0.03)
    assert weight.mean().item() == pytest.approx(0, abs=5 * math.sqrt(expected / weight.numel()))
    if kind.endswith("uniform"):
        assert weight.abs().max().item() == pytest.approx(math.sqrt(3 * expected), rel=1e-3)
    else:
        kurtosis = (weight**4).mean() / (weight**2).mean() ** 2
        assert kurtosis.item() == pytest.approx(3, abs=0.2)
    assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
@pytest.mark.parametrize(
    "make",
    [lambda: nn.Linear(40, 30), lambda: nn.Linear(30, 40), lambda: nn.Conv2d(3, 8, 3), lambda: nn.Conv2d(2, 40, 3)],
    ids=["wide", "tall", "convolution", "tall convolution"],
)
def test_an_orthogonal_weight_has_orthogonal_rows_or_columns_of_the_length_of_its_gain(make, gain):
    layer = initialized(make(), {"kind": "orthogonal", "gain": gain})

    matrix = layer.weight.detach().flatten(1)
    short = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(short, gain**2 * torch.eye(len(short)), atol=1e-5, rtol=0)


def test_he_initialization_preserves_the_signal_through_twenty_relus_and_lecun_halves_its_variance_at_each():
    sizes = {}
    for kind in ("he_normal", "lecun_normal"):
        layers = [part for _ in range(20) for part in (nn.Linear(300, 300), nn.ReLU())]
        network = initialized(nn.Sequential(*layers[:-1]), kind)
        signal = torch.randn(200, 300, generator=torch.Generator().manual_seed(1)).abs() / math.sqrt(0.5)
        with torch.no_grad():
            sizes[kind] = network(signal).square().mean().item()

    assert 0.2 < sizes["he_normal"] / 4 < 5, "the signal's own mean square is 2, a layer of variance 2/n doubles it"
    assert sizes["lecun_normal"] / sizes["he_normal"] == pytest.approx(0.5**20, rel=0.01)


@pytest.mark.parametrize("kind", ["he_normal", "orthogonal"])
def test_norms_and_embeddings_do_not_change(kind):
    # given
    def fresh() -> nn.Module:
        torch.manual_seed(3)
        arch = ARCHS.get("mlp")
        return arch.build(arch.Params(hidden=(8, 8)), shape=TableShape(3, (5, 7)), n_classes=3, dropout=0.1)

    plain, network = fresh(), fresh()

    # when
    initialize(network, params_of(kind))

    # then
    weighed = (nn.Linear, nn.Conv2d)
    changed = {
        name for name, tensor in network.state_dict().items() if not torch.equal(tensor, plain.state_dict()[name])
    }
    linear = {name for name, part in network.named_modules() if isinstance(part, weighed)}
    assert changed == {f"{name}.weight" for name in linear} | {
        f"{name}.bias" for name in linear if network.get_submodule(name).bias is not None
    }
    assert any(isinstance(part, nn.Embedding | nn.BatchNorm1d) for part in network.modules())


def test_the_default_changes_no_weights_and_draws_no_random_numbers():
    torch.manual_seed(3)
    layer = nn.Linear(4, 4)
    before, state = layer.weight.detach().clone(), torch.get_rng_state()

    initialize(layer, params_of("default"))

    assert torch.equal(layer.weight, before) and torch.equal(torch.get_rng_state(), state)
    assert nn.Linear(300, 300).weight.var().item() == pytest.approx(1 / (3 * 300), rel=0.03), "what its docstring says"


@pytest.mark.parametrize("kind", [*VARIANCE, "orthogonal"])
def test_the_same_seed_draws_the_same_weights_and_another_seed_others(kind):
    first, again, other = (initialized(nn.Conv2d(3, 8, 3), kind, seed=seed).weight for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_users_own_initialization_fills_each_weight(monkeypatch):
    # given
    def constant(weight, *, value: float = 0.5):
        weight.fill_(value)

    monkeypatch.setitem(INITIALIZATIONS._kinds, "own", adopt_initialization("own", constant))

    # when
    layer = initialized(nn.Conv2d(4, 4, 3, groups=2), {"kind": "own", "value": 3})

    # then
    assert torch.equal(layer.weight, torch.full_like(layer.weight, 3.0))


def test_a_function_without_a_weight_parameter_is_refused_as_initialization():
    with pytest.raises(OwnCodeError, match=r"does not take weight; it should look like fill\(weight"):
        adopt_initialization("own", lambda tensor: None)
