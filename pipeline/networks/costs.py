"""What a network costs: parameters, and multiply-adds of one image."""

from typing import Any

import torch
from torch import nn


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters; an auxiliary head's, which only trains, are not among them."""
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and not name.startswith("auxiliary.")
    )


def count_macs(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of all convolutions and linear layers for one image (C, H, W).

    Batch norm, ReLU and pooling count nothing, as in the paper's numbers. Runs one empty image
    through the network; no buffer moves and no random number is drawn.
    """
    total = 0

    def count(module: Any, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        else:
            total += module.weight.numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = network.training
    device = next(network.parameters()).device
    try:
        network.eval()
        with torch.inference_mode():
            network(torch.zeros(1, *shape, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return total
