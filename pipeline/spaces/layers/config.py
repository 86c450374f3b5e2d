"""The space of NAS, and how its layers become a network, as configurations."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.io.config_model import Many, Positive
from pipeline.spaces.base import MAX_FILTERS, MAX_LAYERS, SkeletonConfig, SpaceConfig
from pipeline.spaces.layers.genotype import MAX_SIDE, MAX_STRIDE


class LayerSpaceConfig(SpaceConfig):
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
    """The number of layers that are added at a time."""
    grow_every: int = Field(1600, ge=1)
    """The number of rewards to be learned from before layers are added again."""
    most_layers: int = Field(20, ge=1, le=MAX_LAYERS)
    """The layers of the deepest children."""

    def depth(self, learned: int) -> int:
        """How many layers a child has after that number of rewards was learned from."""
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


class LayerNetworkConfig(SkeletonConfig):
    """How layers become a network (arXiv:1611.01578, section 3.3)."""

    # the keys that their shapes depend on
    weights: ClassVar = ("extra_filters",)

    skeleton: Literal["layers"]
    """NAS'."""
    extra_filters: int = Field(0, ge=0, le=4096)
    """Added to each layer's filters; the paper's last row has 40."""
    norm_decay: float = Field(0.9, ge=0, lt=1)
    """The decay of batch norm's running statistics."""
    norm_epsilon: Positive = 1e-5
    """Batch norm's epsilon."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """The share of features that is dropped before the classifier."""
