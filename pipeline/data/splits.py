"""Which images are held out: drawn by a seed, from each class its share or from all alike."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]  # (N,)
Numbers = npt.NDArray[np.int64]  # of images, ascending

# Of data sets that have no test part: never to be changed, or old rewards would come from images
# that new searches test on.
TEST_SPLIT_SEED = 20170701

# Stored searches were split by these numbers: neither method may ever draw others.


def hold_out(
    labels: Labels, count: int, seed: int, *, stratified: bool
) -> tuple[Numbers, Numbers]:
    """The numbers of ``count`` images that are held out, and of those that are left.

    Stratified, every class gives its share, rounded; at least one image if it has two or more
    and ``count`` suffices for all of them, and never its last one.
    """
    generator = np.random.default_rng(seed)
    if not stratified:
        order = generator.permutation(len(labels))
        return np.sort(order[:count]), np.sort(order[count:])
    sizes = np.bincount(labels)
    shares = _shares(sizes, count)
    held: list[Numbers] = []
    for label, share in enumerate(shares.tolist()):
        of_class = np.flatnonzero(labels == label)
        held.append(generator.permutation(of_class)[:share])
    held_out = np.sort(np.concatenate(held))
    return held_out, np.setdiff1d(np.arange(len(labels)), held_out)


def _shares(sizes: npt.NDArray[np.intp], count: int) -> Numbers:
    """How many of each class: ``count`` in all, by the largest remainders."""
    exact = sizes * count / sizes.sum()
    most = np.maximum(sizes - 1, 0)
    least = np.minimum(most, 1) if count >= int((sizes > 1).sum()) else np.zeros_like(sizes)
    shares = np.clip(np.floor(exact).astype(np.int64), least, most)
    while (missing := count - int(shares.sum())) != 0:
        step = 1 if missing > 0 else -1
        free = shares < most if step > 0 else shares > least
        if not free.any():  # more than all classes can spare: the last ones go, too
            most = sizes
            free = shares < most
        wanted = np.where(free, (exact - shares) * step, -np.inf)
        shares[int(wanted.argmax())] += step
    final: Numbers = shares.astype(np.int64)
    return final
