"""What moves the weights: optimiser, learning rate, and the average that is evaluated."""

import math
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.config.training import TrainingConfig
from pipeline.errors import MachineError
from pipeline.networks.weights import head_names

Tensors = tuple[Tensor, ...] | list[Tensor]


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Over all weights that train; convolution and linear weights decay (slim: arg scopes).

    Batch norm's weights and all biases, the parameters of one dimension, do not decay.

    Raises:
        MachineError: rmsprop without the extra `imagenet` on this machine.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
            foreach=True,
        )
    try:
        from timm.optim import RMSpropTF
    except ImportError:
        raise MachineError("optimizer = 'rmsprop' needs the extra `imagenet` (timm)") from None
    optimizer: torch.optim.Optimizer = RMSpropTF(
        groups,
        lr=config.learning_rate,
        alpha=config.rmsprop_decay,
        eps=config.rmsprop_epsilon,
        momentum=config.momentum,
    )
    return optimizer


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int
) -> LRScheduler:
    """The learning rate of each step; ``steps`` is their number in an epoch.

    A single cosine period to zero (arXiv:1707.07012, appendix A.3), a factor at intervals (slim:
    nasnet.py, its ImageNet configurations), or cosines that begin again (``restarted_rate``).
    """
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, config.epochs * steps)
    if config.schedule == "restarts":
        rate = config.learning_rate
        return LambdaLR(optimizer, lambda step: restarted_rate(config, step / steps) / rate)
    return StepLR(optimizer, max(1, round(config.decay_epochs * steps)), config.decay_rate)


def restarted_rate(config: TrainingConfig, epochs: float) -> float:
    """The learning rate after some epochs, whole or in part, of cosines that begin again.

    arXiv:1608.03983, section 3, as ENAS trained its weights (arXiv:1802.03268, section 3.2).
    """
    period, begin = config.restart_epochs, 0
    while epochs >= begin + period:
        begin += period
        period *= config.restart_factor
    low, high = config.min_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * (epochs - begin) / period)) / 2


def make_average(network: nn.Module, config: TrainingConfig) -> AveragedModel | None:
    """The moving average of weights and batch norm statistics that is evaluated, or None.

    With a ramp it is TensorFlow's with a global step, as the authors' trainer has it (slim:
    train_image_classifier.py; tf.train.ExponentialMovingAverage): it begins at the weights
    before the first step, and its decay at step t = 1, 2, ... is at most (1 + t) / (10 + t).
    Without one it begins at the weights after the first step.
    """
    decay = config.average_decay
    if not decay:
        return None
    if not config.average_ramp:
        update = get_ema_multi_avg_fn(decay)
        return AveragedModel(network, multi_avg_fn=update, use_buffers=True)

    def ramped(averaged: Tensors, current: Tensors, _: object) -> None:
        t = int(average.n_averaged)  # on the CPU: no device is waited for
        get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))(averaged, current, t)

    average = AveragedModel(network, multi_avg_fn=ramped, use_buffers=True)
    average.n_averaged.fill_(1)  # the weights it was made with
    return average


def freeze_body(network: nn.Module) -> None:
    """Let nothing train but the heads."""
    heads = [network.get_submodule(name) for name in head_names(network)]
    kept = set(chain.from_iterable(head.parameters() for head in heads))
    for parameter in network.parameters():
        parameter.requires_grad_(parameter in kept)
