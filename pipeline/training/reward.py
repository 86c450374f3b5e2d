"""From what was measured to a reward."""

from pipeline.config.search import RewardConfig
from pipeline.training.problem import Curves


def reward(metrics: Curves, config: RewardConfig, *, stopped: bool = False) -> float:
    """The best of the last epochs' ``accuracy`` (0 to 1, an epoch each), raised to a power.

    Of a child that was stopped early the accuracy where it was.

    With the defaults the last epoch's accuracy itself (NASNet: arXiv:1707.07012, appendix A.1);
    NAS took the cube of the best of five (arXiv:1611.01578, section 4.1).
    """
    last = 1 if stopped else config.last_epochs
    return float(max(metrics["accuracy"][-last:]) ** config.power)
