"""scikit-learn's handwritten digits, which need no download."""

import importlib.util
from pathlib import Path

import numpy as np

from pipeline.data.image_arrays import Arrays
from pipeline.data.splits import TEST_SPLIT_SEED

FILE = "datasets/data/digits.csv.gz"  # in scikit-learn
TEST = 250  # images


def read(_folder: Path, *, download: bool = False) -> Arrays:
    """1,797 digits: 1,547 to train and validate with, 250 to test.

    Read from its file: to import the library takes each worker's process seconds.
    """
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    found = np.loadtxt(Path(package.origin).parent / FILE, delimiter=",")
    images = np.round(found[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = found[:, -1].astype(np.int64)
    order = np.random.default_rng(TEST_SPLIT_SEED).permutation(len(labels))
    test, train = np.sort(order[:TEST]), np.sort(order[TEST:])
    parts = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    return Arrays(tuple("0123456789"), parts)
