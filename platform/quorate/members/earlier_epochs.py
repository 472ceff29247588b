"""Networks whose first epochs had other parameters (population based training, Jaderberg et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from quorate.registry import Spec
from quorate.spec.recipe import as_written
from quorate.training.context import OTHER_PARAMETERS, DelegatingContext, Metrics, Signal, State, TaskContext
from quorate.training.state import pack_state, unpack_state

if TYPE_CHECKING:
    from quorate.members.net_params import NetParams

P = TypeVar("P", bound="NetParams")

CHANGEABLE = (
    "lr",
    "schedule",
    "optimizer",
    "weight_decay",
    "dropout",
    "label_smoothing",
    "clip_norm",
    "l1",
    "max_norm",
    "augment",
)
"""The parameters that can change while a network trains: neither its shape nor its batches depend on them."""


class EarlierEpochs(Spec):
    """The epochs up to one in which a network had other parameters."""

    until: int = Field(ge=1, le=100_000)
    """Number of the last epoch with these parameters."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Those that differ from the network's own."""


class Earlier(Spec):
    """What a network was before it got its parameters."""

    member: str
    """The member whose seeds it has, because it began as this member."""
    epochs: tuple[EarlierEpochs, ...] = Field(min_length=1)
    """Its first epochs, in parts."""


def check_earlier(params: NetParams, earlier: Earlier) -> None:
    """Raise `ValueError` if the parts do not follow each other within the epochs, or change what cannot change."""
    ends = [part.until for part in earlier.epochs]
    if ends != sorted(set(ends)):
        raise ValueError(f"earlier.epochs end after the epochs {ends}; give them in ascending order")
    if ends[-1] >= params.epochs:
        raise ValueError(f"earlier ends after epoch {ends[-1]}, but there are {params.epochs} epochs; raise epochs")
    for name in (name for part in earlier.epochs for name in part.params):
        if name not in CHANGEABLE:
            raise ValueError(f"earlier: {name} cannot change during training (choose from {', '.join(CHANGEABLE)})")
    for name in ("pretrain", "early_stopping", "finetune"):
        if getattr(params, name) is not None:
            raise ValueError(f"{name} does not work with earlier; remove one of them")
    if params.snapshots > 1 or params.worker_range[1] > 1:
        raise ValueError("earlier works with one worker and without snapshots; remove earlier")
    for part in earlier.epochs:
        before, now = params_before(params, part).optimizer.kind, params.optimizer.kind
        if before != now:
            raise ValueError(
                f"earlier: the optimizer is {before} before and {now} later; its kind cannot change during training"
            )


def params_before(params: P, part: EarlierEpochs) -> P:
    """The parameters of a network in some of its first epochs."""
    given = params.model_dump(exclude={"earlier"}, exclude_unset=True)
    return type(params).model_validate({**given, **part.params})


def continuing(params: P, other: P, *, member: str, until: int) -> P:
    """A network that has other parameters up to an epoch, and has begun as a member."""
    before = other.earlier.epochs if other.earlier is not None else ()
    parts = [*((one.until, params_before(other, one)) for one in before), (until, other)]
    epochs = [{"until": last, "params": _differing(params, one)} for last, one in parts]
    given = params.model_dump(exclude={"earlier"}, exclude_unset=True)
    return type(params).model_validate({**given, "earlier": {"member": member, "epochs": epochs}})


def _differing(params: NetParams, other: NetParams) -> dict[str, Any]:
    """The changeable parameters of another network that differ."""
    dumped = other.model_dump(mode="json")
    names = [name for name in CHANGEABLE if getattr(other, name) != getattr(params, name)]
    return {name: as_written(getattr(other, name), dumped[name]) for name in names}


class PartOfTraining(DelegatingContext):
    """The context of a part of a training: up to an epoch, with the parameters of this part, or to the end."""

    def __init__(self, context: TaskContext, restored: State | None, until: int | None) -> None:
        super().__init__(context, restored)
        self._until = until
        self._epoch = epochs_in(restored)
        self.reached: State | None = None
        """The state after the last epoch of the part."""

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        signal = self._context.report(metrics, state, so_far)
        self._epoch += metrics is not None
        if signal is Signal.STOP or metrics is None or self._epoch != self._until:
            return signal
        self.reached = unpack_state(pack_state(state()))  # a copy, because the weights are still used
        return Signal.STOP


def parts_of_training(params: NetParams, context: TaskContext) -> Iterator[tuple[NetParams, TaskContext]]:
    """The parts of a training that its state does not contain yet, with their parameters.

    The caller trains one before it requests the next one; there is none after a part that was stopped.
    """
    if params.earlier is None:
        yield params, context
        return
    before, state = params.earlier.epochs, context.restored
    ends = [part.until for part in before]
    each = (*(params_before(params, part) for part in before), params)
    for own, first, last in zip(each, (0, *ends), (*ends, None), strict=True):
        if last is not None and epochs_in(state) >= last:
            continue
        if state is not None and first and epochs_in(state) == first and not state["step"]:
            state = {**state, OTHER_PARAMETERS: True}
        part = PartOfTraining(context, state, last)
        yield own, part
        state = part.reached
        if state is None:
            return


def epochs_in(state: State | None) -> int:
    """The number of epochs that a state contains."""
    return len(state["history"]) if state is not None else 0
