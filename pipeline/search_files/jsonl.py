"""A search as JSON lines: all that the public relations hold of it, a child a line."""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from sqlalchemy import Connection

from db.lifecycle import searches
from db.reads import diagnosis, digests
from db.transfer import dump
from pipeline.search_files.records import (
    FORMAT,
    AttemptRecord,
    ChildRecord,
    EpochRecord,
    OtherRun,
    Record,
    RunRecord,
    SearchRow,
    Version,
    time_text,
)


def write_jsonl(connection: Connection, search_id: int, file: BinaryIO) -> int:
    """Write a search as it is at one moment (``session.snapshot``); returns its children.

    Left out are files (`artifacts`), the policy's states, and notices.
    """
    counts = dump.counts(connection, search_id)
    configs = dump.configs(connection, search_id)
    places = {_text(config): place for place, config in enumerate(configs)}
    search = searches.by_id(connection, search_id)
    header = {
        "record": "search",
        "format": FORMAT,
        "exported_at": diagnosis.now(connection),
        "digest": digests.search_digest(connection, search_id),
        "versions": counts.versions,
        "runs": counts.runs,
        "children": counts.children,
        "configs": configs,
        "search": _fields(SearchRow, search, tags=searches.tags_of(connection, search_id)),
    }
    file.write(_line(header))
    for version in dump.versions(connection, search_id):
        file.write(_line({"record": "policy_version", **_fields(Version, version)}))
    run_places: dict[int, int] = {}
    for run in dump.other_runs(connection, search_id):
        run_places[run.row.id] = len(run_places)
        own = {"digest": run.digest, "genotype": run.body}
        file.write(_line({"record": "run", **_run(OtherRun, run, places, **own)}))
    for row, trained in dump.children(connection, search_id):
        file.write(_line({"record": "child", **_child(row, trained, places, run_places)}))
    return counts.children


def _child(
    row: dump.DumpedChild,
    run: dump.DumpedRun | None,
    places: Mapping[str, int],
    run_places: Mapping[int, int],
) -> dict[str, Any]:
    first = {"version": row.first_version, "arm": row.first_arm, "k": row.first_k}
    return _fields(
        ChildRecord,
        row,
        log_probs=log_probabilities(row.log_probs),
        genotype=row.body,
        duplicate_of=None if row.duplicate_of is None else first,
        score_run=None if row.score_run_id is None else run_places[row.score_run_id],
        run=None if run is None else _run(RunRecord, run, places),
    )


def log_probabilities(data: bytes) -> tuple[float, ...]:
    """The numbers of `children.log_probs`."""
    return struct.unpack(f"<{len(data) // 8}d", data)


def _run(
    model: type[RunRecord], run: dump.DumpedRun, places: Mapping[str, int], **own: Any
) -> dict[str, Any]:
    fields = _fields(
        model,
        run.row,
        config=places[_text(run.row.config)],
        attempts=[_fields(AttemptRecord, row, slot=_slot(row)) for row in run.attempts],
        epochs=[_fields(EpochRecord, row) for row in run.epochs],
        metrics=run.metrics,
        **own,
    )
    if not run.metrics:  # as files of before have it
        del fields["metrics"]
    return fields


def _slot(attempt: dump.DumpedAttempt) -> dict[str, str | None] | None:
    return None if attempt.slot is None else {"host": attempt.host, "name": attempt.slot}


def _fields(model: type[Record], row: NamedTuple, **given: Any) -> dict[str, Any]:
    """A row as a line's model has it: what is given, the rest by name."""
    columns = row._asdict()
    return {
        name: given[name] if name in given else _plain(columns[name])
        for name in model.__struct_fields__
    }


def _plain(value: Any) -> Any:
    """PostgreSQL may hold numbers that are none, JSON may not."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=time_text)
_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


def _text(config: Mapping[str, Any]) -> str:
    return _sorted.encode(config)


def _line(record: Mapping[str, Any]) -> bytes:
    return _encoder.encode(record).encode() + b"\n"
