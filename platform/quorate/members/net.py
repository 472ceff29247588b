"""Networks: the built-in architectures and every one of timm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from quorate.data.dataset import Dataset, Images, Inputs
from quorate.data.features import Features, Matrix, PixelFeatures, fit_features, load_features
from quorate.data.signature import ImageSignature, Signature
from quorate.data.standardize import Standardizer, fit_standardizer
from quorate.data.table import Table
from quorate.data.weighting import row_weights
from quorate.members.base import Member, Proba, member_of, read_header, write_header
from quorate.members.earlier_epochs import parts_of_training
from quorate.members.net_average import average_network
from quorate.members.net_params import NetParams, check_classes, expected_shape
from quorate.members.net_planning import net_numerics, pretraining_cost, training_cost, training_memory
from quorate.members.net_start import build_network, first_network, loop_settings
from quorate.members.saved_network import SAMPLE_ROWS, save_as_onnx
from quorate.registry import ARCHS, INITIALIZATIONS, MEMBERS, OPTIMIZERS, SCHEDULES
from quorate.registry.own_code import package_of
from quorate.training.averages import Weights
from quorate.training.context import Device, Hardware, MemoryUse, Numerics, TaskContext
from quorate.training.data_parallel import LEAST_ROWS
from quorate.training.feed import Feed, feed_of, labels_of
from quorate.training.loop import History, TrainingResult, predict
from quorate.training.number_embeddings import Edges, bin_edges
from quorate.training.pretraining.phase import PretrainingResult, pretrain
from quorate.training.procedures import (
    Distillation,
    LoopProcedure,
    Memorization,
    NetworkTraining,
    Procedure,
    RangeSweep,
    WeightAverage,
)
from quorate.training.shapes import Shape, TableShape
from quorate.training.tta import averaged

_WEIGHTS = "weights.safetensors"


@MEMBERS.register("net")
class Net(Member):
    """A network trained by the loop of `quorate.training`."""

    Params = NetParams
    version: ClassVar[int] = 4
    weighs: ClassVar[bool] = True
    resamples: ClassVar[bool] = True
    procedures: ClassVar[tuple[type[Procedure], ...]] = (Distillation, Memorization, RangeSweep, WeightAverage)
    accelerated: ClassVar[bool] = True

    def __init__(self, params: NetParams, *, signature: Signature, n_classes: int) -> None:
        self.params = params
        self.signature = signature
        self.n_classes = n_classes
        self.history: History = []
        self.network: nn.Module | None = None
        self._others: Callable[[], dict[str, Weights]] = dict
        self.features: Features
        self._edges: Edges = ()
        self._device: Numerics = Numerics()
        self._sample: torch.Tensor | None = None

    @classmethod
    def numerics(cls, params: NetParams, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        return net_numerics(params, signature=signature, rows=rows, hardware=hardware)

    @classmethod
    def cost(cls, params: NetParams, *, signature: Signature, rows: int, n_classes: int) -> float:
        check_classes(params, n_classes)
        return training_cost(params, signature=signature, rows=rows) + pretraining_cost(
            params, signature=signature, rows=rows
        )

    @classmethod
    def memory_use(
        cls, params: NetParams, *, signature: Signature, rows: int, n_classes: int, numerics: Numerics
    ) -> MemoryUse:
        return training_memory(params, signature=signature, rows=rows, numerics=numerics)

    @classmethod
    def halved(cls, params: NetParams, numerics: Numerics) -> tuple[NetParams, Numerics] | None:
        size = numerics.batch_size // 2
        if size < LEAST_ROWS * params.worker_range[1]:
            return None
        changes = {"batch_size": size, "accumulate": 2 * params.accumulate}
        return params.model_copy(update=changes), replace(numerics, batch_size=size)

    @classmethod
    def pretraining_cost(cls, params: NetParams, *, signature: Signature, rows: int) -> float:
        return pretraining_cost(params, signature=signature, rows=rows)

    def fit(self, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        own = self.params
        for params, part in parts_of_training(own, context):
            self.params = params
            self._fit(train, valid, part, None)
        self.params = own
        return self

    def follow(self, procedure: Procedure, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        if isinstance(procedure, WeightAverage):
            return self._take_average(procedure, train, context)
        assert isinstance(procedure, Distillation | Memorization | RangeSweep), "the others are not in `procedures`"
        return self._fit(train, valid, context, procedure)

    def _fit(self, train: Dataset, valid: Dataset, context: TaskContext, procedure: LoopProcedure | None) -> Self:
        torch.set_num_threads(context.numerics.threads)
        torch.manual_seed(context.seed)
        if isinstance(train.x, Table):
            self.features = self._columns(train.x)
            if bins := ARCHS.get(self.params.arch.kind).bins(self.params.arch):
                self._edges = bin_edges(self._numbers(train.x), bins)
        network = first_network(self.params, shape=self._shape(), n_classes=self.n_classes, context=context)
        if not isinstance(train.x, Table):
            self.features = PixelFeatures(self._standardizer(network, train.x), train.x.signature)
        device = torch.device(context.numerics.device)
        memory = torch.channels_last if context.numerics.memory_format == "channels_last" else torch.contiguous_format
        network.to(device=device, memory_format=memory)  # type: ignore[call-overload]
        self.network, self._device = network, context.numerics
        distilled = isinstance(procedure, Distillation) and procedure.views > 0
        phase = self._pretrain(network, train, None if distilled else context.unlabelled, context)
        self.history, self.finished, context = phase.history, phase.whole, phase.run
        if phase.stopped:
            return self
        if ARCHS.reference(self.params.arch.kind) is not None:
            some = valid.x.subset(np.arange(min(len(valid), SAMPLE_ROWS)))
            (self._sample,) = feed_of(some, self.features, numerics=Numerics(), size=self.params.size).batches(
                SAMPLE_ROWS
            )
        recipe = loop_settings(
            self.params,
            network,
            weight=self._weight(train),
            so_far=lambda weights, trained: self._with(weights, phase.history, trained),
        )
        given = NetworkTraining(
            network,
            train,
            (self._feed(train.x), labels_of(train, context.numerics)),
            (self._feed(valid.x), labels_of(valid, context.numerics)),
            recipe,
            self.params.lr,
            context,
        )
        trained = given.run() if procedure is None else procedure.train(given)
        self.history, self._others = phase.history + trained.history, trained.others
        return self

    @classmethod
    def views(cls, params: NetParams) -> tuple[str, ...]:
        """Names of the additional members that one fit produces: averages and snapshots."""
        averages = [name for name in ("ema", "swa") if getattr(params, name) is not None]
        return (*averages, *(f"cycle{number}" for number in range(1, params.snapshots)))

    def view(self, name: str) -> Self | None:
        """One of `views` after `fit`; None if the training was stopped before it existed."""
        others = self._others()
        self._others = lambda: others  # computed once, because averages cost a pass over the training rows
        return self._of(others[name]) if name in others else None

    def _with(self, weights: Weights, before: History, trained: TrainingResult) -> Self:
        """A copy of this member in the middle of its training, as it would be if the training ended now."""
        other = self._of(weights)
        others = trained.others()
        other.history, other._others = [*before, *trained.history], lambda: others
        return other

    def _of(self, weights: Weights) -> Self:
        """A copy of this member with other weights."""
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network)
        other.network.load_state_dict(weights)  # type: ignore[union-attr]
        return other

    @classmethod
    def average(cls, members: Sequence[Self], train: Inputs, *, seed: int) -> Self:
        """A copy of the first member with the mean of all members' weights.

        Normalization statistics are recomputed on the training rows `train`, in a seeded order: rows sorted by class
        would give batches of a single class.
        """
        networks = [member.network for member in members if member.network is not None]
        made = copy.copy(members[0])
        made.network = average_network(networks, made._feed(train), seed=seed)
        return made

    def _take_average(self, procedure: WeightAverage, train: Dataset, context: TaskContext) -> Self:
        """Become the average of the networks whose files are the assets of the procedure."""
        torch.set_num_threads(context.numerics.threads)
        files = (
            {Path(name).name: context.asset(Path(name)).read_bytes() for name in one} for one in procedure.networks
        )
        members = [cast(Net, member_of(each)) for each in files]
        made = members[0] if len(members) == 1 else Net.average(members, train.x, seed=context.seed)
        self.params, self.features, self.network, self._device = made.params, made.features, made.network, made._device
        return self

    def predict_proba(self, x: Inputs) -> Proba:
        assert self.network is not None, "fit or load first"
        network, passes = self.network, self.params.mc_dropout
        proba: Proba = averaged(
            lambda feed: predict(network, feed, passes=passes).numpy(), self._feed(x), self.params.tta
        )
        return proba

    def save(self, folder: Path) -> None:
        assert self.network is not None, "fit or load first"
        reference = ARCHS.reference(self.params.arch.kind)
        header = {} if reference is None else save_as_onnx(self.network, self._sample, folder, package_of(reference))
        if "loader" not in header:
            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
            save_file(weights, folder / _WEIGHTS)
        write_header(
            folder,
            params=_to_predict(self.params),
            n_classes=self.n_classes,
            features=self.features.save(folder),
            memory_format=self._device.memory_format,
            **({"edges": self._edges} if self._edges else {}),
            **header,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        header = read_header(folder)
        # The schedule is only needed for training, and its checks may have become stricter since the member was saved.
        # Snapshots require a schedule with cycles.
        params = NetParams.model_validate({**header["params"], "schedule": "constant", "snapshots": 1})
        features = load_features(folder, header["features"])
        member = cls(params, signature=features.signature, n_classes=header["n_classes"])
        member.features = features
        member._edges = tuple(map(tuple, header.get("edges", ())))
        with torch.device("meta"):
            network = build_network(params, shape=member._shape(), n_classes=member.n_classes)
        if network.state_dict().keys() != {name for name, _ in (*network.named_parameters(), *network.named_buffers())}:
            # some buffers are computed by the constructor and are not saved
            network = build_network(params, shape=member._shape(), n_classes=member.n_classes)
        network.load_state_dict(load_file(folder / _WEIGHTS), assign=True)
        member._device = Numerics(memory_format=header["memory_format"])
        memory = torch.channels_last if header["memory_format"] == "channels_last" else torch.contiguous_format
        member.network = network.to(memory_format=memory).eval()
        return member

    def to(self, device: Device) -> None:
        assert self.network is not None, "fit or load first"
        self._device = replace(self._device, device=device)
        self.network.to(device)

    def _pretrain(
        self, network: nn.Module, train: Dataset, unlabelled: Images | None, context: TaskContext
    ) -> PretrainingResult:
        """Pretrain on the fold's training images and on the unlabelled images, if the parameters require it."""
        p, shape = self.params, self._shape()
        if p.pretrain is None or isinstance(shape, TableShape):
            return PretrainingResult([], context)
        images = [train.x] if unlabelled is None else [train.x, unlabelled]
        feeds = [self._feed(part) for part in images]
        rows = len(train) * p.epochs
        return pretrain(network, params=p.pretrain, feeds=feeds, shape=shape, training_rows=rows, context=context)

    def _standardizer(self, network: nn.Module, images: Images) -> Standardizer:
        if self.params.standardize != "auto":
            return fit_standardizer(images, self.params.standardize)
        config: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
        if self.params.weights is None or len(config.get("mean", ())) != images.shape[2]:
            return fit_standardizer(images, "channel")
        return Standardizer.of_channels(config["mean"], config["std"])

    def _weight(self, train: Dataset) -> torch.Tensor | None:
        weight = row_weights(train, self.params)
        return None if weight is None else torch.from_numpy(weight / weight.mean()).to(self._device.device)

    def _columns(self, table: Table) -> Features:
        scheme = "quantile" if self.params.standardize == "auto" else self.params.standardize
        return fit_features(table, standardize=scheme, encoding="index")

    def _numbers(self, table: Table) -> Matrix:
        """The scaled numbers (n, numbers) of the rows."""
        return self.features(table)[:, : self.features.width - len(self.features.cardinalities)]

    def _feed(self, x: Inputs) -> Feed:
        return feed_of(x, self.features, numerics=self._device, size=self.params.size)

    def _shape(self) -> Shape:
        """Shape of the network's input; for a table it is known once the columns are encoded."""
        if isinstance(self.signature, ImageSignature):
            return expected_shape(self.params, self.signature)
        cardinalities = self.features.cardinalities
        return TableShape(self.features.width - len(cardinalities), cardinalities, self._edges)


def _to_predict(params: NetParams) -> NetParams:
    """The parameters without those that only training needs: files, and the user's own code."""
    plain: dict[str, Any] = {"weights": None, "pretrain": None, "finetune": None}
    for name, registry in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("init", INITIALIZATIONS)):
        if registry.reference(getattr(params, name).kind) is not None:
            default = type(params).model_fields[name].default
            plain[name] = registry.get(default).Params() if isinstance(default, str) else default
    return params.model_copy(update=plain)
