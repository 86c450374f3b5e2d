"""Spaces of cells and the skeletons that cells are stacked in, as configurations."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.io.config_model import Many, Positive
from pipeline.spaces.base import MAX_FILTERS, SkeletonConfig, SpaceConfig, check_operations
from pipeline.spaces.cells import genotype
from pipeline.spaces.cells.genotype import MAX_BLOCKS, PAPER_OPERATIONS

# Of ENAS, in the released code's order (melodyguan/enas: micro_child.py, _enas_cell).
ENAS_OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")


class NASNetSpaceConfig(SpaceConfig):
    """The NASNet space (arXiv:1707.07012, section 3)."""

    name: Literal["nasnet"] = "nasnet"
    """NASNet's cells."""
    blocks: int = Field(5, ge=1, le=MAX_BLOCKS)
    """B of the paper: blocks a cell."""
    operations: Many[str] = PAPER_OPERATIONS
    """The operations that a block may choose from: any of those that cells may have."""

    @model_validator(mode="after")
    def _operations_are_known(self) -> Self:
        check_operations(self.operations, genotype.OPERATIONS)
        return self


class MicroSpaceConfig(SpaceConfig):
    """ENAS' micro space: a normal and a reduction cell (arXiv:1802.03268, section 2.4)."""

    name: Literal["enas-micro"]
    """Cells, as ENAS searched."""
    blocks: int = Field(5, ge=1, le=MAX_BLOCKS)
    """B - 2 of the paper, which counts the inputs."""
    operations: Many[str] = ENAS_OPERATIONS
    """The operations that a block may choose from: any of those that cells may have."""
    operation_offset: float = Field(0.0, ge=0, le=10)
    """Added to the logits of the normal cell's separable convolutions and taken from those of
    its other operations; never learned. The released code's is 0.25 (micro_controller.py).
    """

    @model_validator(mode="after")
    def _operations_are_known(self) -> Self:
        check_operations(self.operations, genotype.OPERATIONS)
        return self


class NetworkConfig(SkeletonConfig):
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

    @property
    def stack(self) -> tuple[int, int]:
        """N and F."""
        return self.num_cells, self.num_filters

    @model_validator(mode="after")
    def _stem_has_filters(self) -> Self:
        if self.stem == "imagenet" and self.num_filters < 8:
            raise ValueError(
                "num_filters: 8 or more with stem = 'imagenet', which begins with F/4"
            )
        return self


class MicroNetworkConfig(SkeletonConfig):
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

    @property
    def stack(self) -> tuple[int, int]:
        """N and F."""
        return self.num_cells, self.num_filters

    def needed_for_sharing(self) -> dict[str, str]:
        """Only `search` cells share weights."""
        return {} if self.cells == "search" else {"cells": "'search'"}

    @model_validator(mode="after")
    def _only_final_cells_regularise(self) -> Self:
        if self.cells == "search" and (self.auxiliary or self.drop_path_keep < 1):
            raise ValueError("auxiliary and drop_path_keep need cells = 'final'")
        if self.cells == "search" and self.padding != "symmetric":
            raise ValueError("padding: needs cells = 'final'; others have nothing that strides")
        return self
