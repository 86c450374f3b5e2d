"""Random search: uniform choices, the null model of every search."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config.controllers import RandomConfig
from pipeline.controllers.base import Diagnostics, Outcome, Proposal, Proposed
from pipeline.controllers.uniforms import uniforms
from pipeline.spaces import DecisionSpace


class RandomSearch:
    """Draws every choice alike, and learns nothing."""

    reads_proposed = False

    def __init__(
        self, space: DecisionSpace, config: RandomConfig, *, seed: int, arm: str = "policy"
    ) -> None:
        self.space = space
        self.config = config
        self.seed = seed
        self.arm = arm
        self.version = 0
        self._choices_T = np.array([d.choices for d in space.decisions])
        self._log_probs = tuple(-math.log(d.choices) for d in space.decisions)
        self._probabilities = tuple((1 / d.choices,) * d.choices for d in space.decisions)

    def sample(self, first: int, count: int, proposed: Sequence[Proposed]) -> list[Proposal]:
        """Proposals ``first`` to ``first + count - 1``."""
        ks = range(first, first + count)
        length = self._length
        numbers_NT = uniforms(self.seed, self.version, self.arm, ks, length)
        actions_NT = (numbers_NT * self._choices_T[:length]).astype(np.int64)
        return [
            Proposal(k, tuple(actions), self._log_probs[:length])
            for k, actions in zip(ks, actions_NT.tolist(), strict=True)
        ]

    def update(self, outcomes: Sequence[Outcome]) -> Diagnostics:
        """Become the next version, which is like the last."""
        length = self._length
        self.version += 1
        return Diagnostics(
            entropy=-sum(self._log_probs[:length]), probabilities=self._probabilities[:length]
        )

    @property
    def _length(self) -> int:
        """Decisions of a proposal of this version."""
        return self.space.length(self.version * self.config.batch)

    def state_dict(self) -> dict[str, Any]:
        """The version is all there is."""
        return {"version": self.version}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the controller that the state was taken from."""
        self.version = state["version"]
