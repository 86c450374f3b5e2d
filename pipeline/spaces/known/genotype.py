"""Networks that torchvision has, as genotypes: their names."""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import Genotype


@dataclass(frozen=True, slots=True)
class KnownNetwork(Genotype):
    """A network that torchvision has, by its name there: a baseline, not a member of a space."""

    name: str

    kind = "known"

    is_canonical = True

    def validate(self) -> None:
        """Nothing can be wrong: whether there is such a network is known when it is built."""

    def canonical(self) -> "KnownNetwork":
        """Itself: there is one encoding."""
        return self

    def to_data(self) -> dict[str, Any]:
        """A plain dict, as it goes into JSON."""
        return {"kind": self.kind, "name": self.name}

    @classmethod
    def from_data(cls, data: Any) -> "KnownNetwork":
        """The inverse of ``to_data``.

        Raises:
            InvalidGenotypeError: where the data names no network.
        """
        named = isinstance(data, dict) and set(data) == {"kind", "name"}
        if not named or not isinstance(data["name"], str):
            raise InvalidGenotypeError("a known network has the keys kind and name")
        return cls(data["name"])
