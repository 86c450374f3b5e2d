"""ENAS' spaces: the turns of the released controllers, and what actions mean."""

import random

import pytest

from pipeline.config.controllers import PolicyConfig, check_kinds
from pipeline.config.search import make_config
from pipeline.config.tables import merge, preset_names, read_preset
from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.spaces import Anchor, MacroSpace, MicroSpace, NextInput, Score, make_space
from pipeline.spaces.cells.config import MicroSpaceConfig
from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype
from pipeline.spaces.cells.published import ENAS_MICRO, NASNET_A
from pipeline.spaces.macro.config import MacroSpaceConfig
from pipeline.spaces.macro.genotype import MacroLayer


def macro(**keys):
    return MacroSpace(MacroSpaceConfig(name="enas-macro", **keys))


def micro(**keys):
    return MicroSpace(MicroSpaceConfig(name="enas-micro", **keys))


SPACES = {
    "macro": macro(),
    "macro of one layer": macro(layers=1),
    "macro as released": macro(layers=4, skips="code"),
    "micro": micro(),
    "micro of one block": micro(blocks=1),
}


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def drawn(space, seed):
    chance = random.Random(seed)
    return tuple(chance.randrange(d.choices) for d in space.decisions)


@pytest.mark.parametrize(
    ("space", "turns", "decisions"), [(macro(), 24, 78), (micro(), 54, 40)], ids=["macro", "micro"]
)
def test_the_papers_spaces_have_their_turns_and_decisions(space, turns, decisions):
    assert (len(space.turns), len(space.decisions)) == (turns, decisions)
    assert space.length(0) == space.length(10**6) == decisions


def test_a_configuration_makes_its_space():
    for config, turns in (
        (MacroSpaceConfig(name="enas-macro", layers=3), macro(layers=3).turns),
        (MicroSpaceConfig(name="enas-micro", blocks=2), micro(blocks=2).turns),
    ):
        assert make_space(config).turns == turns


def test_every_proposal_encodes_back(space):
    for seed in range(20):
        actions = drawn(space, seed)
        genotype = space.decode(actions)
        assert space.encode(genotype) == actions
        again = space.canonical(actions)
        assert space.canonical(again) == again
        assert space.decode(again).digest == space.digest(actions) == genotype.digest


def test_every_decision_and_each_of_its_choices_has_a_name_of_its_own(space):
    assert [len(choices) for _, choices in space.labels] == [d.choices for d in space.decisions]
    assert len({name for name, _ in space.labels}) == len(space.decisions)
    assert all(len(set(choices)) == len(choices) for _, choices in space.labels)


def test_actions_that_are_too_few_or_out_of_range_are_refused_by_name(space):
    actions = drawn(space, 0)
    with pytest.raises(InvalidGenotypeError, match=f"the space has {len(actions)} decisions"):
        space.decode(actions[:-1])
    last = space.decisions[-1].choices
    with pytest.raises(InvalidGenotypeError, match=f"decision {len(actions) - 1} .*action {last}"):
        space.decode((*actions[:-1], last))


def test_a_macro_layer_is_an_operation_then_skips_read_from_one_state():
    first, anchor, second, skips = macro(layers=2).turns
    assert [d.choices for d in first.decisions] == [6]
    assert (anchor.decisions, anchor.feed, anchor.anchor) == ((), NextInput.START, Anchor.HIDDEN)
    assert second == first
    assert [(d.score, d.anchors) for d in skips.decisions] == [(Score.SKIP, (0,))]
    assert (skips.feed, skips.anchor) == (NextInput.MEAN, Anchor.HIDDEN)


def test_a_skip_reads_the_layer_it_is_scored_against_or_as_released_the_output_before():
    actions = (0, 1, 1, 2, 0, 1)  # layer 2 joins its first anchor's, layer 3 its second's
    assert macro(layers=3).decode(actions).layers == (
        MacroLayer("conv_3x3"),
        MacroLayer("sep_conv_3x3", (1,)),
        MacroLayer("conv_5x5", (2,)),
    )
    released = macro(layers=3, skips="code").decode(actions)
    assert [layer.skips for layer in released.layers] == [(), (0,), (1,)]


