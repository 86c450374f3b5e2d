"""Supernets: a child in one is the child built alone, and the plain network of its choices."""

import itertools
import random

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, linear, max_pool2d, pad

from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.networks.batch_statistics import batch_statistics
from pipeline.networks.inputs import Inputs
from pipeline.spaces import make_space
from pipeline.spaces.building import build, build_shared
from pipeline.spaces.cells.config import (
    ENAS_OPERATIONS,
    MicroNetworkConfig,
    MicroSpaceConfig,
    NASNetSpaceConfig,
    NetworkConfig,
)
from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype
from pipeline.spaces.cells.published import NASNET_A
from pipeline.spaces.macro.config import MacroNetworkConfig, MacroSpaceConfig
from pipeline.spaces.macro.genotype import MacroGenotype, MacroLayer

INPUTS = Inputs((3, 8, 8), 10)


def macro(layers, *, reads="layer", **keys):
    keys = {"filters": 4, "dropout": 0.0, **keys}
    space = MacroSpaceConfig(name="enas-macro", layers=layers, skips=reads)
    return space, MacroNetworkConfig(skeleton="enas-macro", **keys)


FOUR = ("max_pool_3x3", "identity", "sep_conv_7x7", "sep_conv_3x3")


def micro(blocks, *, operations=ENAS_OPERATIONS, **keys):
    keys = {"num_cells": 1, "num_filters": 4, **keys}
    space = MicroSpaceConfig(name="enas-micro", blocks=blocks, operations=operations)
    return space, MicroNetworkConfig(skeleton="enas-micro", **keys)


SIZES = {
    "macro of one layer": macro(1),
    "macro of three layers": macro(3),
    "macro of six, wider": macro(6, widen=True),
    "macro of six, summed": macro(6, skip="sum", widen=True),
    "macro of six, as released": macro(6, skip="sum", reads="code"),
    "macro halved elsewhere": macro(4, reductions=[1, 4], filters=6),
    "micro of one block": micro(1),
    "micro of three blocks": micro(3),
    "micro of one width": micro(2, widen=False),
    "micro of two cells a stage": micro(2, num_cells=2, num_filters=2),
    "micro of other operations": micro(2, operations=FOUR),
}


@pytest.fixture(params=SIZES)
def size(request):
    return SIZES[request.param]


def supernet_of(size, seed=0):
    torch.manual_seed(seed)
    network = build_shared(*size, INPUTS)
    with torch.no_grad():  # what all begin with would hide a mistake
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
        for name, buffer in network.named_buffers():
            if buffer.dtype == torch.float32:
                buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_()
    return network


def children_of(size, count, seed=0):
    space, chance = make_space(size[0]), random.Random(seed)
    for _ in range(count):
        yield space.decode([chance.randrange(d.choices) for d in space.decisions])


def alone(network, size, genotype):
    """The child built by itself, with the supernet's weights."""
    child = build(genotype, size[1], INPUTS)
    weights = network.state_dict()
    child.load_state_dict({name: weights[name] for name in child.state_dict()})
    return child


def images(count=5, seed=1):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [True, False], ids=["batch", "running"])
def test_a_child_in_a_supernet_is_exactly_the_child_alone(size, training):
    network = supernet_of(size)
    for genotype in children_of(size, 3):
        child = alone(network, size, genotype).train(training)
        network.train(training).zero_grad(set_to_none=True)
        found, expected = network(images(), genotype), child(images())
        assert torch.equal(found, expected)
        assert found.std() > 0
        found.square().sum().backward()
        expected.square().sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        assert {name for name, p in child.named_parameters() if p.grad is not None} == set(
            gradients
        )
        for name, parameter in child.named_parameters():
            assert torch.equal(parameter.grad, gradients[name])
        after = network.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in child.state_dict().items())


def test_nothing_is_built_that_a_child_does_not_read(size):
    """Each weight of a child that stands alone has a gradient."""
    for genotype in children_of(size, 3, seed=1):
        child = build(genotype, size[1], INPUTS)
        child(images()).square().sum().backward()
        assert all(parameter.grad is not None for parameter in child.parameters())


