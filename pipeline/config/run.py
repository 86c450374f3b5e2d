"""One training: on which images, in which skeleton, how. Also the recipes that say so."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.config.formats import lifted
from pipeline.config.training import TrainingConfig
from pipeline.errors import UserError
from pipeline.io.config_model import Config
from pipeline.io.refused_values import refusal
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.registry import AnyNetworkConfig, skeleton_names, skeletons_of

_NETWORK: TypeAdapter[AnyNetworkConfig] = TypeAdapter(AnyNetworkConfig)


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
    """The number of training images held out to earn rewards; none: the data set's own number."""
    image_size: int | None = Field(None, ge=4, le=4096)
    """The pixels a side that images are brought to, which are then decoded while they are needed;
    none: all are of one size and lie in memory.
    """


class RecipeConfig(Config):
    """How a genotype is trained in full, on whatever data."""

    preset: str | None = None
    """The preset that the recipe was made from."""
    network: AnyNetworkConfig = NetworkConfig()
    """The skeleton of the final network."""
    training: TrainingConfig = TrainingConfig()
    """How it is trained."""


class RunConfig(DataConfig):
    """The resolved configuration of one training; stored in the ``runs`` row."""

    format: Literal[3] = 3
    """The format the configuration was stored in (pipeline.config.formats)."""
    network: AnyNetworkConfig | None
    """The skeleton that the genotype is built in; none: a known network needs none."""
    training: TrainingConfig
    """How it is trained."""


# Presets that say how to train, not what to search.
RECIPE_KEYS = {*DataConfig.model_fields, *RecipeConfig.model_fields}


def is_recipe(tables: Mapping[str, Any]) -> bool:
    """Whether tables say how to train a network, and nothing of a search."""
    return "training" in tables and not set(tables) - RECIPE_KEYS


def make_run_config(tables: Mapping[str, Any]) -> RunConfig:
    """Check the configuration of one training and fill in its defaults.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    try:
        return RunConfig.model_validate(tables)
    except ValidationError as error:
        raise refusal(error, RunConfig, keys_in="`nasnet preset show cifar10-final`") from None


def load_run_config(stored: Mapping[str, Any]) -> RunConfig:
    """A stored training's configuration, whatever release stored it.

    Raises:
        UserError: it was stored by a newer release.
    """
    return make_run_config(lifted(stored))


def make_network_config(kind: str, values: Mapping[str, Any]) -> AnyNetworkConfig | None:
    """The configuration of a network for a kind of genotypes, the rest by its defaults.

    None for known networks, which have a form of their own.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    skeletons = skeleton_names(skeletons_of(kind))
    if not skeletons:
        return changed(None, values) if values else None
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
