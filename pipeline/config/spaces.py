"""The search spaces' configurations; the defaults are the papers'."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.config.base import Config, Many

# Larger cells are refused: the canonical form of any cell must be found within a second.
MAX_BLOCKS = 12
MAX_LAYERS = 64
MAX_SIDE = 15  # of a filter, in pixels
MAX_STRIDE = 8
MAX_FILTERS = 4096


class NASNetSpaceConfig(Config):
    """The NASNet space (arXiv:1707.07012, section 3)."""

    name: Literal["nasnet"] = "nasnet"
    """NASNet's cells."""
    blocks: int = Field(5, ge=1, le=MAX_BLOCKS)
    """B of the paper: blocks a cell."""


class LayerSpaceConfig(Config):
    """The layer-by-layer space of NAS (arXiv:1611.01578, sections 3.3 and 4.1)."""

    name: Literal["nas"]
    """Layer by layer, as NAS searched."""
    heights: Many[int] = (1, 3, 5, 7)
    """The heights of filters, in pixels."""
    widths: Many[int] = (1, 3, 5, 7)
    """The widths of filters, in pixels."""
    filters: Many[int] = (24, 36, 48, 64)
    """The numbers of filters."""
    strides: Many[int] = (1,)
    """One: fixed; several, such as the paper's [1, 2, 3]: searched."""
    skips: bool = True
    """Whether a layer may read any earlier layers."""
    pools: Many[int] = ()
    """Layers after which a max pooling halves the map."""
    layers: int = Field(6, ge=1, le=MAX_LAYERS)
    """The layers of the first children."""
    grow: int = Field(2, ge=0, le=MAX_LAYERS)
    """So many layers are added at a time."""
    grow_every: int = Field(1600, ge=1)
    """Layers are added each time that so many rewards have been learned from."""
    most_layers: int = Field(20, ge=1, le=MAX_LAYERS)
    """The layers of the deepest children."""

    def depth(self, learned: int) -> int:
        """How many layers a child has once so many rewards have been learned from."""
        return min(self.layers + self.grow * (learned // self.grow_every), self.most_layers)

    @model_validator(mode="after")
    def _values_can_be_built(self) -> Self:
        for key in ("heights", "widths", "filters", "strides"):
            values = getattr(self, key)
            if not values or len(set(values)) != len(values) or min(values) < 1:
                raise ValueError(f"{key}: expected different numbers, 1 and more")
        if any(side % 2 == 0 or side > MAX_SIDE for side in (*self.heights, *self.widths)):
            raise ValueError(f"heights and widths: expected odd numbers up to {MAX_SIDE}")
        if max(self.filters) > MAX_FILTERS or max(self.strides) > MAX_STRIDE:
            raise ValueError(f"at most {MAX_FILTERS} filters, and strides of {MAX_STRIDE}")
        if self.layers > self.most_layers:
            raise ValueError(f"layers: at most most_layers, {self.most_layers}")
        return self


class MacroSpaceConfig(Config):
    """ENAS' macro space: whole networks of layers with skips (arXiv:1802.03268, section 2.3).

    A layer n is asked about n - 1 skips, each scored by attention to one earlier layer. By
    ``skips = "layer"`` a skip reads the output of that very layer. In the released code
    (melodyguan/enas: general_child.py) the stem is counted among the outputs and not among the
    scored layers, so that a skip reads the output before: that is ``"code"``.
    """

    name: Literal["enas-macro"]
    """Whole networks of layers with skips, as ENAS searched."""
    layers: int = Field(12, ge=1, le=MAX_LAYERS)
    """Layers of a network."""
    skips: Literal["layer", "code"] = "layer"
    """What a skip reads: the output of the layer that it names, or the output before it, as in the
    released code.
    """

    def sources(self, number: int) -> range:
        """Which outputs the ``number``-th layer's skips read, in order; 0 is the stem's."""
        first = 1 if self.skips == "layer" else 0
        return range(first, first + number - 1)


class MicroSpaceConfig(Config):
    """ENAS' micro space: a normal and a reduction cell (arXiv:1802.03268, section 2.4)."""

    name: Literal["enas-micro"]
    """Cells, as ENAS searched."""
    blocks: int = Field(5, ge=1, le=MAX_BLOCKS)
    """B - 2 of the paper, which counts the inputs."""
    operation_offset: float = Field(0.0, ge=0, le=10)
    """Added to the logits of the normal cell's two separable convolutions and taken from those of
    its other operations; never learned. The released code's is 0.25 (micro_controller.py).
    """


# The kind of genotypes that a space, by its name, proposes.
KIND_OF_SPACE = {"nasnet": "cell", "nas": "layers", "enas-macro": "macro", "enas-micro": "cell"}


def space_name(space: object) -> str:
    """Which space a configuration, or its table, is of: NASNet's, where none is named."""
    name = space.get("name") if isinstance(space, dict) else getattr(space, "name", None)
    return str(name or "nasnet")


SpaceConfig = Annotated[
    Annotated[NASNetSpaceConfig, Tag("nasnet")]
    | Annotated[LayerSpaceConfig, Tag("nas")]
    | Annotated[MacroSpaceConfig, Tag("enas-macro")]
    | Annotated[MicroSpaceConfig, Tag("enas-micro")],
    Discriminator(space_name),
]
