"""Canonical forms are identities in every store: they stay what the first release found.

The reference is that release's search: all orders that telling apart one block after another
leads to, and the least genotype of them. It takes n! steps where n parts are alike.
"""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.spaces.cells.genotype import Block, Cell
from pipeline.spaces.layers.genotype import KEYS, Layer, LayerGenotype
from pipeline.spaces.macro.genotype import OPERATIONS, MacroGenotype, MacroLayer
from pipeline.spaces.registry import genotype_from_data


def first_form(genotype, graph, live, key):
    """The least of all renumbered genotypes."""
    orders = first_orders(graph, live)
    return min((genotype._renumbered(order) for order in orders), key=key)


def first_orders(graph, live):
    depth = {}
    for b in live:
        depth[b] = 1 + max(depth.get(state - 2, 0) for state, _ in graph.sides[b])
    start = {b: (depth[b], b + 2 in graph.concat, graph.combines[b]) for b in live}
    yield from individualised(graph, live, ranked(start))


def individualised(graph, live, colours):
    colours = refined(graph, live, colours)
    order = sorted(live, key=lambda b: colours[b])
    for _, group in itertools.groupby(order, key=lambda b: colours[b]):
        twins = list(group)
        if len(twins) > 1:
            for chosen in twins:
                told_apart = {b: (colours[b], b != chosen) for b in live}
                yield from individualised(graph, live, ranked(told_apart))
            return
    yield tuple(order)


def refined(graph, live, colours):
    readers = {b: [] for b in live}
    for c in live:
        for state, operation in graph.sides[c]:
            if state >= 2:
                readers[state - 2].append((c, operation))
    count = len(set(colours.values()))
    while count < len(live):
        finer = ranked(
            {
                b: (
                    colours[b],
                    tuple(sorted([(colours.get(s - 2, s - 2), op) for s, op in graph.sides[b]])),
                    tuple(sorted([(colours[c], op) for c, op in readers[b]])),
                )
                for b in live
            }
        )
        before, count = count, len(set(finer.values()))
        if count == before:
            return finer
        colours = finer
    return colours


def ranked(signatures):
    rank = {signature: i for i, signature in enumerate(sorted(set(signatures.values())))}
    return {b: rank[signature] for b, signature in signatures.items()}


def cell_key(cell):
    return tuple((b.sides, b.combine) for b in cell.blocks), cell.concat


def layers_key(genotype):
    return [[getattr(layer, key) for key in (*KEYS, "inputs")] for layer in genotype.layers]


def alike(draw, most):
    """How many choices there are: mostly one, so that much is alike."""
    return draw(st.sampled_from([1, 1, 1, 2, most]))


@st.composite
def cells(draw):
    blocks, operations = draw(st.integers(1, 6)), alike(draw, 4)
    names = st.sampled_from(("identity", "max_pool_3x3", "conv_1x1", "conv_3x3")[:operations])
    combine = st.sampled_from(("add", "concat")[: alike(draw, 2)])
    outside = draw(st.sampled_from([1, 2]))
    made = []
    for b in range(blocks):
        states = st.one_of(st.integers(0, outside - 1), st.integers(0, b + 1))
        made.append(Block(*(draw(s) for s in (states, names, states, names, combine))))
    if draw(st.booleans()):
        return Cell.with_unused_concat(made)
    concat = draw(st.lists(st.integers(0, blocks + 1), min_size=1, unique=True))
    return Cell(tuple(made), tuple(concat))


@st.composite
def networks(draw):
    layers, sizes, widths = draw(st.integers(1, 7)), alike(draw, 3), alike(draw, 2)
    depth = draw(st.integers(1, 7))
    made = []
    for number in range(1, layers + 1):
        sources = st.integers(max(0, number - depth), number - 1)
        inputs = draw(st.lists(sources | st.just(0), min_size=1, max_size=3, unique=True))
        filters = draw(st.sampled_from((10, 9, 8)[:sizes]))  # 10 is before 9 as a text
        width = draw(st.sampled_from((1, 11)[:widths]))
        made.append(Layer(3, width, filters, tuple(inputs)))
    return LayerGenotype(tuple(made))


@st.composite
def copies(draw):
    """Several networks of two or three layers beside each other, and what reads some of them."""
    part = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, unique=True), min_size=2,
                         max_size=3))  # fmt: skip
    times = draw(st.integers(2, 6 // len(part)))
    made = []
    for copy in range(times):
        first = copy * len(part)
        for number, sources in enumerate(part):
            inputs = {first + s if s else 0 for s in sources if s <= number}
            made.append(Layer(3, 3, 8, tuple(sorted(inputs)) or (0,)))
    last = draw(st.lists(st.integers(0, len(made)), min_size=1, max_size=len(made), unique=True))
    return LayerGenotype((*made, Layer(3, 3, 8, tuple(last))))


@st.composite
def rings(draw):
    """Rings of layers and of layers that read two of them: alike from every side, not the same."""
    lengths = draw(st.sampled_from([(2, 3), (3, 2), (2, 2), (5,), (2, 4), (4, 2), (3, 3), (6,)]))
    points = draw(st.permutations(range(1, sum(lengths) + 1)))
    edges, first = [], 0
    for length in lengths:
        ring = points[first : first + length]
        edges += [{ring[i], ring[(i + 1) % length]} for i in range(length)]
        first += length
    inputs = [(0,)] * len(points) + [tuple(sorted(edge)) for edge in draw(st.permutations(edges))]
    if draw(st.booleans()):
        inputs.append(tuple(range(1, len(points) + 1)))
    return LayerGenotype(tuple(Layer(3, 3, 8, sources) for sources in inputs))


def assert_the_first_form(genotype, expected):
    found = genotype.canonical()
    assert found == expected
    assert found.is_canonical
    assert genotype.is_canonical == (genotype == expected)


@given(cells())
def test_a_cell_has_the_form_that_it_always_had(cell):
    assert_the_first_form(cell, first_form(cell, cell._graph(), cell.live_blocks(), cell_key))


@given(networks() | copies() | rings())
def test_a_network_of_layers_has_the_form_that_it_always_had(genotype):
    live = tuple(range(len(genotype.layers)))
    expected = first_form(genotype, genotype._graph(), live, layers_key)
    assert_the_first_form(genotype, expected)


@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.sets(st.integers(0, 7))), min_size=1))
def test_a_macro_network_s_form_sorts_its_skips_and_nothing_else(rows):
    layers = [
        MacroLayer(operation, tuple(s for s in skips if s < number))
        for number, (operation, skips) in enumerate(rows, start=1)
    ]
    turned = MacroGenotype(tuple(MacroLayer(la.operation, la.skips[::-1]) for la in layers))
    expected = tuple(MacroLayer(la.operation, tuple(sorted(la.skips))) for la in layers)
    assert turned.canonical() == MacroGenotype(expected)
    assert genotype_from_data(turned.canonical().to_data()).is_canonical
