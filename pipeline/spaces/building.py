"""Networks of genotypes: built in a skeleton, or all of a space with shared weights."""

import pkgutil

from torch import nn

from pipeline.errors import UserError
from pipeline.networks.inputs import Inputs
from pipeline.spaces.base import Genotype, SkeletonConfig, SpaceConfig
from pipeline.spaces.registry import SPACES, kind_of, skeleton_names, skeletons_of


def build(
    genotype: Genotype,
    config: SkeletonConfig | None,
    inputs: Inputs,
) -> nn.Module:
    """The network of any genotype for images (channels, height, width), weights at random.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule, or is of no known network.
        UserError: the images are too small for the stem, or the skeleton is another kind's.
    """
    skeletons = skeletons_of(genotype.kind)
    if skeletons and not isinstance(config, skeletons):
        expected = " or ".join(map(repr, skeleton_names(skeletons)))
        raise UserError(f"network.skeleton: a genotype of kind {genotype.kind} needs {expected}")
    genotype.validate()
    make = pkgutil.resolve_name(kind_of(genotype).build)
    network: nn.Module = make(genotype, config, inputs)
    return network


def build_shared(
    space: SpaceConfig,
    config: SkeletonConfig,
    inputs: Inputs,
) -> nn.Module:
    """The supernet of a space: all its choices, weights at random.

    ``supernet(images, space.decode(actions))`` runs one child. Weights belong to places in the
    space's own encoding: a canonical form would be another child. The state of a child that is
    built alone is, by name, a part of the supernet's.

    Raises:
        UserError: the space's children cannot share weights, or not in this skeleton.
    """
    space_type = SPACES[space.name]
    if space_type.build_shared is None or not isinstance(config, space_type.skeletons[0]):
        sharing = " and ".join(name for name, one in SPACES.items() if one.build_shared)
        raise UserError(
            f"space.name: children of {space.name!r} share no weights in the skeleton "
            f"{config.skeleton!r}; those of {sharing} do in their own"
        )
    make = pkgutil.resolve_name(space_type.build_shared)
    supernet: nn.Module = make(space, config, inputs)
    return supernet
