"""From lines of a file to rows that may be written: what each line says is checked by itself.

What one line says of another is the database's to check, and ``db.reads.soundness``'.
"""

import contextlib
import functools
import gc
import hashlib
import operator
import re
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from db.schema.enums import Outcome, RunState
from db.transfer.values import RestoredChild, RestoredRun, Row
from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.io.child_processes import end_with_parent
from pipeline.io.json_text import read_json
from pipeline.search_files.limits import Limits
from pipeline.search_files.records import (
    AttemptRecord,
    ChildRecord,
    EpochRecord,
    Header,
    OtherRun,
    Record,
    RunRecord,
    Version,
    time_text,
)
from pipeline.spaces.base import Genotype
from pipeline.spaces.registry import genotype_from_data, searched_from_data

UNFINISHED = {RunState.PENDING, RunState.QUEUED, RunState.RUNNING}
NOT_ENDED = "had not ended when the search was exported"
# An escaped NUL, which no text of PostgreSQL's can hold.
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
# What makes `":` more or less than a key's end: blanks before the colon, a quote in hexadecimal.
ODD_KEYS = re.compile(rb'"[ \t\r]+:|\\u0022')
# The words of msgspec's refusals: " - at `$.run.macs`"; an "unknown field `mood`".
AT = re.compile(r"(?P<said>.*) - at (?:`key` in )?`\$\.(?P<key>.+)`", re.DOTALL)
FIELD = re.compile(r"Object (?P<said>.*field) `(?P<key>[^`]*)`")
SHOWN = 200  # letters of a refusal

# What a line says that is no column of its own row.
ELSEWHERE = {
    *("digest", "genotype", "duplicate_of", "score_run", "run", "slot", "attempts", "epochs"),
    *("config", "key", "metrics"),
}
ROWS = {
    "policy_versions": Version,
    "children": ChildRecord,
    "runs": RunRecord,
    "attempts": AttemptRecord,
    "epochs": EpochRecord,
}

R = TypeVar("R", bound=Record)


@dataclass(slots=True)
class Portion:
    """Rows of some lines, in order; and their genotypes by digest."""

    were_checked: bool = False  # these very lines: that genotypes are canonical takes longest

    versions: list[Row] = field(default_factory=list)
    other_runs: list[RestoredRun] = field(default_factory=list)
    children: list[RestoredChild] = field(default_factory=list)
    genotypes: dict[str, Row] = field(default_factory=dict)


def begin_checking() -> None:
    """Be a process that checks for another, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that writes
    end_with_parent()
    gc.disable()


@contextlib.contextmanager
def no_cycles() -> Iterator[None]:
    """Look for no cycles of objects: rows form none, and a seventh of the time goes into it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def columns() -> dict[str, tuple[str, ...]]:
    """The columns of each table's rows, in their order."""
    return {table: _layout(model).names for table, model in ROWS.items()} | {
        "genotypes": ("digest", "kind", "body", "ops_normal", "ops_reduction", "created_at"),
        "metrics": ("name", "value"),
    }


def check_versions(
    header: Header, lines: Sequence[bytes], first: int, were_checked: bool = False
) -> Portion:
    """Rows of lines that are policy versions; this function and the others below:

    Args:
        were_checked: these very lines were, before; rows are made of them now.

    Raises:
        UserError: beginning with the line, `first` and on.
    """
    portion = Portion(were_checked)
    limits = Limits(header)
    for number, record in _records(Version, lines, first):
        if record.version != number - 2:
            raise UserError(f"line {number}: version: expected {number - 2}, got {record.version}")
        with _line(number):
            limits.check_version(record)
        portion.versions.append(_row(Version, record))
    return portion


def check_other_runs(
    header: Header, lines: Sequence[bytes], first: int, were_checked: bool = False
) -> Portion:
    """Rows of lines that are runs of no child, such as retrainings."""
    portion = Portion(were_checked)
    limits = Limits(header)
    for number, record in _records(OtherRun, lines, first):
        _check_config(number, record, header)
        with _line(number):
            limits.check_run(record)
        if record.genotype is not None or record.digest is not None:
            _add_genotype(portion, number, record, genotype_from_data)
        # as if it were asked for with its own files, which did not come: asking for it here
        # trains it here
        key = _sha256(f"{header.search.uid}:{record.key}")
        portion.other_runs.append(_run(record, header, record.digest, key))
    return portion


def check_children(
    header: Header, lines: Sequence[bytes], first: int, were_checked: bool = False
) -> Portion:
    """Rows of lines that are children, with the rows of their runs."""
    portion = Portion(were_checked)
    limits = Limits(header)
    for number, record in _records(ChildRecord, lines, first):
        _add_genotype(portion, number, record, searched_from_data)
        portion.children.append(_child(number, record, header, limits))
        kind = portion.genotypes[record.digest][1]
        if kind != limits.kind:
            raise UserError(f"line {number}: genotype: expected {limits.kind}, got {kind}")
    return portion


def _child(number: int, record: ChildRecord, header: Header, limits: Limits) -> RestoredChild:
    decisions = len(record.actions)
    if len(record.log_probs) != decisions:
        raise UserError(
            f"line {number}: log_probs: {len(record.log_probs)} for {decisions} actions"
        )
    if record.score_run is not None and record.score_run >= header.runs:
        raise UserError(f"line {number}: score_run: line 1 says that there are {header.runs} runs")
    if record.run is not None:
        _check_config(number, record.run, header)
    with _line(number):
        limits.check_child(record)
    first = record.duplicate_of
    return RestoredChild(
        row=_row(ChildRecord, record),
        key=(record.version, str(record.arm), record.k),
        digest=record.digest,
        duplicate_of=None if first is None else (first.version, str(first.arm), first.k),
        score_run=record.score_run,
        run=None if record.run is None else _run(record.run, header),
    )


