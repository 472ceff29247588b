"""Parameter groups with their own weight decay or learning rate, made by timm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from torch import nn

Decayed = Literal["all", "weights"]


def parameter_groups(
    network: nn.Module, *, lr: float, weight_decay: float, decay: Decayed = "all", layer_decay: float = 1.0
) -> Iterable[nn.Parameter] | list[dict[str, Any]]:
    """Return the argument of torch's optimizers: all parameters, or groups, starting with the highest learning rate.

    If `decay` is `weights`, there is no weight decay for one-dimensional parameters (biases, norms) and for those that
    the network lists in `no_weight_decay()`. `layer_decay` is the ratio of a layer's learning rate to that of the next
    layer; the last layer uses `lr` (Clark et al., 2020; Bao et al., 2022). It requires a network with a known order of
    layers.
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
    """Return whether the order of the network's layers is known, as for timm's networks and `nn.Sequential`."""
    return hasattr(network, "group_matcher") or isinstance(network, nn.Sequential)


def _layers_of(network: nn.Module) -> Any:
    """Return timm's function from a parameter to its layer.

    In a sequence each part with a weight matrix begins a new layer: a norm belongs to the convolution before it.
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
    """A network in the form that timm's grouping expects."""

    def __init__(self, network: nn.Module) -> None:
        assert tells_layers(network), "rejected when the job was planned"
        self.named_parameters = network.named_parameters
        self._matcher = _layers_of(network)

    def group_matcher(self, coarse: bool) -> Any:
        return self._matcher
