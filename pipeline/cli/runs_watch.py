"""Watching trainings in full: what is polled from the store, and how it is shown."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from rich.console import Group
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from db.lifecycle import runs
from db.schema.enums import RunState, SearchState
from db.schema.rows import JsonObject
from db.schema.session import transaction
from pipeline.cli.console import make_console
from pipeline.cli.follow import EXIT_HALTED, Show
from pipeline.cli.output import duration, print_json, print_rows, say, shown
from pipeline.io.text import one_line

ENDED = {RunState.DONE, RunState.FAILED, RunState.CANCELLED}
NO_SLOT_AFTER = 15.0  # seconds that slots have to start before their lack is told
LINES = 20  # runs drawn at once
EPOCH_KEYS = ("run", "network", "epochs", "of", "accuracy", "waiting_for_data")
STATE_KEYS = ("run", "network", "state", "failure", "message")
COLUMNS = [
    "run",
    "network",
    "epochs",
    "accuracy",
    "test_accuracy",
    "waiting_for_data",
    "state",
]


@dataclass(frozen=True, slots=True)
class RunsView:
    """Trainings at one moment."""

    rows: list[runs.RunView]
    notices: list[str]
    lacks_slots: bool  # for some of them; they may still be starting

    @property
    def rests(self) -> bool:
        """Whether all have ended, or cannot go on because their search is paused."""
        return all(
            row.state in ENDED
            or (row.search_state is SearchState.PAUSED and row.state is not RunState.RUNNING)
            for row in self.rows
        )


class RunsWatcher:
    """Looks at some runs again and again."""

    def __init__(self, run_ids: Sequence[int]) -> None:
        self.run_ids = list(run_ids)
        self._since = time.monotonic()
        self._told: set[int] = set()

    def look(self) -> RunsView:
        """The runs as they are now."""
        with transaction(read_only=True) as connection:
            rows = runs.views(connection, self.run_ids)
            lonely = runs.without_slot(connection, run_ids=self.run_ids)
        notices = []
        late = time.monotonic() - self._since > NO_SLOT_AFTER
        if late:
            notices = [no_slot(row) for row in lonely if row.id not in self._told]
            self._told.update(row.id for row in lonely)
        return RunsView(rows, notices, lacks_slots=bool(lonely) and not late)

    def look_again(self, last: RunsView) -> RunsView:
        """The runs as they are now; as they were while the database is away."""
        try:
            return self.look()
        except DBAPIError:
            return dataclasses.replace(last, notices=[])


def no_slot(row: runs.WaitingRun) -> str:
    """That a run waits for a slot that is nowhere, and what would help."""
    kind = "cpu" if row.device == "cpu" else "cuda:N"
    wanted = "+".join([kind] * row.devices)
    return f"run {row.id}: no slot has {row.devices} x {row.device}; NASNET_DEVICES={wanted}"


class PrintedRun(TypedDict):
    """What is printed of a training."""

    run: int
    purpose: str
    network: object
    search: str | None
    dataset: str
    parameters: int | None
    macs: int | None
    epochs: int | None
    of: int
    cells: object
    filters: object
    batch_size: object
    seed: int
    accuracy: float | None
    test_accuracy: float | None
    seconds: float | None
    waiting_for_data: float | None  # the share of its time
    attempts: int
    state: str
    failure: str | None
    message: str | None
    digest: str


def run_row(view: runs.RunView) -> PrintedRun:
    """A training as it is printed."""
    training = _table(view.config, "training")
    network = _table(view.config, "network")
    waiting = view.waited / view.seconds if view.seconds and view.waited is not None else None
    return {
        "run": view.run,
        "purpose": str(view.purpose),
        "network": view.body.get("name") or view.digest[:12],
        "search": view.search,
        "dataset": str(view.config["dataset"]),
        "parameters": view.parameters,
        "macs": view.macs,
        "epochs": view.epochs,
        "of": _whole(training["epochs"]),
        # what figures depend on beside the genotype, as the run was asked for
        "cells": network.get("num_cells"),
        "filters": network.get("num_filters", network.get("filters")),
        "batch_size": training["batch_size"],
        "seed": view.seed,
        "accuracy": view.latest_accuracy if view.accuracy is None else view.accuracy,
        "test_accuracy": view.test_accuracy,
        "seconds": view.seconds,
        "waiting_for_data": waiting,
        "attempts": view.attempts,
        "state": str(view.state),
        "failure": None if view.failure is None else str(view.failure),
        "message": view.message,
        "digest": view.digest,
    }


def _table(config: JsonObject, key: str) -> JsonObject:
    """A table of a configuration, whatever release stored it; empty where it is none."""
    found = config[key]
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _some(row: PrintedRun, keys: Sequence[str]) -> dict[str, object]:
    return {key: value for key, value in row.items() if key in keys}


def report_runs(view: RunsView, as_json: bool) -> int:
    """Print how trainings ended; returns the exit code."""
    rows = [run_row(row) for row in view.rows]
    done = all(row["state"] == RunState.DONE for row in rows)
    if as_json:
        print_json({"event": "ended", "runs": rows})
    else:
        print_rows(rows, COLUMNS, as_json=False)
        for row in rows:
            if row["message"]:
                say(f"run {row['run']}: {row['failure']}: {row['message']}")
    return 0 if done else EXIT_HALTED


def runs_show(as_json: bool) -> Show[RunsView]:
    """The display for a terminal or a program."""
    return RunsJson() if as_json else RunsLive()


class RunsJson:
    """One JSON line an epoch, and one a change of state."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int | None, str]] = {}

    def update(self, view: RunsView) -> None:
        """Print what is new."""
        for notice in view.notices:
            self.say(notice)
        for row in map(run_row, view.rows):
            epochs, state = self._seen.get(row["run"], (None, None))
            if row["epochs"] != epochs:
                print_json({"event": "epoch", **_some(row, EPOCH_KEYS)})
            if row["state"] != state:
                print_json({"event": "run", **_some(row, STATE_KEYS)})
            self._seen[row["run"]] = row["epochs"], row["state"]

    def say(self, notice: str) -> None:
        """Print what a user should know."""
        print_json({"event": "notice", "text": notice})

    def close(self) -> None:
        """Nothing to put away."""


