"""What a search space is: categorical decisions, read in turns, and two functions.

Random search, evolution and tables read the decisions; the LSTM policy also reads how they are
grouped into turns. A space holds no torch and no state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.genotype import CellGenotype


@dataclass(frozen=True, slots=True)
class Decision:
    """One softmax of the controller. Decisions of a kind share a head and an embedding."""

    kind: str
    choices: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of the LSTM: the decisions read from its hidden state, then fed back to it."""

    decisions: tuple[Decision, ...]


class DecisionSpace(Protocol):
    """What a controller sees of a space: decisions, and which actions mean the same."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The decisions as the policy takes them."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions of all turns, in order."""

    def canonical(self, actions: Sequence[int]) -> tuple[int, ...]:
        """The actions that stand for all those that mean the same architecture."""

    def digest(self, actions: Sequence[int]) -> str:
        """What is equal for two encodings of the same architecture (law 10)."""


class SearchSpace(DecisionSpace, Protocol):
    """All architectures a search may propose."""

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What people call each decision, and each of its choices."""

    def decode(self, actions: Sequence[int]) -> CellGenotype:
        """The genotype that these actions, one per decision, stand for."""

    def encode(self, genotype: CellGenotype) -> tuple[int, ...]:
        """The actions that decode to exactly this genotype.

        Raises:
            InvalidGenotypeError: where the space does not contain it.
        """
