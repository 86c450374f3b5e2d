"""Weights of keras' ``NASNetMobile`` and ``NASNetLarge``, in and out.

keras' network (keras: applications/nasnet.py) is NASNet-A for ImageNet; ours of the same skeleton
with ``padding = "keras"`` says the same with the same weights. Images are brought to [-1, 1], as
ours of ``image_size`` are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.spaces.cells.network import STAGES, CellNetwork
from pipeline.spaces.cells.timm_weights import check_nasnet_a

Array = npt.NDArray[np.float32]
# By the name of each layer with weights, what its ``get_weights()`` gives.
Weights = Mapping[str, Sequence[Array]]

# Of keras' dimensions, those of ours in order. A kernel is (height, width, in, out), a depthwise
# one (height, width, in, 1), a linear layer's (in, out).
Order = tuple[int, ...]
_CONV: Order = (3, 2, 0, 1)
_DEPTHWISE: Order = (2, 3, 0, 1)
_LINEAR: Order = (1, 0)
_VECTOR: Order = (0,)
_NORM = ("weight", "bias", "running_mean", "running_var")  # gamma, beta, and the moving ones
# Which of keras' layers the layers of our separable convolutions are, by their places.
_SEPARABLE = {
    "0": ("separable_conv_1", 0, _DEPTHWISE),
    "1": ("separable_conv_1", 1, _CONV),
    "2": ("separable_conv_1_bn", 0, _VECTOR),
    "4": ("separable_conv_2", 0, _DEPTHWISE),
    "5": ("separable_conv_2", 1, _CONV),
    "6": ("separable_conv_2_bn", 0, _VECTOR),
}
# The ends of the names of a reduction cell's separable convolutions, by our state and side; a
# normal cell's are numbered by the block.
_REDUCTION = {
    ("2", "left"): "left1",
    ("2", "right"): "right1",
    ("3", "right"): "right2",
    ("4", "right"): "right3",
    ("6", "left"): "left4",
}
_STEM = {"0": ("stem_conv1", _CONV), "1": ("stem_bn1", _VECTOR)}
_CURRENT = {"0": ("conv_1", _CONV), "1": ("bn_1", _VECTOR)}  # after the cell's kind
_PREVIOUS = {
    "0.even": ("adjust_conv_1", _CONV),
    "0.odd": ("adjust_conv_2", _CONV),
    "0.norm": ("adjust_bn", _VECTOR),
    "0": ("adjust_conv_projection", _CONV),
    "1": ("adjust_bn", _VECTOR),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where keras has one of our weights."""

    layer: str
    index: int  # among the layer's
    order: Order  # of its dimensions, for ours


_OUTER = {
    "classifier.weight": _Place("predictions", 0, _LINEAR),
    "classifier.bias": _Place("predictions", 1, _VECTOR),
}


def to_keras(network: CellNetwork) -> dict[str, list[Array]]:
    """A network's weights as keras' layers of those names take them (``set_weights``).

    The auxiliary head stays behind.

    Raises:
        UserError: the network is not NASNet-A for ImageNet.
    """
    state = network.state_dict()
    found: dict[str, dict[int, Array]] = {}
    for key, place in _places(network).items():
        back = np.argsort(place.order).tolist()
        found.setdefault(place.layer, {})[place.index] = state[key].permute(back).cpu().numpy()
    return {layer: [arrays[n] for n in sorted(arrays)] for layer, arrays in found.items()}


def load_keras(network: CellNetwork, weights: Weights) -> None:
    """Take weights of keras' layers; an auxiliary head keeps its own.

    So does the classifier where they have none (``include_top=False``).

    Raises:
        UserError: the network is not NASNet-A for ImageNet, or the weights are another size's.
    """
    own = network.state_dict()
    places = _places(network)
    if "predictions" not in weights:
        places = {key: place for key, place in places.items() if place.layer != "predictions"}
    unknown = weights.keys() - {place.layer for place in places.values()}
    if unknown:
        raise UserError(f"not weights of keras' NASNet: {sorted(unknown)[0]} has no place")
    taken = {key: _taken(place, weights, own[key]) for key, place in places.items()}
    network.load_state_dict({**own, **taken})


