"""Hidden states that several layers read, and operations on them."""

import functools

from torch import Tensor, nn


class Operation(nn.Sequential):
    """Layers from one hidden state, plain or activated, to F channels."""

    def __init__(
        self, *layers: nn.Module, reads_activated: bool, shared_as: str | None = None
    ) -> None:
        super().__init__(*layers)
        self.reads_activated = reads_activated
        # what has no weights gives every reader of a state the same: it is computed once
        self.shared_as = shared_as


class State:
    """A hidden state. Its ReLU and its poolings are computed once, whoever wants them first."""

    def __init__(self, plain: Tensor) -> None:
        self.plain = plain
        self._shared: dict[str, Tensor] = {}

    @functools.cached_property
    def activated(self) -> Tensor:
        """The state after ReLU."""
        return self.plain.relu()

    def through(self, operation: Operation) -> Tensor:
        """An operation's result on the state."""
        name = operation.shared_as
        if name is not None and name in self._shared:
            return self._shared[name]
        result: Tensor = operation(self.activated if operation.reads_activated else self.plain)
        if name is not None:
            self._shared[name] = result
        return result
