"""Recipes: what moves the weights, and which weights are scored."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipeline.config.training import TrainingConfig
from pipeline.networks.weights import head_names
from pipeline.training.optimization import (
    freeze_body,
    make_average,
    make_optimizer,
    make_schedule,
)


def make_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)
    )


def step(network, optimizer, seed=1):
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    images = torch.randn(8, 3, 4, 4, generator=generator)
    cross_entropy(network(images), torch.arange(8) % 2).backward()
    optimizer.step()


def test_rmsprop_is_tensorflows():
    """tf.train.RMSPropOptimizer: mean square from 1, epsilon inside the root, rate in momentum."""
    pytest.importorskip("timm")
    config = TrainingConfig(optimizer="rmsprop", learning_rate=0.1, weight_decay=0.0, momentum=0.9)
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    module = nn.Module()
    module.weight = weight
    optimizer = make_optimizer(module, config)
    expected, square, moment = weight.detach().clone(), torch.ones(1, 2), torch.zeros(1, 2)
    for gradient in (torch.tensor([[0.5, 3.0]]), torch.tensor([[-1.0, 0.25]])):
        weight.grad = gradient.clone()
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        moment = 0.9 * moment + 0.1 * gradient / (square + 1.0).sqrt()
        expected = expected - moment
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_only_convolution_and_linear_weights_decay(optimizer):
    pytest.importorskip("timm")
    groups = make_optimizer(make_network(), TrainingConfig(optimizer=optimizer)).param_groups
    decays = {g["weight_decay"]: sorted(p.dim() for p in g["params"]) for g in groups}
    assert decays == {5e-4: [2, 4], 0.0: [1, 1, 1]}


def rates(config, steps, count):
    optimizer = make_optimizer(make_network(), config)
    schedule = make_schedule(optimizer, config, steps)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_a_cosine_falls_to_zero_over_all_steps():
    found = rates(TrainingConfig(epochs=3, learning_rate=0.1), 4, 13)
    expected = [0.05 * (1 + math.cos(math.pi * step / 12)) for step in range(13)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_an_exponential_schedule_falls_by_steps():
    config = TrainingConfig(epochs=9, learning_rate=1.0, schedule="exponential")
    found = rates(config, 10, 60)  # 0.97 every 2.4 epochs of 10 steps
    assert found[:24] == [1.0] * 24
    assert found[24:48] == pytest.approx([0.97] * 24)
    assert found[48:] == pytest.approx([0.97**2] * 12)


def test_the_average_follows_weights_and_batch_norm_statistics():
    network = make_network()
    average = make_average(network, TrainingConfig(average_decay=0.75, average_ramp=False))
    assert make_average(network, TrainingConfig()) is None
    optimizer = make_optimizer(network, TrainingConfig(learning_rate=0.5))
    names = ("0.weight", "1.running_mean")
    expected = None
    for number in range(4):
        step(network, optimizer, seed=number)
        average.update_parameters(network)
        now = {name: network.state_dict()[name].clone() for name in names}
        # the first update takes the weights as they are
        expected = (
            now
            if expected is None
            else {name: 0.75 * expected[name] + 0.25 * now[name] for name in names}
        )
    for name in names:
        torch.testing.assert_close(average.module.state_dict()[name], expected[name])


def test_a_ramp_lets_the_average_forget_the_first_weights():
    """tf.train.ExponentialMovingAverage(decay, global_step), after each step's update."""
    network = make_network()
    average = make_average(network, TrainingConfig(average_decay=0.25))
    optimizer = make_optimizer(network, TrainingConfig(learning_rate=0.5))
    names = ("0.weight", "1.running_mean", "3.bias")
    shadow = {name: network.state_dict()[name].clone() for name in names}
    for decay in (2 / 11, 3 / 12, 0.25, 0.25):  # (1 + t) / (10 + t) for t = 1, 2, 3, ...
        step(network, optimizer, seed=int(100 * decay))
        average.update_parameters(network)
        for name in names:
            shadow[name] -= (1 - decay) * (shadow[name] - network.state_dict()[name])
    found = average.module.state_dict()
    for name in names:
        torch.testing.assert_close(found[name], shadow[name])


def test_a_ramp_goes_on_after_a_resume():
    config, other = TrainingConfig(average_decay=0.999), make_network(seed=2)
    whole, first = make_average(make_network(), config), make_average(make_network(), config)
    for _ in range(3):
        whole.update_parameters(other)
        first.update_parameters(other)
    resumed = make_average(make_network(seed=3), config)
    resumed.load_state_dict(first.state_dict())
    whole.update_parameters(other)
    resumed.update_parameters(other)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_a_frozen_body_leaves_the_head_to_train():
    network = make_network()
    freeze_body(network)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert head_names(network) == ["3"]
    assert trained == {"3.weight", "3.bias"}
    before = {name: p.clone() for name, p in network.named_parameters()}
    step(network, make_optimizer(network, TrainingConfig()))
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == trained
