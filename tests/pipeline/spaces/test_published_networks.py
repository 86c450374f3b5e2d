import functools

import pytest
import torch
from torch import nn

from pipeline.config.run import changed
from pipeline.errors import UserError
from pipeline.networks.costs import count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.networks.layers import Layers, SameAvgPool2d, SameMaxPool2d, pad_same
from pipeline.networks.state import State
from pipeline.spaces.building import build
from pipeline.spaces.cells.config import MicroNetworkConfig, NetworkConfig
from pipeline.spaces.cells.network import build_network, plan_cells
from pipeline.spaces.cells.published import ENAS_MICRO, NASNET_A
from pipeline.spaces.cells.published_networks import PUBLISHED_NETWORKS
from pipeline.spaces.description import describe

SMALL = NetworkConfig(num_cells=1, num_filters=8)


@functools.cache
def described(name):
    published = PUBLISHED_NETWORKS[name]
    inputs = Inputs((3, published.image_size, published.image_size), published.classes)
    return describe(published.genotype, published.config, inputs)


def make_network(size=16, seed=0, **changes):
    torch.manual_seed(seed)
    config = changed(SMALL, changes)
    return build_network(NASNET_A, config, Inputs((3, size, size), 10))


def images(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "parameters", "auxiliary", "macs"),
    [
        ("nasnet-a-cifar", 3_346_538, 1_631_498, 544_333_312),
        ("nasnet-a-mobile", 5_289_978, 2_411_240, 563_638_816),
        ("nasnet-a-large", 88_753_150, 4_567_784, 23_783_414_658),
        # counted in the released code's graph; the paper's 4.6M are another network's
        ("enas-micro-cifar", 3_894_372, 494_848, 620_907_552),
    ],
)
def test_a_published_network_has_its_published_size(name, parameters, auxiliary, macs):
    found = described(name)
    assert (found.parameters, found.auxiliary_parameters, found.macs) == (
        parameters,
        auxiliary,
        macs,
    )


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        # N; (channels, size) of stem, cells, reduction, cells ... (slim: nasnet_test.py)
        ("nasnet-a-cifar", (6, (96, 32), (192, 32), (256, 16), (384, 16), (512, 8), (768, 8))),
        ("nasnet-a-mobile", (4, (88, 28), (264, 28), (352, 14), (528, 14), (704, 7), (1056, 7))),
        (
            "nasnet-a-large",
            (6, (336, 42), (1008, 42), (1344, 21), (2016, 21), (2688, 11), (4032, 11)),
        ),
        ("enas-micro-cifar", (5, (108, 32), (180, 32), (288, 16), (360, 16), (576, 8), (720, 8))),
    ],
)
def test_end_points_are_those_of_the_authors_test(name, stages):
    n, stem, *rest = stages
    expected = {"Stem": stem}
    for stage in range(3):
        if stage:
            expected[f"Reduction_Cell_{stage - 1}"] = rest[2 * stage - 1]
        for k in range(n):
            expected[f"Cell_{stage * n + k}"] = rest[2 * stage]
    found = dict(described(name).endpoints)
    assert found.pop("Logits") == (PUBLISHED_NETWORKS[name].classes,)
    assert found == {end: (c, size, size) for end, (c, size) in expected.items()}


def test_the_released_enas_network_has_its_size_also_at_32_filters():
    config = changed(PUBLISHED_NETWORKS["enas-micro-cifar"].config, {"num_filters": 32})
    found = describe(ENAS_MICRO, config, Inputs((3, 32, 32), 10))
    assert found.parameters == 3_116_192


def test_enas_drops_paths_with_depth_and_its_second_head_reads_after_the_last_reduction():
    """micro_child.py: _apply_drop_path, aux_head_indices."""
    config = MicroNetworkConfig(
        skeleton="enas-micro",
        cells="final",
        num_cells=1,
        num_filters=4,
        auxiliary=True,
        drop_path_keep=0.5,
    )
    network = build(ENAS_MICRO, config, Inputs((3, 16, 16), 10))
    assert network.keep == [0.9, 0.8, 0.7, 0.6, 0.5]
    heads = network.train().heads(images(4, 3, 16, 16), 1.0)
    assert heads.logits.shape == heads.auxiliary.shape == (4, 10)
    heads.auxiliary.square().sum().backward()
    assert network.cells[4].blocks["2"].left[0].kernel_size == 3  # the last cell's average
    assert all(parameter.grad is not None for parameter in network.cells.parameters())
    assert network.classifier.weight.grad is None


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("nasnet-a-mobile", (8_534, 13_948)), ("nasnet-a-large", (49_230, 121_128))],
)
def test_the_stem_cells_have_their_published_size(name, sizes):
    published = PUBLISHED_NETWORKS[name]
    with torch.device("meta"):
        network = build_network(
            NASNET_A,
            published.config,
            Inputs((3, published.image_size, published.image_size), 1000),
        )
    assert tuple(count_parameters(cell) for cell in network.cells[:2]) == sizes


