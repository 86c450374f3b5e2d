import dataclasses
import itertools
import random

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.errors import InvalidGenotypeError
from pipeline.networks import layers
from pipeline.networks.costs import count_macs, count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.networks.layers import FactorizedReduction, Layers, PointwiseConv2d
from pipeline.spaces import NASNetSpace
from pipeline.spaces.cells import cell as built
from pipeline.spaces.cells import network as skeleton
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.genotype import OPERATIONS, Block, Cell, CellGenotype
from pipeline.spaces.cells.network import build_network
from pipeline.spaces.cells.operations import CONSTRUCTORS
from pipeline.spaces.cells.published import AMOEBANET_A, NASNET_A, PUBLISHED

LAYERS = Layers()


def make_network(genotype=NASNET_A, *, n=1, f=8, channels=1, classes=10, seed=0):
    torch.manual_seed(seed)
    config = NetworkConfig(num_cells=n, num_filters=f)
    return build_network(genotype, config, Inputs((channels, 8, 8), classes))


def images(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_genotype(blocks, seed):
    space = NASNetSpace(blocks)
    generator = random.Random(seed)
    return space.decode([generator.randrange(d.choices) for d in space.decisions])


def genotype_of(*blocks, concat=None):
    """Both cells of these blocks; all unused states are output unless ``concat`` names some."""
    cell = Cell.with_unused_concat([Block(*block) for block in blocks])
    if concat is not None:
        cell = dataclasses.replace(cell, concat=concat)
    return CellGenotype(cell, cell)


def shape_of(output):
    return tuple((output.state.plain if isinstance(output, built.Output) else output).shape)


def through(cell, current, previous):
    """A cell's output as one map, of inputs that are one map each."""
    inputs = (built.Output([built.State(x)]) for x in (current, previous))
    return cell(*inputs).state.plain


def loss_of(network, x):
    return functional.cross_entropy(network(x), torch.arange(len(x)) % 10)


# The published networks. Counts: an independent counter of the authors' topology, which also
# gives the parameters of timm's and keras' ImageNet networks exactly.


@pytest.mark.parametrize(
    ("n", "f", "parameters", "batch_norm_buffers", "macs"),
    [
        pytest.param(6, 32, 3_346_538, 37_248, 544_333_312, id="6 @ 768"),
        pytest.param(2, 32, 1_294_698, 15_744, 232_185_344, id="proxy F=32"),
        pytest.param(2, 24, 757_906, 11_808, 136_390_272, id="proxy F=24"),
    ],
)
def test_nasnet_a_has_the_published_size(n, f, parameters, batch_norm_buffers, macs):
    network = make_network(n=n, f=f, channels=3)
    assert count_parameters(network) == parameters
    assert sum(b.numel() for b in network.buffers() if b.dim()) == batch_norm_buffers
    assert count_macs(network, (3, 32, 32)) == macs


def test_nasnet_a_for_cifar_100_has_the_published_size():
    assert count_parameters(make_network(n=6, f=32, channels=3, classes=100)) == 3_415_748


@pytest.mark.parametrize(
    ("cell", "parameters"),
    [
        pytest.param(0, 40_384, id="first cell, whose h_{i-1} is the stem unprojected"),
        pytest.param(1, 25_152, id="second cell, whose h_{i-1} is the stem"),
        pytest.param(2, 28_224, id="third cell"),
        pytest.param(6, 87_168, id="first reduction"),
        pytest.param(7, 81_024, id="after it, h_{i-1} of twice the size"),
        pytest.param(8, 93_312, id="and the next"),
    ],
)
def test_each_kind_of_cell_of_nasnet_a_has_the_published_size(cell, parameters):
    network = make_network(n=6, f=32, channels=3)
    assert count_parameters(network.cells[cell]) == parameters


def test_end_points_of_nasnet_a_6_at_768_have_the_published_shapes():
    network = make_network(n=6, f=32, channels=3).eval()
    shapes = []
    for module in (network.stem, *network.cells):
        module.register_forward_hook(lambda _m, _i, output: shapes.append(shape_of(output)))
    with torch.inference_mode():
        assert network(images(1, 3, 32, 32)).shape == (1, 10)
    assert shapes == [
        (1, 96, 32, 32),
        *[(1, 192, 32, 32)] * 6,
        (1, 256, 16, 16),
        *[(1, 384, 16, 16)] * 6,
        (1, 512, 8, 8),
        *[(1, 768, 8, 8)] * 6,
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_learn(name):
    network = make_network(PUBLISHED[name], channels=3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    x = images(16, 3, 16, 16)
    losses = []
    for _ in range(6):
        loss = loss_of(network, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


# Operations.


def test_every_operation_of_the_space_can_be_built():
    assert tuple(CONSTRUCTORS) == OPERATIONS


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (2, 2), (1, 1), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [8, 12])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_f_channels_and_the_size_over_its_stride(name, channels, stride, size):
    operation = CONSTRUCTORS[name](LAYERS, channels, 8, stride).eval()
    halved = tuple(-(-side // stride) for side in size)  # rounded up
    assert operation(images(2, channels, *size)).shape == (2, 8, *halved)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_begins_with_relu_unless_it_pools_or_passes_through(name):
    operation = CONSTRUCTORS[name](LAYERS, 8, 8, 1)
    assert operation.reads_activated == ("pool" not in name and name != "identity")
    assert operation.reads_activated == (count_parameters(operation) > 0)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if "conv" in name])
def test_a_batch_norm_follows_the_last_convolution_and_no_relu(name):
    assert isinstance(CONSTRUCTORS[name](LAYERS, 8, 8, 1)[-1], nn.BatchNorm2d)


def test_an_identity_passes_its_state_on_only_where_the_shapes_are_equal():
    x = images(2, 8, 4, 4)
    assert CONSTRUCTORS["identity"](LAYERS, 8, 8, 1)(x) is x
    for channels, stride in ((8, 2), (12, 1)):
        operation = CONSTRUCTORS["identity"](LAYERS, channels, 8, stride)
        assert operation.reads_activated
        assert count_parameters(operation) == channels * 8 + 2 * 8


def test_an_average_leaves_the_padding_out():
    operation = CONSTRUCTORS["avg_pool_3x3"](LAYERS, 8, 8, 2)
    assert torch.equal(operation(torch.ones(1, 8, 5, 5)), torch.ones(1, 8, 3, 3))


@pytest.mark.parametrize("name", [name for name in OPERATIONS if "pool" in name])
def test_a_pooling_is_projected_only_where_the_channels_differ(name):
    assert count_parameters(CONSTRUCTORS[name](LAYERS, 8, 8, 2)) == 0
    assert count_parameters(CONSTRUCTORS[name](LAYERS, 12, 8, 2)) == 12 * 8 + 2 * 8


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # 12 -> 8 filters: convolutions, then two numbers a filter for each batch norm
        ("conv_1x1", 12 * 8 + 16),
        ("conv_3x3", (12 * 2 + 4) + (2 * 2 * 9 + 4) + (2 * 8 + 16)),
        ("dil_conv_3x3", (12 * 2 + 4) + (2 * 2 * 9 + 4) + (2 * 8 + 16)),
        ("conv_1x7_7x1", (12 * 2 + 4) + 2 * (2 * 2 * 7 + 4) + (2 * 8 + 16)),
        ("conv_1x3_3x1", (12 * 3 + 6) + 2 * (3 * 3 * 3 + 6) + (3 * 8 + 16)),
        ("sep_conv_3x3", (12 * 9 + 12 * 8 + 16) + (8 * 9 + 8 * 8 + 16)),
        ("sep_conv_7x7", (12 * 49 + 12 * 8 + 16) + (8 * 49 + 8 * 8 + 16)),
    ],
)
def test_convolutions_are_those_of_googles_code(name, parameters):
    assert count_parameters(CONSTRUCTORS[name](LAYERS, 12, 8, 2)) == parameters


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [
        ("conv_3x3", 3, 3),
        ("dil_conv_3x3", 5, 5),
        ("conv_1x3_3x1", 3, 3),
        ("conv_1x7_7x1", 7, 7),
        ("sep_conv_3x3", 5, 5),
        ("sep_conv_5x5", 9, 9),
    ],
)
def test_a_result_depends_on_as_many_pixels_as_the_kernels_span(name, height, width):
    torch.manual_seed(0)
    operation = CONSTRUCTORS[name](LAYERS, 8, 8, 1).eval()
    for module in operation.modules():  # so that no ReLU cuts a path off
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight, 0.1, 1.0)
    x = images(1, 8, 17, 17).abs().requires_grad_()
    operation(x)[0, :, 8, 8].sum().backward()
    rows, columns = x.grad[0].abs().sum(0).nonzero().unbind(1)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (height, width)


