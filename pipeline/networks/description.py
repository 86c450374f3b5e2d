"""What a network costs and which maps it makes, found without computing any."""

from dataclasses import dataclass

import torch

from pipeline.config_networks import MicroNetworkConfig, NetworkConfig
from pipeline.errors import UserError
from pipeline.genotype import CellGenotype
from pipeline.networks import CellNetwork, build, count_macs, count_parameters


@dataclass(frozen=True, slots=True)
class Description:
    """A network in numbers."""

    parameters: int  # trainable, without the auxiliary head
    auxiliary_parameters: int
    macs: int  # of one image, without the auxiliary head
    endpoints: dict[str, tuple[int, ...]]  # (channels, height, width), by slim's names


def describe(
    genotype: CellGenotype,
    config: NetworkConfig | MicroNetworkConfig,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> Description:
    """Build the network of shapes alone, and look at it.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule.
        UserError: the skeleton is that of shared weights, which has no end points.
    """
    with torch.device("meta"):
        network = build(genotype, config, image_shape=image_shape, classes=classes)
        image = torch.zeros(1, *image_shape)
    if not isinstance(network, CellNetwork):
        raise UserError("network.cells: only 'final' cells are described")
    network.eval()
    auxiliary = 0 if network.auxiliary is None else count_parameters(network.auxiliary)
    return Description(
        parameters=count_parameters(network),
        auxiliary_parameters=auxiliary,
        macs=count_macs(network, image_shape),
        endpoints=network.endpoints(image),
    )
