"""What a network costs and which maps it makes, found without computing any."""

from dataclasses import dataclass

import torch

from pipeline.config_networks import NetworkConfig
from pipeline.genotype import CellGenotype
from pipeline.networks import build_network, count_macs, count_parameters


@dataclass(frozen=True, slots=True)
class Description:
    """A network in numbers."""

    parameters: int  # trainable, without the auxiliary head
    auxiliary_parameters: int
    macs: int  # of one image, without the auxiliary head
    endpoints: dict[str, tuple[int, ...]]  # (channels, height, width), by slim's names


def describe(
    genotype: CellGenotype,
    config: NetworkConfig,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> Description:
    """Build the network of shapes alone, and look at it.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule.
    """
    with torch.device("meta"):
        network = build_network(genotype, config, image_shape=image_shape, classes=classes)
        image = torch.zeros(1, *image_shape)
    network.eval()
    auxiliary = 0 if network.auxiliary is None else count_parameters(network.auxiliary)
    return Description(
        parameters=count_parameters(network),
        auxiliary_parameters=auxiliary,
        macs=count_macs(network, image_shape),
        endpoints=network.endpoints(image),
    )
