"""Users' own architectures, optimizers, schedules and initializations: functions or classes as kinds of a job file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from quorate.registry import KindParams
from quorate.registry.own_code import OwnCodeError, describe_error
from quorate.spec.own_params import own_values, params_of, require_class, require_parameters
from quorate.training.contracts import HubWeights
from quorate.training.pretraining.objective import PretrainParams
from quorate.training.shapes import Shape, TableShape

_ARCH = "build(shape, n_classes, *, width: int = 32) -> torch.nn.Module"
_OPTIMIZER = "build(weights, *, lr, weight_decay, momentum: float = 0.9) -> torch.optim.Optimizer"
_SCHEDULE = "build(optimizer, *, epochs, steps) -> torch.optim.lr_scheduler.LRScheduler"
_INITIALIZATION = "fill(weight, *, gain: float = 1.0), which fills the tensor in place"


class OwnArch:
    """A user's own architecture: `call(params, given)` builds the network."""

    own = True

    def __init__(
        self, kind: str, source: Any, params: type[KindParams], call: Callable[[Any, Mapping[str, Any]], object]
    ) -> None:
        self.Params = params
        self.convolutional: bool = getattr(source, "convolutional", False)
        self.takes: Collection[str] = frozenset(getattr(source, "takes", {"image"}))
        self.__doc__ = source.__doc__
        self.__module__ = source.__module__
        self._kind, self._call = kind, call
        self.loads_weights = hasattr(source, "pretrained")
        if self.loads_weights:
            self.pretrained = source.pretrained

    def bins(self, params: KindParams) -> int:
        """Return 0: a user's architecture gets the numbers of a table as they are."""
        return 0

    def hub_weights(self, params: KindParams) -> HubWeights | None:
        """None: only the user's code knows where its weights are."""
        return None

    def build(self, params: KindParams, *, shape: Shape, n_classes: int, dropout: float) -> nn.Module:
        """Build the network; raises `OwnCodeError` if the user's code raises or returns something else."""
        given = {"shape": shape, "n_classes": n_classes, "dropout": dropout}
        network = _called(self._kind, lambda: self._call(params, given))
        if not isinstance(network, nn.Module):
            raise OwnCodeError(f"{self._kind} returned {_type(network)}, not a torch.nn.Module")
        return network

    def trial(self, params: KindParams, *, shape: Shape, n_classes: int) -> nn.Module:
        """Return a network that has classified one row, on the device `meta` if its code allows that.

        Raises `OwnCodeError` if it cannot, or if its logits have the wrong shape.
        """
        try:
            with torch.device("meta"):
                network = self.build(params, shape=shape, n_classes=n_classes, dropout=0.0).eval()
                self._check_logits(network, shape, n_classes)
        except OwnCodeError:  # code may read values of tensors, which `meta` does not have
            network = self.build(params, shape=shape, n_classes=n_classes, dropout=0.0).eval()
            self._check_logits(network, shape, n_classes)
        return network

    def _check_logits(self, network: nn.Module, shape: Shape, n_classes: int) -> None:
        x = torch.zeros(1, shape.size) if isinstance(shape, TableShape) else torch.zeros(1, shape[2], *shape[:2])
        with torch.no_grad():
            logits = _called(f"the network of {self._kind}", lambda: network(x))
        if not isinstance(logits, torch.Tensor):
            raise OwnCodeError(f"the network of {self._kind} returned {_type(logits)}, not a tensor")
        if logits.shape != (1, n_classes):
            raise OwnCodeError(
                f"the network of {self._kind} returned {tuple(logits.shape)} for one row of {tuple(x.shape[1:])}; "
                f"it must return (1, {n_classes}), one logit for each of {n_classes} classes"
            )


class OwnStep:
    """A user's own optimizer or schedule."""

    def __init__(self, kind: str, source: Any, params: type[KindParams], gives: type, first: str) -> None:
        self.Params = params
        self.__doc__ = source.__doc__
        self.__module__ = source.__module__
        self._kind, self._source, self._gives, self._first = kind, source, gives, first

    def build(self, params: KindParams, first: Any, **given: Any) -> Any:
        """Build the optimizer from the weights, or the schedule from the optimizer; raises `OwnCodeError`."""
        if hasattr(self._source, "build"):
            made = _called(self._kind, lambda: self._source.build(params, first, **given))
        else:
            values = own_values(params, self._source, {self._first: first, **given})
            made = _called(self._kind, lambda: self._source(**values))
        if not isinstance(made, self._gives):
            raise OwnCodeError(
                f"{self._kind} returned {_type(made)}, not a {self._gives.__module__}.{self._gives.__name__}"
            )
        return made


