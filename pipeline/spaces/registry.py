"""All search spaces and kinds of genotypes there are, and what is looked up by their names.

A new space is a folder beside the others that exports a ``SpaceType``, and a line in ``SPACES``.
"""

import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Tag

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import (
    Genotype,
    GenotypeKind,
    SearchSpace,
    SkeletonConfig,
    SpaceConfig,
    SpaceType,
    literal_of,
)
from pipeline.spaces.cells import ENAS_MICRO, NASNET
from pipeline.spaces.known import KNOWN
from pipeline.spaces.layers import NAS
from pipeline.spaces.macro import ENAS_MACRO

SPACES: dict[str, SpaceType] = {
    space.name: space for space in (NASNET, NAS, ENAS_MACRO, ENAS_MICRO)
}
KINDS: dict[str, GenotypeKind[Any]] = {
    kind.name: kind for kind in (*(space.kind for space in SPACES.values()), KNOWN)
}
SKELETONS: dict[str, type[SkeletonConfig]] = {
    literal_of(skeleton, "skeleton"): skeleton
    for space in SPACES.values()
    for skeleton in space.skeletons
}


def space_name(space: object) -> str:
    """Which space a configuration, or its table, is of: NASNet's, where none is named."""
    name = space.get("name") if isinstance(space, dict) else getattr(space, "name", None)
    return str(name or NASNET.name)


def _skeleton_name(network: object) -> str:
    """Which skeleton's: NASNet's, where none is named; its model refuses unknown names."""
    key = "skeleton"
    name = network.get(key) if isinstance(network, dict) else getattr(network, key, None)
    is_known = isinstance(name, str) and name in SKELETONS
    return str(name) if is_known else skeleton_names(NASNET.skeletons)[0]


# What a key of a configuration may hold. pydantic reads the union; to the type checker it is what
# all of its members have, since the registry is not known before it runs.
if TYPE_CHECKING:
    AnySpaceConfig = SpaceConfig
    AnyNetworkConfig = SkeletonConfig
else:
    _spaces = (Annotated[space.config, Tag(name)] for name, space in SPACES.items())
    _skeletons = (Annotated[config, Tag(name)] for name, config in SKELETONS.items())
    AnySpaceConfig = Annotated[functools.reduce(operator.or_, _spaces), Discriminator(space_name)]
    AnyNetworkConfig = Annotated[
        functools.reduce(operator.or_, _skeletons), Discriminator(_skeleton_name)
    ]


def make_space(config: SpaceConfig) -> SearchSpace:
    """The space that a search's configuration asks for."""
    return SPACES[config.name].space(config)


def kind_of(genotype: Genotype) -> GenotypeKind[Any]:
    """What belongs to a genotype's class."""
    return KINDS[genotype.kind]


def skeletons_of(kind: str) -> tuple[type[SkeletonConfig], ...]:
    """The skeletons that a kind of genotypes can be built in; first that of its first space.

    None of known networks, which have a form of their own.
    """
    spaces = (space for space in SPACES.values() if space.kind.name == kind)
    return tuple(dict.fromkeys(skeleton for space in spaces for skeleton in space.skeletons))


def skeleton_names(skeletons: tuple[type[SkeletonConfig], ...]) -> tuple[str, ...]:
    """Skeletons as configurations name them."""
    return tuple(literal_of(skeleton, "skeleton") for skeleton in skeletons)


def genotype_from_data(data: Any) -> Genotype:
    """A stored genotype of any kind; of cells, where it names none that is known.

    Raises:
        InvalidGenotypeError: where the data is no genotype; names the block or the layer.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    found: Genotype = KINDS.get(str(kind), NASNET.kind).genotype.from_data(data)
    return found


def searched_from_data(data: Any) -> Genotype:
    """A stored genotype that a search can have proposed.

    Raises:
        InvalidGenotypeError: where the data is no such genotype; names the block or the layer.
    """
    found = genotype_from_data(data)
    if not skeletons_of(found.kind):
        raise InvalidGenotypeError(f"no search proposes {kind_of(found).words.sentence(found)}")
    return found
