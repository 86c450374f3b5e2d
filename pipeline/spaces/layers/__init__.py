"""NAS' space: networks layer by layer (arXiv:1611.01578)."""

from pipeline.spaces.base import GenotypeKind, SpaceType
from pipeline.spaces.layers import words
from pipeline.spaces.layers.config import LayerNetworkConfig, LayerSpaceConfig
from pipeline.spaces.layers.genotype import LayerGenotype
from pipeline.spaces.layers.space import LayerSpace
from pipeline.spaces.pictures import Words

NAS = SpaceType(
    config=LayerSpaceConfig,
    kind=GenotypeKind(
        genotype=LayerGenotype,
        build="pipeline.spaces.layers.network:build",
        words=Words(sentence=words.sentence, lines=words.lines, draw=words.draw),
    ),
    space=LayerSpace,
    skeletons=(LayerNetworkConfig,),
    preset="nas-digits",
)
