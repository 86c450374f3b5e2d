"""Networks layer by layer, as NAS searched them (arXiv:1611.01578, section 3.3), as plain data.

The three repairs of the paper ("compilation failures") belong here: what is read says what runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import MAX_FILTERS, MAX_LAYERS, Genotype
from pipeline.spaces.canonical import Graph, canonical_order, stands_in_order

MAX_SIDE = 15  # of a filter, in pixels
MAX_STRIDE = 8
KEYS = ("height", "width", "stride_height", "stride_width", "filters", "pool")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution, batch norm and ReLU over the concatenation of its inputs.

    Input 0 is the image, input j the output of the j-th layer, the first being layer 1.
    """

    height: int  # of the filter, as width, in pixels
    width: int
    filters: int
    inputs: tuple[int, ...]
    stride_height: int = 1
    stride_width: int = 1
    pool: int = 1  # side and stride of a max pooling after it; 1: none

    def validate(self, number: int) -> None:
        """Check a layer, the ``number``-th.

        Raises:
            InvalidGenotypeError: naming the layer.
        """
        limits = {
            "height": MAX_SIDE,
            "width": MAX_SIDE,
            "filters": MAX_FILTERS,
            "stride_height": MAX_STRIDE,
            "stride_width": MAX_STRIDE,
            "pool": MAX_STRIDE,
        }
        for key, most in limits.items():
            if not 1 <= getattr(self, key) <= most:
                raise InvalidGenotypeError(
                    f"layer {number}: {key} {getattr(self, key)} is not one of 1 to {most}"
                )
        for key in ("height", "width"):
            if getattr(self, key) % 2 == 0:
                raise InvalidGenotypeError(
                    f"layer {number}: {key} {getattr(self, key)} is even; a filter has a middle"
                )
        if not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise InvalidGenotypeError(f"layer {number}: inputs must name each at most once")
        if not all(0 <= source < number for source in self.inputs):
            raise InvalidGenotypeError(
                f"layer {number}: inputs {list(self.inputs)} are not among 0 to {number - 1}"
            )

    def to_data(self) -> dict[str, Any]:
        """A plain dict, as it goes into JSON."""
        return {**{key: getattr(self, key) for key in KEYS}, "inputs": list(self.inputs)}


@dataclass(frozen=True, slots=True)
class LayerGenotype(Genotype):
    """Layers in an order in which each reads only earlier ones, or the image.

    Whatever no layer reads is concatenated before the classifier; maps of other sizes are padded
    with zeros to the largest (the paper's second and third repair).
    """

    layers: tuple[Layer, ...]

    kind = "layers"

    @property
    def outputs(self) -> tuple[int, ...]:
        """The layers that the classifier reads: those that no layer does."""
        read = {source for layer in self.layers for source in layer.inputs}
        return tuple(n for n in range(1, len(self.layers) + 1) if n not in read)

    def validate(self) -> None:
        """Check every rule.

        Raises:
            InvalidGenotypeError: naming the layer.
        """
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise InvalidGenotypeError(f"{len(self.layers)} layers, expected 1 to {MAX_LAYERS}")
        for number, layer in enumerate(self.layers, start=1):
            layer.validate(number)

    def canonical(self) -> "LayerGenotype":
        """The one genotype that stands for all orders of the same layers."""
        return self._renumbered(canonical_order(self._graph(), tuple(range(len(self.layers)))))

    def _graph(self) -> Graph:
        return Graph(
            # state 0 is the image, state n + 1 the n-th layer's output
            tuple(tuple((s + 1 if s else 0, "") for s in la.inputs) for la in self.layers),
            tuple(_label(layer) for layer in self.layers),
            tuple(n + 1 for n in self.outputs),
        )

    def _renumbered(self, order: Sequence[int]) -> "LayerGenotype":
        number = {0: 0} | {layer + 1: position for position, layer in enumerate(order, start=1)}
        layers = []
        for position in order:
            layer = self.layers[position]
            inputs = tuple(sorted(number[source] for source in layer.inputs))
            layers.append(Layer(**{key: getattr(layer, key) for key in KEYS}, inputs=inputs))
        return LayerGenotype(tuple(layers))

    @property
    def is_canonical(self) -> bool:
        """Whether it equals its canonical form."""
        if any(list(layer.inputs) != sorted(layer.inputs) for layer in self.layers):
            return False
        in_order = stands_in_order(self._graph())
        return self == self.canonical() if in_order is None else in_order

    def to_data(self) -> dict[str, Any]:
        """Plain dicts and lists, as they go into JSON."""
        return {"kind": self.kind, "layers": [layer.to_data() for layer in self.layers]}

    @classmethod
    def from_data(cls, data: Any) -> "LayerGenotype":
        """The inverse of ``to_data``; checks types, then the rules.

        Raises:
            InvalidGenotypeError: where the data is no genotype; names the layer.
        """
        if not isinstance(data, dict) or set(data) != {"kind", "layers"}:
            raise InvalidGenotypeError("a genotype of layers has the keys kind and layers")
        if not isinstance(data["layers"], list):
            raise InvalidGenotypeError("layers must be a list")
        genotype = cls(tuple(_layer(row, n) for n, row in enumerate(data["layers"], start=1)))
        genotype.validate()
        return genotype


def _layer(row: Any, number: int) -> Layer:
    if not isinstance(row, dict) or set(row) != {*KEYS, "inputs"}:
        raise InvalidGenotypeError(f"layer {number}: expected {', '.join(KEYS)} and inputs")
    numbers = [row[key] for key in KEYS]
    if not isinstance(row["inputs"], list):
        raise InvalidGenotypeError(f"layer {number}: inputs must be a list")
    if any(type(value) is not int for value in [*numbers, *row["inputs"]]):
        raise InvalidGenotypeError(f"layer {number}: expected whole numbers")
    return Layer(**dict(zip(KEYS, numbers, strict=True)), inputs=tuple(row["inputs"]))


def _label(layer: Layer) -> str:
    return json.dumps([getattr(layer, key) for key in KEYS])
