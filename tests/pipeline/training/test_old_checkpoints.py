"""Checkpoints that release 0.1 wrote in the middle of a training: today's code goes on from them.

Each was written by what ``test_trainer`` and ``test_shared_training`` train, of the same data:
a training after 2 of 4 steps of its second epoch, with a moving average; a pass after 2 of 4.
"""

import gzip
import io
from pathlib import Path

import pytest
import torch

from pipeline.training.checkpoint import CorruptCheckpointError
from tests.pipeline.training.test_shared_training import MACRO, children_of, run_pass
from tests.pipeline.training.test_trainer import Recorder, changed, make_data, make_network, run

FILES = Path(__file__).parent / "files"


def stored(name):
    content = gzip.decompress((FILES / name).read_bytes())
    return torch.load(io.BytesIO(content), weights_only=True)


def assert_close(one, other):
    """Nearly: another processor adds in another order. On the one that wrote them, bit for bit."""
    assert one.keys() == other.keys()
    for key in one:
        torch.testing.assert_close(one[key], other[key], rtol=1e-3, atol=1e-5)


def test_a_training_ends_as_if_it_had_never_been_interrupted():
    config, whole, rest = changed(average_decay=0.9), Recorder(), Recorder()
    unbroken = run(make_network(), make_data(), config, hooks=whole)
    state = stored("training-0.1.pt.gz")
    assert state["progress"].keys() == {
        *("epoch", "step", "loss_sum", "correct", "seconds", "waited", "accuracies")
    }
    resumed = run(make_network(), make_data(), config, resume=state, hooks=rest)
    assert len(rest.steps) == 6
    assert_close(resumed.weights, unbroken.weights)
    assert rest.epochs[0].loss == pytest.approx(whole.epochs[1].loss, rel=1e-4)
    assert rest.epochs[0].train_accuracy == pytest.approx(whole.epochs[1].train_accuracy, abs=0.05)
    assert len(resumed.accuracies) == len(unbroken.accuracies)


def test_a_pass_ends_as_if_it_had_never_been_interrupted():
    children, whole, rest = children_of(MACRO), Recorder(), Recorder()
    unbroken = run_pass(children, hooks=whole)
    state = stored("pass-0.1.pt.gz")
    assert state["progress"].keys() == {
        *("step", "loss_sum", "correct", "images", "skipped", "seconds")
    }
    resumed = run_pass(children, hooks=rest, resume=state)
    assert len(rest.steps) == 2
    assert_close(resumed.state["network"], unbroken.state["network"])
    assert rest.epochs[0].loss == pytest.approx(whole.epochs[0].loss, rel=1e-4)


def test_a_checkpoint_that_lacks_something_of_any_release_is_none_to_go_on_from():
    for missing in ("epoch", "seconds"):
        state = stored("training-0.1.pt.gz")
        del state["progress"][missing]
        with pytest.raises(CorruptCheckpointError, match="does not fit"):
            run(make_network(), make_data(), changed(average_decay=0.9), resume=state)
