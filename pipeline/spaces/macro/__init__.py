"""ENAS' macro space: whole networks of layers with skips (arXiv:1802.03268, section 2.3)."""

from pipeline.spaces.base import GenotypeKind, SpaceType
from pipeline.spaces.macro import words
from pipeline.spaces.macro.config import MacroNetworkConfig, MacroSpaceConfig
from pipeline.spaces.macro.genotype import MacroGenotype
from pipeline.spaces.macro.space import MacroSpace
from pipeline.spaces.pictures import Words

ENAS_MACRO = SpaceType(
    config=MacroSpaceConfig,
    kind=GenotypeKind(
        genotype=MacroGenotype,
        build="pipeline.spaces.macro.network:build",
        words=Words(
            sentence=words.sentence,
            lines=words.lines,
            draw=words.draw,
            differences=words.differences,
        ),
    ),
    space=MacroSpace,
    skeletons=(MacroNetworkConfig,),
    preset="enas-macro-digits",
    build_shared="pipeline.spaces.macro.network:build_shared",
)
