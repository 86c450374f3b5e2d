"""Weights that children share: a pass that trains them (ENAS, arXiv:1802.03268, section 2.2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainingConfig
from pipeline.spaces.base import Genotype
from pipeline.training.checkpoint import State, must_fit
from pipeline.training.device import autocast, oom_as_child_error, placed, prepare, seed_layers
from pipeline.training.feeding import steps_per_epoch
from pipeline.training.hooks import Hooks
from pipeline.training.loop import Loop, Position
from pipeline.training.optimization import make_optimizer, restarted_rate
from pipeline.training.problem import Batch, Problem
from pipeline.training.seeds import seed_for


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass gives."""

    state: State  # weights and momentum: what the next pass begins with, and children score with
    images_trained: int  # of the whole pass, whoever trained them


def train_pass(
    supernet: nn.Module,
    problem: Problem,
    config: TrainingConfig,
    children: Sequence[Genotype],
    *,
    number: int,
    seed: int,
    device: torch.device,
    hooks: Hooks,
    start: State | None,
    resume: State | None,
) -> PassResult:
    """Train shared weights for one pass over the training images, a child to each minibatch.

    Args:
        children: child i is that of minibatch i.
        number: of the pass, from 0: its epoch.
        start: what the pass before gave; None: weights as they come.
        resume: a checkpoint of this pass, in place of ``start``.

    Changes the process as ``trainer.train`` does.

    Raises:
        ChildError: too many minibatches gave no finite loss, or memory does not suffice.
        CorruptCheckpointError: ``start`` or ``resume`` does not fit.
        Whatever a hook raises; on LeaseReturnedError a checkpoint comes first.
    """
    prepare(device, config.threads)
    with oom_as_child_error():
        feed = problem.make_feed(config, seed=seed, device=device)
        steps = steps_per_epoch(feed.images, config)
        stepper = SupernetStepper(supernet, problem, children, config, steps, seed, device)
        if start is not None:
            with must_fit():
                stepper.load_state_dict(start)
        loop = Loop(stepper, problem, feed, config, range(number, number + 1), device, hooks)
        loop.run(resume)
        return PassResult(stepper.state_dict(), loop.images_per_epoch)


class SupernetStepper:
    """Steps of a supernet, each through the child of its minibatch.

    Weights that a minibatch's child does not have get no gradient and stay as they are: neither
    momentum nor weight decay moves them.
    """

    # a bad child of a minibatch does not end the pass; a pass with more of them has diverged
    skippable = 0.01
    scored = None  # a supernet has no accuracy: its children are scored one by one

    def __init__(
        self,
        supernet: nn.Module,
        problem: Problem,
        children: Sequence[Genotype],
        config: TrainingConfig,
        steps: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.network = placed(supernet, device)
        self.problem = problem
        self.children = children
        self.config = config
        self.steps = steps  # of a pass
        self.seed = seed
        self.device = device
        # kept, since walking the thousands of modules costs as much as a small step
        self.parameters = list(self.network.parameters())
        self.optimizer = make_optimizer(supernet, config)

    def begin_epoch(self) -> None:
        """See ``Stepper``."""
        self.network.train()

    def step(self, batch: Batch, position: Position) -> tuple[Tensor, Tensor]:
        """See ``Stepper``; without a finite loss nothing is moved."""
        images, labels = batch
        seed_layers(self.device, seed_for("network", self.seed, *position))
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(position)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device):
            logits = self.network(images, self.children[position.step])
            loss = self.problem.loss(logits, labels, self.config)
        correct = self.problem.correct(logits, labels)
        if not math.isfinite(loss.item()):
            return loss.detach(), correct
        loss.backward()
        if self.config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip, foreach=True)
        self.optimizer.step()
        return loss.detach(), correct

    def learning_rate(self, position: Position) -> float:
        """See ``Stepper``: cosines that begin again, over passes."""
        return restarted_rate(self.config, position.epoch + position.step / self.steps)

    def state_dict(self) -> State:
        """Weights and momentum."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """See ``Stepper``."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
