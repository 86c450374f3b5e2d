"""Watching a search: what is polled from the store, and how it is shown."""

import dataclasses
import datetime as dt
from collections import deque
from dataclasses import dataclass

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from db.lifecycle import searches
from db.reads import at_work, summary
from db.reads import forecast as forecasts
from db.reads.at_work import SlotAtWork
from db.reads.progress import Progress, progress
from db.reads.summary import EndedChild
from db.schema.enums import Arm
from db.schema.session import transaction
from pipeline.cli.console import make_console
from pipeline.cli.output import duration, print_json
from pipeline.errors import UserError
from pipeline.io.text import one_line

# Children are asked for again from so long before the last one seen: on a cluster the order of
# commits is not that of the times in them.
OVERLAP = dt.timedelta(seconds=60)
BEST = 5  # genotypes printed at the end
SLOTS = 8  # lines for what slots do
LATEST = 4  # children whose end is shown


@dataclass(frozen=True, slots=True)
class View:
    """A search at one moment."""

    progress: Progress
    reason: str | None
    counts: dict[str, int]
    best: float | None
    mean: float | None
    control: dict[str, float | None] | None  # its own count, best and mean
    version: summary.Diagnostics | None
    eta: forecasts.Forecast | None
    ended: list[EndedChild]  # children that ended since the last view
    slots: list[SlotAtWork]  # each with what it holds (db.reads.at_work)

    @property
    def rests(self) -> bool:
        """Whether nothing of the search is to be waited for."""
        return not self.progress.state.is_active

    @property
    def lacks_slots(self) -> bool:
        """Whether no slot is there yet that could take its work."""
        return self.progress.slots == 0


class Watcher:
    """Looks at a search again and again, and tells each end of a child once."""

    def __init__(self, search_id: int, *, from_now: bool) -> None:
        self.search_id = search_id
        self._seen: dict[int, dt.datetime] = {}
        self._since: dt.datetime | None = None
        if from_now:
            for row in self._ended():
                self._see(row)

    def _ended(self) -> list[EndedChild]:
        with transaction(read_only=True) as connection:
            return summary.ended_children(connection, self.search_id, self._since)

    def _see(self, row: EndedChild) -> None:
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
            _, reason = searches.state_of(connection, self.search_id)
            counts = summary.state_counts(connection, self.search_id)
            rewards, of_control = summary.rewards(connection, self.search_id)
            control = summary.control_arm(now, of_control)
            version = summary.newest_version(connection, self.search_id)
            eta = forecasts.ahead(connection, now)
            slots = at_work.slots(connection)
        ended = [row for row in self._ended() if row.id not in self._seen]
        for row in ended:
            self._see(row)
        if self._since is not None:
            self._seen = {i: at for i, at in self._seen.items() if at >= self._since}
        return View(
            progress=now,
            reason=reason,
            counts=counts,
            best=rewards.best,
            mean=rewards.mean,
            control=control,
            version=version,
            eta=eta,
            ended=ended,
            slots=slots,
        )

    def look_again(self, last: View) -> View:
        """The search as it is now; as it was, without news, while the database is away."""
        try:
            return self.look()
        except DBAPIError:
            return dataclasses.replace(last, ended=[])


def child_event(row: EndedChild) -> dict[str, object]:
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
        "message": row.message,
        "stopped_epoch": row.stopped_epoch,
        "duplicate": row.duplicate_of is not None,
        "parameters": row.parameters,
    }


