"""What children (and other networks) reached, what they cost, and what they are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from pipeline.plots.figure import Figure
from pipeline.plots.theme import (
    BLUE,
    COLOURS,
    DASHES,
    VERMILLION,
    accuracy_axis,
    arm_style,
    empty,
    escaped,
    known,
    named_ticks,
    titled,
    unknown_arms,
    whole_ticks,
)

_CURVES = "Validation accuracy over epochs"
_MOST_NAMED = 12  # curves: more cannot be told apart by a legend
_LINE = dict(line=dict(color=BLUE, width=1), opacity=0.4)  # one of many
_BEST_LINE = dict(color=VERMILLION, width=2.5)
_SIZES = {"parameters": "parameters", "macs": "multiply-adds for an image"}
_FRONT = dict(
    name="smallest and most accurate",
    mode="lines+markers",
    line=dict(color=VERMILLION, width=1.5, shape="hv"),
    marker=dict(color=VERMILLION, symbol="circle-open", size=13, line=dict(width=2)),
)
_OPERATIONS = "Operations by reward"


@dataclass(frozen=True, slots=True)
class Curve:
    """A run's training, epoch by epoch; the four sequences are equally long."""

    label: str
    epochs: Sequence[int]
    accuracies: Sequence[float | None]  # on validation images, 0 to 1
    train_accuracies: Sequence[float | None]  # 0 to 1
    losses: Sequence[float | None]  # of training, nats


def learning_curves(curves: Sequence[Curve]) -> go.Figure:
    """Validation accuracy over epochs, a line a run; of a single run its training accuracy, too.

    Up to 12 runs have a legend; of more, the one that ended best stands out.
    """
    drawn = [curve for curve in curves if known(curve.epochs, curve.accuracies)[0]]
    if not drawn:
        return empty(_CURVES, "no epochs have ended yet")
    few = len(drawn) <= _MOST_NAMED
    if not few:  # the best is drawn last, above the others
        drawn.sort(key=lambda curve: known(curve.epochs, curve.accuracies)[1][-1])
    best = escaped(drawn[-1].label)
    note = "" if few else f"{len(drawn):,} runs; the thick orange line ended best: {best}"
    figure = titled(Figure(), _CURVES, height=440, note=note)
    for place, curve in enumerate(drawn):
        figure.add_trace(_curve(curve, _named_line(place) if few else _LINE))
    if not few:
        figure.data[-1].update(line=_BEST_LINE, opacity=1)
    if len(drawn) == 1 and known(drawn[0].epochs, drawn[0].train_accuracies)[0]:
        figure.add_trace(_training_curve(drawn[0]))
    epochs = [epoch for curve in drawn for epoch in curve.epochs]
    figure.update_xaxes(title="epoch", **whole_ticks(epochs))
    figure.update_yaxes(accuracy_axis())
    return figure.update_layout(showlegend=few)


def _named_line(place: int) -> dict[str, Any]:
    dash = DASHES[place // len(COLOURS) % len(DASHES)]
    return dict(line=dict(color=COLOURS[place % len(COLOURS)], dash=dash, width=2))


def _curve(curve: Curve, looks: dict[str, Any]) -> go.Scatter:
    rows = [
        (epoch, accuracy, _shown(train, ".2%"), _shown(loss, ".4g"))
        for epoch, accuracy, train, loss in zip(
            curve.epochs, curve.accuracies, curve.train_accuracies, curve.losses, strict=True
        )
        if known([epoch], [accuracy])[0]
    ]
    return go.Scatter(
        x=[row[0] for row in rows],
        y=[row[1] for row in rows],
        customdata=[row[2:] for row in rows],
        name=escaped(curve.label),
        mode="lines+markers" if len(rows) == 1 else "lines",
        **looks,
        hovertemplate="%{fullData.name}<br>epoch %{x}: %{y:.2%}<br>training accuracy "
        "%{customdata[0]}, loss %{customdata[1]}<extra></extra>",
    )


def _training_curve(curve: Curve) -> go.Scatter:
    x, y = known(curve.epochs, curve.train_accuracies)
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        name="on training images",
        line=dict(color=BLUE, dash="dot", width=1.5),
        hovertemplate="epoch %{x}<br>training accuracy %{y:.2%}<extra></extra>",
    )


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


@dataclass(frozen=True, slots=True)
class Point:
    """A network: how good, how large."""

    label: str
    accuracy: float | None  # 0 to 1
    parameters: int | None
    macs: int | None  # multiply-adds for an image
    arm: str  # who proposed it: "policy", "control", ...


