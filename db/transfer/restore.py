"""A whole search into the store, in bulk, in the caller's transaction; the way out: ``dump``.

Rows come with times as text in UTC and JSON as text, which both databases take as they are. Ids
are the store's own: each kind of row gets its next ones, in order.
"""

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, Index, insert, select, text, tuple_
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from db.lifecycle.children import run_key
from db.lifecycle.operations import bits_for, mask
from db.lifecycle.slots import IMPORTED_HOME
from db.schema.base import Base
from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Purpose, SearchState, SlotState
from db.schema.models import Child, Search, Slot
from db.transfer.values import ChildKey, RestoredChild, RestoredRun, Row

MASKS = ("ops_normal", "ops_reduction")  # of a genotype, kept with its children, too
# From this many children on it pays to make a store's indexes anew.
MANY_CHILDREN = 5000


class RefusedRowError(Exception):
    """A row that the database refuses, or that cannot be beside the others; says why."""


class _Owner(NamedTuple):
    """What a run is of; its key."""

    child_id: int | None
    genotype_id: int | None
    key: str | None


@dataclass(slots=True)
class Restoration:
    """A search that is being written."""

    connection: Connection
    search_id: int
    columns: Mapping[str, Sequence[str]]  # of each table, those that its rows come with
    _set_aside: Sequence[Index]
    _slots: dict[tuple[str, str], int] = field(default_factory=dict)
    _masks: dict[frozenset[str], int] = field(default_factory=dict)
    _other_runs: list[int] = field(default_factory=list)

    @contextmanager
    def portion(self) -> Iterator[None]:
        """Rows that are written together: where one is refused, none of them is there.

        Raises:
            RefusedRowError: one was.
        """
        driver = self.connection.dialect.loaded_dbapi  # whose errors COPY raises as they are
        try:
            with self.connection.begin_nested():
                yield
        except (IntegrityError, DataError, driver.IntegrityError, driver.DataError) as error:
            reason = str(getattr(error, "orig", error)).strip().replace("\n", "; ")
            raise RefusedRowError(f"the database refuses it: {reason}") from None
        finally:
            # some may have gone with the savepoint
            self._slots.clear()
            self._masks.clear()

    def add_versions(self, rows: Sequence[Row]) -> None:
        """Write policy versions, without their states."""
        self._insert("policy_versions", ("search_id",), [(self.search_id, *row) for row in rows])

    def add_other_runs(self, runs: Sequence[RestoredRun], genotypes: Mapping[str, Row]) -> None:
        """Write runs that are no child's. Each has a `key` that is no other run's."""
        ids = self._genotypes(self._with_masks(genotypes))
        owners = [
            _Owner(None, None if run.digest is None else ids[run.digest], run.key) for run in runs
        ]
        self._other_runs += self._add_runs(list(zip(runs, owners, strict=True)))

    def add_children(
        self, children: Sequence[RestoredChild], genotypes: Mapping[str, Row]
    ) -> None:
        """Write children, and the runs that are theirs.

        Raises:
            RefusedRowError: the child that one repeats has not been written.
        """
        genotypes = self._with_masks(genotypes)
        genotype_ids = self._genotypes(genotypes)
        masks = operator.itemgetter(*map(self.columns["genotypes"].index, MASKS))
        child_ids = _take_ids(self.connection, "children", len(children))
        firsts = self._firsts(children, child_ids, genotype_ids)
        rows, runs = [], []
        for child_id, child in zip(child_ids, children, strict=True):
            genotype_id = genotype_ids[child.digest]
            first, score_run = firsts.get(child.key), self._other_run(child.score_run)
            its_masks = masks(genotypes[child.digest])
            rows.append(
                (child_id, self.search_id, genotype_id, first, score_run, *its_masks, *child.row)
            )
            if child.run is not None:
                key = run_key(Purpose.SEARCH, child_id=child_id)
                runs.append((child.run, _Owner(child_id, genotype_id, key)))
        own = ("id", "search_id", "genotype_id", "duplicate_of", "score_run_id", *MASKS)
        self._insert("children", own, rows)
        self._add_runs(runs)

    def finish(self) -> None:
        """Have all indexes again; tell PostgreSQL's planner what has come (SQLite's has none)."""
        for index in self._set_aside:
            index.create(self.connection)
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(
                text("ANALYZE children, runs, attempts, policy_versions, genotypes")
            )

    def _other_run(self, place: int | None) -> int | None:
        return None if place is None else self._other_runs[place]

    def _firsts(
        self,
        children: Sequence[RestoredChild],
        ids: Sequence[int],
        genotype_ids: Mapping[str, int],
    ) -> dict[ChildKey, int]:
        """Which children those repeat that repeat one, by their keys."""
        here = {
            child.key: (child_id, genotype_ids[child.digest])
            for child_id, child in zip(ids, children, strict=True)
        }
        repeats = {child.key: child.duplicate_of for child in children if child.duplicate_of}
        wanted = set(repeats.values()) - here.keys()
        known = here | self._written(sorted(wanted)) if wanted else here
        firsts = {}
        for key, first in repeats.items():
            child_id, genotype_id = here[key]
            first_id, first_genotype = known.get(first, (child_id, genotype_id))
            if first_genotype != genotype_id or first_id >= child_id:
                raise RefusedRowError("duplicate_of names no earlier child of this genotype")
            firsts[key] = first_id
        return firsts

    def _written(self, keys: Sequence[ChildKey]) -> dict[ChildKey, tuple[int, int]]:
        """The id and the genotype of children that are there."""
        statement = select(Child.version, Child.arm, Child.k, Child.id, Child.genotype_id).where(
            Child.search_id == self.search_id, tuple_(Child.version, Child.arm, Child.k).in_(keys)
        )
        return {
            (row.version, row.arm.value, row.k): (row.id, row.genotype_id)
            for row in self.connection.execute(statement)
        }

    def _with_masks(self, genotypes: Mapping[str, Row]) -> dict[str, Row]:
        """The rows with bitmasks in the places where they come with operations by name."""
        first, last = map(self.columns["genotypes"].index, MASKS)
        return {
            digest: (*row[:first], *map(self._mask, row[first : last + 1]), *row[last + 1 :])
            for digest, row in genotypes.items()
        }

    def _mask(self, operations: object) -> int | None:
        """The bitmask of a set of names; None of a kind without cells."""
        if not isinstance(operations, frozenset):
            return None
        found = self._masks.get(operations)
        if found is None:
            bits = bits_for(self.connection, operations)
            found = self._masks[operations] = mask(bits, operations)
        return found

    def _genotypes(self, genotypes: Mapping[str, Row]) -> dict[str, int]:
        """Digest -> id, of genotypes that are in the store afterwards."""
        ids = _known_genotypes(self.connection, list(genotypes))
        new = sorted(genotypes.keys() - ids.keys())
        added = dict(zip(new, _take_ids(self.connection, "genotypes", len(new)), strict=True))
        rows = [(added[digest], *genotypes[digest]) for digest in new]
        self._insert("genotypes", ("id",), rows)
        return ids | added

    def _add_runs(self, runs: Sequence[tuple[RestoredRun, _Owner]]) -> list[int]:
        ids = _take_ids(self.connection, "runs", len(runs))
        rows, attempts, epochs, metrics = [], [], [], []
        for run_id, (run, owner) in zip(ids, runs, strict=True):
            rows.append((run_id, self.search_id, *owner, run.config, *run.row))
            for row, slot in run.attempts:
                attempts.append((run_id, self._slot(slot), *row))
            epochs += [(run_id, *row) for row in run.epochs]
            metrics += [(run_id, *row) for row in run.metrics]
        self._insert("runs", ("id", "search_id", *_Owner._fields, "config"), rows)
        self._insert("attempts", ("run_id", "slot_id"), attempts)
        self._insert("epochs", ("run_id",), epochs)
        self._insert("metrics", ("run_id",), metrics)
        return ids

    def _insert(self, table: str, own: Sequence[str], rows: Sequence[Row]) -> None:
        """Write rows past the ORM, by COPY or one prepared statement; `own` columns first."""
        if not rows:
            return
        columns = (*own, *self.columns[table])
        names = ", ".join(columns)
        if self.connection.dialect.name == "sqlite":
            places = ", ".join("?" * len(columns))
            statement = f"INSERT INTO {table} ({names}) VALUES ({places})"
            self.connection.exec_driver_sql(statement, rows)
            return
        with self.connection.connection.cursor().copy(
            f"COPY {table} ({names}) FROM STDIN"
        ) as copy:
            for row in rows:
                copy.write_row(row)

    def _slot(self, slot: tuple[str, str] | None) -> int | None:
        if slot is None:
            return None
        if slot not in self._slots:
            self._slots[slot] = _find_or_add_slot(self.connection, *slot)
        return self._slots[slot]


