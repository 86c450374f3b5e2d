"""PPO on the LSTM policy, as NASNet was searched (arXiv:1707.07012, appendix A.2).

N proposals of a batch, T decisions.
"""

import torch
from torch import Tensor

from pipeline.config.controllers import PPOConfig
from pipeline.controllers.policy_gradient import PolicyGradient
from pipeline.spaces import DecisionSpace


class PPO(PolicyGradient):
    """The clipped surrogate of arXiv:1707.06347 with a moving-average baseline.

    The ratio is taken per decision, against the stored log-probabilities of the version that
    sampled, so an update is right however late a reward comes.
    """

    def __init__(
        self, space: DecisionSpace, config: PPOConfig, *, seed: int, arm: str = "policy"
    ) -> None:
        super().__init__(space, config, seed=seed, arm=arm)
        self.epochs = config.epochs
        self.clip = config.clip

    def gain(self, log_probs_NT: Tensor, behaviour_NT: Tensor, advantage_N1: Tensor) -> Tensor:
        """The advantage times the ratio, which earns nothing outside of its range."""
        assert self.clip is not None
        ratio_NT = (log_probs_NT - behaviour_NT).exp()
        clipped_NT = ratio_NT.clamp(1 - self.clip, 1 + self.clip)
        return torch.minimum(ratio_NT * advantage_N1, clipped_NT * advantage_N1)
