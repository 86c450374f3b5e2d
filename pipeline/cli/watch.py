"""Watching a search: what is polled from the store, and how it is shown."""

import dataclasses
import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from db import forecast as forecasts
from db import queries
from db.progress import Progress, progress
from db.session import transaction
from pipeline.cli.output import duration, print_json
from pipeline.errors import UserError
from pipeline.text import one_line

# Children are asked for again from so long before the last one seen: on a cluster the order of
# commits is not that of the times in them.
OVERLAP = dt.timedelta(seconds=60)
BEST = 5  # genotypes printed at the end


@dataclass(frozen=True, slots=True)
class View:
    """A search at one moment."""

    progress: Progress
    reason: str | None
    counts: dict[str, int]
    best: float | None
    mean: float | None
    control: dict[str, Any] | None  # its own count, best and mean
    version: Any
    eta: forecasts.Forecast | None
    ended: list[Any]  # children that ended since the last view

    @property
    def rests(self) -> bool:
        """Whether nothing of the search is to be waited for."""
        return not self.progress.state.is_active


class Watcher:
    """Looks at a search again and again, and tells each end of a child once."""

    def __init__(self, search_id: int, *, from_now: bool) -> None:
        self.search_id = search_id
        self._seen: dict[int, dt.datetime] = {}
        self._since: dt.datetime | None = None
        if from_now:
            for row in self._ended():
                self._see(row)

    def _ended(self) -> list[Any]:
        with transaction(read_only=True) as connection:
            return queries.ended_children(connection, self.search_id, self._since)

    def _see(self, row: Any) -> None:
        self._seen[row.id] = row.ended_at
        newest = row.ended_at - OVERLAP
        if self._since is None or newest > self._since:
            self._since = newest

    def look(self) -> View:
        """The search as it is now."""
        with transaction(read_only=True) as connection:
            now = progress(connection, self.search_id)
            if now is None:
                raise UserError("the search was deleted")
            _, reason = queries.search_state(connection, self.search_id)
            counts = queries.state_counts(connection, self.search_id)
            rewards, of_control = queries.rewards(connection, self.search_id)
            control = queries.control_arm(now, of_control)
            version = queries.newest_version(connection, self.search_id)
            eta = forecasts.ahead(connection, now)
        ended = [row for row in self._ended() if row.id not in self._seen]
        for row in ended:
            self._see(row)
        if self._since is not None:
            self._seen = {i: at for i, at in self._seen.items() if at >= self._since}
        return View(now, reason, counts, rewards.best, rewards.mean, control, version, eta, ended)

    def look_again(self, last: View) -> View:
        """The search as it is now; as it was, without news, while the database is away."""
        try:
            return self.look()
        except DBAPIError:
            return dataclasses.replace(last, ended=[])


def child_event(row: Any) -> dict[str, Any]:
    """A child's end, as one JSON line."""
    return {
        "event": "child",
        "version": row.version,
        "arm": str(row.arm),
        "k": row.k,
        "digest": row.digest,
        "state": str(row.state),
        "reward": row.reward,
        "accuracy": row.accuracy,
        "failure": row.failure,
        "stopped_epoch": row.stopped_epoch,
        "duplicate": row.duplicate_of is not None,
        "parameters": row.parameters,
    }


class JsonShow:
    """One JSON line per event."""

    def __init__(self) -> None:
        self._version: int | None = None

    def update(self, view: View) -> None:
        """Print what is new."""
        for row in view.ended:
            print_json(child_event(row))
        if view.version is not None and view.version.version != self._version:
            self._version = view.version.version
            print_json({"event": "version", **view.version._mapping})

    def say(self, notice: str) -> None:
        """Print what a user should know."""
        print_json({"event": "notice", "text": notice})

    def close(self) -> None:
        """Nothing to put away."""


class LiveShow:
    """A few lines that renew themselves, for a terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name = name
        self._started = time.monotonic()
        self._live = Live(console=Console(), auto_refresh=False)
        self._live.start()

    def update(self, view: View) -> None:
        """Draw the view."""
        self._live.update(self._draw(view), refresh=True)

    def say(self, notice: str) -> None:
        """Print what a user should know, above the lines that renew themselves."""
        self._live.console.print(one_line(notice), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last drawing on the screen."""
        self._live.stop()

    def _draw(self, view: View) -> Any:
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        now = view.progress
        bar = ProgressBar(total=now.budget, completed=min(now.completed, now.budget), width=50)
        head = Text.assemble((self._name, "bold"), f"  {now.state}")
        # the bar alone ends no line
        return Group(head, Padding(bar, 0), *(Text(line) for line in self._lines(view)))

    def _lines(self, view: View) -> list[str]:
        now, counts = view.progress, view.counts
        children = (
            f"children  {now.completed} of {now.budget} done, {counts['running']} running, "
            f"{now.unstarted} waiting, {counts['failed']} failed, "
            f"{counts['duplicates']} duplicates"
        )
        if now.slots == 0 and now.unstarted and now.state.is_active:
            children += "\n          no worker is ready for them yet"
        rewards = "reward    none yet"
        if view.best is not None and view.mean is not None:
            rewards = f"reward    best {view.best:.4f}, mean {view.mean:.4f}"
            if now.sharing is not None:
                rewards += " (scores of shared weights)"
        if view.control is not None:
            rewards += "\n" + _control_line(view.control)
        policy = f"policy    version {now.version}"
        if view.version is not None and view.version.entropy is not None:
            policy += f", entropy {view.version.entropy:.3f}"
        if now.sharing is not None:
            phase = min(now.phases, (now.version or 0) // now.sharing.updates + 1)
            policy += f", phase {phase} of {now.phases}"
        eta = "eta       -"
        if view.eta is not None:
            left, spread = duration(view.eta.seconds), duration(view.eta.spread)
            eta = f"eta       {left} \N{PLUS-MINUS SIGN} {spread}"
        return [children, rewards, policy, eta]


def _control_line(control: dict[str, Any]) -> str:
    line = f"control   {control['completed']} of the children done"
    if control["best"] is not None:
        line += f", best {control['best']:.4f}, mean {control['mean']:.4f}"
    return line
