"""The random numbers of proposals: each has its own generator (law 1)."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def uniforms(
    seed: int, version: int, arm: str, ks: Sequence[int], count: int
) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), one row for each proposal ``k`` and ``count`` a row.

    Row k is a function of (search seed, version, arm, k) alone. The 53 high bits of SHAKE-256
    words: fixed by a standard, not by a library's version.
    """
    names = (f"{seed}:{version}:{arm}:{k}" for k in ks)
    stream = b"".join(hashlib.shake_256(name.encode()).digest(8 * count) for name in names)
    words = np.frombuffer(stream, dtype="<u8").reshape(len(ks), count)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
