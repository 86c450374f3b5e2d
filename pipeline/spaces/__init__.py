"""Search spaces: which architectures a search may propose."""

from pipeline.config_spaces import LayerSpaceConfig, NASNetSpaceConfig
from pipeline.spaces.base import Anchor, Decision, DecisionSpace, Feed, Score, SearchSpace, Turn
from pipeline.spaces.layers import LayerSpace
from pipeline.spaces.nasnet import NASNetSpace
from pipeline.spaces.table import Table, TableSpace, read_table

__all__ = [
    "Anchor",
    "Decision",
    "DecisionSpace",
    "Feed",
    "LayerSpace",
    "NASNetSpace",
    "Score",
    "SearchSpace",
    "Table",
    "TableSpace",
    "Turn",
    "make_space",
    "read_table",
]


def make_space(config: NASNetSpaceConfig | LayerSpaceConfig) -> SearchSpace:
    """The space that a search's configuration asks for."""
    if isinstance(config, LayerSpaceConfig):
        return LayerSpace(config)
    return NASNetSpace(config.blocks)