class Plain:
    """The networks written with torch's functions alone, each 1x1 on one concatenation.

    Weights are read by the names that enas' networks give them.
    """

    def __init__(self, network):
        self.w = network.state_dict()

    def norm(self, x, name):
        return batch_norm(
            x, None, None, self.w[f"{name}.weight"], self.w[f"{name}.bias"], True, 0, 1e-5
        )

    def conv(self, x, name, groups=1):
        weight = self.w[f"{name}.weight"]
        return conv2d(
            x, weight, padding=(weight.shape[2] // 2, weight.shape[3] // 2), groups=groups
        )

    def pointwise_of_all(self, parts, names):
        """Concatenate, then one 1x1 convolution with the weights side by side."""
        weight = torch.cat([self.w[f"{name}.weight"] for name in names], 1)
        return conv2d(torch.cat(parts, 1), weight)

    def halved(self, x, name):
        even = self.conv(x[:, :, ::2, ::2], f"{name}.even")
        odd = self.conv(pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2], f"{name}.odd")
        return self.norm(
            torch.cat((even, odd[:, :, : even.shape[2], : even.shape[3]]), 1), f"{name}.norm"
        )

    def pooled(self, x, name):
        if name == "avg_pool_3x3":
            return avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return max_pool2d(x, 3, 1, 1)

    def macro(self, x, genotype, config):
        states = [self.norm(self.conv(x, "stem.0"), "stem.1")]
        for number, layer in enumerate(genotype.layers, start=1):
            name = f"ops.{number}.{layer.operation}"
            own = self.norm(self.conv(states[-1], f"{name}.0"), f"{name}.1").relu()
            if "pool" in layer.operation:
                own = self.pooled(own, layer.operation)
            elif "sep" in layer.operation:
                own = self.conv(self.conv(own, f"{name}.3", groups=own.shape[1]), f"{name}.4")
                own = self.norm(own, f"{name}.5").relu()
            else:
                own = self.norm(self.conv(own, f"{name}.3"), f"{name}.4").relu()
            if number > 1:
                parts = [*(states[source] for source in layer.skips), own]
                if config.skip == "concat":
                    names = [f"src.{number}.{source}" for source in (*layer.skips, number)]
                    own = self.pointwise_of_all([part.relu() for part in parts], names)
                else:
                    own = sum(parts)
                own = self.norm(own, f"norms.{number}")
            states.append(own)
            if number in config.reductions_of(len(genotype.layers)):
                kept = genotype.read_after(number)
                states = [
                    self.halved(state, f"reductions.{number}.{n}") if n in kept else None
                    for n, state in enumerate(states)
                ]
        return linear(states[-1].mean((2, 3)), self.w["classifier.weight"])

    def matched(self, x, name):
        """What brings a cell's input to shape, if it is there."""
        if f"{name}.0.weight" in self.w:
            return self.norm(self.conv(x.relu(), f"{name}.0"), f"{name}.1")
        return self.halved(x.relu(), f"{name}.0") if f"{name}.0.even.weight" in self.w else x

    def micro(self, x, genotype, config):
        previous = current = self.norm(self.conv(x, "stem.0"), "stem.1")
        stage = ["normal"] * config.num_cells
        kinds = [*stage, "reduction", *stage, "reduction", *stage]
        for number, kind in enumerate(kinds):
            if kind == "reduction":
                previous, current = current, self.halved(current, f"reductions.{number}")
            cell, name = getattr(genotype, kind), f"cells.{number}"
            states = [
                self.matched(current, f"{name}.current"),
                self.matched(previous, f"{name}.previous"),
            ]
            for b, block in enumerate(cell.blocks):
                sides = zip(("left", "right"), block.sides, strict=True)
                results = [
                    self.operation(states[state], f"{name}.ops.{b}_{side}_{state}_{op}", op)
                    for side, (state, op) in sides
                ]
                states.append(results[0] + results[1])
            parts = [states[state].relu() for state in cell.concat]
            out = self.pointwise_of_all(parts, [f"{name}.out.{state}" for state in cell.concat])
            previous, current = current, self.norm(out, f"{name}.norm")
        return linear(current.relu().mean((2, 3)), self.w["classifier.weight"])

    def operation(self, x, name, operation):
        if operation == "identity":
            return x
        if "pool" in operation:
            return self.pooled(x, operation)
        for first in (0, 4):  # ReLU, depthwise, pointwise, norm: twice
            x = self.conv(x.relu(), f"{name}.{first}", groups=x.shape[1])
            x = self.norm(self.conv(x, f"{name}.{first + 1}"), f"{name}.{first + 2}")
        return x


def test_a_child_is_the_plain_network_of_its_choices(size):
    network = supernet_of(size)
    for genotype in children_of(size, 4, seed=2):
        plain = Plain(network)
        run = plain.macro if isinstance(genotype, MacroGenotype) else plain.micro
        with batch_statistics(network), torch.no_grad():
            found = network(images(), genotype)
        torch.testing.assert_close(found, run(images(), genotype, size[1]), rtol=1e-5, atol=1e-5)


def outputs_of(size, genotypes):
    network = supernet_of(size)
    with batch_statistics(network), torch.no_grad():
        return [network(images(), genotype) for genotype in genotypes]


def assert_all_differ(outputs):
    for first, second in itertools.combinations(outputs, 2):
        assert (first - second).abs().max() > 1e-4


def one_choice_each(space):
    """All genotypes that differ from one in a single decision, itself first."""
    chance = random.Random(5)
    actions = [chance.randrange(d.choices) for d in space.decisions]
    yield space.decode(actions)
    for t, decision in enumerate(space.decisions):
        for other in range(decision.choices):
            if other != actions[t]:
                yield space.decode([*actions[:t], other, *actions[t + 1 :]])


