"""Search spaces: which architectures a search may propose."""

from pipeline.config import NASNetSpaceConfig
from pipeline.spaces.base import Decision, DecisionSpace, SearchSpace, Turn
from pipeline.spaces.nasnet import NASNetSpace
from pipeline.spaces.table import Table, TableSpace, read_table

__all__ = [
    "Decision",
    "DecisionSpace",
    "NASNetSpace",
    "SearchSpace",
    "Table",
    "TableSpace",
    "Turn",
    "make_space",
    "read_table",
]


def make_space(config: NASNetSpaceConfig) -> SearchSpace:
    """The space that a search's configuration asks for."""
    return NASNetSpace(config.blocks)
