"""The networks' configurations: which skeleton a genotype is built in, and how large.

A table `network` names its ``skeleton``; a search's may leave it out, since its space says which.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.config.base import Config, Many, Positive
from pipeline.config.spaces import MAX_FILTERS, MAX_LAYERS

# By a space's name: its own skeleton first, then those its genotypes may be retrained in.
SKELETONS_OF_SPACE: dict[str, tuple[str, ...]] = {
    "nasnet": ("nasnet",),
    "nas": ("layers",),
    "enas-macro": ("enas-macro",),
    "enas-micro": ("enas-micro", "nasnet"),
}
# By a genotype's kind: the one that is meant where none is named, then the others.
SKELETONS_OF_KIND: dict[str, tuple[str, ...]] = {
    "cell": ("nasnet", "enas-micro"),
    "layers": ("layers",),
    "macro": ("enas-macro",),
}


class NetworkConfig(Config):
    """The skeleton "N @ F" a genotype is stacked in (arXiv:1707.07012, figure 2)."""

    weights: ClassVar = (
        "num_cells",
        "num_filters",
        "stem",
        "stem_multiplier",
    )  # the keys that their shapes depend on

    skeleton: Literal["nasnet"] = "nasnet"
    """NASNet's."""
    num_cells: int = Field(2, ge=1, le=100)
    """N, normal cells a stage; there are three stages."""
    num_filters: int = Field(32, ge=2, le=4096, multiple_of=2)
    """F, the filters of the first stage."""
    # The rest as the authors' code has it (slim: nasnet.py, the *_config functions).
    stem: Literal["cifar", "imagenet"] = "cifar"
    """What stands before the cells: one convolution, or one and two reduction cells."""
    stem_multiplier: float = Field(3.0, gt=0, le=100)
    """The stem's channels as a multiple of F; of 32 channels for ImageNet."""
    skip_reduction_input: bool = False
    """Whether h_{i-1} after a reduction is the output two cells before it, not that right before.
    """
    padding: Literal["symmetric", "same", "timm", "keras"] = "symmetric"
    """Where zeros are added: as PyTorch does, as TensorFlow does, or as timm's or keras' NASNet
    does (pipeline.networks.layers).
    """
    norm_decay: float = Field(0.9, ge=0, lt=1)
    """The decay of batch norm's running statistics."""
    norm_epsilon: Positive = 1e-5
    """Batch norm's epsilon."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """The share of features that is dropped before the classifier."""
    drop_path_keep: float = Field(1.0, gt=0, le=1)
    """The probability that a path is kept, at the end of the training; 1: all are."""
    drop_path_schedule: Literal["depth", "paper"] = "depth"
    """Whether deeper cells keep fewer paths, as in the authors' code; or all cells the same, as in
    the paper.
    """
    auxiliary: bool = False
    """Whether there is a second head, for training."""

    @model_validator(mode="after")
    def _stem_has_filters(self) -> Self:
        if self.stem == "imagenet" and self.num_filters < 8:
            raise ValueError(
                "num_filters: 8 or more with stem = 'imagenet', which begins with F/4"
            )
        return self


class LayerNetworkConfig(Config):
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


class MacroNetworkConfig(Config):
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
        """The layers, of so many, after which the maps are halved."""
        third = layers // 3
        own = (third, 2 * third) if third else ()
        return own if self.reductions is None else tuple(sorted(self.reductions))

    @model_validator(mode="after")
    def _reductions_follow_layers(self) -> Self:
        given = self.reductions or ()
        if len(set(given)) != len(given) or not all(1 <= n <= MAX_LAYERS for n in given):
            raise ValueError(f"reductions: expected different numbers, 1 to {MAX_LAYERS}")
        return self


class MicroNetworkConfig(Config):
    """How ENAS stacks its cells (arXiv:1802.03268, section 2.4).

    The defaults are of the released search (melodyguan/enas: scripts/cifar10_micro_search.sh,
    micro_child.py). Its two modes build two kinds of cells:

    - ``search``: each cell ends with a 1x1 convolution of its unused states back to F channels,
      and a reduction halves the last output before the cell, whose operations have stride 1.
      Only these can share weights.
    - ``final``: the unused states are concatenated, and the operations on a reduction cell's two
      inputs have stride 2; as NASNet's, but for h_i's second 1x1 and a factorized identity.
    """

    # the keys that their shapes depend on
    weights: ClassVar = ("cells", "num_cells", "num_filters", "stem_multiplier", "widen")

    skeleton: Literal["enas-micro"]
    """That of ENAS' micro search."""
    cells: Literal["search", "final"] = "search"
    """Which of the two kinds of cells is built."""
    num_cells: int = Field(2, ge=1, le=100)
    """N, normal cells a stage; there are three stages."""
    num_filters: int = Field(20, ge=2, le=MAX_FILTERS, multiple_of=2)
    """F, the filters of the first stage."""
    stem_multiplier: float = Field(3.0, gt=0, le=100)
    """The stem's channels as a multiple of F."""
    widen: bool = True
    """Whether F doubles with each reduction, as it does in both modes."""
    padding: Literal["symmetric", "same"] = "symmetric"
    """Where zeros are added in `final` cells, whose operations stride: as PyTorch does, or as
    TensorFlow does, which the released code is written in (pipeline.networks.layers).
    """
    norm_decay: float = Field(0.9, ge=0, lt=1)
    """The decay of batch norm's running statistics."""
    norm_epsilon: Positive = 1e-5
    """Batch norm's epsilon."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """The share of features that is dropped before the classifier."""
    drop_path_keep: float = Field(1.0, gt=0, le=1)
    """The probability that a path is kept, at the end of the training; less with depth."""
    auxiliary: bool = False
    """Whether there is a second head, for training, after the cell after reduction 2."""

    @model_validator(mode="after")
    def _only_final_cells_regularise(self) -> Self:
        if self.cells == "search" and (self.auxiliary or self.drop_path_keep < 1):
            raise ValueError("auxiliary and drop_path_keep need cells = 'final'")
        if self.cells == "search" and self.padding != "symmetric":
            raise ValueError("padding: needs cells = 'final'; others have nothing that strides")
        return self


_TAGS = {
    "layers": "LayerNetworkConfig",
    "enas-macro": "MacroNetworkConfig",
    "enas-micro": "MicroNetworkConfig",
}


def _tag_of(value: object) -> str:
    """Which skeleton's: NASNet's, where none is named; its model refuses unknown names."""
    name = value.get("skeleton") if isinstance(value, dict) else getattr(value, "skeleton", "")
    return _TAGS.get(str(name), "NetworkConfig")


AnyNetworkConfig = Annotated[
    Annotated[NetworkConfig, Tag("NetworkConfig")]
    | Annotated[LayerNetworkConfig, Tag("LayerNetworkConfig")]
    | Annotated[MacroNetworkConfig, Tag("MacroNetworkConfig")]
    | Annotated[MicroNetworkConfig, Tag("MicroNetworkConfig")],
    Discriminator(_tag_of),
]
