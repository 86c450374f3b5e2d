"""A model of the rewards chooses what to train next: a Gaussian process over the decisions.

N children, M candidates, T decisions, S changes of a single decision.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.controllers import PredictorConfig
from pipeline.controllers.base import Diagnostics, Outcome, Proposal, Proposed
from pipeline.controllers.changes import (
    Actions,
    Rows,
    change,
    changes_of,
    choices_of,
    first_new,
    uniform_choices,
)
from pipeline.controllers.gaussian_process import (
    OneHot,
    Posterior,
    first_parameters,
    fit,
    rank_scores,
)
from pipeline.controllers.pool import Pool
from pipeline.controllers.uniforms import Uniforms
from pipeline.spaces import DecisionSpace

# The parameters are fitted again when the data have grown by this factor.
GROWTH = 1.3
FIRST_STEPS, STEPS = 30, 15
PARENTS = 10  # the best children, which candidates are made from
# Candidates with some decisions of a parent changed, with two parents crossed, and new ones.
CHANGED, CROSSED, NEW = 200, 100, 200
KEPT = 300  # candidates that a climb keeps, the most promising; it changes the best of them
# Children without a reward that the model takes into account: the newest.
PENDING = 200


class Predictor:
    """Proposes what promises the greatest improvement over the best child.

    The first children are stratified: among ``start`` of them each choice of a decision is tried
    equally often. Afterwards a batch is picked one by one from a pool of candidates, mostly
    changes of the best children, as if each pick's result were known to be what is expected.

    It reads canonical forms only: all encodings of an architecture are one candidate. Where a
    space has grown, a decision that a child did not take is one more choice of it; what is made
    from a shorter child takes the decisions that it lacks by chance.
    """

    reads_proposed = True

    def __init__(
        self, space: DecisionSpace, config: PredictorConfig, *, seed: int, arm: str = "policy"
    ) -> None:
        self.config = config
        self.space = space
        self.seed = seed
        self.arm = arm
        self.version = 0
        self.parameters = first_parameters(len(space.decisions))
        self.learned = 0  # rewards so far, ...
        self.fitted = 0  # ... and when the parameters were fitted
        self.rewards: dict[Actions, float] = {}  # by canonical actions, oldest first
        self._choices_T = choices_of(space)
        grows = space.length(0) < len(space.decisions)
        # the choice that says that a decision was not taken
        self._absent_T = self._choices_T if grows else None
        self._one_hot = OneHot((self._choices_T + int(grows)).tolist())
        self._canonical: dict[str, Actions] = {}  # by digest: no state, saves work

    def sample(self, first: int, count: int, proposed: Sequence[Proposed]) -> list[Proposal]:
        """Proposals ``first`` to ``first + count - 1``; their log-probabilities are 0.

        Those of a batch are picked from one pool, whatever part of them is asked for.
        """
        history = list(proposed)
        proposals: list[Proposal] = []
        while count > 0:
            begun = first % self.config.batch
            size = min(count, self.config.batch - begun)
            for actions, digest in self._block(first - begun, begun, size, history):
                proposals.append(Proposal(first, actions, (0.0,) * len(actions)))
                history.append(Proposed(actions, digest, None))
                first += 1
            count -= size
        return proposals

    def _block(
        self, block: int, begun: int, size: int, history: Sequence[Proposed]
    ) -> list[tuple[Actions, str]]:
        """The next proposals of the batch that begins with proposal ``block``.

        All is made from what was there before the batch; what of the batch itself is there
        already is picked again, the same.
        """
        earlier, mates = history[: len(history) - begun], history[len(history) - begun :]
        known = {child.digest for child in history}
        rewards = self._rewards_of(earlier)
        if len(rewards) < self.config.start:
            return self._stratified(block + begun, size, len(history), known)
        generator = Uniforms(self.seed, self.version, self.arm, block)
        pending = [self._canonical_of(c) for c in earlier if c.reward is None][-PENDING:]
        rows_NT, scores_N = self._table(rewards)
        model = Posterior(self.parameters, rows_NT, scores_N, self._rows(pending), self._one_hot)
        best = scores_N.max().item()
        order_N = scores_N.argsort(descending=True, stable=True)
        parents_PT = self._lengthened(rows_NT[order_N[:PARENTS]].numpy(), generator)
        pool = Pool(model, best, self.space, self._rows, known={*rewards, *pending})
        pool.add(self._candidates(parents_PT, generator))
        for _ in range(self.config.climbs if len(pool) else 0):
            pool.keep_best(KEPT)
            best_PT = self._lengthened(pool.rows_MT[:PARENTS].numpy(), generator)
            pool.add(self._changed(best_PT, CHANGED, generator))
        pool.pick_again([self._canonical_of(child) for child in mates])
        return self._picked(pool, size, known, generator)

    def _picked(
        self, pool: "Pool", size: int, known: set[str], generator: Uniforms
    ) -> list[tuple[Actions, str]]:
        """The best candidates, one by one; by chance where the pool has no new one left."""
        picked: list[tuple[Actions, str]] = []
        while len(picked) < size:
            actions = pool.pick()
            if actions is None:
                row = tuple(uniform_choices(self._choices_now, 1, generator)[0].tolist())
                actions, digest = self._first_new(row, known, generator)
            else:
                digest = self.space.digest(actions)
                if digest in known:  # so old that the model has forgotten it
                    continue
            known.add(digest)
            picked.append((actions, digest))
        return picked

    def _stratified(
        self, k: int, size: int, proposed: int, known: set[str]
    ) -> list[tuple[Actions, str]]:
        """Children before the model knows enough; each choice is tried equally often."""
        found: list[tuple[Actions, str]] = []
        for number in range(proposed, proposed + size):
            design, row = divmod(number, self.config.start)
            generator = Uniforms(self.seed, 0, self.arm, design * self.config.start)
            choices_T = self._choices_now
            order_NT = generator.take(self.config.start, len(choices_T)).argsort(0)
            actions = tuple((order_NT[row] % choices_T).tolist())
            own = Uniforms(self.seed, self.version, self.arm, k + len(found))
            found.append(self._first_new(actions, known, own))
            known.add(found[-1][1])
        return found

    def _first_new(
        self, actions: Actions, known: set[str], generator: Uniforms
    ) -> tuple[Actions, str]:
        changed = changes_of(actions, self._choices_T, generator)
        return first_new(itertools.chain([actions], changed), self.space, known)

    def _candidates(self, parents_PT: Rows, generator: Uniforms) -> Rows:
        """At most ``pool`` of them, what is near the best children first."""
        mothers_MT, fathers_MT = (
            parents_PT[(generator.take(CROSSED) * len(parents_PT)).astype(np.int64)]
            for _ in range(2)
        )
        from_mother_MT = generator.take(*mothers_MT.shape) < 0.5
        rows_MT = np.concatenate(
            [
                self._neighbours(parents_PT),
                self._changed(parents_PT, CHANGED, generator),
                np.where(from_mother_MT, mothers_MT, fathers_MT),
                uniform_choices(self._choices_now, NEW, generator),
            ]
        )
        chosen = generator.take(len(rows_MT)).argsort()[: self.config.pool]
        return rows_MT[np.sort(chosen)]

    def _neighbours(self, parents_PT: Rows) -> Rows:
        """All changes of one decision of each parent."""
        choices_T = self._choices_now
        changes = [(t, step) for t, n in enumerate(choices_T) for step in range(1, n)]
        steps_ST = np.zeros((len(changes), len(choices_T)), dtype=np.int64)
        for row, (t, step) in enumerate(changes):
            steps_ST[row, t] = step
        rows_PST = (parents_PT[:, None, :] + steps_ST) % choices_T
        return rows_PST.reshape(-1, len(choices_T))

    def _changed(self, parents_PT: Rows, count: int, generator: Uniforms) -> Rows:
        """``count`` rows, each a parent with 1 or 2 changes, or more of many decisions."""
        most = max(2, parents_PT.shape[1] // 6)
        rows_MT = parents_PT[np.arange(count) % len(parents_PT)]
        changes_M = 1 + (generator.take(count) * most).astype(np.int64)
        return change(rows_MT, changes_M, self._choices_now, generator)

    @property
    def _choices_now(self) -> Rows:
        """C of each decision that a proposal of this version takes."""
        return self._choices_T[: self.space.length(self.version * self.config.batch)]

    def _rows(self, actions: Sequence[Actions]) -> Tensor:
        """Proposals as the model reads them: all of one length."""
        if self._absent_T is None:
            return torch.tensor(actions, dtype=torch.int64).reshape(-1, len(self._choices_T))
        rows_NT = np.tile(self._absent_T, (len(actions), 1))
        for row_T, taken in zip(rows_NT, actions, strict=True):
            row_T[: len(taken)] = taken
        return torch.from_numpy(rows_NT)

    def _table(self, rewards: dict[Actions, float]) -> tuple[Tensor, Tensor]:
        """(rows, scores) of rewarded children."""
        values_N = torch.tensor([*rewards.values()], dtype=torch.float64)
        return self._rows([*rewards]), rank_scores(values_N)

    def _lengthened(self, rows_PT: Rows, generator: Uniforms) -> Rows:
        """Rows with as many decisions as a proposal of this version takes."""
        choices_T = self._choices_now
        rows_PT = rows_PT[:, : len(choices_T)]
        absent_PT = rows_PT == choices_T
        if not absent_PT.any():
            return rows_PT
        return np.where(absent_PT, uniform_choices(choices_T, len(rows_PT), generator), rows_PT)

    def _rewards_of(self, children: Iterable[Proposed]) -> dict[Actions, float]:
        return _remembered(
            {self._canonical_of(c): c.reward for c in children if c.reward is not None},
            self.config.memory,
        )

    def _canonical_of(self, child: Proposed) -> Actions:
        known = self._canonical.get(child.digest)
        if known is None:
            known = self._canonical[child.digest] = self.space.canonical(child.actions)
        return known

    def update(self, outcomes: Sequence[Outcome]) -> Diagnostics:
        """Take the rewards in; fit the model anew where they have grown by ``GROWTH``."""
        self.version += 1
        if not outcomes:
            return Diagnostics()
        self.learned += len(outcomes)
        for outcome in outcomes:
            actions = self.space.canonical(outcome.actions)
            self.rewards.pop(actions, None)  # the newest are the last
            self.rewards[actions] = outcome.reward
        self.rewards = _remembered(self.rewards, self.config.memory)
        if len(self.rewards) >= self.config.start and self.learned >= GROWTH * self.fitted:
            steps = STEPS if self.fitted else FIRST_STEPS
            table = self._table(self.rewards)
            self.parameters = fit(self.parameters, *table, self._one_hot, steps)
            self.fitted = self.learned
        return Diagnostics()

    def state_dict(self) -> dict[str, Any]:
        """The model's parameters, and what they are fitted to."""
        return {
            "version": self.version,
            "learned": self.learned,
            "fitted": self.fitted,
            "parameters": self.parameters,
            "actions": [[*actions] for actions in self.rewards],
            "rewards": torch.tensor([*self.rewards.values()], dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the controller that the state was taken from."""
        self.version = state["version"]
        self.learned = state["learned"]
        self.fitted = state["fitted"]
        self.parameters = state["parameters"].clone()
        actions = map(tuple, state["actions"])
        self.rewards = dict(zip(actions, state["rewards"].tolist(), strict=True))


def _remembered(rewards: dict[Actions, float], limit: int) -> dict[Actions, float]:
    """The best half of ``limit``, and the newest of the others."""
    if len(rewards) <= limit:
        return rewards
    best = set(sorted(rewards, key=rewards.__getitem__, reverse=True)[: limit // 2])
    others = [actions for actions in rewards if actions not in best]
    kept = best.union(others[len(best) - limit :])
    return {actions: reward for actions, reward in rewards.items() if actions in kept}
