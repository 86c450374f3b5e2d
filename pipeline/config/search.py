"""The experiment: what a search is, whatever machine it runs on (its counterpart: ``settings``).

Frozen models; an unknown key is an error. A configuration is read from a TOML file or a named
preset, all defaults filled in, and stored whole in the ``searches`` row.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.controllers import AnyControllerConfig, PPOConfig
from pipeline.config.formats import lifted
from pipeline.config.run import DataConfig, RecipeConfig, RunConfig, is_recipe
from pipeline.config.sharing import SharedConfig
from pipeline.config.tables import merge, preset_names, read_preset
from pipeline.config.training import TrainingConfig
from pipeline.errors import Failure, UserError
from pipeline.io.config_model import Config, Positive, Share
from pipeline.io.refused_values import refusal
from pipeline.spaces.cells import NASNET
from pipeline.spaces.cells.config import NASNetSpaceConfig, NetworkConfig
from pipeline.spaces.registry import (
    SPACES,
    AnyNetworkConfig,
    AnySpaceConfig,
    skeleton_names,
    space_name,
)


class RewardConfig(Config):
    """How validation accuracies become a reward."""

    last_epochs: int = Field(1, ge=1)
    """The number of last epochs, of whose validation accuracies the best counts."""
    power: Positive = 1.0
    """The power that the accuracy is raised to."""
    failed: float = Field(0.0, ge=0, le=1)
    """The reward of a child that failed for what it is, such as one that diverged (`failures`)."""


class ASHAConfig(Config):
    """Stop a child at epoch min_epochs, min_epochs x reduction, ... unless among the best."""

    name: Literal["asha"]
    """Asynchronous successive halving."""
    min_epochs: int = Field(1, ge=1, le=100_000)
    """The first rung, in epochs."""
    reduction: int = Field(4, ge=2, le=100)
    """At a rung one child goes on of this number."""


class MedianConfig(Config):
    """Stop a child whose best accuracy is below the median of the others' means so far."""

    name: Literal["median"]
    """The median rule."""
    min_epochs: int = Field(1, ge=1, le=100_000)
    """No child is stopped before this epoch."""
    min_children: int = Field(5, ge=1, le=100_000)
    """The number of other children that are needed to be compared with."""


EarlyStoppingConfig = Annotated[ASHAConfig | MedianConfig, Field(discriminator="name")]


class FailureRule(Config):
    """What becomes of a child that failed for a reason."""

    tries: int = Field(ge=1, le=100)
    """Attempts in a row, without a newer checkpoint."""
    then: Literal["penalise", "skip"]
    """What follows the last one: the reward `reward.failed`, or none."""


def _rule(failure: Failure) -> FailureRule:
    return FailureRule(tries=failure.tries, then="penalise" if failure.is_answer else "skip")


class FailuresConfig(Config):
    """What becomes of children that fail, by the reason."""

    oom: FailureRule = _rule(Failure.OOM)
    """Children that ran out of memory."""
    diverged: FailureRule = _rule(Failure.DIVERGED)
    """Children whose loss was not finite."""
    invalid: FailureRule = _rule(Failure.INVALID)
    """Children that cannot be built."""
    timeout: FailureRule = _rule(Failure.TIMEOUT)
    """Children that made no step for too long."""
    lost: FailureRule = _rule(Failure.LOST)
    """Children whose worker died."""
    data: FailureRule = _rule(Failure.DATA)
    """Children whose images could not be read."""
    error: FailureRule = _rule(Failure.ERROR)
    """Children that met a bug."""

    @model_validator(mode="before")
    @classmethod
    def _rules_filled(cls, tables: Any) -> Any:
        """Let a rule name only what differs."""
        if not isinstance(tables, dict):
            return tables
        known = {failure.value: _rule(failure).model_dump() for failure in Failure}
        return {
            name: {**known.get(name, {}), **rule} if isinstance(rule, dict) else rule
            for name, rule in tables.items()
        }


class BudgetConfig(Config):
    """When a search is complete: with the first of these that is spent.

    Children count that have a reward, whether they were trained, penalised or a duplicate.
    """

    children: int = Field(20_000, ge=1, le=100_000_000)
    """The number of children with a reward."""
    hours: Positive | None = None
    """Hours since the search was created."""
    device_hours: Positive | None = None
    """Hours that devices were held for its children, all together."""
    target_reward: Share | None = None
    """A reward that is good enough."""
    plateau: int | None = Field(None, ge=1)
    """The number of children with a reward since the best one."""


