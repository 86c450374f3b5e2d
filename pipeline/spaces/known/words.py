"""How known networks are written and drawn: by their names."""

from collections.abc import Iterator

from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.spaces.pictures import Marks, Node, Picture


def sentence(genotype: KnownNetwork) -> str:
    """Its name, and whose it is."""
    return f"torchvision's {genotype.name}"


def lines(genotype: KnownNetwork) -> Iterator[str]:
    """Its name, and whose it is."""
    yield sentence(genotype)


def draw(picture: Picture, genotype: KnownNetwork, outer: str, marks: Marks) -> None:
    """One box."""
    name = f"{outer}-network" if outer else "network"
    mark = marks.get("network", "")
    picture.nodes.append(Node(name, genotype.name, "layer", sentence(genotype), outer, mark))
