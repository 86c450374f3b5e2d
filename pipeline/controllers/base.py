"""What a controller is: proposals out, outcomes in, and a state that carries everything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Proposal:
    """A child before its training: the ``k``-th proposal of a policy version."""

    k: int
    actions: tuple[int, ...]
    # Natural logarithm, of each action given those before it: the policy's own, also where it
    # refused a repeat and drew again. 0 where the controller has no policy.
    log_probs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A child after its training, as the controller sees it."""

    actions: tuple[int, ...]
    log_probs: tuple[float, ...]  # of the version that proposed it: the behaviour policy
    reward: float


@dataclass(frozen=True, slots=True)
class Proposed:
    """A child that the search has already, with its reward if there is one."""

    actions: tuple[int, ...]
    digest: str
    reward: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostics:
    """What one update did; None where a controller has no such thing."""

    loss: float | None = None
    entropy: float | None = None  # nats, summed over the decisions, mean of the batch
    kl: float | None = None  # of the old policy from the new, summed over the decisions
    clip_fraction: float | None = None
    baseline: float | None = None  # after this batch moved it
    # for each decision the probability of each choice, mean over the batch's own prefixes
    probabilities: tuple[tuple[float, ...], ...] = ()


class Controller(Protocol):
    """Samples architectures and learns from their rewards.

    Sampling changes nothing: proposal k of a version is a function of the state, of k, and, for
    controllers that say so in ``reads_proposed``, of what was proposed before. So a version can be
    sampled again after a crash, and gives the same children.
    """

    reads_proposed: bool

    def sample(self, first: int, count: int, proposed: Sequence[Proposed]) -> list[Proposal]:
        """Proposals ``first`` to ``first + count - 1`` of this version."""

    def update(self, outcomes: Sequence[Outcome]) -> Diagnostics:
        """Learn from a batch and become the next version. An empty batch changes nothing else."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next ``sample`` and ``update`` depend on, the version included.

        Only tensors, numbers, strings, lists and dicts: it must load with ``weights_only``. As
        torch's, it shares the tensors: later updates change it.
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the controller that ``state_dict`` was taken from."""
