"""Sample: a policy version proposes children, each with a run to be trained."""

import functools
import hashlib
from collections.abc import Callable

import numpy as np
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from db.lifecycle import budgets, children, queue, searches, shared_weights, versions
from db.reads.progress import Progress, progress
from db.schema.enums import Arm
from db.schema.session import transaction
from pipeline.config.controllers import RandomConfig
from pipeline.config.search import SearchConfig, load_config
from pipeline.controllers import Proposal, RandomSearch, make_controller, save_state
from pipeline.errors import NasnetError
from pipeline.spaces import SearchSpace, make_space
from tasks import policies
from tasks.app import app, ring, send_runs
from tasks.messages import Task

log = structlog.get_logger("tasks")


@app.task(name=Task.SAMPLE)
def sample(search_id: int) -> None:
    """Propose what the newest version owes; a second delivery finds it stored already."""
    try:
        while _propose(search_id):
            pass
    except NasnetError as error:  # its configuration or its policy cannot be used
        with transaction() as connection:
            searches.fail(connection, search_id, str(error))
    ring(search_id)


def _propose(search_id: int) -> bool:
    """Write the first version, some proposals of the newest, or what they wait for.

    Returns:
        Whether anything was written.
    """
    with transaction(read_only=True) as connection:
        now = progress(connection, search_id)
        if now is None or not now.sample_is_due:
            return False
        search = searches.by_id(connection, search_id)
        newest = versions.newest(connection, search_id)
        failing = searches.failing_reason(connection, search)
        stuck = searches.stuck_reason(connection, search)
        spent = budgets.spent(connection, search)
    if spent is not None:
        _move(now, searches.stop, spent)
        return False
    if failing is not None:
        _move(now, searches.pause_failing, failing)
        return False
    if stuck is not None:
        _move(now, searches.pause, stuck)
        return False
    config = load_config(search.config)
    space = make_space(config.space)
    if newest is None:
        return _write_first_version(now, config, space)
    if now.pass_is_due:
        return _ask_for_pass(now, config)
    proposals = {
        Arm.POLICY: _policy_proposals(now, config, newest) if now.policy_due else [],
        Arm.CONTROL: _control_proposals(now, config, space) if now.control_due else [],
        Arm.DERIVE: _derived(now, config, newest) if now.derive_due else [],
    }
    new = [_new_child(arm, p, config, space) for arm in proposals for p in proposals[arm]]
    return _store(now, config, new)


def _move(seen: Progress, move: Callable[[Connection, int, str], None], reason: str) -> None:
    """Pause or stop the search, unless something moved."""
    with transaction() as connection:
        if _is_as_seen(connection, seen):
            move(connection, seen.search_id, reason)
            log.warning("search moved", by=move.__name__, search=seen.search_id, reason=reason)


def _write_first_version(seen: Progress, config: SearchConfig, space: SearchSpace) -> bool:
    state = save_state(make_controller(config.controller, space, seed=config.seed))
    with transaction() as connection:
        if _is_as_seen(connection, seen):
            versions.append(
                connection,
                seen.search_id,
                0,
                consumed=(),
                total_learned=0,
                sha256=hashlib.sha256(state).hexdigest(),
                state=state,
                diagnostics={},
            )
    return True


def _ask_for_pass(seen: Progress, config: SearchConfig) -> bool:
    """Ask for the weights that the next children are scored with, unless something moved."""
    assert seen.version is not None
    try:
        with transaction() as connection:
            if not _is_as_seen(connection, seen):
                return True
            shared_weights.add_pass(
                connection, seen.search_id, seen.version, _template(config), seed=config.seed
            )
            queued = queue.queue_for_idle(connection)
    except IntegrityError:  # another sampler was quicker
        return True
    send_runs(queued)
    log.info("shared weights asked for", search=seen.search_id, version=seen.version)
    return True


def _policy_proposals(
    now: Progress, config: SearchConfig, newest: versions.NewestVersion
) -> list[Proposal]:
    controller = policies.take(config, now.search_id, newest)
    proposed = policies.proposed(now.search_id) if controller.reads_proposed else []
    proposals = controller.sample(now.stored, now.policy_due, proposed)
    policies.keep(config, newest.sha256, controller)
    return proposals


def _derived(
    now: Progress, config: SearchConfig, newest: versions.NewestVersion
) -> list[Proposal]:
    """What the policy draws at the end of a search with shared weights."""
    controller = policies.read(config, now.search_id, newest.version, arm=Arm.DERIVE)
    proposed = policies.proposed(now.search_id) if controller.reads_proposed else []
    return controller.sample(0, now.derive_due, proposed)


def _control_proposals(now: Progress, config: SearchConfig, space: SearchSpace) -> list[Proposal]:
    """What random search proposes beside this version; k goes on from version to version."""
    settings = RandomConfig(batch=config.controller.batch)
    controller = RandomSearch(space, settings, seed=config.seed, arm=Arm.CONTROL.value)
    controller.load_state_dict({"version": now.version})
    return controller.sample(now.control_stored, now.control_due, [])


def _store(seen: Progress, config: SearchConfig, new: list[children.NewChild]) -> bool:
    """Write the proposals, unless something moved: they are then drawn again, the same."""
    assert seen.version is not None
    try:
        with transaction() as connection:
            if not _is_as_seen(connection, seen):
                return True
            _propose_children(connection, seen, config, new)
            queued = queue.queue_for_idle(connection)
    except IntegrityError:  # another sampler was quicker
        return True
    send_runs(queued)
    log.info("children proposed", search=seen.search_id, version=seen.version, count=len(new))
    return True


def _propose_children(
    connection: Connection, seen: Progress, config: SearchConfig, new: list[children.NewChild]
) -> None:
    assert seen.version is not None
    where = connection, seen.search_id, seen.version, new, _template(config)
    if config.shared is None:
        children.propose(*where)
    else:
        shared_weights.propose(*where, chunk=config.shared.chunk, seed=config.seed)


def _is_as_seen(connection: Connection, seen: Progress) -> bool:
    """Whether the search still is where it was read, now that nobody else can move it."""
    searches.lock(connection, seen.search_id)
    now = progress(connection, seen.search_id)
    return now is not None and _place(now) == _place(seen)


def _place(now: Progress) -> tuple[object, ...]:
    """What other samplers and updates move."""
    return now.uid, now.state, now.version, now.stored, now.control_stored, now.sharing


def _new_child(
    arm: Arm, proposal: Proposal, config: SearchConfig, space: SearchSpace
) -> children.NewChild:
    # the canonical form is what is stored and built, so that a training depends on the graph
    # alone and not on which encoding of it came first
    genotype = space.decode(proposal.actions).canonical()
    digest = genotype.literal_digest
    seed = hashlib.sha256(f"{config.seed}:{digest}".encode()).digest()
    return children.NewChild(
        arm=arm,
        k=proposal.k,
        actions=proposal.actions,
        log_probs=np.asarray(proposal.log_probs, dtype="<f8").tobytes(),
        digest=digest,
        kind=genotype.kind,
        body=genotype.to_data(),
        operations=genotype.operations,
        seed=int.from_bytes(seed[:4], "little") >> 1,
    )


@functools.lru_cache(maxsize=8)
def _template(config: SearchConfig) -> children.RunTemplate:
    device = config.training.device
    assert device is not None  # filled in when the search was created
    return children.RunTemplate(
        config.run_config().model_dump(mode="json"), device, config.training.devices
    )
