import gzip
import random

import pytest

from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.spaces import NASNetSpace, read_table
from pipeline.spaces.cells.genotype import Cell
from pipeline.spaces.cells.published import NASNET_A


def test_the_paper_s_space_has_fifty_decisions_in_its_order():
    decisions = NASNetSpace(5).decisions
    assert len(decisions) == 50
    assert [d.choices for d in decisions[:10]] == [2, 2, 13, 13, 2, 3, 3, 13, 13, 2]
    assert decisions[:25] == decisions[25:]


def test_turns_flattened_are_the_decisions():
    space = NASNetSpace(3)
    assert tuple(d for turn in space.turns for d in turn.decisions) == space.decisions


@pytest.mark.parametrize("seed", range(50))
def test_every_proposal_encodes_back(seed):
    space = NASNetSpace(1 + seed % 6)
    generator = random.Random(seed)
    actions = tuple(generator.randrange(d.choices) for d in space.decisions)
    genotype = space.decode(actions)
    genotype.normal.validate("normal")
    assert space.encode(genotype) == actions


def test_unused_states_are_concatenated_the_cell_s_inputs_too():
    space = NASNetSpace(2)
    genotype = space.decode([0, 0, 0, 0, 0] * 4)  # every block reads h_i twice
    assert genotype.normal.concat == (1, 2, 3)


def test_an_action_out_of_range_names_the_decision_and_block():
    space = NASNetSpace(2)
    with pytest.raises(InvalidGenotypeError, match=r"decision 7 \(normal 1, left operation\)"):
        space.decode([0] * 7 + [13] + [0] * 12)
    with pytest.raises(InvalidGenotypeError, match="20 decisions"):
        space.decode([0])


def test_a_cell_that_concatenates_used_states_is_not_in_the_space():
    with pytest.raises(InvalidGenotypeError, match="normal cell: concat"):
        NASNetSpace(5).encode(NASNET_A)
    plain = Cell.with_unused_concat(NASNET_A.normal.blocks)
    assert plain.concat == (2, 3, 4, 5, 6)


def test_every_decision_and_each_of_its_choices_has_a_name_of_its_own():
    space = NASNetSpace(3)
    assert [len(choices) for _, choices in space.labels] == [d.choices for d in space.decisions]
    assert len({name for name, _ in space.labels}) == len(space.decisions)
    assert all(len(set(choices)) == len(choices) for _, choices in space.labels)
    names = dict(space.labels)
    assert names["reduction 2, right input"] == ("h_i", "h_i-1", "state 2", "state 3")
    assert names["normal 0, left operation"][5] == "max_pool_3x3"


def test_all_encodings_of_an_architecture_have_one_canonical_form_and_digest():
    space = NASNetSpace(2)
    generator = random.Random(0)
    for _ in range(50):
        actions = [generator.randrange(d.choices) for d in space.decisions]
        swapped = list(actions)  # the sides of the first block
        swapped[0:4] = [actions[1], actions[0], actions[3], actions[2]]
        assert space.canonical(actions) == space.canonical(swapped)
        assert space.digest(actions) == space.digest(space.canonical(actions))
        assert space.digest(actions) == space.decode(actions).digest
        assert space.canonical(space.canonical(actions)) == space.canonical(actions)


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
