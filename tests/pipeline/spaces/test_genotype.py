import itertools
import json
import random

import pytest

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces import NASNetSpace
from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype
from pipeline.spaces.cells.published import AMOEBANET_A, NASNET_A, PUBLISHED


def random_genotype(seed, blocks=5):
    space = NASNetSpace(blocks)
    generator = random.Random(seed)
    return space.decode([generator.randrange(d.choices) for d in space.decisions])


def shuffled(cell, generator):
    """The same graph with its blocks renumbered and sides swapped."""
    order, ready = [], list(range(len(cell.blocks)))
    while ready:
        placed = set(order)
        free = [b for b in ready if all(s < 2 or s - 2 in placed for s, _ in cell.blocks[b].sides)]
        order.append(generator.choice(free))
        ready.remove(order[-1])
    number = {0: 0, 1: 1} | {b + 2: i + 2 for i, b in enumerate(order)}
    blocks = []
    for b in order:
        sides = [(number[s], op) for s, op in cell.blocks[b].sides]
        generator.shuffle(sides)
        (left, left_op), (right, right_op) = sides
        blocks.append(Block(left, left_op, right, right_op, cell.blocks[b].combine))
    concat = [number[s] for s in cell.concat]
    generator.shuffle(concat)
    return Cell(tuple(blocks), tuple(concat))


@pytest.mark.parametrize("seed", range(200))
def test_two_encodings_of_a_graph_share_a_digest(seed):
    genotype = random_genotype(seed, blocks=1 + seed % 6)
    generator = random.Random(seed)
    other = CellGenotype(
        shuffled(genotype.normal, generator), shuffled(genotype.reduction, generator)
    )
    assert other.digest == genotype.digest
    assert other.canonical() == genotype.canonical()


def test_states_that_reach_nothing_do_not_count():
    cell = NASNET_A.normal
    dead = Cell((*cell.blocks, Block(2, "conv_3x3", 3, "identity", "add")), cell.concat)
    assert CellGenotype(dead, NASNET_A.reduction).digest == NASNET_A.digest


def test_reading_one_block_twice_is_not_reading_two_that_look_alike():
    twin = Block(0, "sep_conv_3x3", 1, "identity")
    twice = Cell((twin, twin, Block(2, "conv_1x1", 2, "conv_1x1")), (3, 4))
    both = Cell((twin, twin, Block(2, "conv_1x1", 3, "conv_1x1")), (3, 4))
    assert CellGenotype(twice, twice).digest != CellGenotype(both, both).digest


def test_alike_twins_with_readers_have_one_canonical_form():
    """Colour refinement alone cannot order them."""
    twin = Block(0, "sep_conv_3x3", 0, "sep_conv_3x3")
    cells = [
        Cell(
            (twin, twin, Block(2, "identity", a, "identity"), Block(3, "identity", b, "identity")),
            concat=(4, 5),
        )
        for a, b in itertools.product((0, 1), repeat=2)
    ]
    digests = [CellGenotype(cell, cell).digest for cell in cells]
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3


def test_a_cell_is_known_to_be_canonical_without_its_canonical_form():
    """All cells of two blocks that choose between two operations; larger ones at random."""
    sides = [list(itertools.product(range(b + 2), ("conv_1x1", "identity"))) for b in range(2)]
    cells = [
        Cell.with_unused_concat([Block(*left, *right) for left, right in blocks])
        for blocks in itertools.product(*[itertools.product(s, s) for s in sides])
    ]
    generator = random.Random(0)
    for _ in range(500):
        several = [
            [(generator.randrange(b + 2), generator.choice(("conv_1x1", "identity")))] * 2
            for b in range(5)
        ]
        cell = Cell.with_unused_concat([Block(*left, *right) for left, right in several])
        cells += [cell, cell.canonical(), Cell(cell.blocks, cell.concat[::-1])]
        cells.append(Cell(cell.blocks, (2,)))
    found = {True: 0, False: 0}
    for cell in cells:
        assert cell.is_canonical == (cell == cell.canonical()), cell
        found[cell.is_canonical] += 1
    assert min(found.values()) > 500


