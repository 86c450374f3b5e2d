"""A whole search into the store, in bulk, in the caller's transaction; the way out: ``db.dump``.

Rows come as columns by name, with times as text in UTC and JSON as text, which both databases
take as they are. Ids are the store's own: each kind of row gets its next ones, in order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, text, tuple_
from sqlalchemy.exc import DataError, IntegrityError

from db.children import run_key
from db.clock import clock
from db.enums import Purpose, SearchState, SlotState
from db.models import Child, Genotype, Search, Slot
from db.slots import IMPORTED_HOME

Columns = dict[str, Any]
ChildKey = tuple[int, str, int]  # version, arm, k


class RefusedRowError(Exception):
    """A row that the database, or a law of the record, does not let in; says why."""


@dataclass(frozen=True, slots=True)
class RestoredRun:
    """A run with its attempts, and its learning curve."""

    columns: Columns
    attempts: list[tuple[Columns, tuple[str, str] | None]]  # with the host and name of a slot
    epochs: list[Columns]
    digest: str | None  # of its genotype


@dataclass(frozen=True, slots=True)
class RestoredChild:
    """A child, and what was known of it by a number of the other store."""

    columns: Columns
    digest: str
    duplicate_of: ChildKey | None
    score_run: int | None  # its place among the search's other runs
    run: RestoredRun | None

    @property
    def key(self) -> ChildKey:
        """What it is in its search."""
        return self.columns["version"], self.columns["arm"], self.columns["k"]


@dataclass(slots=True)
class Restoration:
    """A search that is being written."""

    connection: Connection
    search_id: int
    _slots: dict[tuple[str, str], int] = field(default_factory=dict)
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
            self._slots.clear()  # some may have gone with the savepoint

    def add_versions(self, rows: Sequence[Columns]) -> None:
        """Write policy versions, without their states."""
        _insert(
            self.connection,
            "policy_versions",
            ({"search_id": self.search_id, **row} for row in rows),
        )

    def add_other_runs(
        self, runs: Sequence[RestoredRun], genotypes: Mapping[str, Columns]
    ) -> None:
        """Write runs that are no child's. Each has a `key` that is no other run's."""
        ids = self._genotype_ids(genotypes)
        owners = [
            {"child_id": None, "genotype_id": None if run.digest is None else ids[run.digest]}
            for run in runs
        ]
        self._other_runs += self._add_runs(list(zip(runs, owners, strict=True)))

    def add_children(
        self, children: Sequence[RestoredChild], genotypes: Mapping[str, Columns]
    ) -> None:
        """Write children, and the runs that are theirs.

        Raises:
            RefusedRowError: the child that one repeats has not been written.
        """
        genotype_ids = self._genotype_ids(genotypes)
        child_ids = _take_ids(self.connection, "children", len(children))
        firsts = self._firsts(children, child_ids, genotype_ids)
        rows, runs = [], []
        for child_id, child in zip(child_ids, children, strict=True):
            genotype_id = genotype_ids[child.digest]
            rows.append(
                {
                    "id": child_id,
                    "search_id": self.search_id,
                    "genotype_id": genotype_id,
                    "duplicate_of": firsts.get(child.key),
                    "score_run_id": self._other_run(child.score_run),
                    **child.columns,
                }
            )
            if child.run is not None:
                key = run_key(Purpose.SEARCH, child_id=child_id)
                owner = {"child_id": child_id, "genotype_id": genotype_id, "key": key}
                runs.append((child.run, owner))
        _insert(self.connection, "children", rows)
        self._add_runs(runs)

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

    def _genotype_ids(self, genotypes: Mapping[str, Columns]) -> dict[str, int]:
        """Digest -> id, of genotypes that are in the store afterwards."""
        statement = select(Genotype.digest, Genotype.id).where(Genotype.digest.in_(genotypes))
        ids = {row.digest: row.id for row in self.connection.execute(statement)}
        new = sorted(genotypes.keys() - ids.keys())
        added = dict(zip(new, _take_ids(self.connection, "genotypes", len(new)), strict=True))
        _insert(
            self.connection,
            "genotypes",
            ({"id": added[digest], **genotypes[digest]} for digest in new),
        )
        return ids | added

    def _add_runs(self, runs: Sequence[tuple[RestoredRun, Columns]]) -> list[int]:
        ids = _take_ids(self.connection, "runs", len(runs))
        rows, attempts, epochs = [], [], []
        for run_id, (run, owner) in zip(ids, runs, strict=True):
            rows.append({"id": run_id, "search_id": self.search_id, **run.columns, **owner})
            for columns, slot in run.attempts:
                attempts.append({"run_id": run_id, "slot_id": self._slot(slot), **columns})
            epochs += [{"run_id": run_id, **columns} for columns in run.epochs]
        _insert(self.connection, "runs", rows)
        _insert(self.connection, "attempts", attempts)
        _insert(self.connection, "epochs", epochs)
        return ids

    def _slot(self, slot: tuple[str, str] | None) -> int | None:
        if slot is None:
            return None
        if slot not in self._slots:
            self._slots[slot] = _find_or_add_slot(self.connection, *slot)
        return self._slots[slot]


def begin(connection: Connection, columns: Mapping[str, Any]) -> Restoration:
    """Add the search's row, in the state `imported`; ``columns`` are its others."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
    statement = insert(Search).values(state=SearchState.IMPORTED, **columns).returning(Search.id)
    return Restoration(connection, connection.execute(statement).scalar_one())


def refresh_statistics(connection: Connection) -> None:
    """Tell PostgreSQL's planner what has come; SQLite plans without."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE children, runs, attempts, policy_versions, genotypes"))


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


def _insert(connection: Connection, table: str, rows: Iterable[Columns]) -> None:
    """Write rows that all have the same columns, past the ORM: COPY, or one prepared statement."""
    rows = list(rows)
    if not rows:
        return
    values = [tuple(row.values()) for row in rows]
    names = ", ".join(rows[0])
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(rows[0]))
        connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({places})", values)
        return
    with connection.connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for value in values:
            copy.write_row(value)