class JsonShow:
    """One JSON line per event."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._status: str | None = None

    def update(self, view: View) -> None:
        """Print what is new."""
        now = view.progress
        if now.status != self._status:
            self._status = now.status
            print_json({"event": "state", "state": str(now.state), "status": now.status})
        for row in view.ended:
            print_json(child_event(row))
        if view.version is not None and view.version.version != self._version:
            self._version = view.version.version
            print_json({"event": "version", **view.version._asdict()})

    def say(self, notice: str) -> None:
        """Print what a user should know."""
        print_json({"event": "notice", "text": notice})

    def close(self) -> None:
        """Nothing to put away."""


class LiveShow:
    """A few lines that renew themselves, for a terminal."""

    def __init__(self, name: str, *, no_slots: str = "starting") -> None:
        self._name = name
        self._no_slots = no_slots  # said where none is there
        self._ended: deque[EndedChild] = deque(maxlen=LATEST)
        self._live = Live(console=make_console(), auto_refresh=False)
        self._live.start()

    def update(self, view: View) -> None:
        """Draw the view."""
        self._ended.extend(view.ended)
        self._live.update(self._draw(view), refresh=True)

    def say(self, notice: str) -> None:
        """Print what a user should know, above the lines that renew themselves."""
        self._live.console.print(one_line(notice), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last drawing on the screen."""
        self._live.stop()

    def _draw(self, view: View) -> Group:
        now = view.progress
        bar = ProgressBar(total=now.budget, completed=min(now.completed, now.budget), width=50)
        head = Text.assemble((self._name, "bold"), f"  {now.status}")
        lines = [*self._lines(view), *slot_lines(view.slots, self._name)]
        if view.lacks_slots and not view.rests:
            lines.append(f"workers   {self._no_slots}")
        lines += [child_line(row) for row in self._ended]
        shown = (Text(line, no_wrap=True, overflow="ellipsis") for line in lines)
        # the bar alone ends no line
        return Group(head, Padding(bar, 0), *shown)

    def _lines(self, view: View) -> list[str]:
        now, counts = view.progress, view.counts
        children = (
            f"children  {now.completed} of {now.budget} done, {counts['running']} running, "
            f"{now.unstarted} waiting, {counts['failed']} failed, "
            f"{counts['duplicates']} duplicates"
        )
        rewards = "reward    none yet"
        if view.best is not None and view.mean is not None:
            rewards = f"reward    best {view.best:.4f}, mean {view.mean:.4f}"
            if now.sharing is not None:
                rewards += " (scores of shared weights)"
        if view.control is not None:
            rewards += "\n" + _control_line(view.control)
        lines = [children, rewards]
        if now.version is not None:
            lines.append(_policy_line(view))
        if view.eta is not None and now.state.is_active and not view.lacks_slots:
            left, spread = duration(view.eta.seconds), duration(view.eta.spread)
            lines.append(f"eta       {left} \N{PLUS-MINUS SIGN} {spread}")
        return lines


def _policy_line(view: View) -> str:
    now = view.progress
    line = f"policy    version {now.version}"
    if view.version is not None and view.version.entropy is not None:
        line += f", entropy {view.version.entropy:.3f}"
    if now.sharing is not None:
        phase = min(now.phases, (now.version or 0) // now.sharing.updates + 1)
        line += f", phase {phase} of {now.phases}"
    return line


def _control_line(control: dict[str, float | None]) -> str:
    line = f"control   {control['completed']} of the children done"
    if control["best"] is not None:
        line += f", best {control['best']:.4f}, mean {control['mean']:.4f}"
    return line


def slot_lines(slots: list[SlotAtWork], search: str) -> list[str]:
    """What each slot does, a line for each; of this search unless another is named."""
    several = len({slot.host for slot in slots}) > 1
    lines = []
    for slot in slots[:SLOTS]:
        name = f"{slot.host} {slot.name}" if several else slot.name
        lines.append(f"{name:<9} {_doing(slot, search)}")
    if len(slots) > SLOTS:
        busy = sum(slot.run is not None for slot in slots[SLOTS:])
        lines.append(f"          and {len(slots) - SLOTS} more slots, {busy} of them busy")
    return lines


def _doing(slot: SlotAtWork, search: str) -> str:
    if slot.run is None:
        return f"takes no runs: {one_line(slot.reason)}" if slot.reason else "idle"
    what = f"run {slot.run} ({slot.purpose})"
    if slot.k is not None:
        what = _child_name(slot)
    if slot.search != search:
        what = f"{slot.search or 'no search'}: {what}"
    epoch = min((slot.epoch or 0) + 1, slot.of or 1)
    progress = f"epoch {epoch} of {slot.of}" if slot.of else "at work"
    accuracy = "" if slot.accuracy is None else f", accuracy {slot.accuracy:.4f}"
    return f"{what}: {progress}{accuracy}, {duration(slot.seconds or 0.0)}"


def _child_name(row: EndedChild | SlotAtWork) -> str:
    arm = "" if row.arm == Arm.POLICY else f" ({row.arm})"
    return f"child {row.version}.{row.k}{arm}"


def child_line(row: EndedChild) -> str:
    """How a child ended."""
    how = "skipped" if row.reward is None else f"reward {row.reward:.4f}"
    if row.duplicate_of is not None:
        how += ", a duplicate"
    elif row.parameters is not None:
        how += f", {row.parameters:,} parameters"
    if row.failure is not None:
        how += f", {row.failure}"
        how += f": {one_line(row.message)}" if row.message else ""
    return f"ended     {_child_name(row)}: {how}"
