"""How every figure looks: its colours, light and dark, and the text that users wrote."""

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from pipeline.plots.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind, nudged until each stands out from white
# and from near-black alike (a contrast of 3 or more: tests/pipeline/test_plots.py).
BLUE = "#1a7fc1"
VERMILLION = "#d55e00"
GREEN = "#009e73"
PURPLE = "#c46fa0"
GREY = "#848b94"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, GREY)
DASHES = ("solid", "dash", "dot")

# Small values are told apart best: among 13 choices most probabilities are small.
_STOPS = (0, 0.12, 0.35, 0.65, 1)

# Arms and symbols: the control is what the policy is held against, so it stays grey.
_ARMS = {
    "policy": (BLUE, "circle"),
    "control": (GREY, "square"),
    "derive": (PURPLE, "diamond"),
}
_OTHER_ARMS = ((GREEN, "triangle-up"), (VERMILLION, "star"), (PURPLE, "cross"), (BLUE, "hexagon"))


def arm_style(arm: str, others: Sequence[str]) -> tuple[str, str]:
    """The colour and the symbol of an arm; of one not known here by its place in ``others``."""
    if arm in _ARMS:
        return _ARMS[arm]
    return _OTHER_ARMS[others.index(arm) % len(_OTHER_ARMS)]


def unknown_arms(arms: Iterable[str]) -> list[str]:
    """The arms without a colour of their own, each once, in their order."""
    return [arm for arm in dict.fromkeys(arms) if arm not in _ARMS]


def template(dark: bool) -> go.layout.Template:
    """All that differs between light and dark; a page may swap it in a browser, too.

    Backgrounds are transparent, so that a figure lies on whatever the page has.
    """
    text, grid, box, faint = (
        ("#d7dce2", "#363d47", "#20252d", "#9aa3ad")
        if dark
        else ("#24292f", "#dfe3e8", "#ffffff", "#626b75")
    )
    # nothing is near the page, much stands out from it
    scale = (
        ["#1c222b", "#16456e", "#1a7fc1", "#7fc0ee", "#e8f5ff"]
        if dark
        else ["#f1f4f8", "#a9cfea", "#3f97d3", "#125a94", "#082c52"]
    )
    axis = dict(
        gridcolor=grid,
        linecolor=grid,
        zerolinecolor=grid,
        zerolinewidth=1,
        automargin=True,
        ticklabelstandoff=4,
    )
    return go.layout.Template(
        layout=dict(
            font=dict(color=text, size=13, family="system-ui, sans-serif"),
            title=dict(
                font=dict(size=16),
                subtitle=dict(font=dict(size=12, color=faint)),
                x=0,
                xref="container",
                xanchor="left",
                pad=dict(l=12),
            ),
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            colorway=list(COLOURS),
            coloraxis=dict(
                colorscale=list(zip(_STOPS, scale, strict=True)),
                colorbar=dict(outlinewidth=0, thickness=12),
            ),
            legend=dict(
                itemwidth=40,
                orientation="h",
                x=0,
                y=0,
                yref="container",
                yanchor="bottom",
            ),
            xaxis=axis,
            yaxis=dict(axis, title=dict(standoff=10)),
            hoverlabel=dict(bgcolor=box, bordercolor=grid, font=dict(color=text), namelength=-1),
            modebar=dict(
                bgcolor="rgba(0,0,0,0)",
                color=faint,
                activecolor=text,
                # for a figure that is saved as JSON, without the options of pipeline.plots.figure
                remove=["sendChartToCloud"],
            ),
        )
    )


def themed(figure: go.Figure, dark: bool) -> go.Figure:
    """A copy of a figure for a dark page, or for a light one."""
    return Figure(figure).update_layout(template=template(dark))


def titled(figure: go.Figure, title: str, *, height: int, note: str = "") -> go.Figure:
    """The figure itself, with the looks that all share; height in pixels, as wide as its page."""
    return figure.update_layout(
        template=template(dark=False),
        title=dict(text=title, subtitle=dict(text=note)),
        height=height,
        margin=dict(l=56, r=24, t=84 if note else 64, b=56),
    )


def empty(title: str, reason: str) -> go.Figure:
    """What is drawn where there is nothing to draw: the reason."""
    figure = titled(Figure(), title, height=240)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure.add_annotation(
        text="<br>".join(textwrap.wrap(reason, 32)),  # for the narrowest screens
        showarrow=False,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        font_size=15,
    )


def escaped(text: str, length: int = 48) -> str:
    """Text that a user wrote, cut to a length, to be shown as it was written.

    Plotly takes a part of HTML in every text, TeX between dollars where a page has MathJax (both
    know links), and a trace's data for ``%{...}``. It does not know the entities of quotes, which
    therefore stay as they are.
    """
    shown = " ".join(text.split())
    if len(shown) > length:
        shown = shown[: length - 1] + "…"
    plain = html.escape(shown, quote=False)
    return plain.replace("$", "&#36;").replace("%{", "&#37;{")


def known(at: Sequence[float], values: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """The pairs whose value is a finite number, as two lists."""
    pairs = [(x, y) for x, y in zip(at, values, strict=True) if y is not None and math.isfinite(y)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def whole_ticks(values: Sequence[float], most: int = 12) -> dict[str, Any]:
    """Settings of an axis of whole numbers: no half child, epoch or version has a tick."""
    few = max(values, default=0) - min(values, default=0) < most
    return dict(tickformat=",d", dtick=1 if few else None)


def accuracy_axis() -> dict[str, Any]:
    """Settings of an axis of accuracies, 0 to 1; a little above, so that no marker is cut."""
    return dict(title="accuracy (% of images)", tickformat=".1~%", minallowed=0, maxallowed=1.02)


def named_ticks(names: Sequence[str]) -> dict[str, Any]:
    """Settings of an axis with a name at each of 0, 1, ..., which may be equal once cut."""
    return dict(
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=[escaped(name) for name in names],
        showgrid=False,
        zeroline=False,
    )
