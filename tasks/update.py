"""Update: the controller learns from a batch of rewards and becomes the next policy version."""

import dataclasses
import hashlib
from typing import Any

import numpy as np
import structlog
from sqlalchemy.exc import IntegrityError

from db.lifecycle import notices, searches, versions
from db.reads import outcomes
from db.reads.progress import Progress, progress
from db.schema.session import transaction
from pipeline.config.search import SearchConfig, load_config
from pipeline.controllers import Diagnostics, Outcome, save_state
from pipeline.errors import NasnetError
from tasks import policies, runs
from tasks.app import app, ring
from tasks.messages import Task

log = structlog.get_logger("tasks")


@app.task(name=Task.UPDATE)
def update(search_id: int) -> None:
    """Write the next version once, if a batch is due; its unique number turns a second away."""
    with transaction(read_only=True) as connection:
        now = progress(connection, search_id)
        if now is None or not (now.update_is_due or now.is_over):
            return
        search = searches.by_id(connection, search_id)
        newest = versions.newest(connection, search_id)
        if newest is None or newest.version != now.version:
            return  # another update came between, and rings for what is due by now
        limit = None if now.synchronous else now.batch
        batch = outcomes.unlearned(connection, search_id, limit)
    if now.is_over:
        _finish(search_id)
        return
    try:
        _learn(now, load_config(search.config), newest, batch)
    except NasnetError as error:
        with transaction() as connection:
            searches.fail(connection, search_id, str(error))
    ring(search_id)


def _learn(
    now: Progress,
    config: SearchConfig,
    newest: versions.NewestVersion,
    batch: list[outcomes.Lesson],
) -> None:
    controller = policies.take(config, now.search_id, newest)
    diagnostics = controller.update([_outcome(row) for row in batch])
    state = save_state(controller)
    sha256 = hashlib.sha256(state).hexdigest()
    try:
        with transaction() as connection:
            search = searches.lock(connection, now.search_id)
            if search is None or search.uid != now.uid:
                return  # it was deleted meanwhile
            versions.append(
                connection,
                now.search_id,
                newest.version + 1,
                consumed=[row.id for row in batch],
                total_learned=newest.total_learned + len(batch),
                sha256=sha256,
                state=state,
                diagnostics=_columns(diagnostics, batch, newest.version),
            )
            notices.add_best(connection, now.search_id)
    except IntegrityError:  # another update was quicker; it consumed the same rewards
        return
    policies.keep(config, sha256, controller)
    log.info(
        "policy updated", search=now.search_id, version=newest.version + 1, learned=len(batch)
    )


def _outcome(row: outcomes.Lesson) -> Outcome:
    return Outcome(
        actions=tuple(row.actions),
        log_probs=tuple(np.frombuffer(row.log_probs, dtype="<f8").tolist()),
        reward=row.reward,
    )


def _columns(
    diagnostics: Diagnostics, batch: list[outcomes.Lesson], version: int
) -> dict[str, Any]:
    """What the update tells, and what its batch was like."""
    columns = dataclasses.asdict(diagnostics)
    if batch:
        columns["mean_reward"] = sum(row.reward for row in batch) / len(batch)
        columns["staleness"] = sum(version - row.version for row in batch) / len(batch)
    columns["duplicates"] = sum(row.duplicate_of is not None for row in batch)
    return columns


def _finish(search_id: int) -> None:
    with transaction() as connection:
        searches.lock(connection, search_id)
        now = progress(connection, search_id)
        if now is None or not now.is_over:
            return
        searches.finish(connection, search_id)
        search = searches.by_id(connection, search_id)
        if search.reason != searches.STOPPED_BY_HAND:
            runs.ask_then(connection, search_id, load_config(search.config))
    log.info("search finished", search=search_id, children=now.completed)
    runs.start()