@pytest.mark.parametrize("side", [3, 5, 7])
def test_a_maximum_is_that_of_the_pixels_the_kernel_spans(side):
    x = images(1, 8, 9, 9)
    first, last = 4 - side // 2, 4 + side // 2 + 1
    pooled = CONSTRUCTORS[f"max_pool_{side}x{side}"](LAYERS, 8, 8, 1)(x)
    assert torch.equal(pooled[..., 4, 4], x[..., first:last, first:last].amax((2, 3)))


def test_a_bottleneck_narrower_than_one_filter_is_left_out():
    assert count_parameters(CONSTRUCTORS["conv_3x3"](LAYERS, 6, 2, 1)) == 6 * 2 * 9 + 4
    assert count_parameters(CONSTRUCTORS["conv_1x7_7x1"](LAYERS, 6, 2, 2)) == (
        (6 * 2 * 7 + 4) + (2 * 2 * 7 + 4)
    )


class Strides(TorchDispatchMode):
    """The strides of the convolutions that torch is asked for."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.seen.add(tuple(args[3]))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [2, 4, 8])
@pytest.mark.parametrize("whole", [True, False])
def test_a_1x1_convolution_with_a_stride_learns_as_torch_defines_it(channels, whole):
    conv = Layers().conv(channels, 8, stride=2).to(memory_format=torch.channels_last)
    x = torch.randn(64, channels, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    with Strides() as strides:
        conv(x if whole else [x[:, :1], x[:, 1:]]).square().sum().backward()
    assert strides.seen == {(1, 1)}  # oneDNN writes beyond its memory at another
    twin, weight = (t.detach().double().requires_grad_() for t in (x, conv.weight))
    functional.conv2d(twin, weight, stride=2).square().sum().backward()
    torch.testing.assert_close(x.grad.double(), twin.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(conv.weight.grad.double(), weight.grad, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (2, 2), (1, 1)])
def test_a_factorized_reduction_halves_any_size_rounding_up(size):
    reduced = FactorizedReduction(LAYERS, 12, 8).eval()(images(2, 12, *size))
    assert reduced.shape == (2, 8, *(-(-side // 2) for side in size))


def test_a_factorized_reduction_reads_even_and_odd_pixels_in_one_half_of_the_filters_each():
    reduction = FactorizedReduction(LAYERS, 1, 2).eval()
    for half in (reduction.even, reduction.odd):
        nn.init.ones_(half.weight)
    even, odd = reduction(torch.arange(9.0).view(1, 1, 3, 3))[0]
    expected = [[[0.0, 2.0], [6.0, 8.0]], [[4.0, 0.0], [0.0, 0.0]]]
    torch.testing.assert_close(torch.stack([even, odd]), torch.tensor(expected), rtol=1e-4, atol=0)


# Cells.


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_any_genotype_of_the_space_trains_on_8x8_grey_images(blocks, seed):
    network = make_network(random_genotype(blocks, seed), f=4)
    loss = loss_of(network, images(8, 1, 8, 8))
    loss.backward()
    assert loss.isfinite()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{name} reaches no output"
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_any_operation_works_on_images_that_cannot_be_halved_twice(name, size):
    genotype = genotype_of((0, name, 1, name), (0, name, 0, name))
    assert make_network(genotype)(images(2, 1, *size)).shape == (2, 10)


@pytest.mark.parametrize("kind", ["normal", "reduction"])
@pytest.mark.parametrize("side", ["left_op", "right_op"])
def test_every_choice_of_operation_changes_the_output(kind, side):
    block = Block(0, "identity", 1, "identity")
    cell = Cell((block,), (2,))

    def output_with(name):
        changed = Cell((dataclasses.replace(block, **{side: name}),), (2,))
        genotype = dataclasses.replace(CellGenotype(cell, cell), **{kind: changed})
        return make_network(genotype)(images(4, 1, 8, 8))

    outputs = {name: output_with(name) for name in OPERATIONS}
    same = [
        pair
        for pair in itertools.combinations(OPERATIONS, 2)
        if torch.allclose(*(outputs[name] for name in pair))
    ]
    # an identity that has to halve is a 1x1 convolution, in the authors' code too
    assert same == ([("identity", "conv_1x1")] if kind == "reduction" else [])


def test_state_0_is_h_i_projected_and_state_1_is_h_i_1_as_it_is():
    genotype = Cell((Block(0, "identity", 1, "max_pool_3x3"),), (2,))
    shapes = built.Shape(24, halvings=1), built.Shape(8, halvings=1)
    cell = built.Cell(LAYERS, genotype, *shapes, 8, reduction=False).eval()
    current, previous = images(2, 24, 4, 4), images(2, 8, 4, 4, seed=2)
    projected = functional.conv2d(current.relu(), cell.current[0].weight) / (1 + 1e-5) ** 0.5
    expected = projected + functional.max_pool2d(previous, 3, 1, 1)
    torch.testing.assert_close(through(cell, current, previous), expected)


def test_h_i_1_is_activated_before_it_is_brought_to_shape():
    cells = make_network(n=2).cells
    assert cells[0].previous is None  # the stem, unprojected
    for cell, first in ((1, nn.Conv2d), (3, FactorizedReduction)):
        assert cells[cell].previous.reads_activated
        assert isinstance(cells[cell].previous[0], first)


def test_the_classifier_reads_the_mean_of_the_activated_last_cell():
    network, seen = make_network(), []
    network.cells[-1].register_forward_hook(lambda _m, _i, output: seen.append(output.state.plain))
    network.classifier.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    network(images(2, 1, 8, 8))
    last, pooled = seen
    torch.testing.assert_close(pooled, last.relu().mean((2, 3)))


def test_combining_by_concatenation_adds_a_1x1_convolution_a_block():
    added, concatenated = (
        make_network(genotype_of((0, "identity", 0, "sep_conv_3x3", combine)))
        for combine in ("add", "concat")
    )
    per_cell = [2 * f * f + 2 * f for f in (8, 16, 16, 32, 32)]  # 2F -> F, batch norm
    assert count_parameters(concatenated) - count_parameters(added) == sum(per_cell)
    assert [cell.shape for cell in concatenated.cells] == [cell.shape for cell in added.cells]
    loss_of(concatenated, images(4, 1, 8, 8)).backward()
    project = concatenated.cells[0].blocks["2"].project
    assert [type(m) for m in project] == [nn.ReLU, PointwiseConv2d, nn.BatchNorm2d]
    assert all(p.grad.abs().sum() > 0 for p in project.parameters())


def test_an_unused_input_reaches_the_output():
    reads_current_only = genotype_of((0, "identity", 0, "avg_pool_3x3"))
    assert reads_current_only.normal.concat == (1, 2)
    network = make_network(reads_current_only)
    first, reduction = network.cells[:2]
    # unprojected in the first cell (24 channels): 1x1; in a reduction cell: halved
    assert [type(m) for m in first.outputs["1"]] == [PointwiseConv2d, nn.BatchNorm2d]
    assert isinstance(reduction.outputs["1"], FactorizedReduction)
    loss_of(network, images(4, 1, 8, 8)).backward()
    assert all(p.grad.abs().sum() > 0 for p in first.outputs["1"][0].parameters())
    assert all(p.grad.abs().sum() > 0 for p in reduction.outputs["1"].odd.parameters())


def test_the_output_has_the_listed_states_in_their_order():
    block = (0, "conv_1x1", 0, "conv_3x3")
    cell, swapped = (
        make_network(genotype_of(block, concat=concat)).cells[0] for concat in ((2, 0), (0, 2))
    )
    swapped.load_state_dict(cell.state_dict())
    stem = images(2, 24, 8, 8)
    result, current = through(cell, stem, stem).chunk(2, 1)
    torch.testing.assert_close(through(swapped, stem, stem), torch.cat([current, result], 1))


def test_only_operations_on_a_reduction_cells_inputs_have_a_stride():
    genotype = genotype_of((0, "sep_conv_3x3", 1, "conv_1x1"), (2, "sep_conv_3x3", 0, "conv_1x1"))
    reduction = make_network(genotype).cells[1]
    strides = [
        operation[0].stride
        for number in ("2", "3")
        for operation in (reduction.blocks[number].left, reduction.blocks[number].right)
    ]
    assert strides == [(2, 2), (2, 2), (1, 1), (2, 2)]


def test_blocks_that_reach_no_output_are_not_built():
    block, dead = (0, "conv_1x1", 0, "conv_1x1"), (1, "sep_conv_7x7", 2, "conv_3x3")
    with_dead = make_network(genotype_of(block, dead, concat=(2,)))
    without = make_network(genotype_of(block, concat=(2,)))
    assert count_parameters(with_dead) == count_parameters(without)
    x = images(2, 1, 8, 8)
    assert torch.equal(with_dead(x), without(x))


def test_an_input_that_nothing_reads_is_not_projected():
    network = make_network(genotype_of((0, "conv_1x1", 0, "identity"), concat=(2,)))
    loss_of(network, images(2, 1, 8, 8)).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_shared_relus_leave_the_state_as_it_is():
    network = make_network(AMOEBANET_A)
    stem = []
    network.stem.register_forward_hook(
        lambda _m, _i, output: stem.append((output, output.clone()))
    )
    network(images(2, 1, 8, 8))
    output, before = stem[0]
    assert torch.equal(output, before)


class PlainState:
    """A hidden state as the paper has it: each reader computes for itself."""

    def __init__(self, plain):
        self.plain = plain

    def through(self, operation):
        return operation(self.plain.relu() if operation.reads_activated else self.plain)


class PlainOutput:
    """A cell's output as the paper has it: one concatenated map."""

    def __init__(self, states):
        self.state = PlainState(torch.cat([state.plain for state in states], 1))

    @property
    def activated(self):
        return [self.state.plain.relu()]

    def through(self, operation):
        return PlainState(operation(self.state.plain.relu()))


