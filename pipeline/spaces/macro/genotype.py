"""Networks as ENAS' macro space has them (arXiv:1802.03268, section 2.3), as plain data.

A chain of layers: each applies one operation to the output before it, and joins to the result
the earlier outputs that it skips to.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import MAX_LAYERS, Genotype

# In the released code's order (melodyguan/enas: general_child.py, branches 0 to 5).
PAPER_OPERATIONS = (
    "conv_3x3",
    "sep_conv_3x3",
    "conv_5x5",
    "sep_conv_5x5",
    "avg_pool_3x3",
    "max_pool_3x3",
)
# All that layers may have.
OPERATIONS: tuple[str, ...] = PAPER_OPERATIONS


@dataclass(frozen=True, slots=True)
class MacroLayer:
    """An operation on the output before, and which outputs are joined to its result.

    Output 0 is the stem's, output n that of the n-th layer, the first being layer 1.
    """

    operation: str
    skips: tuple[int, ...] = ()

    def validate(self, number: int) -> None:
        """Check a layer, the ``number``-th.

        Raises:
            InvalidGenotypeError: naming the layer.
        """
        if self.operation not in OPERATIONS:
            raise InvalidGenotypeError(
                f"layer {number}: operation {self.operation!r} is unknown; "
                f"known: {', '.join(OPERATIONS)}"
            )
        if len(set(self.skips)) != len(self.skips):
            raise InvalidGenotypeError(f"layer {number}: skips must name each at most once")
        if not all(0 <= source < number for source in self.skips):
            raise InvalidGenotypeError(
                f"layer {number}: skips {list(self.skips)} are not among 0 to {number - 1}"
            )


@dataclass(frozen=True, slots=True)
class MacroGenotype(Genotype):
    """Layers from the stem to the classifier, which reads the last one."""

    layers: tuple[MacroLayer, ...]

    kind = "macro"

    def read_after(self, number: int) -> tuple[int, ...]:
        """The outputs, up to that of the ``number``-th layer, that a later layer reads."""
        later = self.layers[number:]
        read = {source for layer in later for source in layer.skips if source <= number}
        return tuple(sorted(read | {number}))

    def validate(self) -> None:
        """Check every rule.

        Raises:
            InvalidGenotypeError: naming the layer.
        """
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise InvalidGenotypeError(f"{len(self.layers)} layers, expected 1 to {MAX_LAYERS}")
        for number, layer in enumerate(self.layers, start=1):
            layer.validate(number)

    def canonical(self) -> "MacroGenotype":
        """The one that stands for all encodings: the chain fixes the order of layers."""
        return MacroGenotype(
            tuple(MacroLayer(la.operation, tuple(sorted(la.skips))) for la in self.layers)
        )

    def to_data(self) -> dict[str, Any]:
        """Plain dicts and lists, as they go into JSON; a layer is [operation, skips]."""
        layers = [[layer.operation, list(layer.skips)] for layer in self.layers]
        return {"kind": self.kind, "layers": layers}

    @classmethod
    def from_data(cls, data: Any) -> "MacroGenotype":
        """The inverse of ``to_data``; checks types, then the rules.

        Raises:
            InvalidGenotypeError: where the data is no genotype; names the layer.
        """
        if not isinstance(data, dict) or set(data) != {"kind", "layers"}:
            raise InvalidGenotypeError("a macro genotype has the keys kind and layers")
        if data["kind"] != cls.kind or not isinstance(data["layers"], list):
            raise InvalidGenotypeError('expected "kind": "macro", and layers as a list')
        genotype = cls(tuple(_layer(row, n) for n, row in enumerate(data["layers"], start=1)))
        genotype.validate()
        return genotype


def _layer(row: Any, number: int) -> MacroLayer:
    types = [type(value) for value in row] if isinstance(row, list) else []
    if types != [str, list] or any(type(source) is not int for source in row[1]):
        raise InvalidGenotypeError(f"layer {number}: expected [operation, [skips as numbers]]")
    return MacroLayer(row[0], tuple(row[1]))
