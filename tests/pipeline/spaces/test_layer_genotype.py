"""Genotypes of layers: rules, and one digest for one graph."""

import itertools
import random

import pytest

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.layers.genotype import Layer, LayerGenotype

THREE = LayerGenotype(
    (
        Layer(3, 5, 24, (0,)),
        Layer(1, 1, 36, (1,), stride_height=2, stride_width=2),
        Layer(7, 3, 48, (1, 2), pool=2),
    )
)


def drawn(layers, seed):
    chance = random.Random(seed)
    made = []
    for number in range(1, layers + 1):
        inputs = tuple(j for j in range(1, number) if chance.random() < 0.4) or (0,)
        made.append(Layer(chance.choice((1, 3)), 3, chance.choice((6, 8)), inputs))
    return LayerGenotype(tuple(made))


def shuffled(genotype, seed):
    """The same graph, its layers written in another order in which each reads earlier ones."""
    chance = random.Random(seed)
    order, left = [], set(range(1, len(genotype.layers) + 1))
    while left:
        free = [n for n in left if not set(genotype.layers[n - 1].inputs) & left]
        order.append(chance.choice(sorted(free)))
        left.remove(order[-1])
    number = {0: 0} | {old: new for new, old in enumerate(order, start=1)}
    layers = [genotype.layers[old - 1] for old in order]
    return LayerGenotype(
        tuple(
            Layer(la.height, la.width, la.filters, tuple(number[s] for s in la.inputs))
            for la in layers
        )
    )


def test_what_no_layer_reads_is_the_output():
    assert THREE.outputs == (3,)
    assert LayerGenotype((*THREE.layers, Layer(1, 1, 8, (0,)))).outputs == (3, 4)


def test_a_genotype_survives_its_json():
    assert LayerGenotype.from_data(THREE.to_data()) == THREE


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_layers_changes_no_digest(seed):
    genotype = drawn(8, seed)
    again = shuffled(genotype, seed)
    assert again.digest == genotype.digest
    assert genotype.canonical().literal_digest == genotype.digest
    assert genotype.canonical().canonical() == genotype.canonical()
    for other in (genotype, again, genotype.canonical()):
        assert other.is_canonical == (other == other.canonical())


def test_networks_that_differ_have_different_digests():
    """All of three layers with two sizes each: as many digests as there are graphs."""
    found = {}
    for sizes in itertools.product((6, 8), repeat=3):
        for bits in itertools.product((0, 1), repeat=3):
            second = (1,) if bits[0] else (0,)
            third = tuple(j for j, bit in ((1, bits[1]), (2, bits[2])) if bit) or (0,)
            layers = zip(sizes, [(0,), second, third], strict=True)
            genotype = LayerGenotype(tuple(Layer(3, 3, f, inputs) for f, inputs in layers))
            found.setdefault(genotype.digest, set()).add(_unordered(genotype))
    assert all(len(graphs) == 1 for graphs in found.values())
    assert len(set.union(*found.values())) == len(found)


def _unordered(genotype):
    """A graph as nested sets: what each output reads, down to the image; alike layers stay two."""

    def told(number):
        layer = genotype.layers[number - 1]
        inputs = tuple(sorted(told(s) if s else "" for s in layer.inputs))
        readers = sum(number in other.inputs for other in genotype.layers)
        return repr((layer.filters, inputs, readers))

    return tuple(sorted(told(n) for n in range(1, len(genotype.layers) + 1)))


def test_many_layers_that_look_alike_are_ordered_at_once():
    """Fifteen equal layers that read the image, and one that reads them all: 15! orders."""
    layers = [Layer(3, 3, 8, (0,)) for _ in range(15)]
    genotype = LayerGenotype((*layers, Layer(1, 1, 8, tuple(range(1, 16)))))
    assert genotype.canonical() == genotype


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Layer(2, 3, 8, (0,)), "layer 1: height 2 is even"),
        (Layer(3, 17, 8, (0,)), "layer 1: width 17"),
        (Layer(3, 3, 0, (0,)), "layer 1: filters 0"),
        (Layer(3, 3, 8, ()), "layer 1: inputs must name each at most once"),
        (Layer(3, 3, 8, (0, 0)), "layer 1: inputs must name each at most once"),
        (Layer(3, 3, 8, (1,)), r"layer 1: inputs \[1\] are not among 0 to 0"),
        (Layer(3, 3, 8, (0,), stride_width=9), "layer 1: stride_width 9"),
    ],
)
def test_a_layer_that_cannot_be_is_refused_by_name(layer, message):
    with pytest.raises(InvalidGenotypeError, match=message):
        LayerGenotype((layer,)).validate()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "layers"}, "keys kind and layers"),
        ({"kind": "layers", "layers": 3}, "must be a list"),
        ({"kind": "layers", "layers": []}, "0 layers"),
        ({"kind": "layers", "layers": [[]]}, "layer 1: expected height"),
        ({"kind": "layers", "layers": [{**THREE.layers[0].to_data(), "width": "3"}]}, "whole"),
        ({"kind": "layers", "layers": [{**THREE.layers[0].to_data(), "inputs": 0}]}, "a list"),
    ],
)
def test_data_that_are_no_genotype_are_refused(data, message):
    with pytest.raises(InvalidGenotypeError, match=message):
        LayerGenotype.from_data(data)
