"""Cells that papers published, by the names they go by; numbered as in ``genotype``."""

from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype


def _cell(concat: tuple[int, ...], *blocks: tuple[int, str, int, str]) -> Cell:
    return Cell(tuple(Block(*block) for block in blocks), concat)


# The authors' code: research/slim/nets/nasnet/nasnet_utils.py, NasNetANormalCell and
# NasNetAReductionCell (hiddenstate_indices, operations, used_hiddenstates).
NASNET_A = CellGenotype(
    normal=_cell(
        (1, 2, 3, 4, 5, 6),
        (0, "sep_conv_5x5", 1, "sep_conv_3x3"),
        (1, "sep_conv_5x5", 1, "sep_conv_3x3"),
        (0, "avg_pool_3x3", 1, "identity"),
        (1, "avg_pool_3x3", 1, "avg_pool_3x3"),
        (0, "sep_conv_3x3", 0, "identity"),
    ),
    reduction=_cell(
        (3, 4, 5, 6),
        (0, "sep_conv_5x5", 1, "sep_conv_7x7"),
        (0, "max_pool_3x3", 1, "sep_conv_7x7"),
        (0, "avg_pool_3x3", 1, "sep_conv_5x5"),
        (3, "identity", 2, "avg_pool_3x3"),
        (2, "sep_conv_3x3", 0, "max_pool_3x3"),
    ),
)

# arXiv:1802.01548 as transcribed in quark0/darts: cnn/genotypes.py, whose inputs 0 and 1 are
# the other way round (0 is the cell two back).
AMOEBANET_A = CellGenotype(
    normal=_cell(
        (4, 5, 6),
        (1, "avg_pool_3x3", 0, "max_pool_3x3"),
        (1, "sep_conv_3x3", 2, "sep_conv_5x5"),
        (1, "sep_conv_3x3", 3, "avg_pool_3x3"),
        (0, "sep_conv_3x3", 0, "identity"),
        (1, "identity", 0, "avg_pool_3x3"),
    ),
    reduction=_cell(
        (3, 4, 6),
        (1, "avg_pool_3x3", 0, "sep_conv_3x3"),
        (1, "max_pool_3x3", 2, "sep_conv_7x7"),
        (1, "sep_conv_7x7", 0, "avg_pool_3x3"),
        (1, "max_pool_3x3", 0, "max_pool_3x3"),
        (1, "conv_1x7_7x1", 5, "sep_conv_3x3"),
    ),
)

# arXiv:1806.09055, from quark0/darts: cnn/genotypes.py, in our numbering. Its operations differ in
# detail from ours: there a dilated convolution is depthwise, and a skip that halves is factorized.
DARTS_V1 = CellGenotype(
    normal=_cell(
        (2, 3, 4, 5),
        (0, "sep_conv_3x3", 1, "sep_conv_3x3"),
        (1, "identity", 0, "sep_conv_3x3"),
        (1, "identity", 0, "sep_conv_3x3"),
        (1, "sep_conv_3x3", 2, "identity"),
    ),
    reduction=_cell(
        (2, 3, 4, 5),
        (1, "max_pool_3x3", 0, "max_pool_3x3"),
        (2, "identity", 1, "max_pool_3x3"),
        (1, "max_pool_3x3", 2, "identity"),
        (2, "identity", 1, "avg_pool_3x3"),
    ),
)
DARTS_V2 = CellGenotype(
    normal=_cell(
        (2, 3, 4, 5),
        (1, "sep_conv_3x3", 0, "sep_conv_3x3"),
        (1, "sep_conv_3x3", 0, "sep_conv_3x3"),
        (0, "sep_conv_3x3", 1, "identity"),
        (1, "identity", 2, "dil_conv_3x3"),
    ),
    reduction=_cell(
        (2, 3, 4, 5),
        (1, "max_pool_3x3", 0, "max_pool_3x3"),
        (2, "identity", 0, "max_pool_3x3"),
        (1, "max_pool_3x3", 2, "identity"),
        (2, "identity", 0, "max_pool_3x3"),
    ),
)

# arXiv:1802.03268, the cells that its authors retrain (melodyguan/enas:
# scripts/cifar10_micro_final.sh), whose inputs 0 and 1 are the other way round.
ENAS_MICRO = CellGenotype(
    normal=_cell(
        (2, 3, 4, 5, 6),
        (1, "avg_pool_3x3", 1, "sep_conv_3x3"),
        (1, "identity", 1, "sep_conv_5x5"),
        (1, "identity", 0, "sep_conv_5x5"),
        (0, "sep_conv_3x3", 1, "sep_conv_5x5"),
        (1, "avg_pool_3x3", 0, "sep_conv_5x5"),
    ),
    reduction=_cell(
        (2, 4, 5, 6),
        (0, "sep_conv_3x3", 0, "sep_conv_3x3"),
        (1, "max_pool_3x3", 1, "avg_pool_3x3"),
        (0, "sep_conv_5x5", 3, "sep_conv_5x5"),
        (0, "sep_conv_3x3", 1, "identity"),
        (1, "max_pool_3x3", 0, "sep_conv_5x5"),
    ),
)

PUBLISHED = {
    "nasnet-a": NASNET_A,
    "amoebanet-a": AMOEBANET_A,
    "darts-v1": DARTS_V1,
    "darts-v2": DARTS_V2,
    "enas-micro": ENAS_MICRO,
}
