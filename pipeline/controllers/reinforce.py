"""REINFORCE on the LSTM policy, as NAS was searched (arXiv:1611.01578, section 3.2).

N proposals of a batch, T decisions.
"""

from torch import Tensor

from pipeline.config.controllers import ReinforceConfig
from pipeline.controllers.policy_gradient import PolicyGradient
from pipeline.spaces import DecisionSpace


class Reinforce(PolicyGradient):
    """One step of Adam a batch, along the mean gradient of log p x (reward - moving average).

    Late rewards are not corrected for, as in the paper's asynchronous replicas. The paper sums
    over the decisions; the mean, taken here, differs by a factor that Adam takes out.
    """

    def __init__(
        self, space: DecisionSpace, config: ReinforceConfig, *, seed: int, arm: str = "policy"
    ) -> None:
        super().__init__(space, config, seed=seed, arm=arm)

    def gain(self, log_probs_NT: Tensor, behaviour_NT: Tensor, advantage_N1: Tensor) -> Tensor:
        """The advantage times the log-probability (equation 4)."""
        return log_probs_NT * advantage_N1