class StopConfig(Config):
    """When a search pauses by itself."""

    duplicates: Share = 0.95
    """The search pauses when so large a share of the last five batches were duplicates."""
    failures: Share = 0.5
    """The search pauses when more than this share of the last `failures_of` children failed; 1:
    never.
    """
    failures_of: int = Field(20, ge=1, le=10_000)
    """The number of last children that are looked at."""


class RetrainConfig(Config):
    """Which genotypes a search trains in full when its budget is met."""

    top: int = Field(ge=1, le=100_000)
    """The number of best genotypes."""
    seeds: int = Field(1, ge=1, le=1000)
    """Runs of each, with different seeds."""


class ThenConfig(Config):
    """What a search does by itself when its budget is met."""

    retrain: RetrainConfig | None = None
    """Train the best in full."""


class SearchConfig(DataConfig):
    """A whole search."""

    format: Literal[3] = 3
    """The format the configuration was stored in (pipeline.config.formats)."""
    preset: str | None = None
    """The preset that the configuration was made from."""
    seed: int = Field(0, ge=0, lt=2**31)
    """The seed of all that is drawn."""
    mode: Literal["rolling", "synchronous"] = "rolling"
    """Rolling: no worker waits. Synchronous: each policy version waits for its whole batch, and
    the result is the same whatever the workers did.
    """
    space: AnySpaceConfig = NASNetSpaceConfig()
    """What can be found."""
    controller: AnyControllerConfig = PPOConfig()
    """What proposes children and learns from their rewards."""
    control: float = Field(0.0, ge=0, lt=1)
    """The share of budget.children that are uniform choices: trained alike, never learned from, to
    be held against.
    """
    reward: RewardConfig = RewardConfig()
    """How accuracies become rewards."""
    failures: FailuresConfig = FailuresConfig()
    """What becomes of children that fail."""
    early_stopping: EarlyStoppingConfig | None = None
    """Which children are stopped before their last epoch; none: all train in full."""
    shared: SharedConfig | None = None
    """Weights that all children share; none: each child is trained alone."""
    network: AnyNetworkConfig = NetworkConfig()
    """The skeleton that children are built in."""
    training: TrainingConfig = TrainingConfig()
    """How children are trained."""
    budget: BudgetConfig = BudgetConfig()
    """When the search is complete."""
    stop: StopConfig = StopConfig()
    """When the search pauses by itself."""
    retrain: RecipeConfig | None = None
    """How genotypes are trained in full, by `nasnet retrain` and by `then`."""
    then: ThenConfig = ThenConfig()
    """What follows when the budget is met."""

    @model_validator(mode="before")
    @classmethod
    def _skeletons_filled(cls, tables: Any) -> Any:
        """Let skeletons be left out: the space says which is its own."""
        if not isinstance(tables, dict):
            return tables
        space = SPACES.get(space_name(tables.get("space")), NASNET)  # the model refuses others
        skeleton = skeleton_names(space.skeletons)[0]
        filled = {**tables, "network": _with_skeleton(tables.get("network", {}), skeleton)}
        if isinstance(tables.get("retrain"), dict):
            network = _with_skeleton(tables["retrain"].get("network", {}), skeleton)
            filled["retrain"] = {**tables["retrain"], "network": network}
        return filled

    @model_validator(mode="after")
    def _skeletons_fit_the_space(self) -> Self:
        own, *others = skeleton_names(SPACES[self.space.name].skeletons)
        allowed = {"network": [own], "retrain.network": [own, *others]}
        for where, part in (("network", self), ("retrain.network", self.retrain)):
            if part is not None and part.network.skeleton not in allowed[where]:
                expected = " or ".join(map(repr, allowed[where]))
                raise ValueError(
                    f"{where}.skeleton: {part.network.skeleton!r} is another space's; "
                    f"expected {expected} with space.name = {self.space.name!r}"
                )
        return self

    @model_validator(mode="after")
    def _keys_of_skeletons_fit_the_space(self) -> Self:
        for where, part in (("network", self), ("retrain.network", self.retrain)):
            if part is not None:
                try:
                    self.space.check_skeleton(part.network)
                except ValueError as error:
                    raise ValueError(f"{where}.{error}") from None
        return self

    @model_validator(mode="after")
    def _then_has_a_recipe(self) -> Self:
        if self.then.retrain is not None and self.retrain is None:
            raise ValueError("then: a table retrain, with network and training, says how")
        return self

    @property
    def policy_children(self) -> int:
        """The policy's part of ``budget.children``; the rest is the control arm's."""
        of_control = math.floor(Fraction(str(self.control)) * self.budget.children)
        return self.budget.children - of_control

    @model_validator(mode="after")
    def _weights_can_be_shared(self) -> Self:
        if self.shared is None:
            return self
        if self.mode != "synchronous":
            raise ValueError(
                "mode: 'synchronous' where weights are shared: a score holds for its phase alone"
            )
        for where, problem in self._problems_of_sharing().items():
            raise ValueError(f"{where}: {problem} where weights are shared")
        phase = self.shared.updates * self.controller.batch
        if self.policy_children % phase:
            raise ValueError(
                f"budget.children: of {self.budget.children} the policy has "
                f"{self.policy_children}, which is no multiple of a phase's {phase} "
                "(shared.updates x controller.batch)"
            )
        return self

    def _problems_of_sharing(self) -> dict[str, str]:
        """Keys with what they have to be."""
        training = self.training
        sharing = [repr(name) for name, space in SPACES.items() if space.build_shared]
        needed = {
            "space.name": (repr(self.space.name) in sharing, " or ".join(sharing)),
            **{
                f"network.{key}": (False, value)
                for key, value in self.network.needed_for_sharing().items()
            },
            "training.schedule": (training.schedule == "restarts", "'restarts' alone"),
            "training.devices": (training.devices == 1, "1 alone"),
            "training.freeze": (not training.freeze, "false alone"),
            "training.average_decay": (not training.average_decay, "0 alone"),
            "image_size": (self.image_size is None, "to be left out"),
            "early_stopping": (self.early_stopping is None, "to be left out"),
        }
        return {key: problem for key, (met, problem) in needed.items() if not met}

    def run_config(self) -> RunConfig:
        """What a training of one of the search's children depends on, beside its genotype."""
        data = {name: getattr(self, name) for name in DataConfig.model_fields}
        return RunConfig(**data, network=self.network, training=self.training)


