"""A file of JSON lines into a store: all of it in one transaction, or nothing.

It is read twice. What each line says is checked first, while nothing is locked: a genotype may
take seconds, and a file come from far. Then the rows are written.
"""

import contextlib
import datetime as dt
import functools
import hashlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from db.lifecycle import searches
from db.reads import digests, soundness
from db.schema.models import Child, PolicyVersion, Run, Search
from db.transfer import restore
from pipeline.config.run import load_run_config
from pipeline.config.search import load_config
from pipeline.errors import UserError
from pipeline.io.reading import blaming, check_file
from pipeline.search_files.checking import (
    Portion,
    begin_checking,
    check_children,
    check_other_runs,
    check_versions,
    columns,
    no_cycles,
    read_record,
)
from pipeline.search_files.limits import check_header
from pipeline.search_files.records import FORMAT, Header

# A portion ends with this many lines, or this many bytes.
PORTION = 1000
PORTION_BYTES = 2**22
# Bytes of a line. A child that was trained for 10,000 epochs has 2,700,000, and 14,000
# configurations are as long as this; a line of nothing but brackets takes 25 times its length.
LONGEST_LINE = 2**24

# Portions that are checked ahead of the one that is written. Files of at least WORTH_PROCESSES
# lines are checked in other processes: to start one takes as long as to check some thousand lines.
AHEAD = 3
WORTH_PROCESSES = 5000
MOST_CHECKERS = 3  # one a core: this process often waits for the database

