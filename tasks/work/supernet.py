"""The supernet of a search, kept by this process from one run to the next."""

from dataclasses import dataclass

from torch import nn

from pipeline.data.datasets import ImageData
from pipeline.errors import ChildError, Failure
from pipeline.networks.inputs import Inputs
from pipeline.spaces.base import SpaceConfig
from pipeline.spaces.building import build_shared
from pipeline.spaces.registry import AnyNetworkConfig
from pipeline.training.checkpoint import CorruptCheckpointError
from tasks.attempt import SharedAttempt


@dataclass(frozen=True, slots=True)
class _Key:
    """What a supernet is built of, and the sha256 of its weights."""

    space: SpaceConfig
    network: AnyNetworkConfig
    inputs: Inputs
    sha256: str


# The one that this process worked with last: reading a large one costs more than scoring a child.
_kept: dict[_Key, nn.Module] = {}


def build(attempt: SharedAttempt, data: ImageData) -> nn.Module:
    """A search's supernet, its weights at random."""
    return build_shared(attempt.search.space, attempt.network, data.inputs)


def load(attempt: SharedAttempt, data: ImageData) -> nn.Module:
    """The supernet with the weights that a run starts from.

    Raises:
        ChildError: of class data: they cannot be read any more.
    """
    if attempt.start is None:
        raise ValueError(f"run {attempt.run_id} scores with no weights")
    key = _key(attempt, data, attempt.start.sha256)
    if key not in _kept:
        supernet = build(attempt, data)
        try:
            supernet.load_state_dict(attempt.start.read()["network"])
        except (CorruptCheckpointError, KeyError, RuntimeError) as error:
            raise ChildError(Failure.DATA, f"shared weights: {error}") from error
        keep(attempt, data, attempt.start.sha256, supernet)
        return supernet
    return _kept[key]


def keep(attempt: SharedAttempt, data: ImageData, sha256: str, supernet: nn.Module) -> None:
    """Keep a supernet for the runs that score with its weights, whose file has that sha256."""
    _kept.clear()
    _kept[_key(attempt, data, sha256)] = supernet


def forget() -> None:
    """Read the next one from its file."""
    _kept.clear()


def _key(attempt: SharedAttempt, data: ImageData, sha256: str) -> _Key:
    return _Key(attempt.search.space, attempt.network, data.inputs, sha256)
