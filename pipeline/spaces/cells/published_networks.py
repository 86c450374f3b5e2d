"""Networks as they were published: the skeletons of their authors' code.

NASNet-A: slim, nasnet.py, the *_config functions; ENAS: melodyguan/enas, cifar10_micro_final.sh.
Both pad as TensorFlow does (slim's default and ``SAME``; micro_child.py).
"""

from dataclasses import dataclass

from pipeline.spaces.cells.config import MicroNetworkConfig, NetworkConfig
from pipeline.spaces.cells.genotype import CellGenotype
from pipeline.spaces.cells.published import ENAS_MICRO, NASNET_A


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """A network with a name, and what it was trained on."""

    genotype: CellGenotype
    config: NetworkConfig | MicroNetworkConfig
    image_size: int
    classes: int


# "N @ P" is N normal cells a stage and P = 24 F channels before the classifier.
PUBLISHED_NETWORKS = {
    # 6 @ 768 (cifar_config)
    "nasnet-a-cifar": PublishedNetwork(
        NASNET_A,
        NetworkConfig(
            num_cells=6, num_filters=32, padding="same", drop_path_keep=0.6, auxiliary=True
        ),
        image_size=32,
        classes=10,
    ),
    # 4 @ 1056 (mobile_imagenet_config)
    "nasnet-a-mobile": PublishedNetwork(
        NASNET_A,
        NetworkConfig(
            num_cells=4,
            num_filters=44,
            stem="imagenet",
            stem_multiplier=1.0,
            padding="same",
            norm_decay=0.9997,
            norm_epsilon=1e-3,
            dropout=0.5,
            auxiliary=True,
        ),
        image_size=224,
        classes=1000,
    ),
    # 6 @ 4032 (large_imagenet_config)
    "nasnet-a-large": PublishedNetwork(
        NASNET_A,
        NetworkConfig(
            num_cells=6,
            num_filters=168,
            stem="imagenet",
            skip_reduction_input=True,
            padding="same",
            norm_decay=0.9997,
            norm_epsilon=1e-3,
            dropout=0.5,
            drop_path_keep=0.7,
            auxiliary=True,
        ),
        image_size=331,
        classes=1000,
    ),
    # 15 normal cells in all, F = 36
    "enas-micro-cifar": PublishedNetwork(
        ENAS_MICRO,
        MicroNetworkConfig(
            skeleton="enas-micro",
            cells="final",
            num_cells=5,
            num_filters=36,
            padding="same",
            dropout=0.2,
            drop_path_keep=0.6,
            auxiliary=True,
        ),
        image_size=32,
        classes=10,
    ),
}