Check = Callable[..., Portion]  # of lines and the number of the first; were_checked
T = TypeVar("T")
Add = Callable[[restore.Restoration, Portion], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file's search."""

    name: str
    children: int
    added: bool  # or the store had it already


class _FirstLine(msgspec.Struct):
    """What line 1 is read for first; the rest of it becomes no objects."""

    record: Any = None
    format: Any = None


def read_header(path: Path) -> Header:
    """What a file is of, by its first line.

    Raises:
        UserError: it cannot be read, is none of ours, or a newer release's.
    """
    with blaming(path):
        check_file(path)  # it is read twice
        with path.open("rb") as file:
            line = file.readline(LONGEST_LINE)
    try:
        first = msgspec.json.decode(line, type=_FirstLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        first = _FirstLine()
    if first.record != "search":
        raise UserError(f"{path}, line 1: not a search of `nasnet search export --format jsonl`")
    if isinstance(first.format, int) and first.format > FORMAT:
        raise UserError(
            f"{path}, line 1: format {first.format}, this release knows {FORMAT}: "
            "upgrade the package"
        )
    try:
        header = read_record(Header, line, 1)
    except UserError as error:
        raise UserError(f"{path}, {error}") from None
    try:
        with blaming("configuration", "cannot be"):
            header = _with_configs(header)
        check_header(header)
        return header
    except UserError as error:
        raise UserError(f"{path}, line 1: {error}") from None


def _with_configs(header: Header) -> Header:
    """The header with all defaults filled in, as this release stores configurations."""
    config = load_config(header.search.config).model_dump(mode="json")
    configs = [load_run_config(config).model_dump(mode="json") for config in header.configs]
    search = replace(header.search, config=config)
    return replace(header, configs=configs, search=search)


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file of which each line was looked at by itself."""

    path: Path
    header: Header
    sums: Sequence[bytes]  # of its portions, in order: what is written is what was checked
    pool: Executor | None  # that makes rows of lines, if there is one


@contextlib.contextmanager
def checked_file(path: Path, header: Header) -> Iterator[CheckedFile]:
    """A file that may be written, as far as its lines by themselves say.

    Raises:
        UserError: a line is refused.
    """
    with _checkers(header) as pool, no_cycles():
        try:
            with path.open("rb", buffering=2**20) as file:
                sums = _sums(file, header, pool)
        except UserError as error:
            raise UserError(f"{path}, {error}") from None
        yield CheckedFile(path, header, sums, pool)


def find_imported(
    connection: Connection, path: Path, header: Header, name: str
) -> Imported | None:
    """What the store has of a file's search already.

    Raises:
        UserError: the name is another search's, or the store has the search as it was at another
            moment.
    """
    known = connection.execute(select(Search).where(Search.uid == header.search.uid)).one_or_none()
    if known is not None:
        if digests.search_digest(connection, known.id) != header.digest:
            raise UserError(
                f"{path}: search {known.name!r} of this store is the same one at another moment; "
                "a store holds a search once"
            )
        return Imported(known.name, header.children, added=False)
    if searches.find(connection, name) is not None:
        raise UserError(f"search {name!r} is there already: choose another --name")
    return None


def import_search(connection: Connection, checked: CheckedFile, name: str) -> Imported:
    """Write a file's search under a name; nothing where the store has it already.

    Raises:
        UserError: as ``find_imported``; or the database refuses a line. The caller rolls back.
    """
    path, header = checked.path, checked.header
    restore.wait_for_others(connection, header.search.uid)
    known = find_imported(connection, path, header, name)
    if known is not None:
        return known
    try:
        with path.open("rb", buffering=2**20) as file:
            _write(connection, file, checked, name)
    except UserError as error:
        raise UserError(f"{path}, {error}") from None
    return Imported(name, header.children, added=True)


@contextlib.contextmanager
def _checkers(header: Header) -> Iterator[Executor | None]:
    """Processes that check lines while this one writes; None where none is worth its start."""
    if header.lines < WORTH_PROCESSES:
        yield None
        return
    # not forked: this process may have a database connection
    context = multiprocessing.get_context("spawn")
    processes = min(os.cpu_count() or 1, MOST_CHECKERS)
    pool = ProcessPoolExecutor(processes, context, initializer=begin_checking)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _sections(header: Header) -> tuple[tuple[int, Check, Add], ...]:
    """What follows line 1: how many lines of each kind."""
    return (
        (header.versions, functools.partial(check_versions, header), _add_versions),
        (header.runs, functools.partial(check_other_runs, header), _add_other_runs),
        (header.children, functools.partial(check_children, header), _add_children),
    )


def _sums(file: BinaryIO, header: Header, pool: Executor | None) -> list[bytes]:
    """Check all lines; the sums of their portions."""
    file.readline()
    sums = []
    done = 1
    for count, check, _ in _sections(header):
        sum_up = functools.partial(_sum, check)
        sums += [each() for _, _, each in _ahead(pool, sum_up, _portions(file, done + 1, count))]
        done += count
    if file.read(1):
        raise UserError(f"line {done + 1}: line 1 announces no more than {header.lines} lines")
    return sums


def _sum(check: Check, lines: Sequence[bytes], first: int) -> bytes:
    check(lines, first)
    return hashlib.sha256(b"".join(lines)).digest()


def _unchanged(
    portions: Iterator[tuple[int, list[bytes]]], sums: Iterator[bytes]
) -> Iterator[tuple[int, list[bytes]]]:
    """The same portions, as long as they are those that were checked."""
    for first, lines in portions:
        if hashlib.sha256(b"".join(lines)).digest() != next(sums, None):
            raise UserError(f"line {first}: the file changed while it was read: import it again")
        yield first, lines


def _write(connection: Connection, file: BinaryIO, whole: CheckedFile, name: str) -> None:
    header = whole.header
    file.readline()
    written = _begin(connection, header, name)
    sums = iter(whole.sums)
    done = 1
    for count, check, add in _sections(header):
        portions = _unchanged(_portions(file, done + 1, count), sums)
        rows_of = functools.partial(check, were_checked=True)
        for first, lines, rows in _ahead(whole.pool, rows_of, portions):
            _put(written, lines, first, check, add, rows)
        done += count
    written.finish()
    _check_whole(connection, written.search_id, header)


def _begin(connection: Connection, header: Header, name: str) -> restore.Restoration:
    search = header.search
    reason = search.reason
    if search.state != "imported":
        reason = f"was {search.state} when it was exported" + (f": {reason}" if reason else "")
    row = {
        "uid": search.uid,
        "name": name,
        "config": search.config,
        "reason": reason,
        "created_at": _aware(search.created_at),
        "resumed_at": _aware(search.resumed_at),
        "ended_at": None if search.ended_at is None else _aware(search.ended_at),
        "note": search.note,
    }
    try:
        written = restore.begin(connection, row, columns(), header.children)
    except IntegrityError:  # PostgreSQL waited for another transaction with this name
        raise UserError(
            f"line 1: search {name!r} is there by now: choose another --name"
        ) from None
    searches.add_tags(connection, written.search_id, search.tags)
    return written


def _portions(file: BinaryIO, first: int, count: int) -> Iterator[tuple[int, list[bytes]]]:
    """The next lines, as many at a time as memory may hold, with the number of the first."""
    while count:
        lines: list[bytes] = []
        size = 0
        while len(lines) < min(count, PORTION) and size < PORTION_BYTES:
            line = file.readline(LONGEST_LINE)
            if not line:
                raise UserError(
                    f"line {first + len(lines)}: the file ends before it; "
                    "line 1 announces more lines"
                )
            if len(line) == LONGEST_LINE:
                raise UserError(
                    f"line {first + len(lines)}: is longer than {LONGEST_LINE:,} bytes"
                )
            lines.append(line)
            size += len(line)
        yield first, lines
        first += len(lines)
        count -= len(lines)


def _ahead(
    pool: Executor | None,
    work: Callable[[list[bytes], int], T],
    portions: Iterator[tuple[int, list[bytes]]],
) -> Iterator[tuple[int, list[bytes], Callable[[], T]]]:
    """Portions in order, each with a function that waits for its result; some are ahead."""
    ahead: deque[tuple[int, list[bytes], Callable[[], T]]] = deque()
    problem = None
    try:
        for first, lines in portions:
            job = functools.partial(work, lines, first)
            ahead.append((first, lines, job if pool is None else pool.submit(job).result))
            if len(ahead) > AHEAD:
                yield ahead.popleft()
    except UserError as error:  # what is wrong with the lines before it is told first
        problem = error
    yield from ahead
    if problem is not None:
        raise problem


def _put(
    written: restore.Restoration,
    lines: Sequence[bytes],
    first: int,
    check: Check,
    add: Add,
    rows: Callable[[], Portion],
) -> None:
    """Write some lines. Where one is refused, look for it by halves: the error names it."""
    portion = rows()
    try:
        with written.portion():
            add(written, portion)
    except restore.RefusedRowError as error:
        if len(lines) == 1:
            raise UserError(f"line {first}: {error}") from None
        half = len(lines) // 2
        for start, part in ((first, lines[:half]), (first + half, lines[half:])):
            _put(written, part, start, check, add, functools.partial(check, part, start))


def _add_versions(written: restore.Restoration, portion: Portion) -> None:
    written.add_versions(portion.versions)


def _add_other_runs(written: restore.Restoration, portion: Portion) -> None:
    written.add_other_runs(portion.other_runs, portion.genotypes)


def _add_children(written: restore.Restoration, portion: Portion) -> None:
    written.add_children(portion.children, portion.genotypes)


def _check_whole(connection: Connection, search_id: int, header: Header) -> None:
    """Check what rows say of one another, and that they are those that were exported."""
    found = soundness.first_impossible(connection, search_id)
    if found is not None:
        sentence, row_id = found
        line = _line_of(connection, search_id, header, sentence.split()[0], row_id)
        raise UserError(f"line {line}: {sentence.format('of this line')}")
    if digests.search_digest(connection, search_id) != header.digest:
        raise UserError("line 1: digest: it is not that of the children and versions that follow")


def _line_of(
    connection: Connection, search_id: int, header: Header, what: str, row_id: int
) -> int:
    """The line that a row came from: ids were given in the order of lines."""
    if what == "search":
        return 1
    before_runs, before_children = 2 + header.versions, 2 + header.versions + header.runs
    if what == "policy":
        return 2 + _count(connection, PolicyVersion, search_id, row_id)
    if what == "run":
        child_id = connection.scalar(select(Run.child_id).where(Run.id == row_id))
        if child_id is None:
            others = Run.child_id.is_(None)
            return before_runs + _count(connection, Run, search_id, row_id, others)
        row_id = child_id
    return before_children + _count(connection, Child, search_id, row_id)


def _count(
    connection: Connection, table: Any, search_id: int, before: int, *conditions: Any
) -> int:
    statement = select(func.count()).where(
        table.search_id == search_id, table.id < before, *conditions
    )
    return connection.execute(statement).scalar_one()


def _aware(time: dt.datetime) -> dt.datetime:
    return time.replace(tzinfo=dt.UTC)
