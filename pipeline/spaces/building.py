"""Networks of genotypes: built in a skeleton, or all of a space with shared weights."""

from typing import TypedDict

from torch import nn

from pipeline.config.networks import (
    SKELETONS_OF_KIND,
    AnyNetworkConfig,
    LayerNetworkConfig,
    MacroNetworkConfig,
    MicroNetworkConfig,
    NetworkConfig,
)
from pipeline.config.spaces import MacroSpaceConfig, MicroSpaceConfig, SpaceConfig
from pipeline.errors import UserError
from pipeline.spaces.cells.genotype import CellGenotype, Genotype, KnownNetwork
from pipeline.spaces.cells.network import CellNetwork, enas_network
from pipeline.spaces.cells.supernet import MicroNetwork
from pipeline.spaces.known import build_known
from pipeline.spaces.layers.genotype import LayerGenotype
from pipeline.spaces.layers.network import LayerNetwork
from pipeline.spaces.macro.genotype import MacroGenotype
from pipeline.spaces.macro.network import MacroNetwork


def build(
    genotype: Genotype,
    config: AnyNetworkConfig | None,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> nn.Module:
    """The network of any genotype for images (channels, height, width), weights at random.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule, or is of no known network.
        UserError: the images are too small for the stem, or the skeleton is another kind's.
    """
    size = _Size(image_shape=image_shape, classes=classes)
    match genotype, config:
        case KnownNetwork(), _:
            return build_known(genotype, **size)
        case LayerGenotype(), LayerNetworkConfig():
            genotype.validate()
            return LayerNetwork(genotype, config, **size)
        case MacroGenotype(), MacroNetworkConfig():
            genotype.validate()
            return MacroNetwork(config, genotype, **size)
        case CellGenotype(), MicroNetworkConfig():
            return _build_micro(genotype, config, size)
        case CellGenotype(), NetworkConfig():
            return build_network(genotype, config, **size)
    expected = " or ".join(map(repr, SKELETONS_OF_KIND[genotype.kind]))
    raise UserError(f"network.skeleton: a genotype of kind {genotype.kind} needs {expected}")


class _Size(TypedDict):
    image_shape: tuple[int, int, int]
    classes: int


def _build_micro(genotype: CellGenotype, config: MicroNetworkConfig, size: _Size) -> nn.Module:
    genotype.normal.validate("normal")
    genotype.reduction.validate("reduction")
    if config.cells == "final":
        return enas_network(genotype, config, **size)
    return MicroNetwork(config, genotype, **size)


def build_shared(
    space: SpaceConfig,
    config: AnyNetworkConfig,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> MacroNetwork | MicroNetwork:
    """The supernet of a space: all its choices, weights at random.

    ``supernet(images, space.decode(actions))`` runs one child. Weights belong to places in the
    space's own encoding: a canonical form would be another child. The state of a child that is
    built alone is, by name, a part of the supernet's.

    Raises:
        UserError: the space's children cannot share weights, or not in this skeleton.
    """
    size = _Size(image_shape=image_shape, classes=classes)
    match space, config:
        case MacroSpaceConfig(), MacroNetworkConfig():
            return MacroNetwork(config, space.layers, **size)
        case MicroSpaceConfig(), MicroNetworkConfig(cells="search"):
            return MicroNetwork(config, space.blocks, **size)
        case MicroSpaceConfig(), MicroNetworkConfig():
            raise UserError("network.cells: only 'search' cells share weights")
    raise UserError(
        f"space.name: children of {space.name!r} share no weights in the skeleton "
        f"{config.skeleton!r}; those of enas-macro and enas-micro do in their own"
    )


def build_network(
    genotype: CellGenotype,
    config: NetworkConfig,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> CellNetwork:
    """A genotype's network for images (channels, height, width), its weights drawn at random.

    Only an auxiliary head depends on the images' size; what is halved is rounded up.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule; names the block.
        UserError: the images are too small for the stem.
    """
    if config.stem == "imagenet" and min(image_shape[1:]) < 3:
        raise UserError(f"images of {image_shape[2]}x{image_shape[1]}: ImageNet's stem needs 3x3")
    genotype.normal.validate("normal")
    genotype.reduction.validate("reduction")
    return CellNetwork(genotype, config, image_shape=image_shape, classes=classes)