def _with_skeleton(network: Any, skeleton: str) -> Any:
    return {"skeleton": skeleton, **network} if isinstance(network, dict) else network


# Keys that may differ from a stored search's: they say how long and what comes after, not what.
CHANGEABLE = ("budget", "stop", "retrain", "then")


def make_config(tables: Mapping[str, Any]) -> SearchConfig:
    """Check a configuration and fill in its defaults.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    try:
        return SearchConfig.model_validate(_recipe_filled(_controller_named(tables)))
    except ValidationError as error:
        raise refusal(error, SearchConfig, keys_in=_keys_in(tables)) from None


def _keys_in(tables: Mapping[str, Any]) -> str:
    """What lists the keys of a search: its preset, or one that searches the same space."""
    preset = tables.get("preset")
    known = isinstance(preset, str) and preset in preset_names()
    space = SPACES.get(space_name(tables.get("space")), NASNET)
    shown = preset if known else space.preset
    return f"`nasnet preset show {shown}`"


def _recipe_filled(tables: dict[str, Any]) -> dict[str, Any]:
    """Let a search's table ``retrain`` begin from a preset."""
    recipe = tables.get("retrain")
    if not isinstance(recipe, dict) or not isinstance(recipe.get("preset"), str):
        return tables
    preset = read_preset(recipe["preset"])
    if not is_recipe(preset):
        raise UserError(f"retrain.preset: {recipe['preset']} is a search, not a recipe")
    base: dict[str, Any] = {k: preset[k] for k in ("network", "training") if k in preset}
    return {**tables, "retrain": merge(base, recipe)}


def _controller_named(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Let ``controller.name`` be left out, as every other key may."""
    controller = tables.get("controller")
    if isinstance(controller, dict) and "name" not in controller:
        return {**tables, "controller": {"name": "ppo", **controller}}
    return dict(tables)


def load_config(stored: Mapping[str, Any]) -> SearchConfig:
    """A stored search's configuration, whatever release stored it.

    Raises:
        UserError: it was stored by a newer release.
    """
    return make_config(lifted(stored))
