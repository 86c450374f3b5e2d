"""``space.operations``: which operations the blocks of a search's cells choose from."""

import pytest

from pipeline.config.controllers import check_kinds
from pipeline.config.search import load_config, make_config
from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.networks.inputs import Inputs
from pipeline.spaces import make_space
from pipeline.spaces.building import build_shared
from pipeline.spaces.cells.config import ENAS_OPERATIONS
from pipeline.spaces.cells.genotype import PAPER_OPERATIONS, Block, Cell, CellGenotype
from pipeline.spaces.macro import genotype as macro

SPACES = ["nasnet", "enas-micro"]
FOUR = ("max_pool_3x3", "identity", "sep_conv_3x3", "conv_1x1")


def space_of(name, **keys):
    return make_space(make_config({"space": {"name": name, **keys}}).space)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("nasnet", PAPER_OPERATIONS),
        ("enas-micro", ENAS_OPERATIONS),
        ("enas-macro", macro.PAPER_OPERATIONS),
    ],
)
def test_the_operations_are_the_papers_where_none_are_named(space, expected):
    config = make_config({"space": {"name": space}})
    assert config.space.operations == expected
    assert load_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("space", SPACES)
def test_decisions_and_their_names_follow_the_list_in_its_order(space):
    found = space_of(space, blocks=2, operations=list(FOUR))
    operations = [d for d in found.decisions if d.kind == "operation"]
    assert {decision.choices for decision in operations} == {4}
    assert {choices for name, choices in found.labels if "operation" in name} == {FOUR}
    first = found.decode([0] * len(found.decisions))
    assert first.operations == ({"max_pool_3x3"}, {"max_pool_3x3"})


@pytest.mark.parametrize("space", SPACES)
def test_one_operation_leaves_the_wiring_to_be_searched(space):
    found = space_of(space, blocks=1, operations=["sep_conv_3x3"])
    assert {d.choices for d in found.decisions if d.kind == "operation"} == {1}
    found.decode([0] * len(found.decisions)).validate()


@pytest.mark.parametrize("space", SPACES)
def test_a_genotype_of_an_operation_that_is_not_in_the_list_is_not_in_the_space(space):
    cell = Cell.with_unused_concat([Block(0, "identity", 1, "conv_3x3")])
    with pytest.raises(InvalidGenotypeError, match="block 0: operation 'conv_3x3' is not"):
        space_of(space, blocks=1, operations=list(FOUR)).encode(CellGenotype(cell, cell))


def test_layers_choose_from_the_list_and_share_the_weights_of_no_other():
    named = ("max_pool_3x3", "conv_5x5")
    config = make_config({"space": {"name": "enas-macro", "layers": 2, "operations": named}})
    found = make_space(config.space)
    first, *_, last = (found.decode(actions) for actions in ((0, 0, 0), (1, 1, 1)))
    assert [layer.operation for layer in first.layers] == ["max_pool_3x3"] * 2
    assert [layer.operation for layer in last.layers] == ["conv_5x5"] * 2
    assert found.encode(last) == (1, 1, 1)
    other = macro.MacroGenotype((macro.MacroLayer("conv_3x3"),) * 2)
    with pytest.raises(InvalidGenotypeError, match="layer 1: the space has no operation 'conv_3x"):
        found.encode(other)
    supernet = build_shared(config.space, config.network, Inputs((1, 8, 8), 10))
    assert {name for layer in supernet.ops.values() for name in layer._modules} == set(named)
    with pytest.raises(UserError, match="no operation 'identity'; there are: conv_3x3"):
        make_config({"space": {"name": "enas-macro", "operations": ["identity"]}})


def test_released_offsets_are_of_the_separable_convolutions_wherever_they_stand():
    operations = ["identity", "sep_conv_7x7", "conv_1x1"]
    found = space_of("enas-micro", blocks=1, operations=operations, operation_offset=0.25)
    [offset] = {d.offset for d in found.decisions if d.offset}
    assert offset == (-0.25, 0.25, -0.25)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("operations", "said"),
    [
        (["identity", "conv_9x9"], "space.operations: no operation 'conv_9x9'; there are: ident"),
        ([], "space.operations: expected one or more, each once"),
        (["identity", "identity"], "space.operations: expected one or more, each once"),
        ("identity", "space.operations: expected a list of texts"),
    ],
)
def test_operations_that_cannot_be_are_refused_in_one_line(space, operations, said):
    with pytest.raises(UserError) as error:
        make_config({"space": {"name": space, "operations": operations}})
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    if "conv_9x9" in operations:
        assert all(name in str(error.value) for name in PAPER_OPERATIONS)


def test_the_biases_of_a_head_are_as_many_as_there_are_operations():
    config = make_config(
        {
            "space": {"operations": list(FOUR)},
            "controller": {"bias_init": [{"kind": "operation", "values": [0.0] * 13}]},
        }
    )
    with pytest.raises(UserError, match=r"13 values of kind 'operation'.* operation 4"):
        check_kinds(config.controller, make_space(config.space))
