"""Who held which run, for how long, and how it ended."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from pipeline.plots.figure import Figure
from pipeline.plots.theme import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    VERMILLION,
    empty,
    escaped,
    named_ticks,
    titled,
)

_TIMELINE = "What each slot held"
_FAILURES = "Failures by class"
# colour and pattern: a bar's outcome is seen without its colour, too
_OUTCOMES = {
    "done": (GREEN, ""),
    "running": (BLUE, ""),
    "failed": (VERMILLION, "x"),
    "lost": (PURPLE, "/"),
    "returned": (GREY, "."),
}
_OTHER_OUTCOME = (GREY, "+")


@dataclass(frozen=True, slots=True)
class Hold:
    """A slot's holding of a run; times are aware."""

    slot: str
    started: dt.datetime
    ended: dt.datetime | None
    outcome: str | None  # "done", "failed", "lost", "returned"; None while it runs
    label: str


def worker_timeline(holds: Sequence[Hold], *, now: dt.datetime) -> go.Figure:
    """What each slot held over time, a bar a hold; those that run reach up to ``now``."""
    if not holds:
        return empty(_TIMELINE, "no slot has held a run yet")
    slots = list(dict.fromkeys(hold.slot for hold in holds))
    figure = titled(Figure(), _TIMELINE, height=170 + 26 * max(3, len(slots)))
    present = dict.fromkeys(hold.outcome or "running" for hold in holds)
    for outcome in [*(o for o in _OUTCOMES if o in present), *(present.keys() - _OUTCOMES)]:
        own = [hold for hold in holds if (hold.outcome or "running") == outcome]
        figure.add_trace(_bars(own, outcome, slots, now))
    figure.update_xaxes(title="time (UTC)", type="date", rangemode="normal")
    figure.update_yaxes(**named_ticks(slots), title="slot", autorange="reversed")
    return figure.update_layout(barmode="overlay", bargap=0.25, showlegend=True)


def _bars(holds: Sequence[Hold], outcome: str, slots: Sequence[str], now: dt.datetime) -> go.Bar:
    colour, pattern = _OUTCOMES.get(outcome, _OTHER_OUTCOME)
    rows = {slot: row for row, slot in enumerate(slots)}
    name, labels = escaped(outcome), {slot: escaped(slot) for slot in slots}
    # never below zero, whatever two machines' clocks say
    lengths = [max(dt.timedelta(), (hold.ended or now) - hold.started) for hold in holds]
    # Plotly drops the zone of a time
    starts = [hold.started.astimezone(dt.UTC).replace(tzinfo=None) for hold in holds]
    return go.Bar(
        orientation="h",
        base=starts,
        x=[length / dt.timedelta(milliseconds=1) for length in lengths],
        y=[rows[hold.slot] for hold in holds],
        name=name,
        # the line keeps a bar of a second visible among hours
        marker=dict(color=colour, line=dict(color=colour, width=1), pattern=_pattern(pattern)),
        hovertext=[
            f"{escaped(hold.label)}: {name}<br>{labels[hold.slot]}<br>"
            f"from {start:%Y-%m-%d %H:%M:%S} UTC, {_duration(length)}"
            for hold, start, length in zip(holds, starts, lengths, strict=True)
        ],
        hoverinfo="text",
    )


def _pattern(shape: str) -> dict[str, object]:
    return dict(shape=shape, fillmode="replace", size=6, solidity=0.4) if shape else {}


def _duration(length: dt.timedelta) -> str:
    seconds = round(length.total_seconds())
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds % 60:02} s" if minutes else f"{seconds} s"


def failures_by_class(
    attempts: Mapping[str, int], children: Mapping[str, int] | None = None
) -> go.Figure:
    """How many attempts failed by each class, and how many children; the most common first."""
    children = children or {}
    counted = {
        name: (attempts.get(name, 0), children.get(name, 0))
        for name in dict.fromkeys([*attempts, *children])
    }
    names = sorted((n for n in counted if any(counted[n])), key=lambda n: counted[n], reverse=True)
    if not names:
        return empty(_FAILURES, "nothing has failed")
    series = (("attempts", VERMILLION, ""), ("children", PURPLE, "/"))
    figure = Figure()
    for place, (what, colour, pattern) in enumerate(series[: 2 if children else 1]):
        figure.add_bar(
            orientation="h",
            x=[counted[name][place] for name in names],
            y=list(range(len(names))),
            name=what,
            marker=dict(color=colour, pattern=_pattern(pattern)),
            texttemplate="%{x:,}",
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{y}}<br>{what}: %{{x:,}}<extra></extra>",
        )
    titled(figure, _FAILURES, height=170 + 40 * len(names))
    figure.update_xaxes(title="attempts and children" if children else "attempts", tickformat=",d")
    figure.update_yaxes(**named_ticks(names), title="class", autorange="reversed")
    return figure.update_layout(barmode="group", bargap=0.3)
