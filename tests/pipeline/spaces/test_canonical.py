"""Genotypes of which many parts look alike: a form is found at once, or refused."""

import itertools
import random

import pytest

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces import canonical
from pipeline.spaces.cells.genotype import Block, Cell
from pipeline.spaces.layers.genotype import Layer, LayerGenotype
from tests.pipeline.spaces.test_layer_genotype import shuffled


def network(*inputs):
    """Layers that differ in what they read alone."""
    return LayerGenotype(tuple(Layer(3, 3, 8, tuple(sources)) for sources in inputs))


def chains(count, length):
    return network(*([c * length + i if i else 0] for c in range(count) for i in range(length)))


def multipartite(*parts):
    inputs = []
    for part in parts:
        before = list(range(1, len(inputs) + 1)) or [0]
        inputs += [before] * part
    return network(*inputs)


def sets(points, chosen):
    """Layers that read the image, and a layer for each set of them."""
    return network(*[[0]] * points, *(sorted(p + 1 for p in points_) for points_ in chosen))


def cycles(*lengths):
    """Rings, of points and of edges that read two of them."""
    edges, first = [], 0
    for length in lengths:
        edges += [{first + i, first + (i + 1) % length} for i in range(length)]
        first += length
    return sets(first, edges)


def gadgets(vertices, edges):
    """Cai, Fürer and Immerman's: refinement alone tells nothing of it apart."""
    chosen = [(2 * e, 2 * e + 1) for e in range(len(edges))]
    for vertex in vertices:
        touching = [e for e, ends in enumerate(edges) if vertex in ends]
        for sides in itertools.product((0, 1), repeat=len(touching)):
            if sum(sides) % 2 == 0:
                chosen.append([2 * e + side for e, side in zip(touching, sides, strict=True)])
    return sets(2 * len(edges), chosen)


def ladder(steps):
    return network([0], [0], *([2 * (i // 2) + 1, 2 * (i // 2) + 2] for i in range(2 * steps - 2)))


def hadamard():
    """Rows and columns of Sylvester's matrix of order 32: as symmetrical as can be."""
    return sets(32, [[j for j in range(32) if (i & j).bit_count() % 2 == 0] for i in range(32)])


# A Steiner system, 15 points in 35 triples, without a symmetry: three points tell the rest apart.
TRIPLES = """
    01b 027 03e 048 059 06d 0ac 124 13a 15e 168 17c 19d
    235 26e 289 2ab 2cd 349 36b 37d 38c 45c 46a 47e
    4bd 567 58b 5ad 69c 78a 79b 8de 9ae bce
"""


def bipartite(seed):
    """Thirty-two layers that each read three of thirty-two."""
    chance = random.Random(seed)
    while True:
        ends = [point for point in range(32) for _ in range(3)]
        chance.shuffle(ends)
        chosen = [set(ends[i : i + 3]) for i in range(0, 96, 3)]
        if all(len(points) == 3 for points in chosen):
            return sets(32, chosen)


ALIKE = {
    "64 chains of one": chains(64, 1),
    "32 chains of two": chains(32, 2),
    "16 chains of four": chains(16, 4),
    "4 chains of sixteen": chains(4, 16),
    "eight parts of eight": multipartite(*[8] * 8),
    "two parts of 32": multipartite(32, 32),
    "a complete graph": sets(10, itertools.combinations(range(10), 2)),
    "gadgets": gadgets(range(6), [(i, j) for i in range(3) for j in range(3, 6)]),
    "a ladder": ladder(32),
    "a Hadamard matrix": hadamard(),
    "a projective plane": sets(31, [[(i + d) % 31 for d in (1, 5, 11, 24, 25, 27)]
                                    for i in range(31)]),
    "equal rings": cycles(*[4] * 8),
    "rings": cycles(3, 3, 4, 5, 6),
    "a random graph": bipartite(0),
    "another": bipartite(1),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_a_network_of_parts_that_look_alike_has_one_form(name):
    genotype = ALIKE[name]
    genotype.validate()
    form = genotype.canonical()
    assert form.is_canonical
    assert shuffled(genotype, 1).canonical() == form


def test_what_took_the_first_release_a_few_seconds_is_not_refused():
    """2520 orders, of which no symmetry makes two one."""
    sets(15, [[int(point, 16) for point in points] for points in TRIPLES.split()]).canonical()


def test_a_cell_of_as_many_alike_blocks_as_may_be_has_one_form():
    pairs = [(2 + i, 2 + (i + 1) % 6) for i in range(6)]
    for second in (pairs, [(a, a) for a, _ in pairs], list(itertools.combinations(range(6), 2))):
        blocks = [Block(0, "identity", 1, "identity") for _ in range(6)]
        blocks += [Block(a, "identity", b, "identity") for a, b in second[:6]]
        form = Cell.with_unused_concat(blocks).canonical()
        assert form.is_canonical
        turned = [*blocks[:6], *blocks[:5:-1]]
        assert Cell.with_unused_concat(turned).canonical() == form


def test_a_network_that_would_take_too_long_is_refused(monkeypatch):
    """Eight rings of six sizes stand in 10,080 orders that no symmetry makes one."""
    monkeypatch.setattr(canonical, "MOST_LOOKS", 100_000)
    with pytest.raises(InvalidGenotypeError, match="look alike from every side"):
        cycles(2, 2, 3, 3, 4, 5, 6, 7).canonical()


def test_random_networks_are_far_from_what_is_refused(monkeypatch):
    monkeypatch.setattr(canonical, "MOST_LOOKS", canonical.MOST_LOOKS // 50)
    for seed in range(20):
        chance = random.Random(seed)
        inputs = ([j for j in range(n) if chance.random() < 3 / (n + 1)] or [0] for n in range(64))
        network(*inputs).canonical()
