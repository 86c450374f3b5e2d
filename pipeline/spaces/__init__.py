"""Search spaces: which architectures a search may propose."""

from pipeline.config import NASNetSpaceConfig
from pipeline.spaces.base import Decision, SearchSpace, Turn
from pipeline.spaces.nasnet import NASNetSpace

__all__ = ["Decision", "NASNetSpace", "SearchSpace", "Turn", "make_space"]


def make_space(config: NASNetSpaceConfig) -> SearchSpace:
    """The space that a search's configuration asks for."""
    return NASNetSpace(config.blocks)
