"""How a controller's policy moves from version to version."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipeline.plots.figure import Figure
from pipeline.plots.theme import (
    BLUE,
    VERMILLION,
    empty,
    escaped,
    known,
    named_ticks,
    titled,
    whole_ticks,
)

Row = TypeVar("Row")

_HEALTH = "Health of the policy"


class _Panel(NamedTuple):
    title: str
    unit: str
    rangemode: str  # of its axis
    names: tuple[str, ...]  # attributes of VersionHealth


_PANELS = (
    _Panel("Entropy, summed over the decisions", "nats", "normal", ("entropy",)),
    _Panel("KL, before an update from after it", "nats", "tozero", ("kl",)),
    _Panel("Clip fraction", "share of ratios", "tozero", ("clip_fraction",)),
    _Panel("Mean reward, baseline (dashes)", "reward", "normal", ("mean_reward", "baseline")),
    _Panel("Staleness of the batch", "versions", "tozero", ("staleness",)),
    _Panel("Duplicates in the batch", "children", "tozero", ("duplicates",)),
)
_PROBABILITIES = "Choices of the policy"
_COLUMNS = 4
_MOST_VERSIONS = 120  # about what a panel has pixels for
_CHOICE, _BETWEEN = 15, 62  # heights in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionHealth:
    """What the update that made a policy version reported; None where it reports no such thing."""

    version: int
    entropy: float | None = None  # nats, summed over the decisions
    kl: float | None = None  # nats, summed over the decisions
    clip_fraction: float | None = None  # of the ratios
    baseline: float | None = None  # a reward
    mean_reward: float | None = None
    staleness: float | None = None  # versions between sampling and learning, mean
    duplicates: float | None = None  # children


def policy_health(versions: Sequence[VersionHealth]) -> go.Figure:
    """Entropy, KL, clip fraction, rewards, staleness and duplicates, a panel each, over versions.

    A controller that reports nothing for a panel has no such panel; a note names it.
    """
    at = [row.version for row in versions]
    lines = {
        name: known(at, [getattr(row, name) for row in versions])
        for panel in _PANELS
        for name in panel.names
    }
    panels = [panel for panel in _PANELS if any(lines[name][0] for name in panel.names)]
    if not panels:
        return empty(_HEALTH, "no policy version has been learned yet")
    missing = ", ".join(_words(name) for name, (x, _) in lines.items() if not x)
    note = f"not reported by this controller: {missing}" if missing else ""
    figure = _stack(panels, note)
    for row, panel in enumerate(panels, start=1):
        for name in panel.names:
            figure.add_trace(_line(name, *lines[name]), row=row, col=1)
        if panel.unit == "children":
            figure.update_yaxes(whole_ticks(lines[panel.names[0]][1], most=5), row=row, col=1)
    return figure.update_xaxes(whole_ticks(at))


def _stack(panels: Sequence[_Panel], note: str) -> go.Figure:
    height = 140 * len(panels)
    figure = make_subplots(
        figure=Figure(),
        rows=len(panels),
        shared_xaxes=True,
        vertical_spacing=min(0.2, 44 / height),
        subplot_titles=[panel.title for panel in panels],
    )
    titled(figure, _HEALTH, height=height + 140, note=note)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    for row, panel in enumerate(panels, start=1):
        figure.update_yaxes(title=panel.unit, rangemode=panel.rangemode, nticks=5, row=row, col=1)
    figure.update_xaxes(title="policy version", row=len(panels), col=1)
    return figure.update_layout(showlegend=False, margin_t=112 if note else 88)


def _line(name: str, x: list[float], y: list[float]) -> go.Scatter:
    beside = name == "baseline"  # the one line that shares its panel
    return go.Scatter(
        x=x,
        y=y,
        mode="lines+markers" if len(x) <= 60 else "lines",
        line=dict(
            color=VERMILLION if beside else BLUE, dash="dash" if beside else "solid", width=1.75
        ),
        marker=dict(size=4),
        hovertemplate=f"version %{{x}}<br>{_words(name)} %{{y:.4~g}}<extra></extra>",
    )


def _words(name: str) -> str:
    return "KL" if name == "kl" else name.replace("_", " ")


def decision_probabilities(
    versions: Sequence[int],
    probabilities: Sequence[Sequence[Sequence[float]] | None],
    decisions: Sequence[tuple[str, Sequence[str]]],
    columns: int = _COLUMNS,
) -> go.Figure:
    """The controller's probability of each choice over versions: a panel a decision, in a grid.

    Args:
        versions: the policy versions, ascending.
        probabilities: for each version, decision and choice; a version without any is left out.
            One of fewer decisions, where a space has grown, leaves the others' panels empty.
        decisions: for each decision its name and its choices' names.
        columns: panels beside one another; 4 suit a page of 1000 pixels or more.
    """
    rows = [(v, table) for v, table in zip(versions, probabilities, strict=True) if table]
    if not rows or not decisions:
        return empty(_PROBABILITIES, "no policy version has reported probabilities yet")
    decisions = decisions[: max(len(table) for _, table in rows)]
    rows = _thinned(rows)
    at = [version for version, _ in rows]
    figure = _grid(decisions, min(columns, len(decisions)))
    figure.update_xaxes(whole_ticks(at, most=4))
    for place, (_, choices) in enumerate(decisions):
        # 3 digits: a quarter of the size, and no eye sees the fourth
        shares = [
            [round(table[place][choice], 3) if place < len(table) else None for _, table in rows]
            for choice in range(len(choices))
        ]
        row, column = divmod(place, min(columns, len(decisions)))
        figure.add_trace(
            go.Heatmap(
                x=at,
                y=list(range(len(choices))),
                z=shares,
                coloraxis="coloraxis",
                hovertemplate="version %{x}<br>%{y}<br>probability %{z:.3f}<extra></extra>",
            ),
            row=row + 1,
            col=column + 1,
        )
        figure.update_yaxes(
            **named_ticks(choices), autorange="reversed", row=row + 1, col=column + 1
        )
    return figure


def _grid(decisions: Sequence[tuple[str, Sequence[str]]], columns: int) -> go.Figure:
    most = [  # choices of the decision that has most, for each row of panels
        max(len(choices) for _, choices in decisions[first : first + columns])
        for first in range(0, len(decisions), columns)
    ]
    heights = [max(3, choices) * _CHOICE for choices in most]
    height = sum(heights) + _BETWEEN * (len(heights) - 1)
    longest = max((len(escaped(name)) for _, choices in decisions for name in choices), default=1)
    figure = make_subplots(
        figure=Figure(),
        rows=len(heights),
        cols=columns,
        row_heights=heights,
        vertical_spacing=_BETWEEN / height if len(heights) > 1 else 0,
        # room for the names of choices on a page of about 1000 pixels
        horizontal_spacing=min(0.02 + 0.0065 * longest, 0.8 / columns),
        subplot_titles=[escaped(name) for name, _ in decisions],
    )
    titled(figure, _PROBABILITIES, height=height + 176)
    figure.update_annotations(font_size=12)
    figure.update_xaxes(tickfont_size=10, nticks=4, showgrid=False)
    figure.update_yaxes(tickfont_size=10)
    for column in range(1, columns + 1):  # the last panel of each column
        row = (len(decisions) - column) // columns + 1
        figure.update_xaxes(title=dict(text="version", font_size=11), row=row, col=column)
    for place in range(len(decisions), len(heights) * columns):
        figure.update_xaxes(visible=False, row=len(heights), col=place % columns + 1)
        figure.update_yaxes(visible=False, row=len(heights), col=place % columns + 1)
    colorbar = dict(
        **dict(tickvals=[0, 0.5, 1], ticktext=["probability 0", "0.5", "1"]),
        **dict(orientation="h", len=260, lenmode="pixels"),
        # Held by the figure: a bar held by the panels moves them away from their axes' titles.
        **dict(x=1, xanchor="right", yref="container", y=1 - 28 / figure.layout.height),
        yanchor="top",
    )
    figure.update_layout(margin_t=120)
    return figure.update_layout(coloraxis=dict(cmin=0, cmax=1, colorbar=colorbar))


def _thinned(rows: list[Row]) -> list[Row]:
    """At most ``_MOST_VERSIONS`` rows, evenly spaced, the first and the last among them."""
    if len(rows) <= _MOST_VERSIONS:
        return rows
    step = (len(rows) - 1) / (_MOST_VERSIONS - 1)
    return [rows[round(n * step)] for n in range(_MOST_VERSIONS)]
