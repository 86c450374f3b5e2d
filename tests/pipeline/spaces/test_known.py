"""Networks of torchvision as baselines; ours as the body of a detector."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.networks.costs import count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.networks.weights import head_names, load_body
from pipeline.spaces.building import build
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.network import build_network
from pipeline.spaces.cells.published import NASNET_A
from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.spaces.known.network import known_names
from pipeline.spaces.registry import genotype_from_data


def make(name, shape=(3, 32, 32), classes=10, seed=0):
    torch.manual_seed(seed)
    return build(KnownNetwork(name), None, Inputs(shape, classes))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small"])
def test_a_known_network_trains_on_images_of_any_size(name, shape):
    network = make(name, shape)
    loss = cross_entropy(network(torch.rand(4, *shape)), torch.arange(4))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_small_images_are_not_halved_before_the_first_block():
    network, maps = make("resnet18"), []
    network.layer1.register_forward_hook(lambda _m, inputs, _o: maps.append(inputs[0].shape))
    network.eval()(torch.rand(1, 3, 32, 32))
    assert maps == [(1, 64, 32, 32)]
    # ResNet-18 for CIFAR-10: torchvision's own, its 7x7 convolution a 3x3
    assert count_parameters(network) == 11_173_962
    large = make("resnet18", (3, 224, 224), classes=1000)
    assert count_parameters(large) == 11_689_512  # as torchvision lists it


def test_every_known_network_can_be_built():
    assert {"resnet18", "densenet121", "mobilenet_v3_small", "efficientnet_b0"} <= {*known_names()}
    for name in ("resnext50_32x4d", "shufflenet_v2_x0_5", "regnet_y_400mf", "mnasnet0_5"):
        assert make(name).eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_an_unknown_network_is_refused():
    with pytest.raises(InvalidGenotypeError, match="no known network 'vgg99'"):
        make("vgg99")


def test_a_known_network_is_a_genotype():
    network = KnownNetwork("resnet18")
    assert genotype_from_data(network.to_data()) == network == network.canonical()
    assert network.digest != KnownNetwork("resnet34").digest


# Weights to start from.


def make_ours(channels=3, classes=10, seed=0, **config):
    torch.manual_seed(seed)
    shape = NetworkConfig(num_cells=1, num_filters=4, **config)
    return build_network(NASNET_A, shape, Inputs((channels, 16, 16), classes))


@pytest.mark.parametrize("known", [True, False])
def test_a_body_is_taken_and_the_head_is_new(known):
    build_one = (lambda **o: make("mobilenet_v3_small", **o)) if known else make_ours
    source, target = build_one(seed=1), build_one(seed=2, classes=7)
    fresh = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    load_body(target, source.state_dict())
    (head,) = head_names(target)
    for name, tensor in target.state_dict().items():
        expected = fresh[name] if name.startswith(f"{head}.") else source.state_dict()[name]
        assert torch.equal(tensor, expected), name


def test_an_auxiliary_head_that_one_of_the_two_lacks_is_left_out():
    plain, with_auxiliary = make_ours(seed=1), make_ours(seed=2, auxiliary=True)
    load_body(plain, with_auxiliary.state_dict())
    load_body(with_auxiliary, plain.state_dict())
    assert torch.equal(plain.stem[0].weight, with_auxiliary.stem[0].weight)


def test_a_first_convolution_is_fitted_to_grey_and_to_coloured_images():
    grey, coloured = make_ours(channels=1, seed=1), make_ours(channels=3, seed=2)
    load_body(coloured, grey.state_dict())
    image = torch.rand(2, 1, 16, 16)
    same = coloured.stem[0](image.expand(-1, 3, -1, -1))
    torch.testing.assert_close(same, grey.stem[0](image))


def test_weights_of_another_network_are_refused():
    with pytest.raises(UserError, match="weights of another network"):
        load_body(make_ours(), make("resnet18").state_dict())


# A detector on our network (torchvision's Faster R-CNN).


class Body(torch.nn.Module):
    """The last two stages' maps by name, as torchvision's detectors want them."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.out_channels = 24
        self.match = torch.nn.ModuleList(
            torch.nn.LazyConv2d(self.out_channels, 1) for _ in range(2)
        )

    def forward(self, x):
        maps = self.network.features(x)[-2:]
        return {
            str(i): match(m) for i, (m, match) in enumerate(zip(maps, self.match, strict=True))
        }


def test_a_faster_rcnn_runs_and_learns_on_a_nasnet_body():
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    torch.manual_seed(0)
    config = NetworkConfig(num_cells=1, num_filters=8, stem="imagenet", padding="same")
    network = build_network(NASNET_A, config, Inputs((3, 96, 96), 10))
    body = Body(network)
    body(torch.rand(2, 3, 96, 96))  # the lazy layers see their channels
    detector = FasterRCNN(
        body,
        num_classes=3,
        min_size=96,
        max_size=96,
        rpn_anchor_generator=AnchorGenerator(((16,), (32,)), ((0.5, 1.0, 2.0),) * 2),
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], output_size=3, sampling_ratio=2),
    )
    images = [torch.rand(3, 96, 96) for _ in range(2)]
    box = torch.tensor([[10.0, 10.0, 60.0, 60.0]])
    targets = [{"boxes": box, "labels": torch.tensor([1])} for _ in images]
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
    losses = detector(images, targets)
    sum(losses.values()).backward()
    before = network.stem[0].weight.clone()
    assert network.stem[0].weight.grad.abs().sum() > 0
    optimizer.step()
    assert not torch.equal(network.stem[0].weight, before)
    found = detector.eval()(images)
    assert len(found) == 2
    assert {"boxes", "labels", "scores"} <= found[0].keys()