@pytest.mark.parametrize(
    "genotype",
    [*PUBLISHED.values(), *(random_genotype(5, seed) for seed in range(6))],
    ids=[*PUBLISHED, *map(str, range(6))],
)
def test_what_is_shared_and_not_concatenated_changes_no_output_and_no_gradient(
    genotype, monkeypatch
):
    monkeypatch.setattr(layers, "SMALL_PART", 0)
    # in float64: batch norm over maps of a few pixels multiplies what float32 rounds
    network = make_network(genotype, n=2, channels=3).double()
    x = images(8, 3, 8, 8).double()

    def outputs_and_gradients():
        network.zero_grad()
        logits = network(x)
        functional.cross_entropy(logits, torch.arange(8)).backward()
        return logits.detach(), [parameter.grad.clone() for parameter in network.parameters()]

    logits, gradients = outputs_and_gradients()
    for module in (built, skeleton):
        monkeypatch.setattr(module, "State", PlainState)
        monkeypatch.setattr(module, "Output", PlainOutput)
    plain_logits, plain_gradients = outputs_and_gradients()
    torch.testing.assert_close(logits, plain_logits, rtol=1e-6, atol=1e-9)
    for gradient, plain in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(gradient, plain, rtol=1e-5, atol=1e-9)


def test_equal_seeds_build_equal_networks():
    genotype = random_genotype(5, seed=0)
    one, two = make_network(genotype), make_network(genotype)
    other = make_network(genotype, seed=1)
    x = images(2, 1, 8, 8)
    assert list(one.state_dict()) == list(two.state_dict())
    assert torch.equal(one(x), two(x))
    assert not torch.equal(one(x), other(x))