def test_a_cell_after_a_reduction_reads_past_it_and_where_asked_past_the_cell_before():
    def inputs(skip):
        config = changed(SMALL, {"num_cells": 3, "skip_reduction_input": skip})
        return [(place.current, place.previous) for place in plan_cells(NASNET_A, config)]

    # outputs: 0 stem, 1-3 cells, 4 reduction, 5 ...
    assert inputs(False)[:6] == [(0, None), (1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]
    assert inputs(True)[:6] == [(0, None), (1, 0), (2, 1), (3, 2), (4, 2), (5, 4)]


def test_reading_past_a_reduction_changes_the_function_and_not_the_size():
    plain, skipping = (
        make_network(num_cells=2, skip_reduction_input=skip).eval() for skip in (False, True)
    )
    assert count_parameters(plain) == count_parameters(skipping)
    skipping.load_state_dict(plain.state_dict())
    x = images(2, 3, 16, 16)
    assert not torch.allclose(plain(x), skipping(x))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_features_are_the_last_map_of_every_stage(stem):
    network = make_network(64, num_cells=2, stem=stem).eval()
    shapes = [tuple(map_.shape[1:]) for map_ in network.features(images(1, 3, 64, 64))]
    stages = [(48, 64, 64), (96, 32, 32), (192, 16, 16)]
    if stem == "imagenet":
        stages = [(16, 8, 8), (48, 8, 8), (96, 4, 4), (192, 2, 2)]
    assert shapes == stages


@pytest.mark.parametrize("size", [8, 16, 33])
def test_the_auxiliary_head_speaks_in_training_only_and_learns(size):
    network = make_network(size, auxiliary=True)
    x = images(2, 3, size, size)
    logits, auxiliary = network.heads(x, 0.5)
    assert logits.shape == auxiliary.shape == (2, 10)
    auxiliary.sum().backward()
    assert network.auxiliary[1].weight.grad.abs().sum() > 0
    assert network.stem[0].weight.grad.abs().sum() > 0
    assert network.cells[-1].blocks["2"].left[0].weight.grad is None  # it comes before
    assert network(x).shape == (2, 10)


def test_paths_are_dropped_ever_more_with_training_and_depth():
    network = make_network(num_cells=2, drop_path_keep=0.6)
    assert network.keep == pytest.approx([1 - (k + 1) / 8 * 0.4 for k in range(8)])
    assert make_network(drop_path_keep=0.6, drop_path_schedule="paper").keep == [0.6] * 5
    assert make_network().keep == [1.0] * 5


def test_a_dropped_path_is_whole_and_the_others_make_up_for_it():
    """Of a cell that is two poolings of ones, an image's map is 0, 1/keep or 2/keep all over."""
    block = make_network(num_cells=2).cells[1].blocks["5"]  # avg + avg, of h_{i-1}
    torch.manual_seed(0)
    result = block({1: State(torch.ones(200, 8, 3, 3))}, 0.5)
    values = result[:, 0, 0, 0]
    assert torch.equal(result, values[:, None, None, None].expand_as(result))
    assert set(values.tolist()) == {0.0, 2.0, 4.0}
    assert values.mean().item() == pytest.approx(2.0, abs=0.3)


def test_nothing_is_dropped_at_the_start_nor_in_evaluation():
    network, plain = make_network(drop_path_keep=0.5), make_network()
    x = images(4, 3, 16, 16)
    torch.testing.assert_close(network.heads(x, 0.0).logits, plain(x))
    network.eval()
    plain.eval()
    torch.testing.assert_close(network.heads(x, 1.0).logits, plain(x))


def test_identities_are_never_dropped():
    network = make_network()
    may_drop = {number: block.may_drop for number, block in network.cells[0].blocks.items()}
    assert may_drop["4"] == may_drop["6"] == (True, False)
    assert all(may_drop[number] == (True, True) for number in ("2", "3", "5"))


# Padding.


@pytest.mark.parametrize(
    ("size", "kernel", "around"),
    [
        pytest.param(4, 3, (0, 1), id="even size: right and below"),
        pytest.param(5, 3, (1, 1), id="odd size: both sides"),
        pytest.param(4, 5, (1, 2), id="wider kernel"),
        pytest.param(1, 1, (0, 0), id="nothing lacks"),
    ],
)
def test_same_padding_is_tensorflows(size, kernel, around):
    padded = pad_same(torch.ones(1, 1, size, size), (kernel, kernel), (2, 2))
    before, after = around
    assert padded[0, 0].sum() == size**2
    assert padded.shape[2:] == (size + before + after,) * 2
    assert padded[0, 0, before : before + size, before : before + size].sum() == size**2


def test_a_same_convolution_reads_the_pixels_tensorflow_does():
    conv = Layers(padding="same").conv(1, 1, (3, 3), stride=2)
    nn.init.ones_(conv.weight)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    expected = [[45.0, 39.0], [66.0, 50.0]]  # windows begin at 0 and 2
    assert conv(x)[0, 0].tolist() == expected


def test_same_pools_leave_the_padding_out_and_timms_average_and_keras_maximum_count_it():
    x = -torch.ones(1, 1, 4, 4)
    assert torch.equal(SameMaxPool2d(3, 2, counts_padding=False)(x), -torch.ones(1, 1, 2, 2))
    zeros = SameMaxPool2d(3, 2, counts_padding=True)(x)
    assert zeros[0, 0].tolist() == [[-1, 0], [0, 0]]
    assert torch.equal(SameAvgPool2d(3, 2, counts_padding=False)(x), -torch.ones(1, 1, 2, 2))
    counted = SameAvgPool2d(3, 2, counts_padding=True)(x)
    torch.testing.assert_close(counted[0, 0], -torch.tensor([[1, 6 / 9], [6 / 9, 4 / 9]]))


@pytest.mark.parametrize("padding", ["same", "timm", "keras"])
def test_padding_matters_at_even_sizes_only(padding):
    """At odd ones the same pixels lie around; only timm's averages count them."""
    for size, equal in ((15, padding == "same"), (16, False)):
        networks = [make_network(size, padding=p).eval() for p in ("symmetric", padding)]
        networks[1].load_state_dict(networks[0].state_dict())
        x = images(2, 3, size, size)
        # 15, 8, 4: only the first reduction meets an odd size
        first = [network.cells[1](*_inputs(network, x)).state.plain for network in networks]
        assert torch.allclose(*first) == equal


def _inputs(network, x):
    outputs = network._outputs(x, 1.0)
    place = network.plan[1]
    return outputs[place.current], outputs[place.previous]


@pytest.mark.parametrize(
    "changes",
    [
        {"stem": "imagenet", "padding": "same", "auxiliary": True, "dropout": 0.5},
        {"stem": "imagenet", "num_filters": 44, "stem_multiplier": 1.0},  # F/4 = 11 is odd
        {"skip_reduction_input": True, "drop_path_keep": 0.5, "padding": "timm"},
    ],
)
def test_a_gradient_reaches_every_weight_of_every_skeleton(changes):
    network = make_network(32, **changes)
    logits, auxiliary = network.heads(images(4, 3, 32, 32), 0.5)
    loss = logits.square().mean()
    if auxiliary is not None:
        loss = loss + auxiliary.square().mean()
    loss.backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_a_stem_that_has_no_filters_or_no_image_is_refused():
    with pytest.raises(UserError, match="num_filters: 8 or more with stem"):
        changed(SMALL, {"stem": "imagenet", "num_filters": 6})
    config = changed(SMALL, {"stem": "imagenet"})
    with pytest.raises(UserError, match="images of 2x2: ImageNet's stem needs 3x3"):
        build_network(NASNET_A, config, Inputs((3, 2, 2), 10))
    smallest = build_network(NASNET_A, config, Inputs((3, 3, 3), 10)).eval()
    assert smallest(images(1, 3, 3, 3)).shape == (1, 10)
