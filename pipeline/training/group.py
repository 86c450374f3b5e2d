"""The processes that train one network together, as each of them sees the others."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """This process's place among them. A process that trains alone is a group, too."""

    rank: int = 0
    size: int = 1

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """A module whose backward gives the mean of all processes' gradients.

        Batch norm's statistics are those of a process's share of a batch, its running ones the
        first process's.
        """
        if self.size == 1:
            return module
        return DistributedDataParallel(module, [device] if device.type == "cuda" else None)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return value if self.size == 1 else self.total(value) / self.size

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def share(self, value: T) -> T:
        """What the first process has."""
        if self.size == 1:
            return value
        shared = [value]
        distributed.broadcast_object_list(shared)
        return shared[0]


ALONE = Group()
