"""The experiment: what a search is, whatever machine it runs on (its counterpart: ``settings``).

Frozen models; an unknown key is an error. A configuration is read from a TOML file or a named
preset, all defaults filled in, and stored whole in the ``searches`` row.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from pipeline.config_base import Config, Positive, Share
from pipeline.config_controllers import ControllerConfig, PPOConfig
from pipeline.config_formats import lifted
from pipeline.config_networks import (
    SKELETONS_OF_KIND,
    SKELETONS_OF_SPACE,
    AnyNetworkConfig,
    MacroNetworkConfig,
    MicroNetworkConfig,
    NetworkConfig,
)
from pipeline.config_sharing import SharedConfig
from pipeline.config_spaces import MacroSpaceConfig, NASNetSpaceConfig, SpaceConfig, space_name
from pipeline.config_tables import merge, read_preset
from pipeline.errors import Failure, UserError

_NETWORK: TypeAdapter[AnyNetworkConfig] = TypeAdapter(AnyNetworkConfig)


class RewardConfig(Config):
    """How validation accuracies become a reward."""

    last_epochs: int = Field(1, ge=1)  # the best accuracy of so many last epochs ...
    power: Positive = 1.0  # ... raised to this power
    failed: float = Field(0.0, ge=0, le=1)  # of a child whose failure is penalised (law 7)


class ASHAConfig(Config):
    """Stop a child at epoch min_epochs, min_epochs x reduction, ... unless among the best."""

    name: Literal["asha"]
    min_epochs: int = Field(1, ge=1, le=100_000)  # the first rung
    reduction: int = Field(4, ge=2, le=100)  # one in so many goes on from a rung


class MedianConfig(Config):
    """Stop a child whose best accuracy is below the median of the others' means so far."""

    name: Literal["median"]
    min_epochs: int = Field(1, ge=1, le=100_000)  # none is stopped before
    min_children: int = Field(5, ge=1, le=100_000)  # to be compared with


EarlyStoppingConfig = Annotated[ASHAConfig | MedianConfig, Field(discriminator="name")]


