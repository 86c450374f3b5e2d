"""What a command does that starts work and stays: processes kept running, progress shown."""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, Protocol, TypeVar

from pipeline.machine.supervisor import Supervisor

EXIT_HALTED = 3  # a search was paused, stopped or failed; a training failed
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

TICK = 0.25  # seconds between looks at the processes
LOOK = 1.0  # ... and at the store


class Interruption:
    """Hears the signals: Ctrl-C and SIGTERM stop softly, SIGHUP ends the display only."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self._count += 1

    def is_repeated(self) -> bool:
        """Whether whoever asked to stop will wait no longer."""
        return self._count > 1

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        print_nowhere()

    @property
    def exit_code(self) -> int:
        """As shells have it."""
        return EXIT_TERMINATED if self.number == signal.SIGTERM else EXIT_INTERRUPTED


class Looked(Protocol):
    """What is followed, at one moment."""

    @property
    def rests(self) -> bool:
        """Whether there is nothing more to wait for."""

    @property
    def lacks_slots(self) -> bool:
        """Whether no slot is there yet for what waits."""


V = TypeVar("V", bound=Looked)
V_shown = TypeVar("V_shown", bound=Looked, contravariant=True)
P = ParamSpec("P")


class Watched(Protocol[V]):
    """What can be followed."""

    def look(self) -> V:
        """As it is now."""

    def look_again(self, last: V) -> V:
        """As it is now; as it was, without news, while the database is away."""


class Show(Protocol[V_shown]):
    """Where what is followed is shown."""

    def update(self, view: V_shown) -> None:
        """Show it as it is now."""

    def say(self, notice: str) -> None:
        """Show what a user should know."""

    def close(self) -> None:
        """Nothing follows."""


def follow(
    supervisor: Supervisor, watched: Watched[V], show: Show[V], interruption: Interruption
) -> V:
    """Keep the processes running, or leave that to whoever does, until nothing is waited for."""
    view = watched.look()
    next_look = 0.0
    try:
        if not view.rests:
            if supervisor.take_over() and view.lacks_slots:
                quietly(show.say, f"starting: {supervisor.processes}")
            quietly(show.update, view)
        while not view.rests and interruption.number is None:
            if supervisor.take_over():  # at once, or when the other supervisor has gone
                supervisor.tick()
                for notice in supervisor.notices():
                    quietly(show.say, notice)
            time.sleep(TICK)
            started = time.monotonic()
            if started < next_look:
                continue
            view = watched.look_again(view)
            took = time.monotonic() - started
            next_look = started + max(LOOK, 10 * took)  # a slow store is asked less often
            quietly(show.update, view)
        if interruption.number is not None:
            quietly(show.say, supervisor.leaving())
    finally:
        quietly(show.close)
    return view


def quietly(call: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
    """Show something to a terminal or a pipe that may be gone: the work goes on without."""
    try:
        call(*arguments, **named)
    except OSError:
        print_nowhere()


def print_nowhere() -> None:
    """Whatever is printed from here on is lost, and no error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
