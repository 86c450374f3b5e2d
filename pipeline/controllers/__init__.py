"""Controllers: what samples architectures and learns from their rewards."""

import io
import pickle

import torch

from pipeline.config import ControllerConfig, RandomConfig
from pipeline.controllers.base import Controller, Diagnostics, Outcome, Proposal, Proposed
from pipeline.controllers.ppo import PPO
from pipeline.controllers.random_search import RandomSearch
from pipeline.errors import NasnetError
from pipeline.spaces import SearchSpace

__all__ = [
    "PPO",
    "Controller",
    "Diagnostics",
    "Outcome",
    "Proposal",
    "Proposed",
    "RandomSearch",
    "load_controller",
    "make_controller",
    "save_state",
]


class PolicyStateError(NasnetError):
    """A stored policy version cannot be read."""


def make_controller(
    config: ControllerConfig, space: SearchSpace, *, seed: int, arm: str = "policy"
) -> Controller:
    """Version 0 of the controller that a search's configuration asks for."""
    if isinstance(config, RandomConfig):
        return RandomSearch(space, config, seed=seed, arm=arm)
    return PPO(space, config, seed=seed, arm=arm)


def save_state(controller: Controller) -> bytes:
    """A controller's whole state; the same state gives the same bytes."""
    buffer = io.BytesIO()
    torch.save(controller.state_dict(), buffer)
    return buffer.getvalue()


def load_controller(
    config: ControllerConfig, space: SearchSpace, blob: bytes | None, *, seed: int
) -> Controller:
    """The controller whose state was saved.

    Raises:
        PolicyStateError: the state is not there, is damaged, or belongs to another controller.
    """
    if blob is None:
        raise PolicyStateError("the newest policy version has no state: restore a backup")
    controller = make_controller(config, space, seed=seed)
    try:
        controller.load_state_dict(
            torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
        )
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise PolicyStateError(
            f"the newest policy version cannot be read: {str(error).splitlines()[0]}"
        ) from None
    return controller
