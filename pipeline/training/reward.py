"""From validation accuracies to a reward."""

from collections.abc import Sequence

from pipeline.config import RewardConfig


def reward(accuracies: Sequence[float], config: RewardConfig) -> float:
    """The best of the last epochs' accuracies (0 to 1, an epoch each), raised to a power.

    With the defaults the last epoch's accuracy itself (NASNet: arXiv:1707.07012, appendix A.1);
    NAS took the cube of the best of five (arXiv:1611.01578, section 4.1).
    """
    return float(max(accuracies[-config.last_epochs :]) ** config.power)