class OwnInitialization:
    """A user's own initialization: fills one layer's weight in place."""

    def __init__(self, kind: str, source: Any, params: type[KindParams]) -> None:
        self.Params = params
        self.__doc__ = source.__doc__
        self.__module__ = source.__module__
        self._kind, self._source = kind, source

    def fill(self, params: KindParams, weight: torch.Tensor) -> None:
        """Fill `weight`; raises `OwnCodeError` if the user's code raises."""
        if isinstance(self._source, type):
            of_class: Any = self._source
            _called(self._kind, lambda: of_class.fill(params, weight))
        else:
            values = own_values(params, self._source, {"weight": weight})
            _called(self._kind, lambda: self._source(**values))


def adopt_initialization(kind: str, found: Any) -> OwnInitialization:
    """Make an initialization kind from a function `fill(weight, ...)`, or from a class."""
    if isinstance(found, type):
        require_class(found, base=KindParams, names=("fill",), kind=kind)
        of_class: Any = found
        return OwnInitialization(kind, found, of_class.Params)
    _require_function(found, ("weight",), _INITIALIZATION)
    params = params_of(found, what="initialization", kind=kind, given=("weight",))
    return OwnInitialization(kind, found, params)


def adopt_arch(kind: str, found: Any) -> OwnArch:
    """Make an architecture kind from a function `build(shape, n_classes, ...)`, an `nn.Module` class with these
    arguments, or a class with `Params` and `build`."""
    if isinstance(found, type) and not issubclass(found, nn.Module):
        require_class(found, base=KindParams, names=("build",), kind=kind)
        of_class: Any = found
        return OwnArch(kind, found, of_class.Params, lambda params, given: of_class.build(params, **given))
    _require_function(found, ("shape", "n_classes"), _ARCH)
    params = params_of(found, what="architecture", kind=kind, given=("shape", "n_classes", "dropout"))
    return OwnArch(kind, found, params, lambda params, given: found(**own_values(params, found, given)))


def adopt_optimizer(kind: str, found: Any) -> OwnStep:
    """Make an optimizer kind from a function `build(weights, *, lr, weight_decay, ...)`, or from a class."""
    given = ("weights", "lr", "weight_decay")
    return _adopt_step(kind, found, "optimizer", given, ("weights", "lr"), _OPTIMIZER, Optimizer)


def adopt_schedule(kind: str, found: Any) -> OwnStep:
    """Make a schedule kind from a function `build(optimizer, *, epochs, steps, ...)`, or from a class."""
    return _adopt_step(
        kind, found, "schedule", ("optimizer", "epochs", "steps"), ("optimizer",), _SCHEDULE, LRScheduler
    )


def adopt_pretraining(kind: str, found: Any) -> Any:
    """Make a pretraining kind from a class with `Params`, `build`, `passes` and `convolutional`."""
    if not isinstance(found, type):
        raise OwnCodeError(f"it is {_type(found)}; it must be a class with Params, build, passes and convolutional")
    require_class(found, base=PretrainParams, names=("build", "passes"), kind=kind)
    return found


def _adopt_step(
    kind: str, found: Any, what: str, given: tuple[str, ...], needed: Iterable[str], form: str, gives: type
) -> OwnStep:
    if isinstance(found, type):
        require_class(found, base=KindParams, names=("build",), kind=kind)
        of_class: Any = found
        return OwnStep(kind, found, of_class.Params, gives, given[0])
    _require_function(found, needed, form)
    return OwnStep(kind, found, params_of(found, what=what, kind=kind, given=given), gives, given[0])


def _require_function(found: Any, names: Iterable[str], form: str) -> None:
    if not callable(found):
        raise OwnCodeError(f"it is {_type(found)}; it must be a function: {form}")
    require_parameters(found, names, form=form)


def _called(kind: str, call: Callable[[], object]) -> object:
    try:
        return call()
    except OwnCodeError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise OwnCodeError(f"{kind} raises {describe_error(error)}") from error


def _type(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
