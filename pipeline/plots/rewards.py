"""Rewards over the children of a search: NASNet's Figure 6."""

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import plotly.graph_objects as go

from pipeline.plots.figure import Figure
from pipeline.plots.theme import (
    arm_style,
    empty,
    escaped,
    known,
    titled,
    unknown_arms,
    whole_ticks,
)

_TOP = 25
_TITLE = "Rewards over children"
# what is drawn of an arm besides its rewards: attribute, words, dash, width, shape
_LINES = (
    ("best", "best so far", "solid", 2.5, "hv"),
    ("top5", "mean of the best 5", "dash", 1.75, "linear"),
    ("top25", "mean of the best 25", "dot", 1.75, "linear"),
)


class Standing(NamedTuple):
    """How a search stood after a child; None before its first reward."""

    best: float | None
    top5: float | None  # mean of the best 5, of as many as there are until there are 5
    top25: float | None


class Running:
    """The best so far of a stream of rewards, in O(log 25) a reward.

    All it remembers are the best 25 rewards: ``Running(before.top)`` goes on where ``before``
    stood.
    """

    def __init__(self, top: Iterable[float] = ()) -> None:
        self._heap = heapq.nlargest(_TOP, top)
        heapq.heapify(self._heap)
        self._standing = self._stand()

    @property
    def top(self) -> tuple[float, ...]:
        """The best 25 rewards, or as many as there are, best first."""
        return tuple(sorted(self._heap, reverse=True))

    def add(self, reward: float | None) -> Standing:
        """The standing after one more child; no reward, or one that is not finite, moves none."""
        if reward is None or not math.isfinite(reward):
            return self._standing
        if len(self._heap) < _TOP:
            heapq.heappush(self._heap, reward)
        elif heapq.heappushpop(self._heap, reward) == reward:
            return self._standing  # the usual case: not among the best
        self._standing = self._stand()
        return self._standing

    def _stand(self) -> Standing:
        # summed anew: a sum kept by adding and taking away would drift
        if not self._heap:
            return Standing(None, None, None)
        top5 = heapq.nlargest(5, self._heap)
        return Standing(
            top5[0], math.fsum(top5) / len(top5), math.fsum(self._heap) / len(self._heap)
        )


@dataclass(frozen=True, slots=True)
class History:
    """The rewards of an arm over its children; the five sequences are equally long."""

    arm: str  # "policy", "control", ...
    at: Sequence[int]  # how many children had ended
    reward: Sequence[float | None]
    best: Sequence[float | None]
    top5: Sequence[float | None]
    top25: Sequence[float | None]

    @classmethod
    def of(cls, arm: str, rewards: Sequence[float | None]) -> Self:
        """The history of an arm's rewards, in the order its children ended."""
        running = Running()
        standings = [running.add(reward) for reward in rewards]
        return cls(
            arm,
            range(1, len(rewards) + 1),
            rewards,
            [standing.best for standing in standings],
            [standing.top5 for standing in standings],
            [standing.top25 for standing in standings],
        )


class GrowingHistory:
    """An arm's history while its rewards come in, of at most ``most`` points.

    Every n-th child is a point, and the last; n doubles whenever there are too many. The lines
    are right at each: no reward is left out of them.
    """

    def __init__(self, arm: str, most: int) -> None:
        self.arm = arm
        self._most = most
        self._running = Running()
        self._count = 0
        self._step = 1
        self._points: list[_Point] = []
        self._last: _Point | None = None

    def add(self, reward: float | None) -> None:
        """One more child that has ended."""
        self._count += 1
        self._last = (self._count, reward, *self._running.add(reward))
        if self._count % self._step == 0:
            self._points.append(self._last)
            if len(self._points) >= 2 * self._most:
                self._points = self._points[1::2]
                self._step *= 2

    def history(self) -> History:
        """The history so far."""
        points = list(self._points)
        if self._last is not None and self._count % self._step:
            points.append(self._last)
        return History(self.arm, *(zip(*points, strict=True) if points else [()] * 5))


_Point = tuple[int, float | None, float | None, float | None, float | None]


def reward_history(arms: Sequence[History]) -> go.Figure:
    """Each arm's rewards, its best so far, and the means of its best 5 and 25, over children."""
    others = unknown_arms(history.arm for history in arms)
    traces = [
        trace
        for history in arms
        for trace in _arm_traces(history, *arm_style(history.arm, others))
    ]
    if not traces:
        return empty(_TITLE, "no children have ended yet")
    rewards = sorted(y for history in arms for y in known(history.at, history.reward)[1])
    floor = _floor(rewards)
    low = sum(reward < floor for reward in rewards)
    note = f"markers below {floor:.3g}: {low:,} (double-click to see all)" if low else ""
    figure = titled(Figure(traces), _TITLE, height=480, note=note)
    if low:
        margin = 0.04 * (rewards[-1] - floor)
        figure.update_yaxes(range=[floor - margin, rewards[-1] + margin])
    children = [n for history in arms for n in history.at]
    figure.update_xaxes(title="children of the arm that ended", rangemode="tozero")
    figure.update_xaxes(whole_ticks(children))
    return figure.update_yaxes(title="reward")


def _arm_traces(history: History, colour: str, symbol: str) -> Iterator[go.Scatter]:
    arm = escaped(history.arm)
    shared = dict(legendgroup=arm, legendgrouptitle=dict(text=arm))
    x, y = known(history.at, history.reward)
    if x:
        marker = dict(color=colour, symbol=symbol, size=5, opacity=0.4)
        hover = f"{arm}, child %{{x:,}}<br>reward %{{y:.4f}}<extra></extra>"
        yield go.Scatter(
            x=x, y=y, mode="markers", name="reward", marker=marker, hovertemplate=hover, **shared
        )
    for attribute, words, dash, width, shape in _LINES:
        x, y = known(history.at, getattr(history, attribute))
        if x:
            line = dict(color=colour, dash=dash, width=width, shape=shape)
            hover = f"{arm}, after %{{x:,}} children<br>{words} %{{y:.4f}}<extra></extra>"
            yield go.Scatter(
                x=x, y=y, mode="lines", name=words, line=line, hovertemplate=hover, **shared
            )


def _floor(rewards: Sequence[float]) -> float:
    """Where the reward axis begins: failed children must not flatten what the others differ in."""
    if not rewards:
        return -math.inf
    quartile, best = rewards[len(rewards) // 4], rewards[-1]
    return next(reward for reward in rewards if reward >= quartile - (best - quartile))
