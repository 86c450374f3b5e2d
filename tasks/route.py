"""The way of one attempt between the training loop and the store, under its fence."""

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from db.lifecycle import attempts, checkpoints, epochs, leases, retention
from db.schema.enums import ArtifactKind
from db.schema.session import AWAY, is_away, transaction
from pipeline.config.search import RewardConfig, load_config
from pipeline.errors import ChildError, Failure, LeaseLostError, NasnetError
from pipeline.io import files
from pipeline.settings import get_settings
from pipeline.training import checkpoint
from pipeline.training.early_stopping import make_judge
from pipeline.training.hooks import EpochResult
from pipeline.training.reward import reward
from tasks import devices
from tasks.leftovers import run_folder
from tasks.slot import Hold

log = structlog.get_logger("tasks")


class Route:
    """What a training tells, written down; what it may start from, read.

    A database that is away costs a training nothing: rows wait here until it is back, and the
    fence decides at the end.
    """

    def __init__(self, claim: leases.Claim, hold: Hold) -> None:
        self.claim = claim
        self.hold = hold
        self.lease = get_settings().lease
        self.steps = 0
        self.images_trained = 0
        self.images_scored = 0
        self.leaves_files = False  # without a row, maybe
        self._unwritten: list[EpochResult] = []
        self._weights: tuple[str, str, int] | None = None  # uri, sha256, bytes

    @property
    def rewards(self) -> RewardConfig:
        """The search's rule; the default where the run belongs to no search."""
        stored = self.claim.search_config
        return load_config(stored).reward if stored else RewardConfig()

    @property
    def work(self) -> attempts.Work:
        """What this attempt has done."""
        return attempts.Work(images_trained=self.images_trained, images_scored=self.images_scored)

    def judge(self) -> Callable[[Sequence[float]], bool] | None:
        """Who says when a child is hopeless, if anybody may."""
        stored, child_id = self.claim.search_config, self.claim.child_id
        rule = load_config(stored).early_stopping if stored and child_id else None
        if rule is None or child_id is None:
            return None
        with transaction(read_only=True) as connection:
            return make_judge(rule, epochs.known_curves(connection, child_id))

    def on_step(self, images: int) -> None:
        """A step was taken, over so many images."""
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
                leases.renew(connection, self.claim.run_id, self.claim.attempt, lease=self.lease)
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
                self.claim.run_id,
                self.claim.attempt,
                epoch=result.epoch,
                loss=result.loss,
                train_accuracy=result.train_accuracy,
                accuracy=result.accuracy,
                learning_rate=result.learning_rate,
                seconds=result.seconds,
                waited=result.waited,
            )

    def on_checkpoint(self, state: dict[str, Any], epoch: int, step: int) -> None:
        """Write a state whole under a new name, then its row, then let older files go."""
        claim = self.claim
        uri = self._uri(f"epoch-{epoch}-step-{step}")
        sha256, size = checkpoint.write(uri, state)
        try:
            with transaction() as connection:
                checkpoints.add(
                    connection,
                    claim.run_id,
                    claim.attempt,
                    uri=uri,
                    sha256=sha256,
                    size=size,
                    epoch=epoch,
                    step=step,
                    lease=self.lease,
                )
                self._write_epochs(connection)  # a resume begins after them
                old = checkpoints.of_run(connection, claim.run_id)[checkpoints.KEEP :]
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
        claim = self.claim
        return f"{run_folder(claim.run_id)}/attempt-{claim.attempt}-{what}.pt"

    def keep_weights(self, weights: dict[str, Any]) -> str:
        """Write what was trained; its row comes with the run's end. Returns the sha256."""
        uri = self._uri("weights")
        self._weights = (uri, *checkpoint.write(uri, weights))
        return self._weights[1]

    def is_worth_keeping(self, accuracies: list[float], stopped: bool) -> bool:
        """Whether the weights of a search's child are among those to keep, as far as one knows."""
        claim, keep = self.claim, get_settings().keep
        if not keep or claim.search_id is None:
            return False
        earned = reward(accuracies, self.rewards, stopped=stopped)
        try:
            with transaction(read_only=True) as connection:
                return retention.is_among_best(connection, claim.search_id, earned, keep)
        except AWAY:  # the result itself is waited with; weights are a comfort
            return False

    def start_weights(self) -> dict[str, Any] | None:
        """The weights the run starts from, or None where it starts from none.

        Raises:
            CorruptCheckpointError: they cannot be read any more.
        """
        uri, sha256 = self.claim.start_uri, self.claim.start_sha256
        if sha256 is None:
            return None
        if uri is None:
            raise checkpoint.CorruptCheckpointError("the weights to start from were deleted")
        return checkpoint.read(uri, sha256)

    def states(self) -> Iterator[dict[str, Any] | None]:
        """What to start from: the run's checkpoints that can be read, newest first, then None."""
        with transaction(read_only=True) as connection:
            found = checkpoints.of_run(connection, self.claim.run_id)
        for candidate in found:
            try:
                yield checkpoint.read(candidate.uri, candidate.sha256)
            except checkpoint.CorruptCheckpointError as error:
                log.warning("checkpoint cannot be read", uri=candidate.uri, error=str(error))
        yield None

    @contextlib.contextmanager
    def going_on(self, state: dict[str, Any] | None) -> Iterator[None]:
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
            raise checkpoint.CorruptCheckpointError(
                f"no training goes on from it: {type(error).__name__}: {error}"
            ) from error

    def finish(
        self, result: attempts.Result, accuracies: list[float], stopped: bool, c: Connection
    ) -> None:
        """Write the run's end and its child's reward."""
        self._write_epochs(c)
        earned = None
        if self.claim.child_id is not None:
            earned = attempts.Earned(
                reward(accuracies, self.rewards, stopped=stopped),
                len(accuracies) if stopped else None,
            )
        if self._weights is not None:
            self._add_weights(c, ArtifactKind.WEIGHTS)
        attempts.finish(c, self.claim.run_id, self.claim.attempt, result, self.work, earned)

    def finish_pass(self, number: int, result: attempts.Result, c: Connection) -> None:
        """Write the end of a pass over shared weights: they are number ``number`` from now on."""
        self._write_epochs(c)
        self._add_weights(c, ArtifactKind.SHARED, number)
        attempts.finish(c, self.claim.run_id, self.claim.attempt, result, self.work)

    def _add_weights(
        self, connection: Connection, kind: ArtifactKind, number: int | None = None
    ) -> None:
        assert self._weights is not None
        uri, sha256, size = self._weights
        checkpoints.add(
            connection,
            self.claim.run_id,
            self.claim.attempt,
            uri=uri,
            sha256=sha256,
            size=size,
            number=number,
            lease=self.lease,
            kind=kind,
        )

    def failed(self, failure: Failure, error: Exception) -> Callable[[Connection], object]:
        """How to write that the attempt failed."""
        log.warning("attempt failed", failure=failure.value, error=str(error))
        return functools.partial(
            attempts.fail,
            run_id=self.claim.run_id,
            attempt=self.claim.attempt,
            failure=failure,
            message=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
            work=self.work,
        )

    def released(self, reason: str) -> Callable[[Connection], object]:
        """How to write that the run is given back."""
        log.info("run given back", reason=reason)
        return functools.partial(
            attempts.release,
            run_id=self.claim.run_id,
            attempt=self.claim.attempt,
            message=reason,
            work=self.work,
        )


def _may_be_the_state_s(error: Exception) -> bool:
    """Whether a state that a training begins from may be to blame for an error."""
    if isinstance(error, NasnetError):
        return isinstance(error, ChildError) and error.failure is Failure.DIVERGED
    return not (is_away(error) or devices.is_device_lost(error))
