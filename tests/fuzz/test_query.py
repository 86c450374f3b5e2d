"""Whatever a SELECT gives is printed in every form, or refused in one line; nothing changes."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.schema.session import get_engine
from pipeline.cli.query import query
from pipeline.errors import UserError
from tests.factories import make_search

BOTH = [
    *("NULL", "1", "-0.0", "1e308 * 10", "'it''s <b>'", "'a' || CAST(1 AS text)", "'\n\r\t'"),
    *("9223372036854775807", "CAST('x' AS text)", "''", "upper('ß')", "'=1+1'", "1 = 1"),
]
VALUES = {
    "sqlite": [
        *BOTH,
        *("9e999", "-9e999", "9e999 - 9e999", "CAST(x'ff00fe' AS text)", "char(0)", "x'00ff'"),
        *("char(55296)", "char(1114111)", "zeroblob(10)", "json('[1]')", "date('now')", "1 / 0"),
        *("9223372036854775807 + 1", "abs(-9223372036854775807 - 1)", "randomblob(3)"),
    ],
    "postgresql": [
        *BOTH,
        *("'NaN'::numeric", "'Infinity'::numeric", "'-Infinity'::float8", "'NaN'::float4"),
        *("1e1000::numeric", "1e-1000::numeric", "10::numeric ^ 100000", "12345678901234567890"),
        *("'infinity'::timestamptz", "'-infinity'::timestamp", "'0044-01-01 BC'::timestamptz"),
        *("'0044-01-01 BC'::date", "'infinity'::date", "'10000-01-01'::timestamptz"),
        *("'0001-01-01'::timestamptz", "'9999-12-31 23:59:59'::timestamptz", "'1 mon'::interval"),
        *("'24:00'::time", "'12:00+15'::timetz", "ARRAY[1, NULL]", "ARRAY['infinity'::date]"),
        *("'[1,)'::int4range", "'(,infinity]'::daterange", "ROW(1, 'a', NULL)", "'1'::money"),
        *("B'101'", "'a'::\"char\"", "'10.0.0.0/8'::inet", "'(1,2)'::point", "'{}'::jsonb"),
        *("'{\"a\": 1}'::json", "'\\x00ff'::bytea", "gen_random_uuid()", "'<a/>'::text", "1 / 0"),
        *("'a b'::tsvector", "1::oid", "'searches'::regclass", "txid_current_snapshot()"),
        *("ARRAY[ARRAY['x']]", "'{[1,2)}'::int4multirange", "'epoch'::timestamp", "NULL::xml"),
    ],
}
FORMS = ("table", "json", "csv", "parquet")


def printed(statement, form, folder, capsys, timeout=20.0):
    """What a command prints; None where it refuses in one line."""
    parquet = folder / "answer.parquet" if form == "parquet" else None
    capsys.readouterr()
    said = None
    try:
        query(statement, form == "json", form == "csv", parquet, timeout)
    except UserError as error:
        said = str(error)
    assert said is None or "\n" not in said
    return capsys.readouterr().out if said is None else None


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def check(statement, folder, capsys):
    """In how many forms a statement's answer is printed."""
    found = 0
    for form in FORMS:
        text = printed(statement, form, folder, capsys)
        if text is None:
            continue
        found += 1
        if form == "json":
            assert isinstance(json.loads(text, parse_constant=refuse), list)
        elif form == "csv":
            assert len(list(csv.reader(io.StringIO(text, newline="")))) >= 1
    return found


@pytest.fixture
def values(store):
    make_search(name="it's")
    return VALUES[get_engine().dialect.name]


def test_each_value_is_printed_in_every_form(values, tmp_path, capsys):
    for value in values:
        found = check(f"SELECT {value} AS a, 1 AS b", tmp_path, capsys)
        refused = value in {"1 / 0", "1e308 * 10"} or "abs(-9223" in value
        least = len(FORMS) - (value == "12345678901234567890")  # which Parquet does not hold
        assert found >= least or refused, value


def test_what_is_asked_of_postgresql_is_answered_in_its_own_words(values, tmp_path, capsys):
    if get_engine().dialect.name != "postgresql":
        pytest.skip("types that SQLite lacks")
    asked = {
        "'infinity'::timestamptz": "infinity",
        "'0044-01-01 BC'::date": "0044-01-01 BC",
        "ARRAY[1, NULL]": "{1,NULL}",
        "'NaN'::numeric": "NaN",
        "'-Infinity'::numeric": "-Infinity",
        "'2026-01-31 12:00+00'::timestamptz": "2026-01-31 12:00:00.000000",
        "true": True,
        "0.5::numeric": 0.5,
        "B'101'": "101",
    }
    for value, expected in asked.items():
        [row] = json.loads(printed(f"SELECT {value} AS a", "json", tmp_path, capsys))
        assert row == {"a": expected}


def test_text_that_is_no_utf_8_is_printed(sqlite_store, tmp_path, capsys):
    [row] = json.loads(printed("SELECT CAST(x'61ff' AS text) AS a", "json", tmp_path, capsys))
    assert row == {"a": "a\\xff"}


