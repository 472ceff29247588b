"""Averages and snapshots of the weights that one run passes through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data
from tests.training.test_loop import labelled, recipe
from torch import nn

from quorate.data.dataset import Dataset
from quorate.data.signature import ImageSignature
from quorate.members.base import files_of, member_of
from quorate.members.net import Net, NetParams
from quorate.training.averages import Averages, Swa, average
from quorate.training.context import Numerics, Signal
from quorate.training.loop import fit_network
from quorate.training.schedules import CosineParams, snapshot_epochs

TRAIN, VALID = tiny_data(rows=50), tiny_data(rows=20, seed=1)
MLP = {"kind": "mlp", "hidden": [8]}


def net(run: PlainRun | None = None, **params: object) -> Net:
    given = NetParams.model_validate({"arch": MLP, "epochs": 4, "batch_size": 16, "lr": 0.05, **params})
    world = run if run is not None else PlainRun()
    world.numerics = Numerics(batch_size=16)
    return Net(given, signature=ImageSignature((8, 8, 1)), n_classes=3).fit(TRAIN, VALID, world)


def weights(member: object) -> dict[str, torch.Tensor]:
    network = member.network  # type: ignore[attr-defined]
    return network.state_dict()


def line(*values: float) -> nn.Module:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(values[0])
    return layer


def test_the_moving_average_is_that_of_its_formula() -> None:
    network = line(1.0)
    averages = Averages(network, ema=0.9, swa=None, epochs=1)
    expected = None
    for value in (1.0, 2.0, -3.0, 5.0):
        network.weight.data.fill_(value)  # type: ignore[union-attr, operator]
        averages.after_step(network)
        expected = value if expected is None else 0.9 * expected + 0.1 * value

    (found,) = averages.weights(network, list).values()
    assert float(found["weight"]) == pytest.approx(expected)


def test_stochastic_weight_averaging_is_the_mean_over_the_last_epochs() -> None:
    network = line(0.0)
    averages = Averages(network, ema=None, swa=Swa(start=0.5), epochs=6)
    for epoch, value in enumerate((10.0, 20.0, 30.0, 1.0, 2.0, 6.0)):
        network.weight.data.fill_(value)  # type: ignore[union-attr, operator]
        averages.after_epoch(network, epoch)

    assert float(averages.weights(network, list)["swa"]["weight"]) == pytest.approx(3.0)


def test_normalization_statistics_are_recomputed_for_averaged_weights() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    averages = Averages(network, ema=0.5, swa=None, epochs=1)
    averages.after_step(network)
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))

    found = averages.weights(network, lambda: x.split(16))["ema"]

    before = nn.functional.linear(x, found["0.weight"], found["0.bias"])
    torch.testing.assert_close(found["1.running_mean"], before.mean(0), atol=1e-5, rtol=1e-4)
    within = torch.stack([part.var(0) for part in before.split(16)]).mean(0)
    torch.testing.assert_close(found["1.running_var"], within, atol=1e-5, rtol=1e-4)


def test_frozen_normalizations_keep_the_statistics_that_later_layers_are_trained_with() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3), nn.BatchNorm1d(3))
    network[0].running_mean.fill_(5.0)  # type: ignore[union-attr, operator]
    averages = Averages(network, ema=0.5, swa=None, epochs=1)
    for parameter in network[0].parameters():
        parameter.requires_grad_(False)
    averages.after_step(network)
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))

    found = averages.weights(network, lambda: x.split(16))["ema"]

    assert found["0.running_mean"].tolist() == [5, 5]
    before = nn.functional.linear((x - 5) / (1 + 1e-5) ** 0.5, found["1.weight"], found["1.bias"])
    torch.testing.assert_close(found["2.running_mean"], before.mean(0), atol=1e-5, rtol=1e-4)


def test_the_average_of_a_training_with_a_frozen_backbone_is_as_good_as_the_training(tmp_path: Path) -> None:
    data = tiny_data(shape=(8, 8, 3))
    torch.manual_seed(3)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    asked = {"arch": "timm/test_resnet", "size": 32, "epochs": 3, "lr": 0.1, "weights": tmp_path / "w.safetensors"}
    params = NetParams.model_validate({**asked, "finetune": {"freeze": "backbone"}, "swa": {"start": 0}})

    net = Net(params, signature=data.signature, n_classes=3).fit(data, data, PlainRun())

    plain, average = net.network.state_dict(), net.view("swa").network.state_dict()  # type: ignore[union-attr]
    statistics = [key for key in plain if "running" in key]
    assert statistics
    for key in statistics:
        torch.testing.assert_close(average[key], plain[key], atol=0, rtol=0, msg=key)


def test_rows_that_are_sorted_by_class_do_not_narrow_the_statistics_of_an_average() -> None:
    mixed = tiny_data(rows=60)
    order = np.argsort(mixed.y, kind="stable")
    data = Dataset(mixed.x.subset(order), mixed.y[order], mixed.class_names)
    feed, _ = labelled(data)
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3))
    run = PlainRun(numerics=Numerics(batch_size=20))

    asked = recipe(swa=Swa(start=0))
    trained = fit_network(network, train=labelled(data), valid=labelled(data), n_classes=3, recipe=asked, context=run)

    whole = feed.batch(torch.arange(60)).flatten(1).var(0).mean()
    sorted_batches = torch.stack([feed.batch(rows).flatten(1).var(0) for rows in torch.arange(60).split(20)]).mean()
    found = trained.others()["swa"]["1.running_var"].mean()
    assert sorted_batches < 0.9 * whole
    assert found > 0.97 * whole


@pytest.mark.parametrize(("start", "epochs", "first"), [(0.29, 100, 29), (0.57, 100, 57), (0.75, 10, 7), (0.99, 4, 3)])
def test_averaging_starts_after_its_part_of_the_epochs(start: float, epochs: int, first: int) -> None:
    assert Swa(start=start).first_epoch(epochs) == first


def test_cycles_end_at_even_parts_of_the_epochs() -> None:
    assert snapshot_epochs(CosineParams(cycles=3), 30) == (9, 19)
    assert snapshot_epochs(CosineParams(cycles=4), 10) == (1, 4, 6)
    assert snapshot_epochs(CosineParams(cycles=2, warmup=2), 10) == (5,)
    assert snapshot_epochs(CosineParams(), 5) == ()


def test_one_run_gives_every_view_and_does_not_change_the_plain_member() -> None:
    plain = net(schedule={"kind": "cosine", "cycles": 2})
    several = net(ema=0.9, swa={"start": 0.5}, snapshots=2)

    assert Net.views(several.params) == ("ema", "swa", "cycle1")
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(several)[name])
    shown = {name: several.view(name) for name in Net.views(several.params)}
    probas = [view.predict_proba(VALID.x) for view in (several, *shown.values())]  # type: ignore[union-attr]
    assert len({proba.tobytes() for proba in probas}) == 4, "four different members"
    for proba in probas:
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)


def test_a_snapshot_holds_the_weights_of_the_end_of_its_cycle() -> None:
    kept: dict[int, dict[str, torch.Tensor]] = {}

    class Watching(PlainRun):
        def report(self, metrics, state, so_far=None):  # type: ignore[no-untyped-def]
            if metrics is not None:
                kept[len(kept)] = {name: tensor.clone() for name, tensor in state()["network"].items()}
            return super().report(metrics, state)

    member = net(Watching(), snapshots=2)

    view = member.view("cycle1")
    assert view is not None
    for name, tensor in kept[1].items():
        assert torch.equal(tensor, weights(view)[name])


def test_a_network_with_snapshots_is_loaded_again() -> None:
    member = net(snapshots=2)

    again = member_of(files_of(member))

    np.testing.assert_array_equal(again.predict_proba(VALID.x), member.predict_proba(VALID.x))


@pytest.mark.parametrize("report", [1, 4, 5, 8, 9, 13])
def test_averages_and_snapshots_resume_to_the_same_bits(report: int) -> None:
    asked = {"ema": 0.9, "swa": {"start": 0.5, "lr": 0.01}, "snapshots": 2}
    undisturbed = net(**asked)
    run = PlainRun(answers={report: Signal.STOP})
    net(run, **asked)

    resumed = net(run.resumed(report), **asked)

    for name in (None, *Net.views(undisturbed.params)):
        one, other = (member if name is None else member.view(name) for member in (undisturbed, resumed))
        for key, tensor in weights(one).items():
            assert torch.equal(tensor, weights(other)[key]), (name, key)


def test_a_stopped_run_gives_the_views_that_it_has_reached() -> None:
    run = PlainRun(answers={2: Signal.STOP})

    stopped = net(run, ema=0.9, swa={"start": 0.5}, snapshots=2)

    assert stopped.view("ema") is not None
    assert stopped.view("swa") is None
    assert stopped.view("cycle1") is None


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"snapshots": 2, "early_stopping": {"patience": 2}}, "snapshots needs all epochs"),
        ({"swa": {}, "early_stopping": {"patience": 2}}, "swa needs all epochs"),
        ({"snapshots": 9}, "no room for 9 cycles"),
        ({"snapshots": 2, "schedule": "one_cycle"}, "snapshots: 2 are taken at the ends of cycles; remove schedule"),
        ({"mc_dropout": 5}, "dropout is 0"),
        ({"ema": 1.0}, "less than 1"),
    ],
)
def test_incompatible_parameters_are_refused(params: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        NetParams.model_validate({"arch": MLP, "epochs": 4, "early_stopping": None, **params})


def test_the_mean_of_weights_equals_a_manual_calculation_and_statistics_are_recomputed() -> None:
    # given: two networks, and batches of equal size
    def network(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        made(torch.randn(32, 4))  # statistics of other rows
        return made.eval()

    one, other, soup = network(1), network(2), network(3)
    batches = torch.randn(2, 16, 4, generator=torch.Generator().manual_seed(0))

    # when
    average(soup, [one.state_dict(), other.state_dict()], iter(batches))

    # then
    for name, found in soup.named_parameters():
        expected = (one.get_parameter(name) + other.get_parameter(name)) / 2
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    with torch.no_grad():
        hidden = [soup[0](batch) for batch in batches]
    norm = soup[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([h.mean(dim=0) for h in hidden]).mean(dim=0))
    torch.testing.assert_close(norm.running_var, torch.stack([h.var(dim=0) for h in hidden]).mean(dim=0))
    assert not soup.training


def test_the_mean_of_a_network_with_itself_is_the_network() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}

    average(layer, [before, before, before], iter(()))

    assert all(torch.equal(layer.state_dict()[name], tensor) for name, tensor in before.items())
