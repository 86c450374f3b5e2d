"""A problem that is no images is trained, measured and gone on with by the same loop."""

import pytest
import torch
from torch import nn

from pipeline.config.training import TrainingConfig
from pipeline.errors import LeaseReturnedError
from pipeline.training.problem import Metric
from pipeline.training.trainer import train
from tests.pipeline.training.test_trainer import CPU, Recorder, assert_same

CONFIG = TrainingConfig(epochs=2, batch_size=8, learning_rate=0.05, device="cpu")


class Sums:
    """Of four numbers, is their sum above 0? A vector a sample, and one logit."""

    metrics = (Metric("accuracy", maximize=True), Metric("certainty", maximize=True))

    def make_feed(self, config, *, seed, device, share=(0, 1), loaders=0):
        return SumsFeed(config)

    def loss(self, outputs, targets, config):
        return nn.functional.binary_cross_entropy_with_logits(outputs.squeeze(1), targets)

    def correct(self, outputs, targets):
        return ((outputs.detach().squeeze(1) > 0) == (targets > 0.5)).sum()

    def measure(self, network, batches, device, on_batch=lambda: None):
        network.eval()
        [(inputs, targets)] = batches
        with torch.inference_mode():
            outputs = network(inputs)
        on_batch()
        certainty = (outputs.sigmoid() - 0.5).abs().mean().item()
        return {
            "accuracy": self.correct(outputs, targets).item() / len(targets),
            "certainty": certainty,
        }


class SumsFeed:
    """Batches of 40 samples, in an order of their own."""

    images, validation_images, waited = 40, 20, 0.0

    def __init__(self, config):
        self.config = config
        numbers = torch.randn(60, 4, generator=torch.Generator().manual_seed(3))
        self.samples = numbers, (numbers.sum(1) > 0).float()

    def _part(self, first, last):
        return tuple(tensor[first:last] for tensor in self.samples)

    def train(self, epoch, first_step):
        size = self.config.batch_size
        for step in range(first_step, 40 // size):
            yield self._part(step * size, (step + 1) * size)

    def validation(self, epoch):
        yield self._part(40, 60)

    def test(self):
        yield self._part(40, 60)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def run(hooks, resume=None):
    return train(
        network(), Sums(), CONFIG, seed=1, device=CPU, resume=resume, hooks=hooks, test=True
    )


def test_its_own_metrics_are_what_a_training_gives():
    hooks = Recorder()
    result = run(hooks)
    assert hooks.steps == [8] * 10
    assert result.metrics.keys() == {"accuracy", "certainty"}
    assert result.test_metrics == result.metrics  # its test samples are those held out
    assert [e.accuracy for e in hooks.epochs] == result.accuracies
    assert result.accuracies[-1] == result.metrics["accuracy"]


@pytest.mark.parametrize("stop_after", [3, 5, 8])
def test_it_resumes_bit_for_bit(tmp_path, stop_after):
    unbroken = run(Recorder())
    hooks = Recorder(tmp_path, stop_after=stop_after)
    with pytest.raises(LeaseReturnedError):
        run(hooks)
    resumed = run(Recorder(), resume=hooks.newest)
    assert_same(dict(resumed.weights), dict(unbroken.weights))
    assert (resumed.accuracies, resumed.metrics) == (unbroken.accuracies, unbroken.metrics)
