"""``nasnet init``: a commented configuration for the images at hand."""

import json
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.actions.data import look_at
from pipeline.cli.options import DatasetArgument
from pipeline.cli.output import OUT, say
from pipeline.cli.progress import image_bar
from pipeline.config.run import DataConfig
from pipeline.config.search import make_config
from pipeline.data.decoding import raise_unreadable
from pipeline.errors import UserError
from pipeline.io.text import one_line

if TYPE_CHECKING:
    from pipeline.data.check import DataReport

# Pixels a side at which a child of some cells trains in seconds to minutes on one device.
SEARCHED_SIDE = 64
LARGEST_BATCH = 64
STEPS_AN_EPOCH = 8  # at least, as far as there are images

TEMPLATE = """\
# A search on your own images: `nasnet run {file}` begins it, and goes on with it after any stop.
# All keys with their meaning and default: `nasnet preset show digits`.
dataset = {dataset}
# {summary}
{image_size}
# validation = {validation:<8} # images held out to earn rewards
seed = 0                # another seed is another search
mode = "rolling"        # or "synchronous": the same result whatever was killed in between

[controller]            # what proposes networks and learns from how good they are
name = "predictor"      # best with 50 to some thousand children; "ppo" is NASNet's, for more
batch = 10

[network]               # how large the networks are that the search trains
num_cells = 1           # N, normal cells a stage
num_filters = 16        # F, filters of the first stage

[training]              # of each of them
epochs = 10
batch_size = {batch_size}
learning_rate = 0.05
{augmentation}

[budget]                # the search ends with the first of these that is spent
children = 100
# hours = 12

[then.retrain]          # then the best are trained in full, and tested once
top = 3

[retrain.network]       # how large they are then
num_cells = 2
num_filters = 32
drop_path_keep = 0.9
auxiliary = true

[retrain.training]
epochs = 60
batch_size = {batch_size}
learning_rate = 0.05
{augmentation}
"""


def init(
    dataset: DatasetArgument,
    out: Annotated[
        Path, typer.Option(*OUT, help="The file to write; no file of that name may be there.")
    ] = Path("search.toml"),
) -> None:
    """Write a commented configuration for a data set, to be changed and run."""
    if out.exists():
        raise UserError(f"{out}: is there already; --out names another file")
    if out.suffix != ".toml":
        raise UserError(f"{out}: expected a name that ends in .toml")
    with image_bar() as on_file:
        report = look_at(DataConfig(dataset=dataset), every=False, on_file=on_file)
    raise_unreadable(report.unreadable, report.looked_at)
    text = configuration(report, shlex.quote(str(out)))
    make_config(tomllib.loads(text))  # nothing is written that `run` would refuse
    out.write_text(text, "utf-8")
    say(report.line())
    say(f"{out}: written; look at it, then `nasnet run {shlex.quote(str(out))}`")


def configuration(report: "DataReport", file: str) -> str:
    """The text of a configuration for a data set that was looked at."""
    trained = sum(one.train for one in report.classes)
    batch_size = max(2, min(LARGEST_BATCH, trained // STEPS_AN_EPOCH))
    return TEMPLATE.format(
        file=one_line(file),
        dataset=json.dumps(report.dataset, ensure_ascii=False).replace("\x7f", "\\u007f"),
        summary=one_line(report.line()),
        image_size=_image_size(report),
        validation=sum(one.validation for one in report.classes),
        batch_size=batch_size,
        augmentation=_augmentation(report),
    )


def _side(report: "DataReport") -> int | None:
    """What the images are brought to; None: they are of one size, and small enough."""
    if report.suggested_image_size is not None:
        return min(report.suggested_image_size, SEARCHED_SIDE)
    side = min(report.smallest)
    is_folder = report.dataset.startswith("imagefolder:")
    return SEARCHED_SIDE if is_folder and side > SEARCHED_SIDE else None


def _image_size(report: "DataReport") -> str:
    side = _side(report)
    if side is None:
        return "# image_size = 32     # not needed: all images have one size"
    return (
        f"image_size = {side:<10} # pixels a side that all are brought to; more see more, slower"
    )


def _augmentation(report: "DataReport") -> str:
    flip = "flip = true             # false where a mirrored image is another: digits, text, signs"
    if _side(report) is not None:
        return (
            f"{flip}\ncrop_area = 0.5         # a random crop has at least this share of an image"
        )
    padding = max(1, min(report.smallest) // 8)
    return f"{flip}\ncrop_padding = {padding:<8} # pixels that an image is moved by, at most"
