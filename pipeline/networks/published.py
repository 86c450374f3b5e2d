"""NASNet-A as it was published: the skeletons of the authors' code (slim: nasnet.py, *_config)."""

from dataclasses import dataclass

from pipeline.config_networks import NetworkConfig
from pipeline.genotype import CellGenotype
from pipeline.published_cells import NASNET_A


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """A network with a name, and what it was trained on."""

    genotype: CellGenotype
    config: NetworkConfig
    image_size: int
    classes: int


# "N @ P" is N normal cells a stage and P = 24 F channels before the classifier.
PUBLISHED_NETWORKS = {
    # 6 @ 768 (cifar_config)
    "nasnet-a-cifar": PublishedNetwork(
        NASNET_A,
        NetworkConfig(num_cells=6, num_filters=32, drop_path_keep=0.6, auxiliary=True),
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
}