class RunsLive:
    """A line for each training, renewed in place."""

    def __init__(self) -> None:
        self._live = Live(console=make_console(), auto_refresh=False)
        self._live.start()

    def update(self, view: RunsView) -> None:
        """Draw the trainings."""
        for notice in view.notices:
            self.say(notice)
        # what runs and what waits comes before what has ended
        rows = sorted(view.rows, key=lambda row: row.state in ENDED)
        lines = [Text(_line(run_row(row))) for row in rows[:LINES]]
        if len(rows) > LINES:
            lines.append(Text(f"... and {len(rows) - LINES} more"))
        done = sum(row.state in ENDED for row in rows)
        if view.lacks_slots:
            lines.append(Text("slots are starting"))
        self._live.update(
            Group(Text(f"{done} of {len(rows)} ended", "bold"), *lines), refresh=True
        )

    def say(self, notice: str) -> None:
        """Print what a user should know, above the lines that renew themselves."""
        self._live.console.print(one_line(notice), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last drawing on the screen."""
        self._live.stop()


def _line(row: PrintedRun) -> str:
    epochs = row["epochs"] or 0
    line = f"run {row['run']:<5} {row['network']:<18} {row['state']:<9} "
    line += f"epoch {epochs} of {row['of']}, accuracy {shown(row['accuracy'])}"
    if row["seconds"] and row["state"] == RunState.RUNNING:
        left = row["seconds"] / epochs * (row["of"] - epochs)
        line += f", {duration(left)} left"
    return line
