"""Groups of a network's parameters that are decayed, or learn, otherwise than the rest; by timm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from torch import nn

Decayed = Literal["all", "weights"]


def parameter_groups(
    network: nn.Module, *, lr: float, weight_decay: float, decay: Decayed = "all", layer_decay: float = 1.0
) -> Iterable[nn.Parameter] | list[dict[str, Any]]:
    """What torch's optimizers take: all parameters, or groups of them, that of the highest rate first.

    With `decay` of `weights`, parameters of one dimension (biases, norms), and those that the network itself
    names in `no_weight_decay()`, are not decayed. `layer_decay` is the rate of a layer over that of the next
    one, the last one having `lr` (Clark et al., 2020; Bao et al., 2022); it needs a network that tells its layers.
    """
    if decay == "all" and layer_decay == 1:
        return network.parameters()
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay  # timm takes seconds to import

    spared: Callable[[], Iterable[str]] = getattr(network, "no_weight_decay", tuple)
    names = set(spared()) if decay == "weights" else set()
    if layer_decay == 1:
        decayed: list[dict[str, Any]] = param_groups_weight_decay(network, weight_decay, no_weight_decay_list=names)
        return decayed
    layered: list[dict[str, Any]] = param_groups_layer_decay(
        _Layered(network),
        weight_decay,
        no_weight_decay_list=names,
        weight_decay_exclude_1d=decay == "weights",
        layer_decay=layer_decay,
    )
    for group in layered:
        group["lr"] = lr * group["lr_scale"]
    return sorted(layered, key=lambda group: -float(group["lr"]))


def tells_layers(network: nn.Module) -> bool:
    """Whether the order of its layers can be known: timm's networks say it, a sequence has it."""
    return hasattr(network, "group_matcher") or isinstance(network, nn.Sequential)


def _layers_of(network: nn.Module) -> Any:
    """timm's matcher from a parameter to its layer.

    In a sequence a layer begins with each part that has a matrix of weights: a norm belongs to the convolution
    before it.
    """
    if hasattr(network, "group_matcher"):
        matcher: Any = network.group_matcher
        return matcher(coarse=False)
    layers: dict[str, int] = {}
    layer = -1
    for name, part in network.named_children():
        if any(parameter.ndim > 1 for parameter in part.parameters()):
            layer += 1
        layers[name] = max(layer, 0)
    return lambda parameter: layers[parameter.partition(".")[0]]


class _Layered:
    """A network as timm's grouping sees it."""

    def __init__(self, network: nn.Module) -> None:
        assert tells_layers(network), "refused when the job was planned"
        self.named_parameters = network.named_parameters
        self._matcher = _layers_of(network)

    def group_matcher(self, coarse: bool) -> Any:
        return self._matcher
