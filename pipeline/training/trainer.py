"""The training of one network: validation accuracies out; knows neither rows nor leases."""

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainingConfig
from pipeline.networks.weights import head_names
from pipeline.spaces.cells.network import CellNetwork, Heads
from pipeline.training.checkpoint import State
from pipeline.training.device import autocast, oom_as_child_error, placed, prepare, seed_layers
from pipeline.training.feeding import steps_per_epoch
from pipeline.training.group import ALONE, Group
from pipeline.training.hooks import Hooks, TrainingResult
from pipeline.training.loop import Judge, Loop, Position
from pipeline.training.optimization import (
    freeze_body,
    make_average,
    make_optimizer,
    make_schedule,
)
from pipeline.training.problem import Batch, Problem
from pipeline.training.seeds import seed_for


def train(
    network: nn.Module,
    problem: Problem,
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    resume: State | None,
    hooks: Hooks,
    test: bool = False,
    loaders: int = 0,
    group: Group = ALONE,
    is_hopeless: Judge | None = None,
) -> TrainingResult:
    """Train a network from its initial weights, or from a checkpoint's.

    Args:
        test: whether to look at the test images, once, at the end.
        loaders: processes that decode image files ahead; changes no result.
        group: the processes that train this network together.
        is_hopeless: asked after each epoch but the last, with all accuracies so far; the
            training ends there if it is. In a group only the first process's is.

    The weights it comes with are the caller's to seed. Changes the process: its number of torch
    threads (a different number would be another result), torch's global random state, and on
    CUDA the choice of deterministic convolutions. Takes ``resume``'s tensors over.

    Raises:
        ChildError: the loss is not finite, or memory does not suffice.
        CorruptCheckpointError: ``resume`` does not fit; the network may hold parts of it.
        Whatever a hook raises; on LeaseReturnedError from ``on_step`` a checkpoint comes first.
    """
    prepare(device, config.threads)
    with oom_as_child_error():
        share = group.rank, group.size
        feed = problem.make_feed(config, seed=seed, device=device, share=share, loaders=loaders)
        steps = steps_per_epoch(feed.images, config)
        stepper = NetworkStepper(network, problem, config, steps, seed, device, group)
        loop = Loop(stepper, problem, feed, config, range(config.epochs), device, hooks, group)
        loop.run(resume, is_hopeless)
        progress = loop.progress
        return TrainingResult(
            accuracies=progress.accuracies,
            images_trained=progress.epoch * loop.images_per_epoch,
            images_scored=progress.epoch * feed.validation_images,
            images_trained_here=loop.images_trained,
            images_scored_here=loop.images_scored,
            stopped=progress.epoch < config.epochs,
            waited_here=feed.waited,
            weights=stepper.scored.state_dict(),
            metrics=loop.metrics,
            test_metrics=loop.measure(feed.test()) if test else None,
        )


class NetworkStepper:
    """Steps of a network: both its heads, a schedule, and maybe a moving average."""

    skippable = 0.0

    def __init__(
        self,
        network: nn.Module,
        problem: Problem,
        config: TrainingConfig,
        steps: int,
        seed: int,
        device: torch.device,
        group: Group,
    ) -> None:
        self.network = placed(network, device)
        if config.freeze:
            freeze_body(self.network)
        # kept, since walking the modules of a small child costs a hundredth of its step
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.problem = problem
        self.config = config
        self.steps = steps  # of an epoch
        self.seed = seed
        self.device = device
        self.group = group
        self.optimizer = make_optimizer(network, config)
        self.schedule = make_schedule(self.optimizer, config, steps)
        self.average = make_average(self.network, config)
        # what gives gradients: with several processes their mean
        self.heads = group.wrap(_TrainingHeads(self.network), device)

    @property
    def scored(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return self.network if self.average is None else self.average.module

    def begin_epoch(self) -> None:
        """What is frozen stays as in evaluation, its batch norms' statistics too."""
        self.network.train(not self.config.freeze)
        if self.config.freeze:
            for name in head_names(self.network):
                self.network.get_submodule(name).train()

    def step(self, batch: Batch, position: Position) -> tuple[Tensor, Tensor]:
        """See ``Stepper``."""
        images, labels = batch
        seed_layers(self.device, seed_for("network", self.seed, *position, self.group.rank))
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device):
            logits, auxiliary = self.heads(images, self.share_done(position))
            loss = self.problem.loss(logits, labels, self.config)
            if auxiliary is not None:
                auxiliary_loss = self.problem.loss(auxiliary, labels, self.config)
                loss = loss + self.config.auxiliary_weight * auxiliary_loss
        loss.backward()
        if self.config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip, foreach=True)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        correct = self.problem.correct(logits, labels)
        return self.group.mean(loss.detach()), self.group.total(correct)

    def share_done(self, position: Position) -> float:
        """The share (0 to 1) of all steps that come before one."""
        return (position.epoch * self.steps + position.step) / (self.config.epochs * self.steps)

    def learning_rate(self, position: Position) -> float:
        """See ``Stepper``: the schedule is at that step already."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def state_dict(self) -> State:
        """Weights, momentum, the schedule, and the moving average if there is one."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """See ``Stepper``."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


class _TrainingHeads(nn.Module):
    """A network's two heads as one module's forward, which is what is trained in parallel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, done: float) -> Heads:
        """What the network says; ours also hears how far its training is."""
        if isinstance(self.network, CellNetwork):
            return self.network.heads(images, done)
        return Heads(self.network(images), None)
