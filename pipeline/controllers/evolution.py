"""Regularised evolution (arXiv:1802.01548, algorithm 1): tournaments, mutation, ageing."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.config.controllers import EvolutionConfig
from pipeline.controllers.base import Diagnostics, Outcome, Proposal, Proposed
from pipeline.controllers.changes import (
    Actions,
    changes_of,
    choices_of,
    first_new,
    uniform_choices,
)
from pipeline.controllers.uniforms import Uniforms
from pipeline.spaces import DecisionSpace


class Evolution:
    """A population of the youngest children that were rewarded; the best of some has a child.

    While the population is not full, proposals are uniform choices. A version is a population:
    children of one version do not compete with one another, as those of one moment in the
    paper's workers do not. Without repeats a child that was proposed already is drawn again: ten
    times with one change, then with more. In a space that grows a child is as long as its parent.
    """

    def __init__(
        self, space: DecisionSpace, config: EvolutionConfig, *, seed: int, arm: str = "policy"
    ) -> None:
        self.config = config
        self.space = space
        self.seed = seed
        self.arm = arm
        self.version = 0
        self.population: list[tuple[Actions, float]] = []  # oldest first
        self.reads_proposed = not config.repeats
        self._choices_T = choices_of(space)

    def sample(self, first: int, count: int, proposed: Sequence[Proposed]) -> list[Proposal]:
        """Proposals ``first`` to ``first + count - 1``; their log-probabilities are 0."""
        known = {child.digest for child in proposed} if self.reads_proposed else set()
        proposals = []
        for k in range(first, first + count):
            generator = Uniforms(self.seed, self.version, self.arm, k)
            candidates = self._candidates(generator)
            if self.reads_proposed:
                actions, digest = first_new(candidates, self.space, known)
                known.add(digest)
            else:
                actions = next(candidates)
            proposals.append(Proposal(k, actions, (0.0,) * len(actions)))
        return proposals

    def _candidates(self, generator: Uniforms) -> Iterator[Actions]:
        """Children, in the order in which they may be proposed."""
        if len(self.population) >= self.config.population:
            return changes_of(self._parent(generator), self._choices_T, generator)
        length = self.space.length(self.version * self.config.batch)
        actions = tuple(uniform_choices(self._choices_T[:length], 1, generator)[0].tolist())
        return itertools.chain([actions], changes_of(actions, self._choices_T, generator))

    def _parent(self, generator: Uniforms) -> Actions:
        """The best of a tournament; of equals the one that was drawn first."""
        size, count = len(self.population), self.config.tournament
        if self.config.replacement:
            order = (generator.take(count) * size).astype(int)
        else:
            order = generator.take(size).argsort()[:count]
        drawn: list[tuple[Actions, float]] = [self.population[i] for i in order.tolist()]
        best: tuple[Actions, float] = max(drawn, key=lambda member: member[1])
        return best[0]

    def update(self, outcomes: Sequence[Outcome]) -> Diagnostics:
        """Rewarded children are born, in their order; as many of the oldest die."""
        self.version += 1
        self.population += [(outcome.actions, outcome.reward) for outcome in outcomes]
        self.population = self.population[-self.config.population :]
        return Diagnostics()

    def state_dict(self) -> dict[str, Any]:
        """The population and the version."""
        return {
            "version": self.version,
            "population": [[list(actions), reward] for actions, reward in self.population],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the controller that the state was taken from."""
        self.version = state["version"]
        self.population = [(tuple(actions), reward) for actions, reward in state["population"]]
