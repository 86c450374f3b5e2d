"""What PPO and REINFORCE have in common: the LSTM policy, its proposals, and its update.

N proposals of a batch, T decisions, C choices.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.config.controllers import PolicyGradientConfig
from pipeline.controllers.base import Diagnostics, Outcome, Proposal, Proposed
from pipeline.controllers.changes import Actions, changes_of, choices_of, first_new
from pipeline.controllers.policy import LSTMPolicy, Rollout
from pipeline.controllers.uniforms import Uniforms, uniforms
from pipeline.spaces import DecisionSpace, Score

# What refuses repeats draws so often from the policy as it is, then so often from ever more even
# ones, each by so much, before it changes decisions of what it drew.
DRAWS, EVENER_DRAWS, EVENER = 4, 7, 0.15


class PolicyGradient(ABC):
    """An LSTM policy that becomes likelier to propose what was rewarded.

    Adam is the usual reading of a paper that does not name its optimiser; it clips no gradients,
    and neither does this.

    Without repeats a proposal comes from the policy without what was proposed before; its stored
    log-probabilities are those of the policy itself, which is what an update compares them with.
    """

    epochs = 1  # steps on a batch
    clip: float | None = None  # how far a decision's ratio may lie from 1

    def __init__(
        self, space: DecisionSpace, config: PolicyGradientConfig, *, seed: int, arm: str
    ) -> None:
        self.config = config
        self.space = space
        self.seed = seed
        self.arm = arm
        self.version = 0
        self.baseline: float | None = None
        self.rewards_R = torch.empty(0, dtype=torch.float64)  # all so far, sorted
        self.best: list[tuple[float, str, Actions]] = []  # (reward, digest, actions), best first
        self.decisions = space.decisions
        of_turns = [[d.score is Score.SKIP for d in turn.decisions] for turn in space.turns]
        self._is_skip_T = torch.tensor([skip for skips in of_turns for skip in skips])
        # the first skip of each turn, that is, of each layer that has any
        begins = [s and not any(skips[:t]) for skips in of_turns for t, s in enumerate(skips)]
        self._begins_layer_T = torch.tensor(begins)
        self._draws: Draws | None = None
        self.reads_proposed = not config.repeats
        self.policy = LSTMPolicy(space.turns, config, seed=seed)
        self.optimizer = torch.optim.Adam(
            self.policy.parameters(),
            lr=config.learning_rate,
            betas=(config.adam_beta1, 0.999),
            eps=config.adam_epsilon,
        )

    @abstractmethod
    def gain(self, log_probs_NT: Tensor, behaviour_NT: Tensor, advantage_N1: Tensor) -> Tensor:
        """What is to grow, for each decision."""

    def sample(self, first: int, count: int, proposed: Sequence[Proposed]) -> list[Proposal]:
        """Proposals ``first`` to ``first + count - 1``, computed in whole blocks of a batch.

        Whole blocks, so that the bits of a proposal do not depend on how many are asked for.
        """
        known = {child.digest for child in proposed} if self.reads_proposed else set()
        batch = self.config.batch
        proposals: list[Proposal] = []
        for block in range(first // batch, -(-(first + count) // batch)):
            ks = range(block * batch, (block + 1) * batch)
            wanted = range(max(first, ks.start), min(first + count, ks.stop))
            proposals += self._sample_block(ks, wanted, known)
        return proposals

    @property
    def length(self) -> int:
        """Decisions of a proposal of this version."""
        return self.space.length(self.version * self.config.batch)

    def _sample_block(self, ks: range, wanted: range, known: set[str]) -> list[Proposal]:
        draws = self._draws_of(ks)
        proposals = []
        for k in wanted:
            candidates = self._candidates(draws, k)
            if self.reads_proposed:
                actions, digest = first_new(candidates, self.space, known)
                known.add(digest)
            else:
                actions = next(candidates)
            proposals.append(Proposal(k, actions, self._log_probs(draws, k, actions)))
        return proposals

    def _draws_of(self, ks: range) -> "Draws":
        """What was drawn for a block; kept, since it may be asked for in parts."""
        if self._draws is None or self._draws.ks != ks:
            self._draws = Draws(self, ks)
        return self._draws

    def _candidates(self, draws: "Draws", k: int) -> Iterator[Actions]:
        """What proposal k may be, in order."""
        actions: Actions = ()
        for actions in draws.of(k):
            yield actions
        generator = Uniforms(self.seed, self.version, self.arm, k)
        generator.take((DRAWS + EVENER_DRAWS) * self.length)  # those of the draws
        yield from changes_of(actions, choices_of(self.space), generator)

    def _log_probs(self, draws: "Draws", k: int, actions: Actions) -> tuple[float, ...]:
        """The policy's own, also of what was drawn more evenly or changed."""
        drawn = draws.log_probs(k, actions)
        if drawn is not None:
            return drawn
        with torch.no_grad():
            return tuple(self.policy.score(torch.tensor([actions])).log_probs_NT[0].tolist())

    def update(self, outcomes: Sequence[Outcome]) -> Diagnostics:
        """Learn from a batch: ``epochs`` steps on all of it; become the next version."""
        self.version += 1
        self._draws = None
        if not outcomes:
            return Diagnostics(baseline=self.baseline)
        behaviour_NT = _padded([o.log_probs for o in outcomes], torch.float64)
        reward_N = torch.tensor([o.reward for o in outcomes], dtype=torch.float64)
        if self.config.entropy_in == "reward":
            entropy_N = self._reward_entropy(outcomes, behaviour_NT)
            reward_N = reward_N + self.config.entropy_weight * entropy_N
        advantage_N1 = self._advantage(reward_N)[:, None]
        self._remember_best(outcomes)
        loss = torch.zeros(())
        for _ in range(self.epochs):
            loss = self._step(outcomes, behaviour_NT, advantage_N1)
        with torch.no_grad():
            after = self.policy.score(_padded([o.actions for o in outcomes], torch.int64))
        taken_NT = _taken([o.actions for o in outcomes])
        return self._diagnose(after, behaviour_NT, taken_NT, loss.item())

    def _reward_entropy(self, outcomes: Sequence[Outcome], behaviour_NT: Tensor) -> Tensor:
        """What a reward gets of entropy, in nats; whole distributions are the newest policy's."""
        if self.config.reward_entropy == "surprise":
            return -behaviour_NT.sum(1)
        if self.config.reward_entropy == "chosen":
            return -(behaviour_NT.exp() * behaviour_NT).sum(1)
        rows = [o.actions for o in outcomes]
        with torch.no_grad():
            rollout = self.policy.score(_padded(rows, torch.int64))
        return (rollout.entropy_NT * _taken(rows)).sum(1)

    def _advantage(self, reward_N: Tensor) -> Tensor:
        """Against the baseline of the batches before, which this batch moves afterwards (the
        first batch's is its own mean); or by rank among all rewards, this batch's too."""
        if self.config.advantage == "rank":
            self.rewards_R = torch.cat([self.rewards_R, reward_N]).sort().values
            below_N = torch.searchsorted(self.rewards_R, reward_N, right=True)
            return 2 * below_N / len(self.rewards_R) - 1
        if self.config.baseline_moves == "each":
            return self._advantage_of_each(reward_N)
        mean, decay = reward_N.mean().item(), self.config.baseline_decay
        before = self.config.baseline_moves == "before"
        baseline = self.baseline
        if baseline is None:
            baseline = 0.0 if before else mean
        self.baseline = decay * baseline + (1 - decay) * mean
        return reward_N - (self.baseline if before else baseline)

    def _advantage_of_each(self, reward_N: Tensor) -> Tensor:
        """Against a baseline that each reward has moved before, in the order of the batch."""
        decay, baselines = self.config.baseline_decay, []
        baseline = 0.0 if self.baseline is None else self.baseline
        for reward in reward_N.tolist():
            baseline = decay * baseline + (1 - decay) * reward
            baselines.append(baseline)
        self.baseline = baseline
        return reward_N - torch.tensor(baselines, dtype=torch.float64)

    def _remember_best(self, outcomes: Sequence[Outcome]) -> None:
        """Keep those to imitate; of equals the oldest."""
        if not self.config.imitation_weight:
            return
        new = [(o.reward, self.space.digest(o.actions), o.actions) for o in outcomes]
        by_digest = {child[1]: child for child in reversed([*self.best, *new])}
        children = [*reversed(by_digest.values())]
        children.sort(key=lambda child: child[0], reverse=True)
        self.best = children[: self.config.imitated]

    def _step(
        self, outcomes: Sequence[Outcome], behaviour_NT: Tensor, advantage_N1: Tensor
    ) -> Tensor:
        count, length = behaviour_NT.shape
        rows = [o.actions for o in outcomes] + [actions for _, _, actions in self.best]
        taken_NT = _taken(rows)
        rollout = self.policy.score(_padded(rows, torch.int64))
        log_probs_NT, entropy_NT = rollout.log_probs_NT, rollout.entropy_NT[:count, :length]
        gain_NT = self.gain(log_probs_NT[:count, :length], behaviour_NT, advantage_N1)
        if self.config.entropy_in == "loss":
            gain_NT = gain_NT + self.config.entropy_weight * entropy_NT
        loss = -_mean(gain_NT, taken_NT[:count, :length])
        if self.best:
            imitated = _mean(log_probs_NT[count:], taken_NT[count:])
            loss = loss - self.config.imitation_weight * imitated
        if self.config.skip_prior is not None:
            far = self._from_prior(rollout.prior_NT[:count, :length], taken_NT[:count, :length])
            loss = loss + self.config.skip_prior.weight * far
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _from_prior(self, prior_NT: Tensor, taken_NT: Tensor) -> Tensor:
        """How far skips are from their prior: what its weight is of.

        By layers it is divided by the number of decisions, as the rest of the loss is, which is
        their mean and in the released code their sum (melodyguan/enas: general_controller.py).
        """
        assert self.config.skip_prior is not None
        length = prior_NT.shape[1]
        if self.config.skip_prior.per == "skip":
            far = prior_NT[taken_NT & self._is_skip_T[:length]]
            return far.sum() / max(1, len(far))
        layers_N = (taken_NT & self._begins_layer_T[:length]).sum(1).clamp(1)
        of_child_N = (prior_NT * taken_NT).sum(1) / layers_N  # 0 of what is no skip
        return of_child_N.sum() / taken_NT.sum()

    def _diagnose(
        self, after: Rollout, behaviour_NT: Tensor, taken_NT: Tensor, loss: float
    ) -> Diagnostics:
        log_ratio_NT = (after.log_probs_NT - behaviour_NT) * taken_NT
        ratio_NT = log_ratio_NT.exp()
        clip_fraction = None
        if self.clip is not None:
            clip_fraction = _mean(((ratio_NT - 1).abs() > self.clip).double(), taken_NT).item()
        return Diagnostics(
            loss=loss,
            entropy=(after.entropy_NT * taken_NT).sum(1).mean().item(),
            # the low-variance estimate (ratio - 1) - log ratio, never negative
            kl=(ratio_NT - 1 - log_ratio_NT).sum(1).mean().item(),
            clip_fraction=clip_fraction,
            baseline=self.baseline,
            probabilities=tuple(
                tuple(log_p_NC[taken_N].exp().mean(0).tolist())
                for log_p_NC, taken_N in zip(after.log_p_T_NC, taken_NT.t(), strict=True)
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, baseline and version; random numbers follow from the version.

        And rewards and best children, where the configuration asks for ranks or imitation.
        """
        state: dict[str, Any] = {
            "version": self.version,
            "baseline": self.baseline,
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.config.advantage == "rank":
            state["rewards"] = self.rewards_R
        if self.config.imitation_weight:
            state["best"] = [[reward, digest, [*actions]] for reward, digest, actions in self.best]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the controller that the state was taken from."""
        self.version = state["version"]
        self._draws = None
        self.baseline = state["baseline"]
        self.policy.load_state_dict(state["policy"])
        # torch copies the weights, but keeps the optimiser's tensors
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.rewards_R = state.get("rewards", self.rewards_R)  # an update makes another tensor
        self.best = [(r, digest, tuple(a)) for r, digest, a in state.get("best", ())]


def _padded(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
    """Rows of any length; behind the shorter ones stand zeros, which ``_taken`` tells apart."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=dtype)


def _taken(rows: Sequence[Sequence[float]]) -> Tensor:
    """Which decisions of padded rows were taken, where a space has grown between them."""
    return torch.tensor(list(map(len, rows)))[:, None] > torch.arange(max(map(len, rows)))


def _mean(values_NT: Tensor, taken_NT: Tensor) -> Tensor:
    return values_NT.mean() if bool(taken_NT.all()) else values_NT[taken_NT].mean()


class Draws:
    """What a version draws for a block of proposals: a function of the weights and of k alone.

    Drawn for the whole block at once, and only as far as somebody looks.
    """

    def __init__(self, controller: PolicyGradient, ks: range) -> None:
        self.ks = ks
        self._controller = controller
        self._rollouts: list[Rollout] = []
        # how many draws of each proposal go through the policy at once
        self._sizes = [DRAWS, EVENER_DRAWS] if controller.reads_proposed else [1]

    def of(self, k: int) -> Iterator[Actions]:
        """The draws of proposal k, in order."""
        for number, size in enumerate(self._sizes):
            if number == len(self._rollouts):
                self._rollouts.append(self._draw(number))
            for row in self._rows(k, size):
                yield tuple(self._rollouts[number].actions_NT[row].tolist())

    def log_probs(self, k: int, actions: Actions) -> tuple[float, ...] | None:
        """The policy's, of what it drew for proposal k; None of what it did not draw."""
        for rollout, size in zip(self._rollouts, self._sizes, strict=False):
            for row in self._rows(k, size):
                if tuple(rollout.actions_NT[row].tolist()) == actions:
                    return tuple(rollout.log_probs_NT[row].tolist())
        return None

    def _rows(self, k: int, size: int) -> range:
        return range((k - self.ks.start) * size, (k - self.ks.start + 1) * size)

    def _draw(self, number: int) -> Rollout:
        """A proposal's numbers, one a decision and draw, go on from draw to draw."""
        begin, size = sum(self._sizes[:number]), self._sizes[number]
        one, decisions = self._controller, self._controller.length
        numbers_NT = uniforms(one.seed, one.version, one.arm, self.ks, (begin + size) * decisions)
        numbers_NT = numbers_NT[:, begin * decisions :].reshape(-1, decisions)
        evener_N = torch.arange(begin, begin + size, dtype=torch.float64).add(1 - DRAWS).clamp(0)
        temperature_N = (1 + EVENER * evener_N).repeat(len(self.ks))
        return one.policy.sample(torch.from_numpy(numbers_NT.copy()), temperature_N[:, None])
