"""Weights of one network for another that answers other classes."""

from collections.abc import Mapping

import torch
from torch import nn

from pipeline.errors import UserError


def head_names(network: nn.Module) -> list[str]:
    """The linear layers that say the classes: the last one, and an auxiliary head's."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    auxiliary = [name for name in linear if name.startswith("auxiliary.")]
    main = [name for name in linear if name not in auxiliary]
    return main[-1:] + auxiliary


def load_body(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Take all weights but the heads', which keep what they were drawn with.

    An auxiliary head that only one of the two networks has is left out, too. The first
    convolution is fitted to images of another number of channels: each gets the same share.

    Raises:
        UserError: the weights are another network's.
    """
    own = network.state_dict()
    heads = tuple(f"{name}." for name in head_names(network))
    first = next(key for key, tensor in own.items() if tensor.dim() == 4)
    taken = {}
    for key, tensor in own.items():
        found = weights.get(key)
        if key == first and found is not None and found.shape[0] == tensor.shape[0]:
            found = _for_channels(found, tensor.shape[1])
        fits = found is not None and found.shape == tensor.shape
        if key.startswith(heads) or (key.startswith("auxiliary.") and not fits):
            continue
        if found is None or not fits:
            raise UserError(f"weights of another network: {key} is missing or of another shape")
        taken[key] = found
    network.load_state_dict({**own, **taken})


def _for_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A first convolution's weight, unchanged or for images of another number of channels."""
    if weight.shape[1] == channels:
        return weight
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
