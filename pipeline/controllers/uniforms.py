"""The random numbers of proposals: each has its own generator, so that none depends on others."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def uniforms(seed: int, version: int, arm: str, ks: Sequence[int], count: int) -> Numbers:
    """Numbers in [0, 1), one row for each proposal ``k`` and ``count`` a row.

    Row k is a function of (search seed, version, arm, k) alone; a longer one begins with the
    shorter. The 53 high bits of SHAKE-256 words: fixed by a standard, not by a library's version.
    """
    names = (f"{seed}:{version}:{arm}:{k}" for k in ks)
    stream = b"".join(hashlib.shake_256(name.encode()).digest(8 * count) for name in names)
    words = np.frombuffer(stream, dtype="<u8").reshape(len(ks), count)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Uniforms:
    """Proposal k's own generator, for who does not know how many numbers it will need."""

    def __init__(self, seed: int, version: int, arm: str, k: int) -> None:
        self._key = seed, version, arm, [k]
        self._numbers = uniforms(*self._key, 64)[0]
        self._taken = 0

    def take(self, *shape: int) -> Numbers:
        """The next numbers in [0, 1), in this shape."""
        end = self._taken + int(np.prod(shape))
        if end > len(self._numbers):
            # doubled: the standard's function has no way to go on from where it was
            self._numbers = uniforms(*self._key, 2 * end)[0]
        numbers: Numbers = self._numbers[self._taken : end].reshape(shape)
        self._taken = end
        return numbers
