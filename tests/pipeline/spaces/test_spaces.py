import random

import pytest

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces import NASNetSpace
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
