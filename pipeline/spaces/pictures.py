"""What is said and drawn of genotypes, as plain data; each kind of them fills it in its ``words``.

``pipeline.genotypes`` lays pictures out and compares any two genotypes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Node:
    """A box; its name becomes the element's id, its title what a resting pointer reads."""

    name: str
    label: str
    look: str
    title: str
    frame: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow, from what is read to what reads."""

    tail: str
    head: str
    label: str = ""
    mark: str = ""
    dashed: bool = False

    @property
    def name(self) -> str:
        """Its element's id."""
        return f"{self.tail}--{self.head}"


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, and the text that says it."""

    title: str
    description: str
    caption: str = ""
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    frames: dict[str, tuple[str, str]] = field(default_factory=dict)  # name: label, outer frame
    beside: list[tuple[str, str]] = field(default_factory=list)  # nodes at one height
    above: list[tuple[str, str]] = field(default_factory=list)  # nodes, the lower one first


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two genotypes have otherwise; states numbered as in each canonical form."""

    cell: str  # normal, reduction, or a layer; "" of whole networks
    part: str  # operation, input, side (both), combination, block, output, skips, layer, network
    first: str | None  # what the first has; None: nothing
    second: str | None
    first_names: tuple[str, ...] = ()  # of the first one's nodes and edges, to be marked
    second_names: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """What is written where it is."""
        return "only here" if None in (self.first, self.second) else "differs"


G = TypeVar("G")
# node or edge, by the name that it has in a picture of its genotype alone -> what is written there
Marks = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words(Generic[G]):
    """How genotypes of one kind are written and drawn."""

    sentence: Callable[[G], str]
    """All of it in one text, for whoever does not see its picture."""
    lines: Callable[[G], Iterator[str]]
    """The same for a terminal, line by line."""
    draw: Callable[[Picture, G, str, Marks], None]
    """Adds it to a picture, within a frame ("" for none)."""
    differences: Callable[[G, G], Iterator[Difference]] | None = None
    """What two canonical forms have otherwise; None: they are compared as a whole."""


def operation_label(operation: str) -> str:
    """An operation's name in a picture's box: "sep 5x5", "avg 3x3", "conv 1x7-7x1".

    In text it has the name by which it can be asked for: sep_conv_5x5.
    """
    first, *rest = operation.split("_")
    sizes = "-".join(word for word in rest if word not in {"conv", "pool"})
    return f"{'dilated' if first == 'dil' else first} {sizes}".strip()
