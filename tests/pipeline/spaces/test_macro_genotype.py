"""Genotypes of ENAS' macro space: rules, and one digest for one network."""

import dataclasses

import pytest

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.layers.genotype import LayerGenotype
from pipeline.spaces.macro.genotype import OPERATIONS, MacroGenotype, MacroLayer
from pipeline.spaces.registry import genotype_from_data, searched_from_data

FOUR = MacroGenotype(
    (
        MacroLayer("conv_3x3"),
        MacroLayer("max_pool_3x3", (0, 1)),
        MacroLayer("sep_conv_5x5"),
        MacroLayer("avg_pool_3x3", (1, 3)),
    )
)


def test_a_genotype_survives_its_json_and_is_known_by_its_kind():
    assert MacroGenotype.from_data(FOUR.to_data()) == FOUR
    assert genotype_from_data(FOUR.to_data()) == FOUR
    assert searched_from_data(FOUR.to_data()) == FOUR
    assert FOUR.operations is None


def test_the_order_of_skips_changes_no_digest():
    layers = [dataclasses.replace(la, skips=la.skips[::-1]) for la in FOUR.layers]
    other = MacroGenotype(tuple(layers))
    assert other != FOUR
    assert (other.is_canonical, FOUR.is_canonical) == (False, True)
    assert other.canonical() == FOUR
    assert other.digest == FOUR.digest == FOUR.literal_digest


def test_networks_that_differ_have_different_digests():
    def changed(number, **keys):
        layers = list(FOUR.layers)
        layers[number - 1] = dataclasses.replace(layers[number - 1], **keys)
        return MacroGenotype(tuple(layers))

    others = [changed(3, operation=name) for name in OPERATIONS if name != "sep_conv_5x5"]
    others += [changed(3, skips=skips) for skips in ((0,), (1,), (2,), (0, 2))]
    others += [MacroGenotype(FOUR.layers[:3])]
    assert len({FOUR.digest, *(other.digest for other in others)}) == 1 + len(others)


def test_what_later_layers_read_is_kept():
    """By what is still to come: the last output always, others where a skip reads them."""
    assert [FOUR.read_after(n) for n in range(1, 5)] == [(0, 1), (1, 2), (1, 3), (4,)]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (MacroLayer("identity"), "layer 2: operation 'identity' is unknown; known: conv_3x3"),
        (MacroLayer("conv_3x3", (0, 0)), "layer 2: skips must name each at most once"),
        (MacroLayer("conv_3x3", (2,)), r"layer 2: skips \[2\] are not among 0 to 1"),
        (MacroLayer("conv_3x3", (-1,)), r"layer 2: skips \[-1\] are not among 0 to 1"),
    ],
)
def test_a_layer_that_cannot_be_is_refused_by_name(layer, message):
    with pytest.raises(InvalidGenotypeError, match=message):
        MacroGenotype((FOUR.layers[0], layer)).validate()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "macro"}, "keys kind and layers"),
        ({"kind": "macro", "layers": [], "more": 1}, "keys kind and layers"),
        ({"kind": "macro", "layers": 3}, "layers as a list"),
        ({"kind": "macro", "layers": []}, "0 layers, expected 1 to 64"),
        ({"kind": "macro", "layers": [["conv_3x3", []]] * 65}, "65 layers"),
        ({"kind": "macro", "layers": ["conv_3x3"]}, "layer 1: expected"),
        ({"kind": "macro", "layers": [["conv_3x3"]]}, "layer 1: expected"),
        ({"kind": "macro", "layers": [[1, []]]}, "layer 1: expected"),
        ({"kind": "macro", "layers": [["conv_3x3", [True]]]}, "layer 1: expected"),
        ({"kind": "macro", "layers": [["conv_3x3", [0.0]]]}, "layer 1: expected"),
        ({"kind": "macro", "layers": [["conv_3x3", [10**30]]]}, "are not among 0 to 0"),
        ({"kind": "macro", "layers": [["<b>", []]]}, "layer 1: operation '<b>' is unknown"),
    ],
)
def test_data_that_are_no_genotype_are_refused(data, message):
    with pytest.raises(InvalidGenotypeError, match=message):
        genotype_from_data(data)


def test_another_kind_s_data_are_refused():
    layers = {"kind": "layers", "layers": [["conv_3x3", []]]}
    with pytest.raises(InvalidGenotypeError, match='expected "kind": "macro"'):
        MacroGenotype.from_data(layers)
    with pytest.raises(InvalidGenotypeError, match="layer 1"):
        LayerGenotype.from_data(layers)
