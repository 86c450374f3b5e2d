"""What moves the weights: optimiser, learning rate, and the average that is evaluated."""

import math
from itertools import chain

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.config import TrainingConfig
from pipeline.errors import MachineError
from pipeline.networks import head_names


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
    """The learning rate of each step, of so many an epoch.

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
    """The learning rate after so many epochs, whole or in part, of cosines that begin again.

    arXiv:1608.03983, section 3, as ENAS trained its weights (arXiv:1802.03268, section 3.2).
    """
    period, begin = config.restart_epochs, 0
    while epochs >= begin + period:
        begin += period
        period *= config.restart_factor
    low, high = config.min_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * (epochs - begin) / period)) / 2


def make_average(network: nn.Module, config: TrainingConfig) -> AveragedModel | None:
    """The moving average of weights and batch norm statistics that is evaluated, or None."""
    if not config.average_decay:
        return None
    average = get_ema_multi_avg_fn(config.average_decay)
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def freeze_body(network: nn.Module) -> None:
    """Let nothing train but the heads."""
    heads = [network.get_submodule(name) for name in head_names(network)]
    kept = set(chain.from_iterable(head.parameters() for head in heads))
    for parameter in network.parameters():
        parameter.requires_grad_(parameter in kept)
