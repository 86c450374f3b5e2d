"""Spaces of a normal and a reduction cell: NASNet's, and ENAS' micro space."""

from pipeline.spaces.base import GenotypeKind, SpaceType
from pipeline.spaces.cells import words
from pipeline.spaces.cells.config import (
    MicroNetworkConfig,
    MicroSpaceConfig,
    NASNetSpaceConfig,
    NetworkConfig,
)
from pipeline.spaces.cells.differences import differences
from pipeline.spaces.cells.enas_micro import MicroSpace
from pipeline.spaces.cells.genotype import CellGenotype
from pipeline.spaces.cells.nasnet import NASNetSpace
from pipeline.spaces.pictures import Words

CELLS = GenotypeKind(
    genotype=CellGenotype,
    build="pipeline.spaces.cells.network:build",
    words=Words(
        sentence=words.sentence, lines=words.lines, draw=words.draw, differences=differences
    ),
)
NASNET = SpaceType(
    config=NASNetSpaceConfig,
    kind=CELLS,
    space=NASNetSpace.of,
    skeletons=(NetworkConfig,),
    preset="digits",
)
ENAS_MICRO = SpaceType(
    config=MicroSpaceConfig,
    kind=CELLS,
    space=MicroSpace,
    skeletons=(MicroNetworkConfig, NetworkConfig),
    preset="enas-micro-digits",
    build_shared="pipeline.spaces.cells.supernet:build_shared",
)