def test_weights_are_scaled_by_the_fan_out():
    network = make_network(n=1, f=32, channels=3)
    separable = network.cells[0].blocks["2"].left  # sep_conv_5x5
    for conv, fan_out in ((network.stem[0], 9 * 96), (separable[0], 25), (separable[1], 32)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def test_batch_norms_have_slims_constants_for_cifar():
    norms = [m for m in make_network().modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


def test_only_the_classifier_and_the_batch_norms_have_biases():
    biased = {type(m) for m in make_network().modules() if getattr(m, "bias", None) is not None}
    assert biased == {nn.Linear, nn.BatchNorm2d}


def test_a_genotype_that_breaks_a_rule_is_refused_by_the_block_s_name():
    broken = dataclasses.replace(
        NASNET_A, reduction=Cell((Block(0, "identity", 2, "identity"),), (2,))
    )
    with pytest.raises(InvalidGenotypeError, match="reduction cell, block 0: right input 2"):
        make_network(broken)


# Counting.


@pytest.mark.parametrize("training", [True, False])
def test_counting_macs_leaves_no_trace(training):
    network = make_network().train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    macs = count_macs(network, (1, 8, 8))
    assert count_macs(network, (1, 8, 8)) == macs > 0
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training is training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    loss_of(network, images(4, 1, 8, 8)).backward()  # no tensor of the count is left behind


def test_macs_are_those_of_convolutions_and_linear_layers():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    assert count_macs(network, (3, 9, 9)) == 25 * (8 * 3 * 9) + 25 * (8 * 25) + 8 * 10


def test_frozen_parameters_do_not_count():
    layer = nn.Linear(3, 4)
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 12
