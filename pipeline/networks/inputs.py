"""What a network is built for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a network takes, and what it tells apart."""

    shape: tuple[int, int, int]  # of an image: (channels, height, width)
    classes: int
