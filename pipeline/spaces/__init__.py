"""Search spaces: which architectures a search may propose, and what they are as networks."""

from pipeline.spaces.base import (
    Anchor,
    Decision,
    DecisionSpace,
    NextInput,
    Score,
    SearchSpace,
    Turn,
)
from pipeline.spaces.cells.enas_micro import MicroSpace
from pipeline.spaces.cells.nasnet import NASNetSpace
from pipeline.spaces.layers.space import LayerSpace
from pipeline.spaces.macro.space import MacroSpace
from pipeline.spaces.registry import make_space

__all__ = [
    "Anchor",
    "Decision",
    "DecisionSpace",
    "LayerSpace",
    "MacroSpace",
    "MicroSpace",
    "NASNetSpace",
    "NextInput",
    "Score",
    "SearchSpace",
    "Turn",
    "make_space",
]