def test_a_micro_cell_begins_with_two_inputs_that_are_keys():
    turns = micro(blocks=2).turns
    assert len(turns) == 2 * (2 + 2 * 5)
    for first, cell in ((0, turns[:12]), (4, turns[12:])):  # the other cell: anchors of its own
        assert [t.anchor for t in cell] == [
            *[Anchor.KEY] * 2,
            *([None] * 4 + [Anchor.HIDDEN]) * 2,
        ]
        pointers = [t.decisions[0] for t in cell if t.feed is NextInput.CHOSEN]
        assert [d.anchors for d in pointers] == [
            *[(first, first + 1)] * 2,
            *[(first, first + 1, first + 2)] * 2,
        ]
        assert {d.score for d in pointers} == {Score.POINTER}


def test_the_released_offset_is_in_the_normal_cell_alone():
    operations = [d for d in micro(blocks=1, operation_offset=0.25).decisions if d.kind != "input"]
    offsets = [d.offset for d in operations]
    assert offsets == [(0.25, 0.25, -0.25, -0.25, -0.25)] * 2 + [()] * 2
    assert not any(d.offset for d in micro().decisions)


def test_the_released_cells_are_the_released_numbers():
    """scripts/cifar10_micro_final.sh: input, operation, input, operation for each block."""
    normal = "02000401041110010211"
    reduction = "10100302113110040311"
    rows = zip(*[iter(map(int, normal + reduction))] * 4, strict=True)
    actions = [number for x, x_op, y, y_op in rows for number in (x, y, x_op, y_op)]
    assert micro().decode(actions) == ENAS_MICRO
    assert micro().encode(ENAS_MICRO) == tuple(actions)


def test_input_0_is_the_output_of_the_cell_before_the_previous_one():
    cell = micro(blocks=1).decode((0, 1, 4, 0) * 2).normal
    assert cell.blocks == (Block(1, "identity", 0, "sep_conv_3x3"),)
    assert dict(micro(blocks=1).labels)["normal 0, left input"] == ("h_i-1", "h_i")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            Block(0, "sep_conv_7x7", 1, "identity"),
            "block 0: operation 'sep_conv_7x7'",
        ),
        (Block(0, "identity", 1, "identity", "concat"), "block 0: combine 'concat'"),
    ],
)
def test_a_cell_with_what_is_not_searched_is_refused(block, message):
    cell = Cell.with_unused_concat([block])
    with pytest.raises(InvalidGenotypeError, match=message):
        micro(blocks=1).encode(CellGenotype(cell, cell))


def test_a_genotype_of_another_size_or_with_other_skips_is_refused():
    two = macro(layers=2, skips="code").decode((0, 0, 1))
    with pytest.raises(InvalidGenotypeError, match="2 layers, but the space has 3"):
        macro(layers=3).encode(two)
    with pytest.raises(InvalidGenotypeError, match=r"layer 2: skips \[0\] are not some of \[1\]"):
        macro(layers=2).encode(two)
    with pytest.raises(InvalidGenotypeError, match="concat"):
        micro().encode(NASNET_A)


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        (
            "macro",
            {"squash": [{"kind": "input", "constant": 1.0}]},
            "squash: no decision is a 'in",
        ),
        ("macro", {"bias_init": [{"kind": "skip", "values": [0.0, 1.0]}]}, "operation 6"),
        ("micro", {"bias_init": [{"kind": "operation", "values": [0.0]}]}, "1 values of kind"),
        ("micro", {"skip_prior": {"rho": 0.4, "weight": 0.8}}, "the space has no skips"),
    ],
)
def test_what_a_policy_is_told_of_kinds_that_a_space_has_not_is_refused(preset, changes, said):
    tables = merge(read_preset(f"enas-{preset}-digits"), {"controller": changes})
    config = make_config(tables)
    with pytest.raises(UserError, match=said):
        check_kinds(config.controller, make_space(config.space))


@pytest.mark.parametrize("name", preset_names())
def test_what_the_presets_tell_policies_fits_their_spaces(name):
    config = make_config(read_preset(name))
    if isinstance(config.controller, PolicyConfig):
        check_kinds(config.controller, make_space(config.space))