def _check_config(number: int, record: RunRecord, header: Header) -> None:
    if record.config >= len(header.configs):
        raise UserError(f"line {number}: config: line 1 has {len(header.configs)} configs")


def _run(
    record: RunRecord,
    header: Header,
    digest: str | None = None,
    key: str | None = None,
) -> RestoredRun:
    """A run's rows; one that had not ended is cancelled: what is imported is not worked on."""
    if record.state in UNFINISHED:
        record = replace(
            record, state=RunState.CANCELLED, message=NOT_ENDED, ended_at=header.exported_at
        )
    return RestoredRun(
        row=_row(RunRecord, record),
        config=header.config_texts[record.config],
        attempts=[_attempt(attempt, header) for attempt in record.attempts],
        epochs=[_row(EpochRecord, epoch) for epoch in record.epochs],
        metrics=list(record.metrics.items()),
        digest=digest,
        key=key,
    )


def _attempt(record: AttemptRecord, header: Header) -> tuple[Row, tuple[str, str] | None]:
    if record.ended_at is None:
        record = replace(
            record, outcome=Outcome.RETURNED, message=NOT_ENDED, ended_at=header.exported_at
        )
    slot = record.slot
    return _row(AttemptRecord, record), None if slot is None else (slot.host, slot.name)


def _add_genotype(
    portion: Portion,
    number: int,
    record: ChildRecord | OtherRun,
    read: Callable[[Any], Genotype],
) -> None:
    """Add a line's genotype, once its form is canonical and its digest computed anew."""
    body, digest = record.genotype, record.digest
    text = _json(body)
    its_digest = _sha256(text) == digest
    if its_digest and digest in portion.genotypes:
        return
    try:
        found = read(body)
        if not its_digest:  # data may leave out its kind
            text = found.to_json()
            its_digest = _sha256(text) == digest
        is_its = its_digest and (portion.were_checked or found.is_canonical)
        its = digest if is_its else found.digest
    except InvalidGenotypeError as error:
        raise UserError(f"line {number}: genotype: {error}") from None
    if digest is None or not is_its:
        raise UserError(f"line {number}: digest: it is not this genotype's, {its}")
    created_at = time_text(record.created_at)
    operations = found.operations or (None, None)  # the store has their bits
    portion.genotypes[digest] = (digest, found.kind, text, *operations, created_at)


def _records(model: type[R], lines: Sequence[bytes], first: int) -> Iterator[tuple[int, R]]:
    for number, line in enumerate(lines, first):
        yield number, read_record(model, line, number)


@contextlib.contextmanager
def _line(number: int) -> Iterator[None]:
    """Let a refusal begin with the line."""
    try:
        yield
    except UserError as error:
        raise UserError(f"line {number}: {error}") from None


def read_record(model: type[R], line: bytes, number: int) -> R:
    """What a line says.

    Raises:
        UserError: beginning with the line's number; names the key.
    """
    if rb"\u0000" in line:
        line = NUL.sub(rb"\1\\ufffd", line)
    try:
        record: R = _decoder(model).decode(line)
        _check_keys(record, line)
        return record
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"line {number}: {_problem(str(error))}") from None


def _check_keys(record: Record, line: bytes) -> None:
    """Check that no key is there twice, of which msgspec would take the last.

    A line that has as many keys as its record has none twice, and need not be read again.

    Raises:
        ValueError: names the key.
    """
    try:
        keys = msgspec.json.encode(record).count(b'":')
    except OverflowError:  # of a whole number that is larger than any of a line may be
        keys = None
    if line.count(b'":') != keys or ODD_KEYS.search(line):
        read_json(line)


@functools.cache
def _decoder(model: type[R]) -> msgspec.json.Decoder[R]:
    return msgspec.json.Decoder(model)


def _problem(words: str) -> str:
    """A refusal that begins with its key, where it has one."""
    at, within = AT.fullmatch(words), ""
    if at is not None:
        words, within = at["said"], at["key"]
    of_field = FIELD.fullmatch(words)
    if of_field is not None:
        words, within = of_field["said"], f"{within}.{of_field['key']}".lstrip(".")
    shown = repr(f"{within}: {words}" if within else words)[1:-1]  # a key may hold anything
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."


class _Layout(NamedTuple):
    """Which fields of a model are columns, and how those are written that the store has as text.

    As both databases take them: enums by value, times and JSON as text.
    """

    names: tuple[str, ...]
    values: Callable[[Record], tuple[Any, ...]]
    written: tuple[tuple[int, Callable[[Any], Any]], ...]  # by their place


@functools.cache
def _layout(model: type[Record]) -> _Layout:
    fields = [field for field in msgspec.structs.fields(model) if field.name not in ELSEWHERE]
    names = tuple(field.name for field in fields)
    written = [(place, _writer(field)) for place, field in enumerate(fields)]
    return _Layout(
        names,
        operator.attrgetter(*names),
        tuple((place, write) for place, write in written if write is not None),
    )


def _writer(field: msgspec.structs.FieldInfo) -> Callable[[Any], Any] | None:
    if field.name == "log_probs":
        return lambda numbers: struct.pack(f"<{len(numbers)}d", *numbers)
    info = msgspec.inspect.type_info(field.type)
    for kind in info.types if isinstance(info, msgspec.inspect.UnionType) else (info,):
        if isinstance(kind, msgspec.inspect.DateTimeType):
            return time_text
        if isinstance(kind, msgspec.inspect.EnumType):
            return str
        if isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.DictType):
            return _json
    return None


def _row(model: type[R], record: R) -> Row:
    layout = _layout(model)
    row = list(layout.values(record))
    for place, write in layout.written:
        if row[place] is not None:
            row[place] = write(row[place])
    return row


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
