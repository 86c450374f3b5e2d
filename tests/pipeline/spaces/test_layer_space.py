"""NAS' space: decisions, repairs, a depth that grows."""

import random

import pytest

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.layers.config import LayerSpaceConfig
from pipeline.spaces.layers.genotype import Layer
from pipeline.spaces.layers.space import LayerSpace


def make_space(**keys):
    return LayerSpace(LayerSpaceConfig(name="nas", **keys))


PAPER = make_space(strides=[1, 2, 3], most_layers=15)


def drawn(space, layers, seed=0):
    chance = random.Random(seed)
    count = space._decisions_of(layers)
    return tuple(chance.randrange(d.choices) for d in space.decisions[:count])


def test_fifteen_layers_with_strides_are_90_turns_and_180_decisions():
    assert len(PAPER.turns) == 90
    assert len(PAPER.decisions) == 180 == len(PAPER.labels)
    assert [d.choices for d in PAPER.decisions[:5]] == [4, 4, 3, 3, 4]


def test_a_shallow_space_is_the_first_part_of_a_deep_one():
    shallow = make_space(strides=[1, 2, 3], layers=4, most_layers=4)
    assert PAPER.decisions[: len(shallow.decisions)] == shallow.decisions
    assert PAPER.labels[: len(shallow.decisions)] == shallow.labels
    actions = drawn(shallow, 4)
    assert PAPER.decode(actions) == shallow.decode(actions)


def test_the_paper_s_depth_grows_by_two_every_1600_samples():
    config = LayerSpaceConfig(name="nas")
    assert [config.depth(8 * v) for v in (0, 199, 200, 1399, 1400)] == [6, 6, 8, 18, 20]
    assert config.depth(10**9) == 20


@pytest.mark.parametrize("layers", [1, 2, 7, 15])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_decoded_encodes_to_the_same_network(layers, seed):
    genotype = PAPER.decode(drawn(PAPER, layers, seed))
    genotype.validate()
    assert len(genotype.layers) == layers
    assert PAPER.decode(PAPER.encode(genotype)) == genotype


def test_a_layer_without_an_input_reads_the_image():
    space = make_space(layers=2, most_layers=2)
    alone = space.decode((0, 1, 2, 3, 3, 3, 0))
    assert alone.layers == (Layer(1, 3, 48, (0,)), Layer(7, 7, 64, (0,)))
    assert alone.outputs == (1, 2)
    joined = space.decode((0, 1, 2, 3, 3, 0, 1))
    assert joined.layers[1].inputs == (1,)


def test_poolings_lie_where_the_configuration_says():
    genotype = make_space(pools=[2], layers=3).decode(drawn(make_space(), 3))
    assert [layer.pool for layer in genotype.layers] == [1, 2, 1]


def test_without_skips_each_layer_reads_the_one_before():
    space = make_space(skips=False, layers=3, most_layers=3)
    assert len(space.decisions) == 9 == space.length(0)
    assert [la.inputs for la in space.decode((0,) * 9).layers] == [(0,), (1,), (2,)]


def test_actions_of_no_depth_or_out_of_range_are_refused():
    with pytest.raises(InvalidGenotypeError, match="4 actions are those of no number of layers"):
        PAPER.decode((0,) * 4)
    with pytest.raises(
        InvalidGenotypeError, match=r"decision 2 \(layer 1, stride height\): action 3"
    ):
        PAPER.decode((0, 0, 3, 0, 0))


def test_a_network_that_is_not_in_the_space_is_refused():
    outside = PAPER.decode(drawn(PAPER, 3))
    with pytest.raises(InvalidGenotypeError, match="is not searched"):
        make_space(filters=[1]).encode(outside)