@pytest.mark.parametrize(
    "size",
    [macro(4), macro(4, skip="sum"), macro(4, reads="code"), micro(2)],
    ids=["macro", "macro, summed", "macro, as released", "micro"],
)
def test_each_choice_changes_the_output(size):
    """Also operations: the released code, read literally, runs the last one whatever is chosen."""
    assert_all_differ(outputs_of(size, one_choice_each(make_space(size[0]))))


def test_weights_belong_to_the_place_and_not_to_the_graph():
    """Two encodings of one graph are two children of a supernet, so no canonical form is run."""
    size = micro(1)
    actions = (0, 1, 0, 1) * 2
    swapped = (1, 0, 1, 0) * 2
    space = make_space(size[0])
    assert space.digest(actions) == space.digest(swapped)
    assert_all_differ(outputs_of(size, [space.decode(actions), space.decode(swapped)]))


def test_scoring_moves_no_buffer_and_no_mode(size):
    network = supernet_of(size).train()
    network.stem.eval()  # whatever it was
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for genotype in children_of(size, 2):
        with batch_statistics(network), torch.inference_mode():
            network(images(), genotype)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    network(images(), genotype)  # and training moves them again
    assert any(not torch.equal(v, before[name]) for name, v in network.state_dict().items())


def test_scoring_uses_the_batch_s_own_statistics_without_dropout():
    size = macro(3, dropout=0.5)
    network = supernet_of(size)
    (genotype,) = children_of(size, 1)
    with batch_statistics(network), torch.no_grad():
        found = network(images(), genotype)
        assert torch.equal(network(images(), genotype), found)
        others = torch.cat((images(4), images(4, seed=9)))
        assert not torch.allclose(network(others, genotype)[:4], network(images(4), genotype))
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    assert torch.equal(network(images(), genotype), found)


def test_modes_are_restored_where_scoring_fails():
    network = supernet_of(macro(1)).train()
    with pytest.raises(ValueError, match="say which"), batch_statistics(network):
        network(images())
    assert all(module.training for module in network.modules())
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.track_running_stats for norm in norms)


def test_weights_that_no_child_used_have_no_gradient():
    size = macro(2)
    network = supernet_of(size).train()
    chosen = MacroGenotype((MacroLayer("conv_3x3"), MacroLayer("conv_3x3")))
    network(images(), chosen).sum().backward()
    unused = [p.grad for name, p in network.named_parameters() if "sep_conv" in name]
    assert unused
    assert all(grad is None for grad in unused)


def test_a_child_of_a_paper_sized_supernet_keeps_its_size():
    """Reductions after layers 4 and 8 of 12; widths double in the final network alone."""
    genotype = next(children_of(macro(12), 1))
    for widen, filters in ((False, 4), (True, 16)):
        network = build(genotype, macro(12, widen=widen)[1], INPUTS)
        assert set(network.reductions) == {"4", "8"}
        assert network.classifier.in_features == filters
        assert network(images()).shape == (5, 10)


@pytest.mark.parametrize("cells", ["search", "final"])
def test_filters_double_with_each_reduction_or_not(cells):
    (genotype,) = children_of(micro(2), 1)
    for widen, last in ((True, 16), (False, 4)):
        network = build(genotype, micro(2, cells=cells, widen=widen)[1], INPUTS)
        width = len(genotype.normal.concat) if cells == "final" else 1
        assert network.classifier.in_features == width * last


def test_weights_are_he_s():
    """Standard deviation sqrt(2 / fan in), a depthwise filter's fan in being its own size."""
    network = build_shared(*micro(2, num_filters=32), INPUTS)
    operation = network.cells[0].ops["0_left_0_sep_conv_5x5"]
    assert operation[0].weight.std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.15)
    assert operation[1].weight.std().item() == pytest.approx((2 / 32) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("space", "network", "message"),
    [
        (NASNetSpaceConfig(), NetworkConfig(), "children of 'nasnet' share no weights"),
        (macro(2)[0], NetworkConfig(), "share no weights in the skeleton 'nasnet'"),
        (micro(2)[0], macro(2)[1], "share no weights in the skeleton 'enas-macro'"),
        (micro(2)[0], micro(2, cells="final")[1], "only 'search' cells share weights"),
        (macro(2)[0], macro(2, reductions=[3])[1], r"reductions: \[3\], but 2 layers"),
    ],
)
def test_what_cannot_share_weights_is_refused(space, network, message):
    with pytest.raises(UserError, match=message):
        build_shared(space, network, INPUTS)


def test_a_genotype_in_another_kind_s_skeleton_is_refused():
    with pytest.raises(UserError, match="kind macro needs 'enas-macro'"):
        build(MacroGenotype((MacroLayer("conv_3x3"),)), NetworkConfig(), INPUTS)
    with pytest.raises(UserError, match="kind cell needs 'nasnet' or 'enas-micro'"):
        build(NASNET_A, macro(1)[1], INPUTS)
    joined = Cell.with_unused_concat([Block(0, "identity", 1, "identity", "concat")])
    with pytest.raises(InvalidGenotypeError, match="add, they do not concatenate"):
        build(CellGenotype(joined, joined), micro(1)[1], INPUTS)
