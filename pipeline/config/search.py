"""The experiment: what a search is, whatever machine it runs on (its counterpart: ``settings``).

Frozen models; an unknown key is an error. A configuration is read from a TOML file or a named
preset, all defaults filled in, and stored whole in the ``searches`` row.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from pipeline.config.base import Config, Positive, Share
from pipeline.config.controllers import ControllerConfig, PPOConfig
from pipeline.config.formats import lifted
from pipeline.config.networks import (
    SKELETONS_OF_KIND,
    SKELETONS_OF_SPACE,
    AnyNetworkConfig,
    MacroNetworkConfig,
    NetworkConfig,
)
from pipeline.config.sharing import SharedConfig
from pipeline.config.spaces import MacroSpaceConfig, NASNetSpaceConfig, SpaceConfig, space_name
from pipeline.config.tables import merge, preset_names, read_preset
from pipeline.errors import Failure, UserError
from pipeline.io.refused_values import refusal

_NETWORK: TypeAdapter[AnyNetworkConfig] = TypeAdapter(AnyNetworkConfig)


class RewardConfig(Config):
    """How validation accuracies become a reward."""

    last_epochs: int = Field(1, ge=1)
    """The best validation accuracy of so many last epochs counts."""
    power: Positive = 1.0
    """The power that the accuracy is raised to."""
    failed: float = Field(0.0, ge=0, le=1)
    """The reward of a child whose failure is penalised (law 7)."""


class ASHAConfig(Config):
    """Stop a child at epoch min_epochs, min_epochs x reduction, ... unless among the best."""

    name: Literal["asha"]
    """Asynchronous successive halving."""
    min_epochs: int = Field(1, ge=1, le=100_000)
    """The first rung, in epochs."""
    reduction: int = Field(4, ge=2, le=100)
    """One child in so many goes on from a rung."""


class MedianConfig(Config):
    """Stop a child whose best accuracy is below the median of the others' means so far."""

    name: Literal["median"]
    """The median rule."""
    min_epochs: int = Field(1, ge=1, le=100_000)
    """No child is stopped before this epoch."""
    min_children: int = Field(5, ge=1, le=100_000)
    """So many other children are needed to be compared with."""


EarlyStoppingConfig = Annotated[ASHAConfig | MedianConfig, Field(discriminator="name")]