@given(data=st.data())
def test_no_expression_breaks_it_or_changes_anything(values, tmp_path, capsys, data):
    value = st.sampled_from(values)
    more = st.recursive(
        value,
        lambda inner: st.builds(
            "{}({}{}{})".format,
            st.sampled_from(["", "length", "upper", "coalesce", "replace", "max", "count", "hex"]),
            inner,
            st.sampled_from([", ", " || ", " + ", " = ", " LIKE ", " IN (1), "]),
            inner,
        ),
        max_leaves=4,
    )
    columns = ", ".join(data.draw(st.lists(more, min_size=1, max_size=3)))
    union = f" UNION ALL SELECT {columns}" if data.draw(st.booleans()) else ""
    source = data.draw(st.sampled_from(["", " FROM searches", " FROM searches WHERE 1 = 0"]))
    form = data.draw(st.sampled_from(FORMS))
    text = printed(f"SELECT {columns}{source}{union}", form, tmp_path, capsys)
    if text is not None and form == "json":
        json.loads(text, parse_constant=refuse)
    [row] = json.loads(printed("SELECT name FROM searches", "json", tmp_path, capsys))
    assert row == {"name": "it's"}


ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"
LARGE = {
    "sqlite": [
        "SELECT zeroblob(1000000000)",
        "SELECT printf('%.*c', 1000000000, 'x')",
        "SELECT replace(hex(zeroblob(100000000)), '0', 'xxxxxxxx')",
        ENDLESS.format("group_concat(printf('%.*c', 1000000, 'x'))"),
        ENDLESS.format("printf('%.*c', 10000000, 'x')"),
        f"SELECT {', '.join(['zeroblob(30000000)'] * 100)}",
        f"SELECT {', '.join(['hex(zeroblob(10000000))'] * 3)}",
        "SELECT printf('%.33000000c', char(1))",
        "SELECT zeroblob(33000000)",
        "SELECT char(128512) || replace(printf('%.8000000c', 'x'), 'x', char(1))",
        "SELECT replace(printf('%.33000000c', 'x'), 'x', CAST(x'ff' AS text))",
        f"SELECT {', '.join('1' * 1501)}",
    ],
    "postgresql": [
        "SELECT repeat('x', 1000000000)",
        f"SELECT {', '.join(['repeat($$x$$, 100000000)'] * 5)}",
        "SELECT repeat('x', 8000000) FROM generate_series(1, 1000000000)",
        "SELECT string_agg(repeat('x', 1000000), '') FROM generate_series(1, 99)",
        ENDLESS.format("repeat('x', 10000000)"),
    ],
}
LARGE_HERE = """
import os, sys
from pathlib import Path
from pipeline.cli.query import query
from pipeline.errors import UserError
form, *statements = sys.argv[1:]
sys.stdout = open(os.devnull, "w")
for statement in statements:
    parquet = Path(os.environ["FOLDER"], "a.parquet") if form == "parquet" else None
    try:
        query(statement, form == "json", form == "csv", parquet, 2.0)
    except UserError as error:
        print(error, file=sys.stderr)
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(peak // 1024, file=sys.stderr)
"""
MOST_MEGABYTES = 400


@pytest.mark.parametrize(
    "form",
    ["table", *(pytest.param(form, marks=pytest.mark.slow) for form in ("json", "parquet"))],
)
def test_no_answer_takes_more_than_some_memory(store, tmp_path, form):
    statements = LARGE[get_engine().dialect.name]
    done = subprocess.run(
        [sys.executable, "-c", LARGE_HERE, form, *statements],
        env={
            **os.environ,
            "FOLDER": str(tmp_path),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    *said, peak = done.stderr.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(said) >= len(statements) - 2
    assert all(line.startswith(("query: ", "these are the first")) for line in said), said
    assert int(peak) < MOST_MEGABYTES


def test_a_long_answer_is_a_parquet_file_whose_types_come_late(sqlite_store, tmp_path, capsys):
    from pyarrow import parquet

    statement = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)"
        " SELECT i, CASE WHEN i > 110000 THEN i / 2.0 END AS half FROM n"
    )
    assert printed(statement, "parquet", tmp_path, capsys).endswith(": 120,000 rows\n")
    table = parquet.read_table(tmp_path / "answer.parquet")
    assert table["half"].to_pylist()[-1] == 60_000
    assert table["half"].null_count == 110_000
    assert table["i"].to_pylist() == list(range(1, 120_001))


def test_time_counts_while_rows_are_printed(store, tmp_path):
    """Nobody reads what it prints: it ends, and says so."""
    command = [sys.executable, "-m", "pipeline.cli", "query", "--timeout", "0.5", "--csv"]
    process = subprocess.Popen(
        [*command, ENDLESS.format("i")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.wait(timeout=60) == 2
        assert "took too long" in process.stderr.read()


def test_a_function_that_does_not_end_is_ended(sqlite_store, tmp_path):
    hours = "SELECT instr(zeroblob(30000000), CAST(zeroblob(15000000) || x'01' AS blob))"
    command = [sys.executable, "-m", "pipeline.cli", "query", "--timeout", "0.5", hours]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
