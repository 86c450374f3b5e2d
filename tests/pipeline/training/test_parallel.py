"""Several processes that train one network: DistributedDataParallel over gloo, on the CPU."""

import os
import signal

import pytest
import torch

from pipeline.config.run import make_run_config
from pipeline.data.datasets import load_dataset
from pipeline.errors import ChildError, Failure, MachineError
from pipeline.networks.inputs import Inputs
from pipeline.spaces.building import build
from pipeline.spaces.cells.published import NASNET_A
from pipeline.training import parallel, trainer
from pipeline.training.group import ALONE
from pipeline.training.hooks import NoHooks
from pipeline.training.image_problem import ImageProblem
from pipeline.training.parallel import Job, process_group
from pipeline.training.trainer import NetworkStepper

CPU = torch.device("cpu")
STEPS = 10
CONFIG = make_run_config(
    {
        "dataset": "digits",
        "validation": 1147,  # leaves 400 images, 5 batches of 80
        "network": {"num_cells": 1, "num_filters": 4},
        "training": {
            "epochs": 2,
            "batch_size": 80,
            "learning_rate": 0.05,
            "crop_padding": 1,
            "device": "cpu",
            "devices": 2,
        },
    }
)


def job(tmp_path, seed=3):
    return Job(NASNET_A, CONFIG, seed, tmp_path, 0)


def train(tmp_path, group=ALONE, hooks=None, seed=3):
    data = load_dataset(CONFIG, tmp_path)
    torch.manual_seed(seed)
    network = build(NASNET_A, CONFIG.network, Inputs((1, 8, 8), 10))
    return trainer.train(
        network,
        ImageProblem(data),
        CONFIG.training,
        seed=seed,
        device=CPU,
        resume=None,
        hooks=hooks or NoHooks(),
        group=group,
    )


def recording(monkeypatch, losses):
    """Note each step's loss."""
    step = NetworkStepper.step

    def noting(stepper, batch, position):
        loss, correct = step(stepper, batch, position)
        losses.append(loss.item())
        return loss, correct

    monkeypatch.setattr(NetworkStepper, "step", noting)


def one_after_the_other(stepper, batch, position):
    """A step that passes the two shares of a batch in turn and averages their gradients."""
    shares = list(zip(batch[0].tensor_split(2), batch[1].tensor_split(2), strict=True))
    done = stepper.share_done(position)
    stepper.optimizer.zero_grad(set_to_none=True)
    losses, correct, statistics = [], 0, None
    for images, labels in shares:
        logits, _ = stepper.heads(images, done)
        loss = stepper.problem.loss(logits, labels, stepper.config)
        (loss / 2).backward()
        losses.append(loss.detach())
        correct += (logits.argmax(1) == labels).sum()
        # running statistics are those of the first share
        statistics = statistics or {k: v.clone() for k, v in stepper.network.named_buffers()}
    for name, buffer in stepper.network.named_buffers():
        buffer.copy_(statistics[name])
    torch.nn.utils.clip_grad_norm_(stepper.parameters, stepper.config.grad_clip)
    stepper.optimizer.step()
    stepper.schedule.step()
    return torch.stack(losses).mean(), correct


def test_two_processes_have_the_losses_of_one_that_averages_the_gradients_of_both_shares(
    tmp_path, monkeypatch
):
    losses, expected = [], []
    with monkeypatch.context() as patch:
        recording(patch, losses)
        with process_group(job(tmp_path), 2) as group:
            result = train(tmp_path, group)
    with monkeypatch.context() as patch:
        patch.setattr(NetworkStepper, "step", one_after_the_other)
        recording(patch, expected)
        alone = train(tmp_path)
    assert len(losses) == len(expected) == STEPS
    assert losses == pytest.approx(expected, abs=1e-5)
    assert result.accuracies == pytest.approx(alone.accuracies, abs=0.01)
    assert result.images_trained == alone.images_trained == 800


class KillTheOther(NoHooks):
    """Kills the other process of the run after some steps."""

    def __init__(self, monkeypatch):
        self.steps = 0
        self.pids = []
        context = parallel.multiprocessing.get_context("spawn")
        start = context.Process.start

        def noting(process):
            start(process)
            self.pids.append(process.pid)

        monkeypatch.setattr(context.Process, "start", noting)

    def on_step(self, images):
        self.steps += 1
        if self.steps == 3:
            os.kill(self.pids[0], signal.SIGKILL)


def test_a_process_that_dies_ends_the_attempt_as_lost(tmp_path, monkeypatch):
    hooks = KillTheOther(monkeypatch)
    with pytest.raises(ChildError) as caught, process_group(job(tmp_path), 2) as group:
        train(tmp_path, group, hooks)
    assert caught.value.failure is Failure.LOST
    assert hooks.steps < STEPS
    for pid in hooks.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not torch.distributed.is_initialized()


def test_what_another_process_fails_of_is_the_run_s_failure(tmp_path):
    """Its images cannot be read: it says so before the first step."""
    (tmp_path / "none.npz").write_bytes(b"no archive")
    unreadable = CONFIG.model_copy(update={"dataset": f"npz:{tmp_path}/none.npz"})
    broken = Job(NASNET_A, unreadable, 3, tmp_path, 0)
    with pytest.raises(ChildError) as caught, process_group(broken, 2) as group:
        train(tmp_path, group)
    assert caught.value.failure is Failure.DATA
    assert "none.npz" in str(caught.value)


def test_images_that_another_process_does_not_find_are_the_machine_s_fault(tmp_path):
    missing = CONFIG.model_copy(update={"dataset": f"npz:{tmp_path}/none.npz"})
    lost = Job(NASNET_A, missing, 3, tmp_path, 0)
    with pytest.raises(MachineError, match=r"none\.npz"), process_group(lost, 2) as group:
        train(tmp_path, group)