class TrainingConfig(Config):
    """How a network is trained."""

    epochs: int = Field(20, ge=1, le=100_000)
    """Passes over the training images."""
    batch_size: int = Field(64, ge=2, le=100_000)
    """Images a step, of all devices together."""
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    """What moves the weights; rmsprop is TensorFlow's (extra `imagenet`)."""
    learning_rate: Positive = 0.025
    """The learning rate at the start."""
    schedule: Literal["cosine", "exponential", "restarts"] = "cosine"
    """How the learning rate falls: a cosine to zero over all epochs; a factor at intervals; or
    cosines that begin again.
    """
    decay_rate: float = Field(0.97, gt=0, le=1)
    """The exponential schedule's factor."""
    decay_epochs: Positive = 2.4
    """The exponential schedule's factor applies once in so many epochs."""
    restart_epochs: int = Field(10, ge=1, le=100_000)
    """The length of the first cosine of `restarts`, in epochs."""
    restart_factor: int = Field(2, ge=1, le=100)
    """Each next cosine of `restarts` is so many times longer."""
    min_learning_rate: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Where each cosine of `restarts` ends."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """The optimiser's momentum."""
    nesterov: bool = False
    """Whether momentum looks ahead (sgd)."""
    rmsprop_decay: float = Field(0.9, ge=0, lt=1)
    """The decay of RMSProp's mean of squared gradients."""
    rmsprop_epsilon: Positive = 1.0
    """RMSProp's epsilon, inside the root."""
    weight_decay: float = Field(5e-4, ge=0, le=1)
    """The L2 penalty on convolution and linear weights."""
    grad_clip: Positive | None = 5.0
    """The largest global norm of the gradients; none: they are not clipped."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """The share of a label that is spread over all classes."""
    average_decay: float = Field(0.0, ge=0, lt=1)
    """The decay of the weights' moving average; 0: there is none."""
    average_ramp: bool = True
    """Whether that decay is at most (1 + t) / (10 + t) at step t, so that the first weights are
    soon forgotten.
    """
    auxiliary_weight: float = Field(0.4, ge=0, le=10)
    """The weight of an auxiliary head's loss."""
    freeze: bool = False
    """Whether the classifier alone is trained."""
    crop_padding: int = Field(4, ge=0, le=128)
    """Pixels added around an image before a random crop of its size."""
    crop_fill: Literal["mean", "black"] = "black"
    """What those pixels are."""
    flip: bool = True
    """Whether half of the images are mirrored left to right."""
    cutout: int = Field(0, ge=0, le=1024)
    """The side of the square that is blanked, in pixels; 0: none."""
    cutout_fill: Literal["mean", "black"] = "mean"
    """What the square is blanked with."""
    crop_area: float = Field(0.08, gt=0, le=1)
    """Of images brought to `image_size`, in place of crop_padding: the least share of
    an image's area that a random crop has.
    """
    distort_colors: bool = False
    """Whether the colours of images brought to `image_size` are distorted."""
    device: Literal["cpu", "cuda"] | None = None
    """Where children train; none: what the creating machine has."""
    devices: int = Field(1, ge=1, le=64)
    """So many devices train one network together."""
    threads: int = Field(1, ge=1, le=1024)
    """CPU threads of one training; part of the result's identity."""
    checkpoint_seconds: float = Field(30.0, ge=0)
    """A checkpoint is written at the first end of an epoch after so many seconds."""
    timeout: Positive | None = None
    """Seconds without a step, after which a training has hung; none: five median epochs, 600 at
    least.
    """

    @model_validator(mode="after")
    def _momentum_looks_ahead(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov: needs optimizer = 'sgd' and a momentum above 0")
        return self


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
    """When a search is complete: with the first of these that is spent (law 12)."""

    children: int = Field(20_000, ge=1, le=100_000_000)
    """So many children with a reward."""
    hours: Positive | None = None
    """Hours since the search was created."""
    device_hours: Positive | None = None
    """Hours that devices were held for its children, all together."""
    target_reward: Share | None = None
    """A reward that is good enough."""
    plateau: int | None = Field(None, ge=1)
    """So many children with a reward since the best one."""


class StopConfig(Config):
    """When a search pauses by itself."""

    duplicates: Share = 0.95
    """The search pauses when so large a share of the last five batches were duplicates."""
    failures: Share = 0.5
    """The search pauses when more than this share of the last `failures_of` children failed; 1:
    never.
    """
    failures_of: int = Field(20, ge=1, le=10_000)
    """So many of the last children are looked at."""


class DataConfig(Config):
    """Which images, and which of them are held out of training to earn rewards."""

    dataset: str = "digits"
    """The images: a built-in set's name, imagefolder:FOLDER (or a .zip of one), npz:FILE,
    hdf5:FILE, or a path alone.
    """
    split_seed: int = Field(0, ge=0, lt=2**31)
    """Which training images are held out."""
    split: Literal["stratified", "random"] | None = None
    """Whether the images held out have of each class its share, or are drawn from all; none:
    stratified of one's own images, random of built-in sets, as the papers did.
    """
    reading: Literal[1, 2] = 2
    """How one's own images are read; 1: as releases of format 1 did, which turned no image, cut 16
    bits to 8, dropped transparency, numbered no labels anew, and ignored val beside test.
    """
    fingerprint: str | None = Field(None, pattern="[0-9a-f]{64}")
    """The sha256 of what the images are, so that others are never trained on unnoticed; filled in
    when a search is created.
    """
    validation: int | None = Field(None, ge=1)
    """So many training images are held out to earn rewards; none: the data set's own number."""
    image_size: int | None = Field(None, ge=4, le=4096)
    """Images are decoded while they are needed and brought to so many pixels a side; none: all are
    of one size and lie in memory.
    """


class RecipeConfig(Config):
    """How a genotype is trained in full, on whatever data."""

    preset: str | None = None
    """The preset that the recipe was made from."""
    network: AnyNetworkConfig = NetworkConfig()
    """The skeleton of the final network."""
    training: TrainingConfig = TrainingConfig()
    """How it is trained."""


class RetrainConfig(Config):
    """Which genotypes a search trains in full when its budget is met."""

    top: int = Field(ge=1, le=100_000)
    """So many of the best genotypes."""
    seeds: int = Field(1, ge=1, le=1000)
    """Runs of each, with different seeds."""


class ThenConfig(Config):
    """What a search does by itself when its budget is met."""

    retrain: RetrainConfig | None = None
    """Train the best in full."""


class SearchConfig(DataConfig):
    """A whole search."""

    format: Literal[2] = 2
    """The format the configuration was stored in (pipeline.config.formats)."""
    preset: str | None = None
    """The preset that the configuration was made from."""
    seed: int = Field(0, ge=0, lt=2**31)
    """The seed of all that is drawn."""
    mode: Literal["rolling", "synchronous"] = "rolling"
    """Rolling: no worker waits. Synchronous: the same result whatever the workers did (law 11)."""
    space: SpaceConfig = NASNetSpaceConfig()
    """What can be found."""
    controller: ControllerConfig = PPOConfig()
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

    format: Literal[2] = 2
    """The format the configuration was stored in (pipeline.config.formats)."""
    network: AnyNetworkConfig | None
    """The skeleton that the genotype is built in; none: a known network needs none."""
    training: TrainingConfig
    """How it is trained."""


# Keys that may differ from a stored search's: they say how long and what comes after, not what.
CHANGEABLE = ("budget", "stop", "retrain", "then")
# Presets that say how to train, not what to search.
RECIPE_KEYS = {*DataConfig.model_fields, *RecipeConfig.model_fields}
# Whose keys are shown to somebody who wrote no preset.
_PRESET_OF_SPACE = {
    "nas": "nas-digits",
    "enas-macro": "enas-macro-digits",
    "enas-micro": "enas-micro-digits",
}


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
        raise refusal(error, SearchConfig, keys_in=_keys_in(tables)) from None


def _keys_in(tables: Mapping[str, Any]) -> str:
    """What lists the keys of a search: its preset, or one that searches the same space."""
    preset = tables.get("preset")
    known = isinstance(preset, str) and preset in preset_names()
    shown = preset if known else _PRESET_OF_SPACE.get(space_name(tables.get("space")), "digits")
    return f"`nasnet preset show {shown}`"


def make_run_config(tables: Mapping[str, Any]) -> RunConfig:
    """Check the configuration of one training and fill in its defaults.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    try:
        return RunConfig.model_validate(tables)
    except ValidationError as error:
        raise refusal(error, RunConfig, keys_in="`nasnet preset show cifar10-final`") from None


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
        raise refusal(error, AnyNetworkConfig, table="network") from None
    if config.skeleton not in skeletons:
        raise UserError(
            f"network.skeleton: {config.skeleton!r} is of another kind of genotypes; "
            f"expected {' or '.join(map(repr, skeletons))}"
        )
    return config


def changed(config: AnyNetworkConfig | None, values: Mapping[str, Any]) -> AnyNetworkConfig:
    """A network's configuration with other values.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    if config is None:
        raise UserError(f"{', '.join(values)}: a known network has a size of its own")
    try:
        return type(config).model_validate({**config.model_dump(), **values})
    except ValidationError as error:
        raise refusal(error, type(config), table="network") from None


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
