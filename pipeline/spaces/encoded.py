"""What every kind of genotype has: its JSON, and the digest by which equal ones are one."""

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any, Self


class Encoded(ABC):
    """An architecture as data; JSON and digests follow from ``to_data`` and ``canonical``."""

    __slots__ = ()

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """Plain dicts and lists, as they go into JSON."""

    @abstractmethod
    def canonical(self) -> Self:
        """The one that stands for all encodings of the same graph (law 10)."""

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