def read_keras(path: Path) -> dict[str, list[Array]]:
    """The weights of a file that keras wrote as HDF5, such as ``NASNet-mobile.h5``.

    Raises:
        UserError: it cannot be read, or h5py is not installed.
    """
    try:
        import h5py  # its only use; comes with keras
    except ImportError:
        raise UserError("weights of keras are HDF5: pip install h5py") from None
    try:
        with h5py.File(path) as file:
            root: Any = file.get("model_weights", file)  # of a whole model, or weights alone
            layers = {name: root[name] for name in _texts(root.attrs["layer_names"])}
            return {
                name: [np.asarray(group[leaf]) for leaf in leaves]
                for name, group in layers.items()
                if (leaves := _texts(group.attrs["weight_names"]))
            }
    except (OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not weights that keras wrote as HDF5: {reason}") from None


def _texts(names: Sequence[str | bytes]) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _taken(place: _Place, weights: Weights, own: Tensor) -> Tensor:
    arrays = weights.get(place.layer, ())
    if place.index >= len(arrays):
        raise UserError(f"not weights of keras' NASNet: {place.layer} is missing")
    tensor = torch.from_numpy(np.array(arrays[place.index]))
    if tensor.dim() != len(place.order) or tensor.permute(place.order).shape != own.shape:
        back = np.argsort(place.order).tolist()
        raise UserError(
            f"weights of another size: {place.layer} is {list(tensor.shape)}, "
            f"expected {list(own.permute(back).shape)}"
        )
    return tensor.permute(place.order)


def _places(network: CellNetwork) -> dict[str, _Place]:
    """keras' place of each of our weights, the auxiliary head's excepted."""
    check_nasnet_a(network, "keras' NASNet")
    cells = _cell_names(network)
    return {
        key: _place(key, cells)
        for key in network.state_dict()
        if not key.startswith("auxiliary.") and not key.endswith(".num_batches_tracked")
    }


def _cell_names(network: CellNetwork) -> list[tuple[str, str]]:
    """Of each cell its kind, and keras' number for it, which leaves one out at a reduction."""
    per_stage = sum(not place.reduction for place in network.plan) // STAGES
    names = [("reduction", "stem_1"), ("reduction", "stem_2")]
    normal, stage = 0, 0
    for place in network.plan[2:]:
        if place.reduction:
            stage += 1
            names.append(("reduction", f"reduce_{stage * per_stage}"))
        else:
            names.append(("normal", str(normal + (stage > 0))))
            normal += 1
    return names


def _place(key: str, cells: list[tuple[str, str]]) -> _Place:
    if key in _OUTER:
        return _OUTER[key]
    part, number, inner = key.split(".", 2)
    if part == "stem":
        layer, order = _STEM[number]
        return _Place(layer, _NORM.index(inner), order)
    kind, name = cells[int(number)]
    part, inner = inner.split(".", 1)
    inner, leaf = inner.rsplit(".", 1)
    if part == "blocks":
        return _separable(inner, leaf, kind, name)
    layer, order = _PREVIOUS[inner] if part == "previous" else _CURRENT[inner]
    if part == "current":
        layer = f"{kind}_{layer}"
    return _Place(f"{layer}_{name}", _NORM.index(leaf), order)


def _separable(path: str, leaf: str, kind: str, name: str) -> _Place:
    state, side, at = path.split(".")
    layer, index, order = _SEPARABLE[at]
    end = f"{side}{int(state) - 1}" if kind == "normal" else _REDUCTION[state, side]
    if order == _VECTOR:
        index = _NORM.index(leaf)
    return _Place(f"{layer}_{kind}_{end}_{name}", index, order)
