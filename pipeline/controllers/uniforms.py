"""The random numbers of proposals: each has its own generator (law 1)."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def uniforms(
    seed: int, version: int, arm: str, ks: Iterable[int], count: int
) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), one row for each proposal ``k`` and ``count`` a row.

    Row k is a function of (search seed, version, arm, k) alone. The 53 high bits of SHAKE-256
    words: fixed by a standard, not by a library's version.
    """
    rows = []
    for k in ks:
        stream = hashlib.shake_256(f"{seed}:{version}:{arm}:{k}".encode()).digest(8 * count)
        rows.append(np.frombuffer(stream, dtype="<u8") >> np.uint64(11))
    return np.stack(rows) * 2.0**-53
