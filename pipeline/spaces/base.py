"""What a search space is: categorical decisions, read in turns, and two functions.

Random search, evolution and tables read the decisions; the LSTM policy also reads how they are
grouped into turns. A space holds no torch and no state. What each space has beside it, from its
configuration to its drawings, is a value of ``SpaceType``.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, get_args

from pipeline.errors import InvalidGenotypeError
from pipeline.io.config_model import Config
from pipeline.spaces.pictures import Words

MAX_LAYERS = 64
MAX_FILTERS = 4096


class Genotype(ABC):
    """An architecture as data; JSON and digests follow from ``to_data`` and ``canonical``.

    It says what is connected to what, builds nothing, and needs no torch.
    """

    __slots__ = ()

    kind: ClassVar[str]
    """The name that stored genotypes of the class have."""

    @classmethod
    @abstractmethod
    def from_data(cls, data: Any) -> Self:
        """The inverse of ``to_data``.

        Raises:
            InvalidGenotypeError: where the data is no genotype; names the block or the layer.
        """

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """Plain dicts and lists, as they go into JSON."""

    @abstractmethod
    def validate(self) -> None:
        """Check every rule.

        Raises:
            InvalidGenotypeError: naming the block or the layer.
        """

    @abstractmethod
    def canonical(self) -> Self:
        """The one genotype that stands for all encodings of the same graph."""

    @property
    def is_canonical(self) -> bool:
        """Whether it equals its canonical form."""
        return self == self.canonical()

    @property
    def operations(self) -> tuple[frozenset[str], frozenset[str]] | None:
        """The operations of a normal and of a reduction cell; None where it has no such cells."""
        return None

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON: equal for two encodings of the same graph."""
        return self.canonical().literal_digest

    @property
    def literal_digest(self) -> str:
        """sha256 of this very encoding; the digest, where this is the canonical one already."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Compact JSON with sorted keys."""
        return json.dumps(self.to_data(), separators=(",", ":"), sort_keys=True)


class SkeletonConfig(Config):
    """What genotypes are built in, and how large; the name of the skeleton says which it is."""

    weights: ClassVar[tuple[str, ...]] = ()
    """The keys that the shapes of the network's weights depend on."""

    skeleton: str
    """Which skeleton it is."""

    @property
    def stack(self) -> tuple[int, int] | None:
        """(normal cells a stage, filters of the first stage); None of what stacks no cells."""
        return None

    def needed_for_sharing(self) -> dict[str, str]:
        """Keys that keep children from sharing weights, each with the value it would need."""
        return {}


class SpaceConfig(Config):
    """What can be found; the name of the space says which it is."""

    name: str
    """Which space it is."""

    def check_skeleton(self, skeleton: SkeletonConfig) -> None:
        """Check that the space's genotypes can be built in a skeleton of theirs.

        Raises:
            ValueError: beginning with the skeleton's key.
        """


def check_operations(names: Sequence[str], known: Sequence[str]) -> None:
    """Check a space's list of operations.

    One operation is enough: what is searched then is how they are connected.

    Raises:
        ValueError: it is empty, or has a name twice, or one that no operation has.
    """
    if not names or len(set(names)) != len(names):
        raise ValueError("operations: expected one or more, each once")
    for name in names:
        if name not in known:
            raise ValueError(f"operations: no operation {name!r}; there are: {', '.join(known)}")


class Score(StrEnum):
    """How the policy scores the choices of a decision."""

    HEAD = "head"  # a linear head of the kind
    POINTER = "pointer"  # attention over anchors, one a choice
    SKIP = "skip"  # yes or no, by attention to one anchor


class NextInput(StrEnum):
    """What the LSTM's step after a turn reads."""

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
    feed: NextInput = NextInput.CHOICE
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
        """How many decisions a proposal takes after that number of rewards was learned from.

        They are the first of ``decisions``, in whole turns: a space may grow with its search.
        """

    def canonical(self, actions: Sequence[int]) -> tuple[int, ...]:
        """The actions that stand for all those that mean the same architecture."""

    def digest(self, actions: Sequence[int]) -> str:
        """A name of the architecture, which all its encodings share."""


class SearchSpace(DecisionSpace, Protocol):
    """All architectures a search may propose."""

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What people call each decision, and each of its choices."""

    def decode(self, actions: Sequence[int]) -> Genotype:
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


G = TypeVar("G", bound=Genotype)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenotypeKind(Generic[G]):
    """What belongs to one class of genotypes, whichever spaces propose it."""

    genotype: type[G]
    build: str
    """``module:function`` that makes a network of (genotype, skeleton or None,
    ``Inputs``); imported when it is called, since it needs torch.
    """
    words: Words[G]

    @property
    def name(self) -> str:
        """The name that stored genotypes have for it."""
        return self.genotype.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceType:
    """A search space: what the registry knows of it."""

    config: type[SpaceConfig]
    kind: GenotypeKind[Any]
    space: Callable[[Any], SearchSpace]
    """Makes the space of a configuration."""
    skeletons: tuple[type[SkeletonConfig], ...]
    """The skeleton that its children are built in, then those that they may be retrained in."""
    preset: str
    """The preset that lists its keys."""
    build_shared: str | None = None
    """``module:function`` that makes the network of all children with shared weights, of (space
    configuration, skeleton, ``Inputs``); None: they share no weights.
    """

    @property
    def name(self) -> str:
        """The name that configurations have for it."""
        return literal_of(self.config, "name")


def literal_of(config: type[Config], key: str) -> str:
    """The one value that a key of a configuration may have, such as a space's name."""
    [value] = get_args(config.model_fields[key].annotation)
    return str(value)