def test_twins_that_are_read_crosswise_are_not_canonical():
    """Neither colours nor their order tell: only the orders that are tried one by one."""
    twin = Block(0, "identity", 0, "identity")
    crossed, straight = (
        Cell(
            (twin, twin, Block(a, "identity", a, "identity"), Block(b, "identity", b, "identity")),
            (4, 5),
        )
        for a, b in ((3, 2), (2, 3))
    )
    assert crossed.canonical() == straight
    assert (crossed.is_canonical, straight.is_canonical) == (False, True)


@pytest.mark.parametrize("seed", range(50))
def test_another_operation_is_another_digest(seed):
    genotype = random_genotype(seed)
    block = genotype.normal.blocks[0]
    other = "conv_1x1" if block.left_op != "conv_1x1" else "conv_3x3"
    changed = Block(block.left_input, other, block.right_input, block.right_op, block.combine)
    normal = Cell((changed, *genotype.normal.blocks[1:]), genotype.normal.concat)
    assert CellGenotype(normal, genotype.reduction).digest != genotype.digest


def test_a_cell_of_many_alike_blocks_is_canonical_at_once():
    twins = Cell(
        tuple(Block(0, "identity", 1, "identity") for _ in range(12)), tuple(range(2, 14))
    )
    assert twins.canonical() == twins


@pytest.mark.parametrize("name", PUBLISHED)
def test_json_round_trip(name):
    genotype = PUBLISHED[name]
    assert CellGenotype.from_json(genotype.to_json()) == genotype


def test_published_cells_are_valid_and_differ():
    for genotype in PUBLISHED.values():
        genotype.normal.validate("normal")
        genotype.reduction.validate("reduction")
    assert NASNET_A.digest != AMOEBANET_A.digest


def edited(path, value):
    data = json.loads(NASNET_A.to_json())
    *parents, leaf = path
    target = data
    for key in parents:
        target = target[key]
    target[leaf] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            ("normal", "blocks", 3, 1),
            "conv_9x9",
            "normal cell, block 3: left operation 'conv_9x9'",
        ),
        (("normal", "blocks", 0, 0), 2, "normal cell, block 0: left input 2 is not one of"),
        (("reduction", "blocks", 1, 2), -1, "reduction cell, block 1: right input -1"),
        (("reduction", "blocks", 1, 4), "mul", "reduction cell, block 1: combine 'mul'"),
        (("reduction", "blocks", 1, 0), True, "reduction cell, block 1: expected"),
        (("reduction", "blocks", 1), [0], "reduction cell, block 1: expected"),
        (("normal", "concat"), [2, 2], "normal cell: concat"),
        (("normal", "concat"), [99], "normal cell: concat"),
        (("normal", "concat"), ["2"], "normal cell: concat"),
        (("normal", "concat"), [], "normal cell: concat"),
        (("normal", "blocks"), [], "normal cell: 0 blocks"),
        (("normal", "blocks"), [[0, "identity", 1, "identity", "add"]] * 1000, "1000 blocks"),
        (("normal",), 7, "normal cell: expected the keys"),
        (("kind",), "layers", '"kind": "cell"'),
        (("extra",), 1, "keys kind, normal and reduction"),
    ],
)
def test_a_bad_genotype_is_refused_and_the_place_named(path, value, said):
    with pytest.raises(InvalidGenotypeError) as error:
        CellGenotype.from_json(edited(path, value))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(InvalidGenotypeError):
        CellGenotype.from_json(text)


def test_a_cell_tells_the_operations_it_uses():
    one = Cell((Block(0, "identity", 1, "conv_1x3_3x1"),), (2,))
    assert one.operations == {"identity", "conv_1x3_3x1"}
