"""From validation accuracies, or from a failure, to a reward."""

from collections.abc import Sequence

from pipeline.config import RewardConfig
from pipeline.errors import Failure


def reward(accuracies: Sequence[float], config: RewardConfig) -> float:
    """The best of the last epochs' accuracies (0 to 1, an epoch each), raised to a power.

    With the defaults the last epoch's accuracy itself (NASNet: arXiv:1707.07012, appendix A.1);
    NAS took the cube of the best of five (arXiv:1611.01578, section 4.1).
    """
    return float(max(accuracies[-config.last_epochs :]) ** config.power)


def failed_reward(failure: Failure, config: RewardConfig) -> float | None:
    """The reward of a child that failed for what it is; None where it is not to blame (law 7)."""
    return config.failed if failure.is_answer else None