class TrainingConfig(Config):
    """How a network is trained."""

    epochs: int = Field(20, ge=1, le=100_000)
    batch_size: int = Field(64, ge=2, le=100_000)  # of all devices together
    optimizer: Literal["sgd", "rmsprop"] = "sgd"  # rmsprop: TensorFlow's (extra `imagenet`)
    learning_rate: Positive = 0.025
    # a cosine to zero over all epochs; a factor at intervals; cosines that begin again
    schedule: Literal["cosine", "exponential", "restarts"] = "cosine"
    decay_rate: float = Field(0.97, gt=0, le=1)  # of the exponential schedule ...
    decay_epochs: Positive = 2.4  # ... a factor each so many epochs
    restart_epochs: int = Field(10, ge=1, le=100_000)  # of the first cosine of `restarts`, ...
    restart_factor: int = Field(2, ge=1, le=100)  # ... each next one so much longer, ...
    min_learning_rate: float = Field(0.0, ge=0, allow_inf_nan=False)  # ... down to this
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False  # whether momentum looks ahead (sgd)
    rmsprop_decay: float = Field(0.9, ge=0, lt=1)  # of the squared gradients' mean
    rmsprop_epsilon: Positive = 1.0  # inside the root
    weight_decay: float = Field(5e-4, ge=0, le=1)  # on convolution and linear weights
    grad_clip: Positive | None = 5.0  # global norm
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    average_decay: float = Field(0.0, ge=0, lt=1)  # of the weights' moving average; 0: none
    # whether that decay is at most (1 + t) / (10 + t) at step t, so that the first weights are
    # soon forgotten
    average_ramp: bool = True
    auxiliary_weight: float = Field(0.4, ge=0, le=10)  # of an auxiliary head's loss
    freeze: bool = False  # train the classifier alone
    crop_padding: int = Field(4, ge=0, le=128)  # pixels added around before a random crop ...
    crop_fill: Literal["mean", "black"] = "black"  # ... and what they are
    flip: bool = True  # horizontal, half of the time
    cutout: int = Field(0, ge=0, le=1024)  # side of the square that is blanked; 0: none
    cutout_fill: Literal["mean", "black"] = "mean"  # what it is blanked with
    # Of images brought to `image_size`: instead of crop_padding, a crop of a random share of the
    # image, this much at least, and colours distorted or not.
    crop_area: float = Field(0.08, gt=0, le=1)
    distort_colors: bool = False
    device: Literal["cpu", "cuda"] | None = None  # None: what the creating machine has
    devices: int = Field(1, ge=1, le=64)  # that train one network together
    threads: int = Field(1, ge=1, le=1024)  # of the CPU; part of the result's identity
    checkpoint_seconds: float = Field(30.0, ge=0)  # a checkpoint at the first epoch end after it
    timeout: Positive | None = None  # seconds without a step; None: max(600, 5 median epochs)

    @model_validator(mode="after")
    def _momentum_looks_ahead(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov: needs optimizer = 'sgd' and a momentum above 0")
        return self


class FailureRule(Config):
    """What becomes of a child that failed for a reason."""

    tries: int = Field(ge=1, le=100)  # attempts in a row, without a newer checkpoint
    then: Literal["penalise", "skip"]  # the reward `reward.failed`, or none


def _rule(failure: Failure) -> FailureRule:
    return FailureRule(tries=failure.tries, then="penalise" if failure.is_answer else "skip")


class FailuresConfig(Config):
    """What becomes of children that fail, by the reason."""

    oom: FailureRule = _rule(Failure.OOM)
    diverged: FailureRule = _rule(Failure.DIVERGED)
    invalid: FailureRule = _rule(Failure.INVALID)
    timeout: FailureRule = _rule(Failure.TIMEOUT)
    lost: FailureRule = _rule(Failure.LOST)
    data: FailureRule = _rule(Failure.DATA)
    error: FailureRule = _rule(Failure.ERROR)

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
    """When a search is complete: with the first of these that is spent (law 12)."""

    children: int = Field(20_000, ge=1, le=100_000_000)  # that carry a reward
    hours: Positive | None = None  # since it was created
    device_hours: Positive | None = None  # that devices were held for its children
    target_reward: Share | None = None
    plateau: int | None = Field(None, ge=1)  # children with a reward since the best one


class StopConfig(Config):
    """When a search pauses by itself."""

    duplicates: Share = 0.95  # of the last five batches
    failures: Share = 0.5  # of the last `failures_of` children; 1: never
    failures_of: int = Field(20, ge=1, le=10_000)


class DataConfig(Config):
    """Which images, and which of them are held out of training to earn rewards."""

    dataset: str = "digits"
    split_seed: int = Field(0, ge=0, lt=2**31)
    # Whether the images held out are of each class its share; None: of the user's own images they
    # are, of built-in sets they are drawn from all, as the papers did.
    split: Literal["stratified", "random"] | None = None
    # How the user's own images are read; 1: as releases of format 1 did, which turned no image,
    # cut 16 bits to 8, dropped transparency, numbered no labels anew, ignored val beside test.
    reading: Literal[1, 2] = 2
    # Of the images: the sha256 of what they are, so that others are never trained on unnoticed.
    fingerprint: str | None = Field(None, pattern="[0-9a-f]{64}")
    validation: int | None = Field(None, ge=1)  # images held out; None: the data set's own number
    # An image folder's images are decoded while they are needed and brought to so many pixels a
    # side; None: all are of one size and lie in memory.
    image_size: int | None = Field(None, ge=4, le=4096)


class RecipeConfig(Config):
    """How a genotype is trained in full, on whatever data."""

    preset: str | None = None  # the preset it was made from
    network: AnyNetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()


class RetrainConfig(Config):
    """Which genotypes a search trains in full when its budget is met."""

    top: int = Field(ge=1, le=100_000)
    seeds: int = Field(1, ge=1, le=1000)  # runs of each


class ThenConfig(Config):
    """What a search does by itself when its budget is met."""

    retrain: RetrainConfig | None = None


class SearchConfig(DataConfig):
    """A whole search."""

    format: Literal[2] = 2  # pipeline.config_formats
    preset: str | None = None  # the preset it was made from
    seed: int = Field(0, ge=0, lt=2**31)
    mode: Literal["rolling", "synchronous"] = "rolling"  # law 11
    space: SpaceConfig = NASNetSpaceConfig()
    controller: ControllerConfig = PPOConfig()
    # of budget.children: uniform choices, trained alike and never learned from; to be held against
    control: float = Field(0.0, ge=0, lt=1)
    reward: RewardConfig = RewardConfig()
    failures: FailuresConfig = FailuresConfig()
    early_stopping: EarlyStoppingConfig | None = None  # of children; None: all train in full
    shared: SharedConfig | None = None  # weights that all children share; None: each is trained
    network: AnyNetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    budget: BudgetConfig = BudgetConfig()
    stop: StopConfig = StopConfig()
    retrain: RecipeConfig | None = None  # for `nasnet retrain`, and for `then`
    then: ThenConfig = ThenConfig()

    @model_validator(mode="before")
    @classmethod
    def _skeletons_filled(cls, tables: Any) -> Any:
        """Let skeletons be left out: the space says which is its own."""
        if not isinstance(tables, dict):
            return tables
        skeleton = SKELETONS_OF_SPACE.get(space_name(tables.get("space")), ("nasnet",))[0]
        filled = {**tables, "network": _with_skeleton(tables.get("network", {}), skeleton)}
        if isinstance(tables.get("retrain"), dict):
            network = _with_skeleton(tables["retrain"].get("network", {}), skeleton)
            filled["retrain"] = {**tables["retrain"], "network": network}
        return filled

    @model_validator(mode="after")
    def _networks_are_the_space_s(self) -> Self:
        own, *others = SKELETONS_OF_SPACE[self.space.name]
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
    def _reductions_follow_layers(self) -> Self:
        for where, part in (("network", self), ("retrain.network", self.retrain)):
            if part is None or not isinstance(part.network, MacroNetworkConfig):
                continue
            assert isinstance(self.space, MacroSpaceConfig)
            if max(part.network.reductions or (0,)) > self.space.layers:
                raise ValueError(f"{where}.reductions: the space has {self.space.layers} layers")
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
        for where, problem in self._in_the_way_of_sharing().items():
            raise ValueError(f"{where}: {problem} where weights are shared")
        phase = self.shared.updates * self.controller.batch
        if self.policy_children % phase:
            raise ValueError(
                f"budget.children: of {self.budget.children} the policy has "
                f"{self.policy_children}, which is no multiple of a phase's {phase} "
                "(shared.updates x controller.batch)"
            )
        return self

    def _in_the_way_of_sharing(self) -> dict[str, str]:
        """Keys with what they have to be."""
        training = self.training
        needed = {
            "space.name": (
                self.space.name in {"enas-macro", "enas-micro"},
                "'enas-macro' or 'enas-micro'",
            ),
            "network.cells": (getattr(self.network, "cells", "search") == "search", "'search'"),
            "training.schedule": (training.schedule == "restarts", "'restarts' alone"),
            "training.devices": (training.devices == 1, "1 alone"),
            "training.freeze": (not training.freeze, "false alone"),
            "training.average_decay": (not training.average_decay, "0 alone"),
            "image_size": (self.image_size is None, "to be left out"),
            "early_stopping": (self.early_stopping is None, "to be left out"),
        }
        return {key: problem for key, (met, problem) in needed.items() if not met}

    def run_config(self) -> "RunConfig":
        """What a training of one of the search's children depends on, beside its genotype."""
        data = {name: getattr(self, name) for name in DataConfig.model_fields}
        return RunConfig(**data, network=self.network, training=self.training)


def _with_skeleton(network: Any, skeleton: str) -> Any:
    return {"skeleton": skeleton, **network} if isinstance(network, dict) else network


class RunConfig(DataConfig):
    """The resolved configuration of one training; stored in the ``runs`` row."""

    format: Literal[2] = 2  # pipeline.config_formats
    network: AnyNetworkConfig | None  # None: a known network needs none
    training: TrainingConfig


# Keys that may differ from a stored search's: they say how long and what comes after, not what.
CHANGEABLE = ("budget", "stop", "retrain", "then")
# Presets that say how to train, not what to search.
RECIPE_KEYS = {*DataConfig.model_fields, *RecipeConfig.model_fields}


def is_recipe(tables: Mapping[str, Any]) -> bool:
    """Whether tables say how to train a network, and nothing of a search."""
    return "training" in tables and not set(tables) - RECIPE_KEYS


def make_config(tables: Mapping[str, Any]) -> SearchConfig:
    """Check a configuration and fill in its defaults.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    try:
        return SearchConfig.model_validate(_recipe_filled(_controller_named(tables)))
    except ValidationError as error:
        raise UserError(_first_problem(error)) from None


def make_run_config(tables: Mapping[str, Any]) -> RunConfig:
    """Check the configuration of one training and fill in its defaults.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    try:
        return RunConfig.model_validate(tables)
    except ValidationError as error:
        raise UserError(_first_problem(error)) from None


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


def make_network_config(kind: str, values: Mapping[str, Any]) -> AnyNetworkConfig:
    """The configuration of a network for a kind of genotypes, the rest by its defaults.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    skeletons = SKELETONS_OF_KIND[kind]
    try:
        config = _NETWORK.validate_python({"skeleton": skeletons[0], **values})
    except ValidationError as error:
        raise UserError(_first_problem(error)) from None
    if config.skeleton not in skeletons:
        raise UserError(
            f"network.skeleton: {config.skeleton!r} is of another kind of genotypes; "
            f"expected {' or '.join(map(repr, skeletons))}"
        )
    return config


def changed(
    config: NetworkConfig | MicroNetworkConfig, values: Mapping[str, Any]
) -> NetworkConfig | MicroNetworkConfig:
    """A network's configuration with other values.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    try:
        return type(config).model_validate({**config.model_dump(), **values})
    except ValidationError as error:
        raise UserError(_first_problem(error)) from None


def load_config(stored: Mapping[str, Any]) -> SearchConfig:
    """A stored search's configuration, whatever release stored it.

    Raises:
        UserError: it was stored by a newer release.
    """
    return make_config(lifted(stored))


def load_run_config(stored: Mapping[str, Any]) -> RunConfig:
    """A stored training's configuration, whatever release stored it.

    Raises:
        UserError: it was stored by a newer release.
    """
    return make_run_config(lifted(stored))


# Of which of several models a value is: no part of a key.
UNION_TAGS = {
    *("ppo", "reinforce", "evolution", "predictor", "random", "asha", "median"),
    *("nasnet", "nas", "enas-macro", "enas-micro"),
    *("NetworkConfig", "LayerNetworkConfig", "MacroNetworkConfig", "MicroNetworkConfig"),
}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"] if part not in UNION_TAGS)
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such key; `nasnet preset show digits` lists them"
    got = problem.get("input")
    shown = "" if isinstance(got, dict) else f" (got {got!r})"
    message = problem["msg"].removeprefix("Value error, ") + shown
    return f"{key}: {message}" if key else message
