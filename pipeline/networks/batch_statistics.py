"""Scoring by the statistics of the batch itself, as if a network had no running ones."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluate: dropout is off, and batch norms use the batch's own mean and variance.

    No buffer moves, ``num_batches_tracked`` neither; afterwards every module is in the mode that
    it was in. The running statistics of shared weights mix those of all children, so that
    children are scored by their own (melodyguan/enas: micro_child.py, ``is_training = True``).
    """
    modes = [(module, module.training) for module in network.modules()]
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    try:
        network.eval()
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, tracks in zip(norms, tracked, strict=True):
            norm.track_running_stats = tracks
        for module, training in modes:
            module.training = training
