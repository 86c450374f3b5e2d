"""What a search space is: categorical decisions, read in turns, and two functions.

Random search, evolution and tables read the decisions; the LSTM policy also reads how they are
grouped into turns. A space holds no torch and no state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.cells.genotype import SearchedGenotype


class Score(StrEnum):
    """How the policy scores the choices of a decision."""

    HEAD = "head"  # a linear head of the kind
    POINTER = "pointer"  # attention over anchors, one a choice
    SKIP = "skip"  # yes or no, by attention to one anchor


class Feed(StrEnum):
    """What the step after a turn reads."""

    CHOICE = "choice"  # the embedding of the last choice
    CHOSEN = "chosen"  # the anchor that the last decision points at
    MEAN = "mean"  # of the anchors taken: their sum / (1 + their number)
    START = "start"  # the learned start vector


class Anchor(StrEnum):
    """What a turn leaves for later turns to attend to."""

    HIDDEN = "hidden"  # its hidden state
    KEY = "key"  # the attention's key of it alone: zeros are fed where it is chosen


@dataclass(frozen=True, slots=True)
class Decision:
    """One categorical choice. Decisions of a kind share a head and an embedding.

    Anchors are numbered in the order in which turns leave them.
    """

    kind: str
    choices: int
    score: Score = Score.HEAD
    anchors: tuple[int, ...] = ()  # POINTER: one a choice; SKIP: the one that is asked about
    offset: tuple[float, ...] = ()  # fixed, added to the logits


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of the LSTM: the decisions read from its hidden state, and what is fed next."""

    decisions: tuple[Decision, ...] = ()
    feed: Feed = Feed.CHOICE
    anchor: Anchor | None = None


class DecisionSpace(Protocol):
    """What a controller sees of a space: decisions, and which actions mean the same."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The decisions as the policy takes them."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions of all turns, in order."""

    def length(self, learned: int) -> int:
        """How many decisions a proposal takes once so many rewards have been learned from.

        The first ones of ``decisions``, in whole turns: a space may grow with its search.
        """

    def canonical(self, actions: Sequence[int]) -> tuple[int, ...]:
        """The actions that stand for all those that mean the same architecture."""

    def digest(self, actions: Sequence[int]) -> str:
        """What is equal for two encodings of the same architecture (law 10)."""


class SearchSpace(DecisionSpace, Protocol):
    """All architectures a search may propose."""

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What people call each decision, and each of its choices."""

    def decode(self, actions: Sequence[int]) -> SearchedGenotype:
        """The genotype that these actions, one per decision, stand for."""

    def encode(self, genotype: Any) -> tuple[int, ...]:
        """The actions that decode to exactly this genotype.

        Raises:
            InvalidGenotypeError: where the space does not contain it.
        """


def check_range(space: SearchSpace, actions: Sequence[int]) -> None:
    """Check that each action is one of its decision's choices; there may be fewer than decisions.

    Raises:
        InvalidGenotypeError: naming the decision.
    """
    for t, (action, decision) in enumerate(zip(actions, space.decisions, strict=False)):
        if not 0 <= action < decision.choices:
            raise InvalidGenotypeError(
                f"decision {t} ({space.labels[t][0]}): action {action} "
                f"is not one of 0 to {decision.choices - 1}"
            )


def check_whole(space: SearchSpace, actions: Sequence[int]) -> None:
    """Check that there is an action for each decision, and that each is one of its choices.

    Raises:
        InvalidGenotypeError: naming the decision.
    """
    if len(actions) != len(space.decisions):
        raise InvalidGenotypeError(
            f"{len(actions)} actions, but the space has {len(space.decisions)} decisions"
        )
    check_range(space, actions)
