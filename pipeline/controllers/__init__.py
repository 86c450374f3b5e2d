"""Controllers: what samples architectures and learns from their rewards."""

import io
import pickle
import pkgutil
import zipfile

import torch

from pipeline.config.controllers import CONTROLLERS, ControllerConfig
from pipeline.controllers.base import Controller, Diagnostics, Outcome, Proposal, Proposed
from pipeline.controllers.evolution import Evolution
from pipeline.controllers.ppo import PPO
from pipeline.controllers.predictor import Predictor
from pipeline.controllers.random_search import RandomSearch
from pipeline.controllers.reinforce import Reinforce
from pipeline.errors import NasnetError
from pipeline.spaces import DecisionSpace

__all__ = [
    "PPO",
    "Controller",
    "Diagnostics",
    "Evolution",
    "Outcome",
    "PolicyStateError",
    "Predictor",
    "Proposal",
    "Proposed",
    "RandomSearch",
    "Reinforce",
    "load_controller",
    "load_state",
    "make_controller",
    "save_state",
]


# what reading raises for bytes that are not what it expects
_UNREADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


class PolicyStateError(NasnetError):
    """A stored policy version cannot be read."""


def make_controller(
    config: ControllerConfig, space: DecisionSpace, *, seed: int, arm: str = "policy"
) -> Controller:
    """Version 0 of the controller that a search's configuration asks for."""
    make = pkgutil.resolve_name(CONTROLLERS[config.name].controller)
    controller: Controller = make(space, config, seed=seed, arm=arm)
    return controller


def save_state(controller: Controller) -> bytes:
    """A controller's whole state; the same state gives the same bytes."""
    buffer = io.BytesIO()
    torch.save(controller.state_dict(), buffer)
    return buffer.getvalue()


def load_state(controller: Controller, blob: bytes) -> None:
    """Become the controller whose state was saved; one that this fails for is of no more use.

    Raises:
        PolicyStateError: the state is damaged, or belongs to another controller.
    """
    try:
        _check_sums(blob)
        state = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
        if state.keys() != controller.state_dict().keys():
            raise ValueError("it is another controller's")
        controller.load_state_dict(state)
    except _UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PolicyStateError(f"a stored policy version cannot be read: {reason}") from None


def _check_sums(blob: bytes) -> None:
    """torch writes a checksum beside each tensor, and reads none of them."""
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} is damaged")


def load_controller(
    config: ControllerConfig,
    space: DecisionSpace,
    blob: bytes | None,
    *,
    seed: int,
    arm: str = "policy",
) -> Controller:
    """The controller whose state was saved.

    Raises:
        PolicyStateError: the state is not there, is damaged, or belongs to another controller.
    """
    if blob is None:
        raise PolicyStateError("the newest policy version has no state: restore a backup")
    controller = make_controller(config, space, seed=seed, arm=arm)
    load_state(controller, blob)
    return controller
