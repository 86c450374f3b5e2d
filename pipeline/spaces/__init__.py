"""Search spaces: which architectures a search may propose."""

from pipeline.config.controllers import PolicyConfig
from pipeline.config.spaces import (
    LayerSpaceConfig,
    MacroSpaceConfig,
    MicroSpaceConfig,
    SpaceConfig,
)
from pipeline.errors import UserError
from pipeline.spaces.base import Anchor, Decision, DecisionSpace, Feed, Score, SearchSpace, Turn
from pipeline.spaces.cells.enas_micro import MicroSpace
from pipeline.spaces.cells.nasnet import NASNetSpace
from pipeline.spaces.layers.space import LayerSpace
from pipeline.spaces.macro.space import MacroSpace
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
    "check_kinds",
    "make_space",
    "read_table",
]


def check_kinds(config: PolicyConfig, space: DecisionSpace) -> None:
    """Check that what a policy is told of kinds of decisions is of kinds that the space has.

    Raises:
        UserError: naming the key, the kind, and the kinds that there are.
    """
    kinds = {decision.kind: decision for decision in space.decisions}
    for key, entries in (("squash", config.squash), ("bias_init", config.bias_init)):
        for entry in entries:
            if entry.kind not in kinds:
                known = ", ".join(kinds)
                raise UserError(f"controller.{key}: no decision is a {entry.kind!r}; of: {known}")
    for bias in config.bias_init:
        decision = kinds[bias.kind]
        if decision.score is not Score.HEAD or len(bias.values) != decision.choices:
            heads = {d.kind: d.choices for d in space.decisions if d.score is Score.HEAD}
            raise UserError(
                f"controller.bias_init: {len(bias.values)} values of kind {bias.kind!r}, but the "
                f"biases are: {', '.join(f'{kind} {count}' for kind, count in heads.items())}"
            )
    skips = any(decision.score is Score.SKIP for decision in space.decisions)
    if not skips and (config.skip_prior is not None or config.symmetric_skip):
        raise UserError("controller.skip_prior, symmetric_skip: the space has no skips")


def make_space(config: SpaceConfig) -> SearchSpace:
    """The space that a search's configuration asks for."""
    if isinstance(config, LayerSpaceConfig):
        return LayerSpace(config)
    if isinstance(config, MacroSpaceConfig):
        return MacroSpace(config)
    if isinstance(config, MicroSpaceConfig):
        return MicroSpace(config)
    return NASNetSpace(config.blocks)