def wait_for_others(connection: Connection, uid: str) -> None:
    """Let whoever restores the same search end first; SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:uid, 0))"), {"uid": uid}
        )


def begin(
    connection: Connection,
    row: Mapping[str, object],
    columns: Mapping[str, Sequence[str]],
    children: int,
) -> Restoration:
    """Add the search's row, in the state `imported`; what is added to it has these columns.

    Where more children come than are there, the indexes that only answer questions are made anew
    by ``finish``, which costs less than to add to them row by row.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
    statement = insert(Search).values(state=SearchState.IMPORTED, **row).returning(Search.id)
    search_id = connection.execute(statement).scalar_one()
    return Restoration(connection, search_id, columns, _set_aside(connection, children))


def _set_aside(connection: Connection, children: int) -> list[Index]:
    """Drop, until the end of the transaction, indexes that are best made anew.

    While others work none is: PostgreSQL keeps all from a table that loses one. What is unique
    stays, since it refuses rows that cannot be.
    """
    names = ("children", "runs", "attempts")
    if children < MANY_CHILDREN or _has_children(connection, children):
        return []
    active = [state for state in SearchState if state.is_active]
    if connection.scalar(select(Search.id).where(is_state(Search.state, *active)).limit(1)):
        return []
    if connection.dialect.name == "postgresql" and not _have_alone(connection, names):
        return []
    tables = [Base.metadata.tables[name] for name in names]
    indexes = [index for table in tables for index in table.indexes if not index.unique]
    for index in indexes:
        index.drop(connection)
    return indexes


