"""The configuration of weights that all children of a search share."""

from typing import Literal

from pydantic import Field

from pipeline.io.config_model import Config


class SharedConfig(Config):
    """One set of weights for all children (arXiv:1802.03268, section 2.2).

    A search goes in phases: a pass over the training images, each minibatch with a fresh child of
    the policy, then policy updates, whose children are scored with those weights. The
    defaults are the paper's. It says "2,000 steps" of the controller and not how many children
    one takes; here 100 updates of 20 children, so that a phase scores as many.
    """

    updates: int = Field(100, ge=1, le=100_000)
    """Policy updates a phase."""
    chunk: int = Field(20, ge=1, le=10_000)
    """Children that one run scores."""
    score_batch: int = Field(128, ge=2, le=100_000)
    """Validation images that a child is scored on."""
    norm: Literal["batch", "moving"] = "batch"
    """What batch norms use when a child is scored: the statistics of the very images, or the
    moving averages that all children have left (the released macro code).
    """
    derive: int = Field(100, ge=0, le=100_000)
    """Children drawn when the budget is met, and scored on all validation images."""
