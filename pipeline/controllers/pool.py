"""Candidates of a batch, judged by a model and picked one by one.

N children that the model knows, M candidates, T decisions.
"""

from collections.abc import Callable, Sequence, Set

import torch
from torch import Tensor

from pipeline.controllers.changes import Actions, Rows
from pipeline.controllers.gaussian_process import Posterior, expected_improvement
from pipeline.spaces import DecisionSpace

# Candidates whose expected improvements differ by less than this share of the best one's are
# equals, of which the first is taken: what rounding does to a sum then decides nothing.
DIGITS = 9


class Pool:
    """Candidates in their canonical forms, each once, none that the search has already."""

    def __init__(
        self,
        model: Posterior,
        best: float,
        space: DecisionSpace,
        rows: Callable[[Sequence[Actions]], Tensor],
        known: Set[Actions],
    ) -> None:
        self._model = model
        self._rows = rows  # how the model reads them
        self.actions: list[Actions] = []
        self._best = best
        self._space = space
        self._known = set(known)
        self.rows_MT = torch.empty(0, len(space.decisions), dtype=torch.int64)
        self._mean_M = torch.empty(0, dtype=torch.float64)
        self._variance_M = torch.empty(0, dtype=torch.float64)
        self._whitened_MN = torch.empty(0, model.size, dtype=torch.float64)
        self._picked: list[int] = []
        self._seen_M: list[Tensor] = []  # what each pick tells of the others

    def __len__(self) -> int:
        return len(self.rows_MT)

    def add(self, rows_MT: Rows) -> None:
        """Judge those candidates that are new."""
        canonical = dict.fromkeys(map(self._space.canonical, rows_MT.tolist()))
        self._append([actions for actions in canonical if actions not in self._known])

    def _append(self, candidates: Sequence[Actions]) -> None:
        if not candidates:
            return
        self._known.update(candidates)
        self.actions += candidates
        rows_MT = self._rows(candidates)
        mean_M, variance_M, whitened_MN = self._model.predict(rows_MT)
        self.rows_MT = torch.cat([self.rows_MT, rows_MT])
        self._mean_M = torch.cat([self._mean_M, mean_M])
        self._variance_M = torch.cat([self._variance_M, variance_M])
        self._whitened_MN = torch.cat([self._whitened_MN, whitened_MN])

    def keep_best(self, count: int) -> None:
        """Let all others go, and order them, the most promising first."""
        kept = self._promise().argsort(descending=True, stable=True)[:count]
        self.rows_MT = self.rows_MT[kept]
        self.actions = [self.actions[index] for index in kept.tolist()]
        self._mean_M = self._mean_M[kept]
        self._variance_M = self._variance_M[kept]
        self._whitened_MN = self._whitened_MN[kept]

    def pick(self) -> Actions | None:
        """The most promising candidate that was not picked; None where there is none."""
        if len(self._picked) == len(self):
            return None
        promise_M = self._promise()
        promise_M[self._picked] = -1
        index = int(promise_M.argmax())
        self._take(index)
        return self.actions[index]

    def pick_again(self, picked: Sequence[Actions]) -> None:
        """Take what was picked before, in its order, as if it were picked now."""
        index = {actions: m for m, actions in enumerate(self.actions)}
        absent = [actions for actions in dict.fromkeys(picked) if actions not in index]
        index |= {actions: len(index) + n for n, actions in enumerate(absent)}
        self._append(absent)
        for actions in picked:
            self._take(index[actions])

    def _promise(self) -> Tensor:
        promise_M = expected_improvement(self._mean_M, self._variance_M, self._best)
        most = promise_M.max().clamp_min(torch.finfo(torch.float64).tiny)
        return (promise_M / most).round(decimals=DIGITS)

    def _take(self, index: int) -> None:
        """From now on the candidate's score counts as known: the means stay, variances shrink."""
        covariance_M = self._model.covariance(self.rows_MT, self._whitened_MN, index)
        for seen_M in self._seen_M:
            covariance_M -= seen_M[index] * seen_M
        seen_M = covariance_M / (self._variance_M[index] + self._model.noise).sqrt()
        self._variance_M = (self._variance_M - seen_M.square()).clamp_min(1e-12)
        self._seen_M.append(seen_M)
        self._picked.append(index)
