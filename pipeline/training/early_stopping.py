"""Is a child hopeless? Rules that look at learning curves and free a slot early.

A child is compared only with children that had been learned from when it was proposed. That set
does not change while it trains, so the same child is stopped at the same epoch whoever trains
it, and whoever was killed in between: a synchronous search is a function of its configuration.
"""

import statistics
from collections.abc import Callable, Sequence

from pipeline.config.search import ASHAConfig, EarlyStoppingConfig, MedianConfig

Curve = Sequence[float]  # accuracies (0 to 1), an epoch each


def is_hopeless(rule: EarlyStoppingConfig, curve: Curve, others: Sequence[Curve]) -> bool:
    """Whether a child that has got so far should be stopped.

    Args:
        curve: of the child, up to now.
        others: of the children it is compared with; those that were stopped are shorter.
    """
    if isinstance(rule, ASHAConfig):
        return _falls_at_a_rung(rule, curve, others)
    return _is_below_the_median(rule, curve, others)


def _falls_at_a_rung(rule: ASHAConfig, curve: Curve, others: Sequence[Curve]) -> bool:
    """Asynchronous successive halving (arXiv:1810.05934, algorithm 2), by stopping alone.

    The paper pauses what is not promoted; here whoever is not among the best 1/reduction of
    those that reached the rung ends at once. While they are fewer than `reduction`, all go on.
    """
    epoch = len(curve)
    if not _is_rung(epoch, rule):
        return False
    there = [other[epoch - 1] for other in others if len(other) >= epoch]
    go_on = (len(there) + 1) // rule.reduction
    better = sum(accuracy > curve[-1] for accuracy in there)
    return 0 < go_on <= better


def _is_rung(epoch: int, rule: ASHAConfig) -> bool:
    rung = rule.min_epochs
    while rung < epoch:
        rung *= rule.reduction
    return rung == epoch


def _is_below_the_median(rule: MedianConfig, curve: Curve, others: Sequence[Curve]) -> bool:
    """Whether the best so far is below the median of the others' means so far.

    Google Vizier's median stopping rule (Golovin et al., KDD 2017, section 3.2.2).
    """
    epoch = len(curve)
    means = [statistics.fmean(other[:epoch]) for other in others if len(other) >= epoch]
    if epoch < rule.min_epochs or len(means) < rule.min_children:
        return False
    return max(curve) < statistics.median(means)


def make_judge(
    rule: EarlyStoppingConfig | None, others: Sequence[Curve]
) -> Callable[[Curve], bool] | None:
    """The rule with those a child is compared with, or None where no child is stopped."""
    return None if rule is None else lambda curve: is_hopeless(rule, curve, others)
