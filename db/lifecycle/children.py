"""Children: proposals written down, duplicates recognised, rewards handed to all who wait.

Within a search a genotype is trained once. A child whose genotype the search knows
takes the known reward, or waits for the first one's; should that one end without a reward, the
next in line is trained itself.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, TypedDict

from sqlalchemy import BindParameter, Connection, bindparam, insert, select, update

from db.lifecycle.genotypes import GenotypeKey, NewGenotype, find_or_add
from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Arm, ChildState, Purpose, RewardKind, RunState
from db.schema.models import Child, Run
from db.schema.rows import JsonObject, RunRow, from_rows, read_one, read_one_or_none
from pipeline.errors import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChild(NewGenotype):
    """A proposal with its decoded genotype, in columns."""

    arm: Arm
    k: int
    actions: tuple[int, ...]
    log_probs: bytes
    seed: int  # of its training: from (search seed, digest), so it matters not which was first


@dataclass(frozen=True, slots=True)
class RunTemplate:
    """What the runs of a search's children have in common."""

    config: JsonObject
    device: str
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is known of a genotype once one child of it has ended."""

    reward: float
    reward_kind: RewardKind = RewardKind.TRAINED
    accuracy: float | None = None
    parameters: int | None = None
    macs: int | None = None
    failure: Failure | None = None
    stopped_epoch: int | None = None


class _KnownChild(NamedTuple):
    """The first child of a genotype in a search, and its evaluation once it has one."""

    genotype_id: int
    id: int
    state: ChildState
    reward: float | None
    reward_kind: RewardKind | None
    accuracy: float | None
    parameters: int | None
    macs: int | None
    failure: Failure | None
    stopped_epoch: int | None


# FOR SHARE: a finish that would settle a child must wait until those that wait for it are written
_known_children = (
    select(
        Child.genotype_id,
        Child.id,
        Child.state,
        Child.reward,
        Child.reward_kind,
        Child.accuracy,
        Child.parameters,
        Child.macs,
        Child.failure,
        Child.stopped_epoch,
    )
    .where(
        Child.search_id == bindparam("search_id"),
        Child.genotype_id.in_(bindparam("genotype_ids", expanding=True)),
        Child.duplicate_of.is_(None),
        is_state(Child.state, ChildState.OPEN, ChildState.REWARDED),
    )
    .order_by(Child.id)
    .with_for_update(read=True)
)


class ChildValues(TypedDict):
    """What a proposal's row is given, whatever becomes of it."""

    search_id: int
    version: int
    arm: Arm
    k: int
    actions: list[int]
    log_probs: bytes
    genotype_id: int
    ops_normal: int | None
    ops_reduction: int | None


# statements apart for trained, waiting and known ones: each is compiled once for its kind of row
NEW_CHILD: dict[str, BindParameter[object]] = {
    name: bindparam(name) for name in ChildValues.__annotations__
}
_add_first = (
    insert(Child)
    .values(**NEW_CHILD, state=ChildState.OPEN, created_at=clock())
    .returning(Child.id, Child.genotype_id, sort_by_parameter_order=True)
)
ADD_WAITING = insert(Child).values(
    **NEW_CHILD, state=ChildState.OPEN, created_at=clock(), duplicate_of=bindparam("duplicate_of")
)
_add_known = insert(Child).values(
    **NEW_CHILD,
    state=ChildState.REWARDED,
    created_at=clock(),
    ended_at=clock(),
    duplicate_of=bindparam("duplicate_of"),
    **{name: bindparam(name) for name in Evaluation.__dataclass_fields__},
)
# What a run is that nobody has taken yet.
NEW_RUN: dict[str, object] = dict(
    state=RunState.PENDING,
    state_since=clock(),
    priority=0,
    attempt=0,
    tries=0,
    created_at=clock(),
)
_add_run = insert(Run).values(
    purpose=Purpose.SEARCH,
    search_id=bindparam("search_id"),
    child_id=bindparam("child_id"),
    genotype_id=bindparam("genotype_id"),
    config=bindparam("config"),
    seed=bindparam("seed"),
    device=bindparam("device"),
    devices=bindparam("devices"),
    key=bindparam("key"),
    **NEW_RUN,
)


def propose(
    connection: Connection,
    search_id: int,
    version: int,
    proposals: Sequence[NewChild],
    template: RunTemplate,
) -> None:
    """Write a version's proposals, and a pending run for each genotype the search has not met.

    Both arms at once, so that genotypes are added in one order (`genotypes.find_or_add`).

    Raises:
        IntegrityError: one of them is there already; nothing is written then.
    """
    genotypes = find_or_add(connection, proposals)
    known: dict[int, _KnownChild] = {}
    ids = {"search_id": search_id, "genotype_ids": sorted(row.id for row in genotypes.values())}
    for child in from_rows(_KnownChild, connection.execute(_known_children, ids)):
        known.setdefault(child.genotype_id, child)
    rows = [child_row(search_id, version, p, genotypes[p.digest]) for p in proposals]
    first: dict[int, tuple[NewChild, ChildValues]] = {}
    for proposal, row in zip(proposals, rows, strict=True):
        if row["genotype_id"] not in known:
            first.setdefault(row["genotype_id"], (proposal, row))
    first_ids = _add_trained(connection, [*first.values()], template)
    duplicates = [row for row in rows if not _is_first(row, first)]
    _add_duplicates(connection, duplicates, known, first_ids)


def child_row(
    search_id: int, version: int, proposal: NewChild, genotype: GenotypeKey
) -> ChildValues:
    """The parameters of a proposal's row (``NEW_CHILD``)."""
    return {
        "search_id": search_id,
        "version": version,
        "arm": proposal.arm,
        "k": proposal.k,
        "actions": list(proposal.actions),
        "log_probs": proposal.log_probs,
        "genotype_id": genotype.id,
        "ops_normal": genotype.ops_normal,
        "ops_reduction": genotype.ops_reduction,
    }