def pareto_front(
    points: Sequence[Point], size: Literal["parameters", "macs"] = "parameters"
) -> list[Point]:
    """The points that no other beats: none is at most as large, at least as accurate, and better.

    From the smallest to the largest; equals stand side by side. A point without an accuracy or
    a size is on no front.
    """
    front: list[Point] = []
    best: tuple[float, float] | None = None  # size and accuracy of the front's last member
    for extent, accuracy, point in sorted(_measured(points, size), key=lambda m: (m[0], -m[1])):
        if best is None or accuracy > best[1] or (extent, accuracy) == best:
            best = (extent, accuracy)
            front.append(point)
    return front


def accuracy_against(
    points: Sequence[Point], size: Literal["parameters", "macs"] = "parameters"
) -> go.Figure:
    """Accuracy over size, a marker a network, with the front of the smallest and most accurate."""
    title = f"Accuracy against {_SIZES[size]}"
    measured = _measured(points, size)
    if not measured:
        return empty(title, "no network with an accuracy and a size yet")
    figure = titled(Figure(), title, height=480)
    arms = list(dict.fromkeys(point.arm for _, _, point in measured))
    for arm in arms:
        colour, symbol = arm_style(arm, unknown_arms(arms))
        trace = _markers([row for row in measured if row[2].arm == arm], _SIZES[size])
        marker = dict(color=colour, symbol=symbol, size=8, opacity=0.75)
        figure.add_trace(trace.update(name=escaped(arm), marker=marker))
    front = _markers(_measured(pareto_front(points, size), size), _SIZES[size])
    figure.add_trace(front.update(_FRONT, hovertemplate=f"on the front: {front.hovertemplate}"))
    extents = [extent for extent, _, _ in measured]
    figure.update_xaxes(title=_SIZES[size], tickformat="~s", nticks=8)
    # a logarithm where sizes differ by much; of near sizes it would have no ticks to read
    if min(extents) > 0 and max(extents) > 20 * min(extents):
        figure.update_xaxes(type="log", dtick="D2")
    return figure.update_yaxes(accuracy_axis())


def _measured(points: Sequence[Point], size: str) -> list[tuple[float, float, Point]]:
    return [
        (extent, accuracy, point)
        for point in points
        if (extent := getattr(point, size)) is not None
        if (accuracy := point.accuracy) is not None and math.isfinite(accuracy)
    ]


def _markers(rows: Sequence[tuple[float, float, Point]], unit: str) -> go.Scatter:
    return go.Scatter(
        x=[extent for extent, _, _ in rows],
        y=[accuracy for _, accuracy, _ in rows],
        customdata=[[escaped(point.label), escaped(point.arm)] for _, _, point in rows],
        mode="markers",
        hovertemplate="%{customdata[0]} (%{customdata[1]})<br>%{y:.2%}, "
        f"%{{x:.4~s}} {unit}<extra></extra>",
    )


@dataclass(frozen=True, slots=True)
class OperationShare:
    """Which part of the cells of a quantile of rewards uses an operation."""

    quantile: str  # "worst tenth", "90-100 %", ...
    operation: str
    share: float | None  # 0 to 1


def operation_use(shares: Sequence[OperationShare]) -> go.Figure:
    """How often each operation is used (y), from quantile to quantile of the rewards (x).

    Both stand in the order they first come in.
    """
    rows = [row for row in shares if row.share is not None]
    if not rows:
        return empty(_OPERATIONS, "no children with a reward yet")
    quantiles = list(dict.fromkeys(row.quantile for row in rows))
    operations = list(dict.fromkeys(row.operation for row in rows))
    table = {(row.operation, row.quantile): row.share for row in rows}
    heatmap = go.Heatmap(
        x=list(range(len(quantiles))),
        y=list(range(len(operations))),
        z=[[table.get((operation, q)) for q in quantiles] for operation in operations],
        coloraxis="coloraxis",
        texttemplate="%{z:.0%}",
        hovertemplate="%{y}<br>reward %{x}<br>%{z:.1%} of cells<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
    )
    figure = titled(Figure(heatmap), _OPERATIONS, height=150 + 30 * max(3, len(operations)))
    figure.update_xaxes(**named_ticks(quantiles), title="quantile of the rewards")
    figure.update_yaxes(**named_ticks(operations), title="operation", autorange="reversed")
    colorbar = dict(title="% of cells", tickformat=".0%")
    return figure.update_layout(coloraxis=dict(cmin=0, colorbar=colorbar))
