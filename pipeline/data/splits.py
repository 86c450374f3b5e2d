"""Which images are held out: drawn by a seed, from each class its share or from all alike."""

import numpy as np
import numpy.typing as npt

from pipeline.config.run import DataConfig
from pipeline.data.image_arrays import Images, Labels
from pipeline.data.image_trees import ImageFile
from pipeline.data.known_datasets import DATASETS
from pipeline.data.sources import Part, Parts, Source
from pipeline.errors import UserError

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


def split_parts(source: Source, config: DataConfig) -> Parts:
    """Hold out what a data set itself does not: images to validate and to test with.

    Raises:
        UserError: too few images would be left to train with.
    """
    parts = dict(source.parts)
    stratified = split_method(config) == "stratified"
    if "test" not in parts:
        count = max(1, len(parts["train"][1]) // 10)
        parts |= _held_out(parts["train"], "test", count, TEST_SPLIT_SEED, stratified)
    if "validation" not in parts:
        count = _validation_count(config, len(parts["train"][1]))
        parts |= _held_out(parts["train"], "validation", count, config.split_seed, stratified)
    elif config.validation is not None:
        raise UserError(
            f"validation = {config.validation}: {config.dataset} has images of its own to "
            "validate with; leave the key out"
        )
    return parts


def split_method(config: DataConfig) -> str:
    """How images are held out where the configuration leaves it open."""
    return config.split or ("random" if config.dataset in DATASETS else "stratified")


def _validation_count(config: DataConfig, count: int) -> int:
    known = DATASETS.get(config.dataset)
    usual = None if known is None else known.validation
    held_out = config.validation or usual or max(1, count // 10)
    if held_out > count - 2:  # two at least, for batch norm
        raise UserError(
            f"validation = {held_out}: {config.dataset} has {count} images "
            "to train and validate with, and 2 at least are to train with"
        )
    return held_out


def _held_out(
    train: Part,
    part: str,
    count: int,
    seed: int,
    stratified: bool,
) -> Parts:
    images, labels = train
    held, left = hold_out(labels, count, seed, stratified=stratified)
    return {part: _chosen(images, labels, held), "train": _chosen(images, labels, left)}


def _chosen(images: Images | list[ImageFile], labels: Labels, numbers: Numbers) -> Part:
    if isinstance(images, list):
        return [images[number] for number in numbers.tolist()], labels[numbers]
    return images[numbers], labels[numbers]