def _have_alone(connection: Connection, tables: Sequence[str]) -> bool:
    """Lock tables, at once or not at all: to wait with one in hand may be to wait for ever."""
    try:
        with connection.begin_nested():
            connection.execute(
                text(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE NOWAIT")
            )
    except OperationalError:
        return False
    return True


def _has_children(connection: Connection, count: int) -> bool:
    """Whether the store has that many children."""
    return connection.scalar(select(Child.id).offset(count - 1).limit(1)) is not None


def _find_or_add_slot(connection: Connection, host: str, name: str) -> int:
    found = connection.scalar(
        select(Slot.id).where(Slot.host == host, Slot.home == IMPORTED_HOME, Slot.name == name)
    )
    if found is not None:
        return int(found)
    return connection.execute(
        insert(Slot)
        .values(
            host=host,
            home=IMPORTED_HOME,
            name=name,
            pid=0,
            devices=0,
            state=SlotState.DOWN,
            reason="of an imported search",
            lease=0.0,
            started_at=clock(),
            heartbeat_at=clock(),
        )
        .returning(Slot.id)
    ).scalar_one()


def _known_genotypes(connection: Connection, digests: list[str]) -> dict[str, int]:
    """Digest -> id of those that the store has: they are one parameter, a thousand take long."""
    among: str = "= ANY(:digests)"
    asked: str | list[str] = digests
    if connection.dialect.name == "sqlite":
        among, asked = "IN (SELECT value FROM json_each(:digests))", json.dumps(digests)
    statement = text(f"SELECT digest, id FROM genotypes WHERE digest {among}")
    return {row.digest: row.id for row in connection.execute(statement, {"digests": asked})}


def _take_ids(connection: Connection, table: str, count: int) -> list[int]:
    """The next ids of a table, ascending.

    On SQLite the transaction is the only one that writes; PostgreSQL's sequence gives none twice.
    """
    if count == 0:
        return []
    if connection.dialect.name == "sqlite":
        last = connection.exec_driver_sql(f"SELECT coalesce(max(id), 0) FROM {table}").scalar_one()
        return list(range(last + 1, last + 1 + count))
    statement = text(
        f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, :count)"
    )
    return sorted(connection.execute(statement, {"count": count}).scalars())
