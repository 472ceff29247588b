"""Optimizers that a job file can name, all from torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator

from quorate.registry import OPTIMIZERS, KindParams
from quorate.training.momentum import MomentumWarmup
from quorate.training.schedule import TimedParams

Weights = Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]
"""All parameters, or groups of them as torch's optimizers take them, each with its own `lr` and `weight_decay`."""

Share = Annotated[float, Field(ge=0, lt=1)]


# A momentum of 0.9 is usual.
class SgdParams(TimedParams):
    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    """Fraction of the last step that is added to the next one (Polyak, 1964)."""
    nesterov: bool = False
    """Nesterov's variant (Sutskever et al., 2013)."""
    momentum_warmup: MomentumWarmup | None = None
    """A lower momentum at the beginning; see below."""

    @model_validator(mode="after")
    def _needs_momentum(self) -> SgdParams:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov requires a momentum above 0")
        warmup = self.momentum_warmup
        if warmup and warmup.start >= self.momentum:
            raise ValueError(
                f"momentum_warmup.start is {warmup.start:g}, not below the momentum of {self.momentum:g}; "
                "lower it or raise momentum"
            )
        return self

    def check_epochs(self, epochs: int) -> None:
        if self.momentum_warmup and self.momentum_warmup.epochs > epochs:
            raise ValueError(
                f"optimizer.momentum_warmup.epochs is {self.momentum_warmup.epochs}, more than the {epochs} epochs of "
                "the training; lower it or raise epochs"
            )


@OPTIMIZERS.register("sgd")
class Sgd:
    """Stochastic gradient descent with momentum."""

    Params = SgdParams

    @staticmethod
    def build(params: SgdParams, weights: Weights, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            weights, lr=lr, momentum=params.momentum, nesterov=params.nesterov, weight_decay=weight_decay
        )


# The defaults are those of torch.
class AdagradParams(KindParams):
    kind: Literal["adagrad"] = "adagrad"
    lr_decay: float = Field(0.0, ge=0, le=1)
    """The learning rate of step t, counted from 0, is `lr / (1 + t * lr_decay)`."""
    initial_accumulator_value: float = Field(0.0, ge=0, le=1e6)
    """Initial value of the sums of squared gradients."""
    eps: float = Field(1e-10, gt=0, le=1)
    """Added to the square root of the sums to avoid division by 0."""


@OPTIMIZERS.register("adagrad")
class Adagrad:
    """Divides each weight's learning rate by the root of its summed squared gradients (Duchi et al., 2011)."""

    Params = AdagradParams

    @staticmethod
    def build(params: AdagradParams, weights: Weights, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(
            weights,
            lr=lr,
            lr_decay=params.lr_decay,
            initial_accumulator_value=params.initial_accumulator_value,
            eps=params.eps,
            weight_decay=weight_decay,
        )


# The defaults are those of torch.
class AdadeltaParams(KindParams):
    kind: Literal["adadelta"] = "adadelta"
    rho: float = Field(0.9, ge=0, lt=1)
    """Decay rate of the moving averages of squared gradients and squared steps."""
    eps: float = Field(1e-6, gt=0, le=1)
    """Added under both square roots; it determines the size of the first steps."""


@OPTIMIZERS.register("adadelta")
class Adadelta:
    """Steps in proportion to the ratio of recent steps to recent gradients (Zeiler, 2012); `lr` is a factor, 1 in the
    paper."""

    Params = AdadeltaParams

    @staticmethod
    def build(params: AdadeltaParams, weights: Weights, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.Adadelta(weights, lr=lr, rho=params.rho, eps=params.eps, weight_decay=weight_decay)


# The defaults are those of torch.
class RmspropParams(KindParams):
    kind: Literal["rmsprop"] = "rmsprop"
    alpha: float = Field(0.99, ge=0, lt=1)
    """Decay rate of the moving average of squared gradients."""
    eps: float = Field(1e-8, gt=0, le=1)
    """Added to the square root of the average to avoid division by 0."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Fraction of the last step that is added to the next one."""
    centered: bool = False
    """Divide by the estimated standard deviation of the gradients instead of their root mean square."""


@OPTIMIZERS.register("rmsprop")
class Rmsprop:
    """Divides each weight's gradient by its recent root mean square (Tieleman and Hinton, 2012)."""

    Params = RmspropParams

    @staticmethod
    def build(params: RmspropParams, weights: Weights, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            weights,
            lr=lr,
            alpha=params.alpha,
            eps=params.eps,
            momentum=params.momentum,
            centered=params.centered,
            weight_decay=weight_decay,
        )


# The defaults are those of torch.
class MomentsParams(KindParams):
    """Parameters of `adam` and `adamw`."""

    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay rates of the moving averages of gradients and of squared gradients."""
    eps: float = Field(1e-8, gt=0, le=1)
    """Added to the square root of the average of squared gradients to avoid division by 0."""
    amsgrad: bool = False
    """Divide by the largest average of squared gradients so far (Reddi et al., 2018)."""


class AdamParams(MomentsParams):
    kind: Literal["adam"] = "adam"


@OPTIMIZERS.register("adam")
class Adam:
    """Averages of gradients divided by the roots of averages of their squares (Kingma and Ba, 2015)."""

    Params = AdamParams

    @staticmethod
    def build(params: AdamParams, weights: Weights, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            weights, lr=lr, betas=params.betas, eps=params.eps, amsgrad=params.amsgrad, weight_decay=weight_decay
        )


class AdamwParams(MomentsParams):
    kind: Literal["adamw"] = "adamw"


@OPTIMIZERS.register("adamw")
class Adamw:
    """Adam with decoupled weight decay: it shrinks the weights directly and is not part of the gradients (Loshchilov
    and Hutter, 2019)."""

    Params = AdamwParams

    @staticmethod
    def build(params: AdamwParams, weights: Weights, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            weights, lr=lr, betas=params.betas, eps=params.eps, amsgrad=params.amsgrad, weight_decay=weight_decay
        )
