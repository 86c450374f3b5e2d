"""Weights of timm's ``nasnetalarge``, in and out (timm/models/nasnet.py, NASNetALarge).

timm's network is NASNet-A for ImageNet with fixed cells; ours of the same skeleton has the same
weights under other names. It was trained with ``padding = "timm"`` in mind: see
``pipeline.networks.layers``.
"""

from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import UserError
from pipeline.spaces.cells.network import CellNetwork
from pipeline.spaces.cells.published import NASNET_A

# What the layers of an operation are called, by their places in ours.
_SEPARABLE = {
    "0": "separable_1.depthwise_conv2d",
    "1": "separable_1.pointwise_conv2d",
    "2": "bn_sep_1",
    "4": "separable_2.depthwise_conv2d",
    "5": "separable_2.pointwise_conv2d",
    "6": "bn_sep_2",
}
_POINTWISE = {"0": "conv", "1": "bn"}
_REDUCTION = {"0.even": "path_1.conv", "0.odd": "path_2.conv", "0.norm": "final_path_bn"}


def to_timm(network: CellNetwork) -> dict[str, Tensor]:
    """A network's weights under timm's names; the auxiliary head stays behind.

    Raises:
        UserError: the network is not NASNet-A for ImageNet.
    """
    names = _names(network)
    return {
        name: tensor for key, tensor in network.state_dict().items() if (name := names.get(key))
    }


def load_timm(network: CellNetwork, weights: Mapping[str, Tensor]) -> None:
    """Take weights that have timm's names; an auxiliary head keeps its own.

    Raises:
        UserError: the network is not NASNet-A for ImageNet, or the weights are another size's.
    """
    own = network.state_dict()
    names = _names(network)
    unknown = weights.keys() - set(names.values())
    if unknown:
        raise UserError(f"not weights of timm's nasnetalarge: {sorted(unknown)[0]} has no place")
    for key, name in names.items():
        if name not in weights:
            raise UserError(f"not weights of timm's nasnetalarge: {name} is missing")
        if weights[name].shape != own[key].shape:
            raise UserError(
                f"weights of another size: {name} is {list(weights[name].shape)}, "
                f"expected {list(own[key].shape)}"
            )
    network.load_state_dict({**own, **{key: weights[name] for key, name in names.items()}})


def check_nasnet_a(network: CellNetwork, name: str) -> None:
    """Whether a network is NASNet-A for ImageNet, as one of that name is.

    Raises:
        UserError: it is another.
    """
    if network.stem_cells != 2 or any(
        place.genes != (NASNET_A.reduction if place.reduction else NASNET_A.normal)
        for place in network.plan
    ):
        raise UserError(f"{name} is NASNet-A for ImageNet; this is another network")


def _names(network: CellNetwork) -> dict[str, str]:
    """timm's name of each of our weights, the auxiliary head's excepted."""
    check_nasnet_a(network, "timm's nasnetalarge")
    cells = ["cell_stem_0", "cell_stem_1"]
    counts = {"cell": 0, "reduction_cell": 0}
    for place in network.plan[2:]:
        kind = "reduction_cell" if place.reduction else "cell"
        cells.append(f"{kind}_{counts[kind]}")
        counts[kind] += 1
    keys = [key for key in network.state_dict() if not key.startswith("auxiliary.")]
    return {key: _name(key, cells) for key in keys}


def _name(key: str, cells: list[str]) -> str:
    part, _, rest = key.partition(".")
    if part == "classifier":
        return f"last_linear.{rest}"
    layer, leaf = rest.rsplit(".", 1)
    if part == "stem":
        return f"conv0.{_POINTWISE[layer]}.{leaf}"
    number, part, *path = layer.split(".")
    if part == "current":
        name = f"conv_1x1.{_POINTWISE[path[0]]}"
    elif part == "previous":
        name = _REDUCTION.get(".".join(path)) or f"conv_prev_1x1.{_POINTWISE[path[0]]}"
    else:
        state, side, layer = path
        name = f"comb_iter_{int(state) - 2}_{side}.{_SEPARABLE[layer]}"
    return f"{cells[int(number)]}.{name}.{leaf}"
