"""Published benchmarks are read from tables."""

import gzip

import pytest

from benchmarks.tables import read_table
from pipeline.errors import UserError


def write(path, text):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def read(path, **changes):
    given = dict(key=["ops"], sizes=[2, 3], reward="valid", report="test")
    return read_table(path, **(given | changes))


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
@pytest.mark.parametrize("keys", [("02", "11"), ("0-2", "1-1"), ("|0|2|", "|1|1|")])
def test_a_table_is_read_by_its_key(tmp_path, name, keys):
    text = f"ops,test,valid\n{keys[0]},9,0.5\n\n{keys[1]},8,0.75\n"
    table = read(write(tmp_path / name, text))
    assert table.rows == {(0, 2): (0.5, 9.0), (1, 1): (0.75, 8.0)}
    assert [d.choices for d in table.space.decisions] == [2, 3]
    assert (table.best, table.reward((1, 1))) == (0.75, 0.75)
    assert table.reward((0, 0)) == 0.5  # no row: as one that fails


def test_a_table_s_key_may_be_a_column_for_each_decision(tmp_path):
    table = read(
        write(tmp_path / "t.csv", "b,a,valid,test\n12,1,0.5,9\n"), key=["a", "b"], sizes=[2, 13]
    )
    assert table.rows == {(1, 12): (0.5, 9.0)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ops,valid\n02,1\n", "no column 'test'; there are: ops, valid"),
        ("ops,valid,test\n03,1,1\n", "line 2: '03' does not name one choice for each of 2"),
        ("ops,valid,test\n021,1,1\n", "line 2: '021' does not name"),
        ("ops,valid,test\n02,1,1\n02,1,1\n", "line 3: 0-2 is there already"),
        ("ops,valid,test\n02,x,1\n", "line 2: valid is 'x', not a number"),
        ("ops,valid,test\n02,nan,1\n", "line 2: valid is 'nan', not a number"),
        ("ops,valid,test\n02,1\n", "line 2: test is None, not a number"),
        ("ops,valid,test\n", "there is no row"),
        ("", "no column 'ops'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_line(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        read(write(tmp_path / "t.csv", text))
    assert said in str(error.value)


@pytest.mark.parametrize("spoil", [lambda blob: blob[:-20], lambda blob: b"ops" + blob])
def test_a_table_that_is_damaged_or_not_there_is_refused(tmp_path, spoil):
    path = write(tmp_path / "t.csv.gz", "ops,valid,test\n" + "02,1,1\n" * 100)
    path.write_bytes(spoil(path.read_bytes()))
    for absent in (path, tmp_path / "absent.csv"):
        with pytest.raises(UserError, match="cannot be read"):
            read(absent)
