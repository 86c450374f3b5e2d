"""What one attempt writes down, under its fence, and the checkpoints that it may start from."""

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from db.lifecycle import attempts, checkpoints, epochs, leases, retention
from db.schema.enums import ArtifactKind
from db.schema.session import AWAY, is_away, transaction
from pipeline.errors import ChildError, Failure, LeaseLostError, MachineError, NasnetError
from pipeline.io import files
from pipeline.settings import get_settings
from pipeline.training import checkpoint
from pipeline.training.checkpoint import CorruptCheckpointError, State
from pipeline.training.device import is_device_lost
from pipeline.training.hooks import EpochResult
from tasks.leftovers import run_folder
from tasks.slot import Hold

log = structlog.get_logger("tasks")

T = TypeVar("T")
# How to write an attempt's end, in a transaction that also queues the slot's next run.
Write = Callable[[Connection], object]


class Recorder:
    """What a training tells, written down: its hooks, its files, its end.

    A database that is away costs a training nothing: rows wait here until it is back, and the
    fence decides at the end.
    """

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.run_id = hold.run_id
        self.attempt = hold.attempt
        self.lease = get_settings().lease
        self.steps = 0
        self.images_trained = 0
        self.images_scored = 0
        self.leaves_files = False  # without a row, maybe
        self._unwritten: list[EpochResult] = []
        self._weights: checkpoints.WrittenFile | None = None

    @property
    def work(self) -> attempts.Work:
        """What this attempt has done."""
        return attempts.Work(images_trained=self.images_trained, images_scored=self.images_scored)

    def on_step(self, images: int) -> None:
        """A step was taken over this number of images."""
        self.steps += 1
        self.images_trained += images
        self.hold.step()

    def on_scored(self, images: int = 0) -> None:
        """A batch was scored; its images are counted here where no epoch counts them."""
        self.images_scored += images
        self.hold.step()

    def on_epoch(self, result: EpochResult) -> None:
        """An epoch has ended: its row, and a longer lease."""
        self.hold.last_step = time.monotonic()
        self.hold.epoch_seconds.append(result.seconds)
        self.images_scored += result.images_scored
        self._unwritten.append(result)
        try:
            with transaction() as connection:
                leases.renew(connection, self.run_id, self.attempt, lease=self.lease)
                self._write_epochs(connection)
        except AWAY as error:
            if not is_away(error):
                raise
            log.warning("the database is away; training goes on", error=str(error))
        else:
            self._unwritten.clear()

    def _write_epochs(self, connection: Connection) -> None:
        for result in self._unwritten:
            epochs.put(
                connection,
                self.run_id,
                self.attempt,
                epoch=result.epoch,
                loss=result.loss,
                train_accuracy=result.train_accuracy,
                accuracy=result.accuracy,
                learning_rate=result.learning_rate,
                seconds=result.seconds,
                waited=result.waited,
            )

    def on_checkpoint(self, state: State, epoch: int, step: int) -> None:
        """Write a state whole under a new name, then its row, then let older files go."""
        uri = self._uri(f"epoch-{epoch}-step-{step}")
        file = checkpoints.WrittenFile(uri, *checkpoint.write(uri, state))
        try:
            with transaction() as connection:
                checkpoints.add(
                    connection,
                    self.run_id,
                    self.attempt,
                    file,
                    epoch=epoch,
                    step=step,
                    lease=self.lease,
                )
                self._write_epochs(connection)  # a resume begins after them
                old = checkpoints.of_run(connection, self.run_id)[checkpoints.KEEP :]
                checkpoints.forget_files(connection, [c.id for c in old])
        except LeaseLostError:
            files.delete(uri)  # no row points at it
            raise
        except AWAY as error:
            if not is_away(error):
                raise
            # its row may stand all the same: what has none goes with the attempt's end
            self.leaves_files = True
            log.warning("the database is away; no checkpoint", error=str(error))
            return
        self._unwritten.clear()
        for forgotten in old:
            files.delete(forgotten.uri)

    def _uri(self, what: str) -> str:
        """The name of a file of this attempt, never used before."""
        return f"{run_folder(self.run_id)}/attempt-{self.attempt}-{what}.pt"

    def keep_weights(self, weights: State) -> str:
        """Write what was trained; its row comes with the run's end. Returns the sha256."""
        uri = self._uri("weights")
        self._weights = checkpoints.WrittenFile(uri, *checkpoint.write(uri, weights))
        return self._weights.sha256

    def keep_weights_of_best(self, weights: State, search_id: int, reward: float) -> None:
        """Write a child's weights if they are among those of its search that are kept.

        The child's result does not depend on them: where they cannot be written it has none.
        """
        keep = get_settings().keep
        if not keep:
            return
        try:
            with transaction(read_only=True) as connection:
                among_best = retention.is_among_best(connection, search_id, reward, keep)
        except AWAY:
            return
        if among_best:
            with contextlib.suppress(MachineError):
                self.keep_weights(weights)

    def from_newest_checkpoint(self, begin: Callable[[State | None], T]) -> T:
        """Work from the run's newest checkpoint that the work goes on from, else from None.

        Raises:
            ChildError: of class data: what the run starts from without a checkpoint is damaged.
            Whatever else ``begin`` raises.
        """
        for state in self.states():
            try:
                with self._blaming(state):
                    return begin(state)
            except CorruptCheckpointError as error:
                if state is None:  # the weights to start from
                    raise ChildError(Failure.DATA, str(error)) from error
                log.warning("checkpoint does not fit; an older one is tried", error=str(error))
        raise AssertionError("the last state is None, which always fits")

    def states(self) -> Iterator[State | None]:
        """The run's checkpoints that can be read, newest first, then None."""
        with transaction(read_only=True) as connection:
            found = checkpoints.of_run(connection, self.run_id)
        for candidate in found:
            try:
                yield checkpoint.read(candidate.uri, candidate.sha256)
            except CorruptCheckpointError as error:
                log.warning("checkpoint cannot be read", uri=candidate.uri, error=str(error))
        yield None

    @contextlib.contextmanager
    def _blaming(self, state: State | None) -> Iterator[None]:
        """Begin from a state; what goes wrong before the first step is a checkpoint's fault.

        Raises:
            CorruptCheckpointError: it does not fit, whatever it says of itself.
        """
        steps = self.steps
        try:
            yield
        except Exception as error:
            if state is None or self.steps > steps or not _may_be_the_state_s(error):
                raise
            raise CorruptCheckpointError(
                f"no training goes on from it: {type(error).__name__}: {error}"
            ) from error

    def done(
        self,
        result: attempts.Result,
        earned: attempts.Earned | None = None,
        shared: int | None = None,
    ) -> Write:
        """How to write that the run ended well, with the weights that were kept.

        Args:
            earned: the reward of its child, if it has one.
            shared: the number of the pass whose weights the search's children share from now on.
        """
        return functools.partial(self._finish, result=result, earned=earned, shared=shared)

    def _finish(
        self,
        connection: Connection,
        result: attempts.Result,
        earned: attempts.Earned | None,
        shared: int | None,
    ) -> None:
        self._write_epochs(connection)
        if self._weights is not None:
            checkpoints.add(
                connection,
                self.run_id,
                self.attempt,
                self._weights,
                number=shared,
                lease=self.lease,
                kind=ArtifactKind.WEIGHTS if shared is None else ArtifactKind.SHARED,
            )
        attempts.finish(connection, self.run_id, self.attempt, result, self.work, earned)

    def failed(self, failure: Failure, error: Exception) -> Write:
        """How to write that the attempt failed."""
        log.warning("attempt failed", failure=failure.value, error=str(error))
        return functools.partial(
            attempts.fail,
            run_id=self.run_id,
            attempt=self.attempt,
            failure=failure,
            message=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
            work=self.work,
        )

    def released(self, reason: str) -> Write:
        """How to write that the run is given back."""
        log.info("run given back", reason=reason)
        return functools.partial(
            attempts.release,
            run_id=self.run_id,
            attempt=self.attempt,
            message=reason,
            work=self.work,
        )


def _may_be_the_state_s(error: Exception) -> bool:
    """Whether a state that a training begins from may be to blame for an error."""
    if isinstance(error, NasnetError):
        return isinstance(error, ChildError) and error.failure is Failure.DIVERGED
    return not (is_away(error) or is_device_lost(error))
