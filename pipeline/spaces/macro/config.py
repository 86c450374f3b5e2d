"""ENAS' macro space, and how its layers become a network, as configurations."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.io.config_model import Many, Positive
from pipeline.spaces.base import (
    MAX_FILTERS,
    MAX_LAYERS,
    SkeletonConfig,
    SpaceConfig,
    check_operations,
)
from pipeline.spaces.macro import genotype
from pipeline.spaces.macro.genotype import PAPER_OPERATIONS


class MacroSpaceConfig(SpaceConfig):
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
    operations: Many[str] = PAPER_OPERATIONS
    """The operations that a layer may choose from: any of those that layers may have."""
    skips: Literal["layer", "code"] = "layer"
    """What a skip reads: the output of the layer that it names, or the output before it, as in the
    released code.
    """

    @model_validator(mode="after")
    def _operations_are_known(self) -> Self:
        check_operations(self.operations, genotype.OPERATIONS)
        return self

    def sources(self, number: int) -> range:
        """Which outputs the ``number``-th layer's skips read, in order; 0 is the stem's."""
        first = 1 if self.skips == "layer" else 0
        return range(first, first + number - 1)

    def check_skeleton(self, skeleton: SkeletonConfig) -> None:
        """Check that maps are halved after layers that there are.

        Raises:
            ValueError: they are not.
        """
        given = skeleton.reductions if isinstance(skeleton, MacroNetworkConfig) else None
        if max(given or (0,)) > self.layers:
            raise ValueError(f"reductions: the space has {self.layers} layers")


class MacroNetworkConfig(SkeletonConfig):
    """How a macro genotype becomes a network (arXiv:1802.03268, section 2.3).

    The defaults are of the released search (melodyguan/enas: scripts/cifar10_macro_search.sh,
    general_child.py), except for ``skip``, which is the paper's.
    """

    weights: ClassVar = (
        "filters",
        "skip",
        "reductions",
        "widen",
    )  # the keys that their shapes depend on

    skeleton: Literal["enas-macro"]
    """That of ENAS' macro search."""
    filters: int = Field(36, ge=2, le=MAX_FILTERS, multiple_of=2)
    """The filters of the first layers."""
    skip: Literal["concat", "sum"] = "concat"
    """How a layer's skips join its own result: concatenated before a 1x1 convolution, as in the
    paper and in the released final network; or added, as in the released search.
    """
    reductions: Many[int] | None = None
    """The layers after which all maps are halved; none: those that end the first and second third.
    """
    widen: bool = False
    """Whether filters double where maps are halved; the released final network's do."""
    norm_decay: float = Field(0.9, ge=0, lt=1)
    """The decay of batch norm's running statistics."""
    norm_epsilon: Positive = 1e-5
    """Batch norm's epsilon."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """The share of features that is dropped before the classifier."""

    def reductions_of(self, layers: int) -> tuple[int, ...]:
        """The layers of a network after which its maps are halved."""
        third = layers // 3
        own = (third, 2 * third) if third else ()
        return own if self.reductions is None else tuple(sorted(self.reductions))

    @model_validator(mode="after")
    def _reductions_follow_layers(self) -> Self:
        given = self.reductions or ()
        if len(set(given)) != len(given) or not all(1 <= n <= MAX_LAYERS for n in given):
            raise ValueError(f"reductions: expected different numbers, 1 to {MAX_LAYERS}")
        return self
