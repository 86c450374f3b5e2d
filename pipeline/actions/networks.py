"""The network that a search's genotype means: as the search built it, with the weights it kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from sqlalchemy import Connection
from torch import nn

from db.lifecycle import checkpoints, children, searches
from db.reads.ranked_genotypes import RankedGenotype
from db.reads.ranks import Rank, look_up
from db.schema.enums import RewardKind
from db.schema.session import transaction
from pipeline.actions.genotypes import Named, find
from pipeline.config.run import DataConfig, changed, make_network_config
from pipeline.config.search import SearchConfig, load_config
from pipeline.data.inputs import inputs_of
from pipeline.data.known_datasets import DATASETS
from pipeline.errors import MachineError, UserError
from pipeline.networks.inputs import Inputs
from pipeline.settings import get_settings
from pipeline.spaces import make_space
from pipeline.spaces.base import Genotype
from pipeline.spaces.building import build
from pipeline.spaces.cells.config import MicroNetworkConfig, NetworkConfig
from pipeline.spaces.cells.published_networks import PUBLISHED_NETWORKS
from pipeline.spaces.registry import AnyNetworkConfig, genotype_from_data
from pipeline.training import checkpoint

NO_KEYS: Mapping[str, Any] = MappingProxyType({})


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
    def inputs(self) -> Inputs:
        """The images that the search trains on.

        Raises:
            UserError: they are not here, or cannot be used.
        """
        try:
            return inputs_of(self.data, get_settings().data_folder)
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
    return SearchNetwork(
        rank=rank,
        genotype=_as_built(connection, row, config),
        config=config.network,
        data=config.run_config(),
        weights=checkpoints.weights_of_child(connection, row.child_id),
        retrained=checkpoints.run_with_weights(connection, row.genotype_id),
    )


def _as_built(connection: Connection, row: RankedGenotype, config: SearchConfig) -> Genotype:
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
    genotype: Genotype, config: AnyNetworkConfig | None, inputs: Inputs, *, seed: int
) -> nn.Module:
    """A network whose weights are drawn with a seed.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule.
        UserError: the skeleton is another kind's, or the images are too small.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(genotype, config, inputs)


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """What a network is built of: a genotype, its skeleton, and the images it is for."""

    genotype: Genotype
    config: AnyNetworkConfig | None
    inputs: Inputs

    def changed(
        self, cells: int | None, filters: int | None, size: int | None, classes: int | None
    ) -> "NetworkPlan":
        """The same of another size.

        Raises:
            UserError: naming the key, what it was given, and what it may be.
        """
        counts = {"num_cells": cells, "num_filters": filters}
        given = {key: count for key, count in counts.items() if count is not None}
        channels, height, width = self.inputs.shape
        shape = (channels, size or height, size or width)
        return NetworkPlan(
            self.genotype,
            changed(self.config, given) if given else self.config,
            Inputs(shape, classes or self.inputs.classes),
        )

    @property
    def title(self) -> str:
        """Its size, for people."""
        _, height, width = self.inputs.shape
        size = "its own skeleton" if self.config is None else f"skeleton {self.config.skeleton!r}"
        if isinstance(self.config, NetworkConfig | MicroNetworkConfig):
            size = f"{self.config.num_cells} @ {self.config.num_filters}"
        return f"{size}, images of {width}x{height}, {self.inputs.classes} classes"


def plan_of(name: str) -> NetworkPlan:
    """A published network, or what a genotype's name means.

    Raises:
        UserError: there is no genotype of that name.
    """
    if name not in PUBLISHED_NETWORKS:
        return base_of(find(name))
    found = PUBLISHED_NETWORKS[name]
    inputs = Inputs((3, found.image_size, found.image_size), found.classes)
    return NetworkPlan(found.genotype, found.config, inputs)


def base_of(found: Named) -> NetworkPlan:
    """A search's own network; of other genotypes the default skeleton, for CIFAR-10.

    Raises:
        UserError: the search's images are not here.
    """
    if found.rank is None:
        return plan_network(found.genotype)
    with transaction(read_only=True) as connection:
        own = network_at(connection, found.rank)
    return plan_network(found.genotype, own)


def plan_network(
    genotype: Genotype, own: SearchNetwork | None = None, keys: Mapping[str, Any] = NO_KEYS
) -> NetworkPlan:
    """A genotype's network before it is built.

    Args:
        own: the search's network of it, whose form, skeleton and images it then has; else those
            are the genotype's own, the default skeleton and CIFAR-10's.
        keys: of a configuration's table `network`, such as ``num_cells``.

    Raises:
        UserError: a key cannot be what it was given; the search's images are not here.
    """
    if own is not None:
        config = changed(own.config, keys) if keys else own.config
        return NetworkPlan(own.genotype, config, own.inputs)
    inputs = DATASETS["cifar10"].inputs
    if genotype.kind == "known":
        return NetworkPlan(genotype, changed(None, keys) if keys else None, inputs)
    return NetworkPlan(genotype, make_network_config(genotype.kind, keys), inputs)
