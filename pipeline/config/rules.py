"""What storage itself reads of a search's configuration: what is due, what a failure means, and
when the search pauses or ends.

Read apart from the rest, and with keys passed over that this release does not know: a search of a
newer release, or of a search space that is not installed here, is still counted and listed.
"""

import functools
import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.config.formats import FORMAT, lifted
from pipeline.config.search import BudgetConfig, FailuresConfig, RewardConfig, StopConfig
from pipeline.config.sharing import SharedConfig


class ControllerRules(BaseModel):
    """What every controller's configuration has."""

    model_config = ConfigDict(frozen=True, strict=True)

    batch: int
    """Children of a policy version."""


class SearchRules(BaseModel):
    """The rules by which a search moves; keys, meanings and defaults are ``SearchConfig``'s."""

    model_config = ConfigDict(frozen=True, strict=True)

    mode: Literal["rolling", "synchronous"]
    control: float = 0.0
    controller: ControllerRules
    reward: RewardConfig = RewardConfig()
    failures: FailuresConfig = FailuresConfig()
    shared: SharedConfig | None = None
    budget: BudgetConfig
    stop: StopConfig

    @property
    def control_share(self) -> Fraction:
        """The control arm's share of the budget as it is written: 0.1 is a tenth."""
        return Fraction(str(self.control))


def load_rules(stored: Mapping[str, Any]) -> SearchRules:
    """The rules of a stored search, whatever release stored it."""
    stored = stored if stored.get("format", 1) > FORMAT else lifted(stored)
    return SearchRules.model_validate(stored, extra="ignore")


@functools.lru_cache(maxsize=256)
def rules_from_text(stored: str) -> SearchRules:
    """The rules of a stored search whose configuration is JSON text: parsed once a process."""
    return load_rules(json.loads(stored))
