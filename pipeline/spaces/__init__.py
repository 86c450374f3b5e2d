"""Search spaces: which architectures a search may propose."""

from pipeline.config_spaces import (
    LayerSpaceConfig,
    MacroSpaceConfig,
    MicroSpaceConfig,
    SpaceConfig,
)
from pipeline.spaces.base import Anchor, Decision, DecisionSpace, Feed, Score, SearchSpace, Turn
from pipeline.spaces.layers import LayerSpace
from pipeline.spaces.macro import MacroSpace
from pipeline.spaces.micro import MicroSpace
from pipeline.spaces.nasnet import NASNetSpace
from pipeline.spaces.table import Table, TableSpace, read_table

__all__ = [
    "Anchor",
    "Decision",
    "DecisionSpace",
    "Feed",
    "LayerSpace",
    "MacroSpace",
    "MicroSpace",
    "NASNetSpace",
    "Score",
    "SearchSpace",
    "Table",
    "TableSpace",
    "Turn",
    "make_space",
    "read_table",
]


def make_space(config: SpaceConfig) -> SearchSpace:
    """The space that a search's configuration asks for."""
    if isinstance(config, LayerSpaceConfig):
        return LayerSpace(config)
    if isinstance(config, MacroSpaceConfig):
        return MacroSpace(config)
    if isinstance(config, MicroSpaceConfig):
        return MicroSpace(config)
    return NASNetSpace(config.blocks)
