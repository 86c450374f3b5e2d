"""From lines of a file to rows that may be written: what each line says is checked by itself.

What one line says of another is the database's to check, and ``db.soundness``'.
"""

import datetime as dt
import enum
import functools
import hashlib
import json
import re
import struct
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import NaiveDatetime, ValidationError

from db.enums import Outcome, RunState
from db.restore import Columns, RestoredChild, RestoredRun
from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.genotype import Genotype, genotype_from_data, searched_from_data
from pipeline.search_files.records import (
    AttemptRecord,
    ChildRecord,
    Header,
    OtherRun,
    Record,
    RunRecord,
    Version,
    time_text,
)

UNFINISHED = {RunState.PENDING, RunState.QUEUED, RunState.RUNNING}
NOT_ENDED = "had not ended when the search was exported"
# An escaped NUL, which no text of PostgreSQL's can hold.
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
SHOWN = 80  # letters of a value that is refused

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Portion:
    """Rows of some lines, in order; and their genotypes by digest."""

    versions: list[Columns] = field(default_factory=list)
    other_runs: list[RestoredRun] = field(default_factory=list)
    children: list[RestoredChild] = field(default_factory=list)
    genotypes: dict[str, Columns] = field(default_factory=dict)


def check_versions(header: Header, lines: Sequence[bytes], first: int) -> Portion:
    """Rows of lines that are policy versions; this function and the others below:

    Raises:
        UserError: beginning with the line, `first` and on.
    """
    portion = Portion()
    for number, record in _records(Version, lines, first):
        if record.version != number - 2:
            raise UserError(f"line {number}: version: expected {number - 2}, got {record.version}")
        choices = record.probabilities
        portion.versions.append(
            _columns(record, probabilities=None if choices is None else _json(choices))
        )
    return portion


def check_other_runs(header: Header, lines: Sequence[bytes], first: int) -> Portion:
    """Rows of lines that are runs of no child, such as retrainings."""
    portion = Portion()
    for number, record in _records(OtherRun, lines, first):
        if record.genotype is not None or record.digest is not None:
            found = _genotype(number, record.genotype, record.digest, genotype_from_data)
            portion.genotypes[found["digest"]] = {
                **found,
                "created_at": time_text(record.created_at),
            }
        run = _run(number, record, header)
        # as if it were asked for with its own files, which did not come: asking for it here
        # trains it here
        run.columns["key"] = _sha256(f"{header.search.uid}:{record.key}")
        portion.other_runs.append(run)
    return portion


def check_children(header: Header, lines: Sequence[bytes], first: int) -> Portion:
    """Rows of lines that are children, with the rows of their runs."""
    portion = Portion()
    bodies: dict[str, Any] = {}
    for number, record in _records(ChildRecord, lines, first):
        if bodies.get(record.digest) != record.genotype:
            found = _genotype(number, record.genotype, record.digest, searched_from_data)
            portion.genotypes[record.digest] = {
                **found,
                "created_at": time_text(record.created_at),
            }
            bodies[record.digest] = record.genotype
        portion.children.append(_child(number, record, portion.genotypes[record.digest], header))
    return portion


def _child(number: int, record: ChildRecord, genotype: Columns, header: Header) -> RestoredChild:
    decisions = len(record.actions)
    if len(record.log_probs) != decisions:
        raise UserError(
            f"line {number}: log_probs: {len(record.log_probs)} for {decisions} actions"
        )
    if record.score_run is not None and record.score_run >= header.runs:
        raise UserError(f"line {number}: score_run: line 1 says that there are {header.runs} runs")
    columns = _columns(
        record,
        ("digest", "genotype", "duplicate_of", "score_run", "run"),
        actions=_json(record.actions),
        log_probs=struct.pack(f"<{decisions}d", *record.log_probs),
    )
    first = record.duplicate_of
    return RestoredChild(
        columns={**columns, **{name: genotype[name] for name in ("ops_normal", "ops_reduction")}},
        digest=record.digest,
        duplicate_of=None if first is None else (first.version, first.arm.value, first.k),
        score_run=record.score_run,
        run=None if record.run is None else _run(number, record.run, header),
    )


def _run(number: int, record: RunRecord, header: Header) -> RestoredRun:
    """A run's rows; one that had not ended is cancelled: what is imported is not worked on."""
    if record.config >= len(header.configs):
        raise UserError(f"line {number}: config: line 1 has {len(header.configs)} configs")
    columns = _columns(
        record,
        ("digest", "genotype", "attempts", "epochs"),
        config=header.config_texts[record.config],
    )
    ended = time_text(header.exported_at)
    if record.state in UNFINISHED:
        columns |= {"state": RunState.CANCELLED.value, "message": NOT_ENDED, "ended_at": ended}
    return RestoredRun(
        columns=columns,
        attempts=[_attempt(attempt, ended) for attempt in record.attempts],
        epochs=[_columns(epoch) for epoch in record.epochs],
        digest=record.digest if isinstance(record, OtherRun) else None,
    )


def _attempt(record: AttemptRecord, ended: str) -> tuple[Columns, tuple[str, str] | None]:
    versions = None if record.versions is None else _json(record.versions)
    columns = _columns(record, ("slot",), versions=versions)
    if record.ended_at is None:
        columns |= {"ended_at": ended, "outcome": Outcome.RETURNED.value, "message": NOT_ENDED}
    return columns, None if record.slot is None else (record.slot.host, record.slot.name)


def _genotype(number: int, body: Any, digest: str | None, read: Any) -> Columns:
    """A genotype's row, once its form is canonical and its digest computed anew."""
    try:
        found: Genotype = read(body)
    except InvalidGenotypeError as error:
        raise UserError(f"line {number}: genotype: {error}") from None
    text = found.to_json()
    if not found.is_canonical or _sha256(text) != digest:
        raise UserError(f"line {number}: digest: it is not this genotype's, {found.digest}")
    ops_normal, ops_reduction = found.operation_masks
    return {
        "digest": digest,
        "kind": found.kind,
        "body": text,
        "ops_normal": ops_normal,
        "ops_reduction": ops_reduction,
    }


def _records(model: type[R], lines: Sequence[bytes], first: int) -> Iterator[tuple[int, R]]:
    for number, line in enumerate(lines, first):
        yield number, read_record(model, line, number)


def read_record(model: type[R], line: bytes, number: int) -> R:
    """What a line says.

    Raises:
        UserError: beginning with the line's number; names the key.
    """
    if rb"\u0000" in line:
        line = NUL.sub(rb"\1\\ufffd", line)
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        raise UserError(f"line {number}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    shown = repr(problem.get("input"))
    got = f" (got {shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'})"
    return f"{key}: {problem['msg']}{got}" if key else problem["msg"]


def _columns(record: Record, without: Sequence[str] = (), **given: Any) -> Columns:
    """A record's columns by name, as both databases take them: enums by value, times as text."""
    columns = {**vars(record), **given}
    for name in ("record", *without):
        columns.pop(name, None)
    for name in _texts(type(record)):
        value = columns[name]
        if value is not None:
            columns[name] = time_text(value) if isinstance(value, dt.datetime) else str(value)
    return columns


@functools.cache
def _texts(model: type[Record]) -> tuple[str, ...]:
    """The columns of a model that are enums or times."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        if any(
            kind is NaiveDatetime or (isinstance(kind, type) and issubclass(kind, enum.Enum))
            for kind in (field.annotation, *typing.get_args(field.annotation))
        )
    )


def _json(value: Any) -> str:
    return json.dumps(value)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
