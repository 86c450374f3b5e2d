"""Figures: plain data in, a Plotly figure out; no database, no torch.

Whatever is empty gives a figure that says why. Figures are drawn for a light page; ``themed``
makes one for a dark one. Text from users is escaped on its way in.
"""

from pipeline.plots.attempts import Hold, failures_by_class, worker_timeline
from pipeline.plots.children import (
    Curve,
    OperationShare,
    Point,
    accuracy_against,
    learning_curves,
    operation_use,
    pareto_front,
)
from pipeline.plots.figure import CONFIG, Figure
from pipeline.plots.policy import VersionHealth, decision_probabilities, policy_health
from pipeline.plots.rewards import (
    GrowingHistory,
    History,
    Running,
    Standing,
    reward_history,
)
from pipeline.plots.theme import escaped, template, themed

__all__ = [
    "CONFIG",
    "Curve",
    "Figure",
    "GrowingHistory",
    "History",
    "Hold",
    "OperationShare",
    "Point",
    "Running",
    "Standing",
    "VersionHealth",
    "accuracy_against",
    "decision_probabilities",
    "escaped",
    "failures_by_class",
    "learning_curves",
    "operation_use",
    "pareto_front",
    "policy_health",
    "reward_history",
    "template",
    "themed",
    "worker_timeline",
]