def _is_first(row: ChildValues, first: dict[int, tuple[NewChild, ChildValues]]) -> bool:
    entry = first.get(row["genotype_id"])
    return entry is not None and entry[1] is row


def _add_trained(
    connection: Connection,
    children: Sequence[tuple[NewChild, ChildValues]],
    template: RunTemplate,
) -> dict[int, int]:
    """Add children that will be trained, with their runs; returns genotype -> child."""
    if not children:
        return {}
    added = connection.execute(_add_first, [row for _, row in children]).all()
    runs = [
        _run_row(row["search_id"], child_id, row["genotype_id"], proposal.seed, template)
        for (child_id, _), (proposal, row) in zip(added, children, strict=True)
    ]
    connection.execute(_add_run, runs)
    return {genotype_id: child_id for child_id, genotype_id in added}


def _run_row(
    search_id: int, child_id: int, genotype_id: int, seed: int, template: RunTemplate
) -> dict[str, object]:
    """The parameters of a child's run."""
    return {
        "search_id": search_id,
        "child_id": child_id,
        "genotype_id": genotype_id,
        "config": template.config,
        "seed": seed,
        "device": template.device,
        "devices": template.devices,
        "key": run_key(Purpose.SEARCH, child_id=child_id),
    }


_to_json = json.JSONEncoder(sort_keys=True).encode  # `dumps` makes one for each call


def run_key(purpose: Purpose, **asked: object) -> str:
    """The hash of a purpose and all that was asked: asking twice adds no run."""
    return hashlib.sha256(_to_json([purpose, asked]).encode()).hexdigest()


def _add_duplicates(
    connection: Connection,
    rows: Sequence[ChildValues],
    known: dict[int, _KnownChild],
    first_ids: dict[int, int],
) -> None:
    waiting, known_already = [], []
    for row in rows:
        original = known.get(row["genotype_id"])
        if original is not None and original.state is ChildState.REWARDED:
            evaluation = {
                name: getattr(original, name) for name in Evaluation.__dataclass_fields__
            }
            known_already.append({**row, **evaluation, "duplicate_of": original.id})
        else:
            of = first_ids[row["genotype_id"]] if original is None else original.id
            waiting.append({**row, "duplicate_of": of})
    if waiting:
        connection.execute(ADD_WAITING, waiting)
    if known_already:
        connection.execute(_add_known, known_already)


_evaluation = {
    "state": ChildState.REWARDED,
    "ended_at": clock(),
    **{name: bindparam(f"new_{name}") for name in Evaluation.__dataclass_fields__},
}
_settle_one = update(Child).where(
    Child.id == bindparam("child_id"), is_state(Child.state, ChildState.OPEN)
)
_settle_waiting = update(Child).where(
    Child.duplicate_of == bindparam("child_id"), is_state(Child.state, ChildState.OPEN)
)
_settle = (_settle_one.values(**_evaluation), _settle_waiting.values(**_evaluation))


def settle(connection: Connection, child_id: int, evaluation: Evaluation) -> None:
    """Reward a child, and every duplicate that waits for it."""
    settle_all(connection, {child_id: evaluation})


def settle_all(connection: Connection, evaluations: Mapping[int, Evaluation]) -> None:
    """Reward children, and every duplicate that waits for one of them.

    Two statements: the second sees duplicates written while the first waited for their lock.
    """
    parameters = [
        {"child_id": child_id} | {f"new_{k}": v for k, v in asdict(evaluation).items()}
        for child_id, evaluation in evaluations.items()
    ]
    for statement in _settle:
        connection.execute(statement, parameters)


class _Heir(NamedTuple):
    """The first duplicate that waits for a child."""

    id: int
    search_id: int
    genotype_id: int


def skip(connection: Connection, child_id: int, failure: Failure) -> None:
    """End a child without a reward; the first duplicate that waits for it is trained instead."""
    connection.execute(
        _settle_one.values(state=ChildState.SKIPPED, ended_at=clock(), failure=failure),
        {"child_id": child_id},
    )
    heir = read_one_or_none(
        connection,
        _Heir,
        select(Child.id, Child.search_id, Child.genotype_id)
        .where(Child.duplicate_of == child_id, is_state(Child.state, ChildState.OPEN))
        .order_by(Child.id)
        .limit(1)
        .with_for_update(),
    )
    if heir is None:
        return
    failed = read_one(connection, RunRow, select(Run).where(Run.child_id == child_id))
    template = RunTemplate(failed.config, failed.device, failed.devices)
    connection.execute(_settle_waiting.values(duplicate_of=heir.id), {"child_id": child_id})
    connection.execute(update(Child).where(Child.id == heir.id).values(duplicate_of=None))
    connection.execute(
        _add_run, _run_row(heir.search_id, heir.id, heir.genotype_id, failed.seed, template)
    )


def withdraw(connection: Connection, child_ids: Sequence[int]) -> None:
    """Skip children that will not be trained, and the duplicates that wait for them."""
    ids = list(child_ids)
    connection.execute(
        update(Child)
        .where(
            Child.id.in_(ids) | Child.duplicate_of.in_(ids), is_state(Child.state, ChildState.OPEN)
        )
        .values(state=ChildState.SKIPPED, ended_at=clock())
    )


_actions = select(Child.actions).where(Child.id == bindparam("child_id"))


def actions_of(connection: Connection, child_id: int) -> list[int]:
    """What was chosen for a child, decision by decision."""
    return list(connection.execute(_actions, {"child_id": child_id}).scalar_one())
