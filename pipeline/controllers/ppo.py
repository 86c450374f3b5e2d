"""PPO on the LSTM policy, as NASNet was searched (arXiv:1707.07012, appendix A.2).

N proposals of a batch, T decisions.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.config import PPOConfig
from pipeline.controllers.base import Diagnostics, Outcome, Proposal, Proposed
from pipeline.controllers.policy import LSTMPolicy, Rollout
from pipeline.controllers.uniforms import uniforms
from pipeline.spaces import SearchSpace


class PPO:
    """The clipped surrogate of arXiv:1707.06347 with a moving-average baseline.

    The ratio is taken per decision, against the stored log-probabilities of the version that
    sampled, so an update is right however late a reward comes. Adam is the usual reading of a
    paper that does not name its optimiser; it clips no gradients, and neither does this.
    """

    reads_proposed = False

    def __init__(
        self, space: SearchSpace, config: PPOConfig, *, seed: int, arm: str = "policy"
    ) -> None:
        self.config = config
        self.seed = seed
        self.arm = arm
        self.version = 0
        self.baseline: float | None = None
        self.decisions = space.decisions
        self.policy = LSTMPolicy(
            space.turns,
            units=config.units,
            layers=config.layers,
            init=config.init,
            seed=seed,
        )
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.learning_rate)

    def sample(self, first: int, count: int, proposed: Sequence[Proposed]) -> list[Proposal]:
        """Proposals ``first`` to ``first + count - 1``, computed in whole blocks of a batch.

        Whole blocks, so that the bits of a proposal do not depend on how many are asked for.
        """
        batch = self.config.batch
        blocks = range(first // batch, -(-(first + count) // batch))
        proposals = [p for block in blocks for p in self._sample_block(block)]
        skipped = first - blocks.start * batch
        return proposals[skipped : skipped + count]

    def _sample_block(self, block: int) -> list[Proposal]:
        ks = range(block * self.config.batch, (block + 1) * self.config.batch)
        numbers_NT = uniforms(self.seed, self.version, self.arm, ks, len(self.decisions))
        rollout = self.policy.sample(torch.from_numpy(numbers_NT))
        rows = zip(ks, rollout.actions_NT.tolist(), rollout.log_probs_NT.tolist(), strict=True)
        return [Proposal(k, tuple(actions), tuple(log_probs)) for k, actions, log_probs in rows]

    def update(self, outcomes: Sequence[Outcome]) -> Diagnostics:
        """Learn from a batch: ``epochs`` steps on all of it; become the next version.

        The baseline of the advantage is that of the batches before; this batch moves it
        afterwards. The first batch's is its own mean.
        """
        self.version += 1
        if not outcomes:
            return Diagnostics(baseline=self.baseline)
        actions_NT = torch.tensor([o.actions for o in outcomes])
        behaviour_NT = torch.tensor([o.log_probs for o in outcomes], dtype=torch.float64)
        reward_N = torch.tensor([o.reward for o in outcomes], dtype=torch.float64)
        mean = reward_N.mean().item()
        baseline = mean if self.baseline is None else self.baseline
        advantage_N1 = (reward_N - baseline)[:, None]
        decay = self.config.baseline_decay
        self.baseline = decay * baseline + (1 - decay) * mean
        loss = torch.zeros(())
        for _ in range(self.config.epochs):
            loss = self._step(actions_NT, behaviour_NT, advantage_N1)
        with torch.no_grad():
            after = self.policy.score(actions_NT)
        return self._diagnose(after, behaviour_NT, loss.item())

    def _step(self, actions_NT: Tensor, behaviour_NT: Tensor, advantage_N1: Tensor) -> Tensor:
        rollout = self.policy.score(actions_NT)
        ratio_NT = (rollout.log_probs_NT - behaviour_NT).exp()
        clipped_NT = ratio_NT.clamp(1 - self.config.clip, 1 + self.config.clip)
        gain_NT = torch.minimum(ratio_NT * advantage_N1, clipped_NT * advantage_N1)
        loss = -(gain_NT + self.config.entropy_weight * rollout.entropy_NT).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _diagnose(self, after: Rollout, behaviour_NT: Tensor, loss: float) -> Diagnostics:
        log_ratio_NT = after.log_probs_NT - behaviour_NT
        ratio_NT = log_ratio_NT.exp()
        outside_NT = (ratio_NT - 1).abs() > self.config.clip
        return Diagnostics(
            loss=loss,
            entropy=after.entropy_NT.sum(1).mean().item(),
            # the low-variance estimate (ratio - 1) - log ratio, never negative
            kl=(ratio_NT - 1 - log_ratio_NT).sum(1).mean().item(),
            clip_fraction=outside_NT.double().mean().item(),
            baseline=self.baseline,
            probabilities=tuple(
                tuple(log_p_NC.exp().mean(0).tolist()) for log_p_NC in after.log_p_T_NC
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, baseline and version; random numbers follow from the version."""
        return {
            "version": self.version,
            "baseline": self.baseline,
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the controller that the state was taken from."""
        self.version = state["version"]
        self.baseline = state["baseline"]
        self.policy.load_state_dict(state["policy"])
        # torch copies the weights, but keeps the optimiser's tensors
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
