"""What an exported file says of itself: enough to feed it images and to name what it answers.

All three formats carry the same keys, each value a text; docs/how-to/deploy.md lists them. Files
of the release before have fewer: whatever is not there is None.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from pipeline.config.run import DataConfig
from pipeline.data.datasets import ImageData
from pipeline.data.image_files import ImageFiles, resized_side
from pipeline.errors import UserError
from pipeline.io.config_model import Many, Positive
from pipeline.io.json_text import read_json
from pipeline.networks.inputs import Inputs

LARGEST_SIDE = 4096  # pixels, as DataConfig.image_size has it
LARGEST_RESIZED = 2 * LARGEST_SIDE
MOST_CLASSES = 100_000
PLAIN = ("dataset", "input")  # keys whose text is no JSON
Finite = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]

# What a network's input is: (pixel / 255 - mean) / std as float32, or the pixels as uint8.
Input = Literal["normalized", "uint8"]


@dataclass(frozen=True, slots=True)
class DataDescription:
    """What a network was trained on, as far as whoever uses it has to know."""

    dataset: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]  # per channel; white is 1
    std: tuple[float, ...]
    # the shorter side, in pixels, of an image before its middle is cut out; None: images of the
    # data set are of the network's own size
    resize_to: int | None


def describe(config: DataConfig, data: ImageData | ImageFiles) -> DataDescription:
    """What an export says of the data that a run was trained on."""
    kind, colon, path = config.dataset.partition(":")
    return DataDescription(
        # of the user's own images their name, not where they lie: a model is given to others
        dataset=f"{kind}{colon}{Path(path).name}",
        class_names=data.class_names or tuple(map(str, range(data.classes))),
        mean=data.mean,
        std=data.std,
        resize_to=resized_side(data.size) if isinstance(data, ImageFiles) else None,
    )


class Description(BaseModel, frozen=True, extra="forbid", strict=True):
    """What a file says, checked; images are (channels, height, width)."""

    image_shape: tuple[Literal[1, 3], Side, Side] = Field(strict=False)
    classes: int = Field(ge=1, le=MOST_CLASSES)
    input: Input = "normalized"
    dataset: str | None = None
    class_names: Many[str] | None = None
    mean: Many[Finite] | None = None
    std: Many[Positive] | None = None
    resize_to: int | None = Field(None, ge=1, le=LARGEST_RESIZED)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        channels = self.image_shape[0]
        for key, expected in (
            ("mean", channels),
            ("std", channels),
            ("class_names", self.classes),
        ):
            values = getattr(self, key)
            if values is not None and len(values) != expected:
                raise ValueError(f"{key}: {len(values)} values, expected {expected}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std: one without the other")
        if self.resize_to is not None and self.resize_to < max(self.image_shape[1:]):
            raise ValueError("resize_to: smaller than the images")
        return self

    def name_of(self, number: int) -> str:
        """A class's name; its number where the file has no names."""
        return str(number) if self.class_names is None else self.class_names[number]


def as_metadata(inputs: Inputs, data: DataDescription | None, form: Input) -> dict[str, str]:
    """The keys of a ``Description`` as texts; of what is not known none."""
    values: dict[str, Any] = {
        "image_shape": inputs.shape,
        "classes": inputs.classes,
        "input": form,
    }
    if data is not None:
        values |= {key: getattr(data, key) for key in data.__slots__}
    return {
        key: value if key in PLAIN else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }


def read_metadata(
    path: Path, metadata: Mapping[str, str], graph: Mapping[str, Any] | None = None
) -> Description:
    """A file's description out of its metadata; what that lacks, out of its graph.

    Raises:
        UserError: a key that cannot be used, or one that the graph contradicts.
    """
    found: dict[str, Any] = dict(graph or {})
    for key in Description.model_fields.keys() & metadata.keys():
        found[key] = _value(path, key, metadata[key])
    try:
        description = Description(**found)
    except ValidationError as error:
        raise UserError(f"{path}: its metadata: {_reason(error)}") from None
    for key, value in (graph or {}).items():
        if getattr(description, key) != value:
            raise UserError(
                f"{path}: its metadata says {key} = {getattr(description, key)}, "
                f"its graph has {value}"
            )
    return description


def _value(path: Path, key: str, text: Any) -> Any:
    if key in PLAIN:
        return text
    try:
        return read_json(text)
    except (TypeError, ValueError, RecursionError):
        raise UserError(f"{path}: its metadata: {key} = {text!r:.60} is no JSON") from None


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "missing":
        return f"no {first['loc'][0]}"
    return f"{first['loc'][0]} cannot be {first['input']!r:.60}"
