"""What a network costs and which maps it makes, found without computing any."""

from dataclasses import dataclass

import torch

from pipeline.networks.costs import count_macs, count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.spaces.base import Genotype, SkeletonConfig
from pipeline.spaces.building import build


@dataclass(frozen=True, slots=True)
class Description:
    """A network in numbers."""

    parameters: int  # trainable, without the auxiliary head
    auxiliary_parameters: int
    macs: int  # of one image, without the auxiliary head
    # (channels, height, width), by slim's names; none of networks without a skeleton of cells
    endpoints: dict[str, tuple[int, ...]]


def describe(
    genotype: Genotype,
    config: SkeletonConfig | None,
    inputs: Inputs,
) -> Description:
    """Build the network of shapes alone, and look at it.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule.
        UserError: the skeleton is another kind's, or the images are too small.
    """
    with torch.device("meta"):
        network = build(genotype, config, inputs)
        network.eval()
        macs = count_macs(network, inputs.shape)
        tell_shapes = getattr(network, "endpoints", None)
        endpoints = {} if tell_shapes is None else tell_shapes(torch.zeros(1, *inputs.shape))
    auxiliary = getattr(network, "auxiliary", None)
    return Description(
        parameters=count_parameters(network),
        auxiliary_parameters=0 if auxiliary is None else count_parameters(auxiliary),
        macs=macs,
        endpoints=endpoints,
    )
