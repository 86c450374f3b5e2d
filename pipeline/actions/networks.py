"""The network that a search's genotype means: as the search built it, with the weights it kept."""

from dataclasses import dataclass
from typing import Any

import torch
from sqlalchemy import Connection
from torch import nn

from db.lifecycle import checkpoints, children, searches
from db.reads.ranks import Rank, look_up
from db.schema.enums import RewardKind
from pipeline.config.networks import AnyNetworkConfig
from pipeline.config.search import DataConfig, SearchConfig, load_config
from pipeline.data.shapes import DataShape, data_shape
from pipeline.errors import MachineError, UserError
from pipeline.settings import get_settings
from pipeline.spaces import make_space
from pipeline.spaces.building import build
from pipeline.spaces.cells.genotype import Genotype, genotype_from_data
from pipeline.training import checkpoint


@dataclass(frozen=True, slots=True)
class SearchNetwork:
    """A child's network: what it was built of, for which images, and where its weights are."""

    rank: Rank
    genotype: Genotype  # in the form that the weights belong to
    config: AnyNetworkConfig
    data: DataConfig
    weights: checkpoints.Weights | None  # None: not kept, or not here
    retrained: int | None  # a training of the genotype in full that has its weights

    @property
    def shape(self) -> DataShape:
        """Of the images that the search trains on.

        Raises:
            UserError: they are not here, or cannot be used.
        """
        try:
            return data_shape(self.data, get_settings().data_folder)
        except MachineError as error:
            raise UserError(str(error)) from None

    def kept(self) -> checkpoints.Weights:
        """Where the weights are.

        Raises:
            UserError: they are not kept; says what can be done.
        """
        if self.weights is not None:
            return self.weights
        if self.retrained is None:
            cure = f"`nasnet retrain {self.rank.search} --top {self.rank.number}` makes new ones"
        else:
            cure = f"run {self.retrained}, its training in full, has some"
        raise UserError(
            f"{self.rank}: its weights are not kept (of a search the best "
            f"{get_settings().keep} are: NASNET_KEEP): {cure}; or ask for untrained ones"
        )


def network_at(connection: Connection, rank: Rank) -> SearchNetwork:
    """The network of one of a search's best genotypes.

    Raises:
        UserError: there is no such search, or no such rank.
    """
    row = look_up(connection, rank)
    config = load_config(searches.get(connection, rank.search).config)
    run_config = config.run_config()
    assert run_config.network is not None
    return SearchNetwork(
        rank=rank,
        genotype=_as_built(connection, row, config),
        config=run_config.network,
        data=run_config,
        weights=checkpoints.weights_of_child(connection, row.child_id),
        retrained=checkpoints.run_with_weights(connection, row.genotype_id),
    )


def _as_built(connection: Connection, row: Any, config: SearchConfig) -> Genotype:
    """As a worker builds it: shared weights belong to blocks by their numbers as drawn."""
    if row.reward_kind is RewardKind.SHARED:
        actions = children.actions_of(connection, row.child_id)
        return make_space(config.space).decode(tuple(actions))
    return genotype_from_data(row.body)


def load_kept(network: nn.Module, weights: checkpoints.Weights) -> None:
    """Give a network the weights that were kept of it, or its part of shared ones.

    Raises:
        UserError: the file is not there, or holds another network's weights.
    """
    try:
        state = checkpoint.read(weights.uri, weights.sha256)
    except (MachineError, checkpoint.CorruptCheckpointError) as error:
        raise UserError(f"the weights cannot be read: {error}") from None
    try:
        if weights.is_shared:
            state = {name: state["network"].get(name) for name in network.state_dict()}
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, KeyError, TypeError):
        raise UserError(
            f"{weights.uri}: the weights are another network's: were the images others then?"
        ) from None


def build_for(
    genotype: Genotype, config: AnyNetworkConfig | None, shape: DataShape, *, seed: int
) -> nn.Module:
    """A network whose weights are drawn with a seed.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule.
        UserError: the skeleton is another kind's, or the images are too small.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(genotype, config, image_shape=shape.image_shape, classes=shape.classes)
