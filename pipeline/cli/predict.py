"""``nasnet predict``: what an exported network says of images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from pipeline.cli.output import JsonFlag, print_rows, say
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.exports import Description, Model
    from pipeline.exports.predicting import Prediction


# "class" is no name of a field in a class's body.
Guess = TypedDict("Guess", {"class": str, "number": int, "probability": float})


class PrintedImage(TypedDict):
    """What is printed of an image, as JSON."""

    image: str
    resized_from: dict[str, int] | None
    classes: list[Guess]


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="An ONNX, pt2 or safetensors file of `nasnet genotype export`."
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Image files, and folders of them.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes of each image.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Say what an exported network sees in images: classes and their probabilities.

    Images are resized, cropped and normalised as the validation images were. A pt2 file can run
    code when it is read: take only those whose maker you trust.

    Exit code 2: some images cannot be read; each is named, and the others are printed.
    """
    from pipeline.exports.predicting import list_images  # these load torch
    from pipeline.exports.predicting import predict as predict_files

    loaded = _load(model)
    files = list_images(images)
    for lack in _lacks(loaded.description):
        say(f"nasnet: {model}: {lack}", to_stderr=True)
    unreadable: list[str] = []
    found = list(predict_files(loaded, files, top=top, on_unreadable=unreadable.append))
    for problem in unreadable:
        say(f"nasnet: {problem}", to_stderr=True)
    resized = [one for one in found if one.resized_from is not None]
    if resized:
        height, width = loaded.description.image_shape[1:]
        typer.echo(
            f"nasnet: {len(resized)} of {len(found)} images were resized: the network was "
            f"trained on images of {width}x{height} pixels",
            err=True,
        )
    rows = [_row(one, loaded.description) for one in found]
    if as_json:
        print_rows(rows, [], as_json=True)
    elif rows:
        _print_table(rows, with_ranks=top > 1)
    if unreadable:
        raise typer.Exit(2)


def _print_table(rows: list[PrintedImage], *, with_ranks: bool) -> None:
    print_rows(
        [_shown(row, rank, guess) for row in rows for rank, guess in enumerate(row["classes"], 1)],
        ["image", *(["rank"] if with_ranks else []), "class", "probability"],
        as_json=False,
    )


def _load(path: Path) -> "Model":
    from pipeline.exports import load_model  # loads torch

    try:
        return load_model(path)
    except ImportError as error:
        raise UserError(
            f"{path}: to read it needs the extra `export` ({error.name} is missing): "
            "pip install 'nasnet-pipeline[export]'"
        ) from None


def _lacks(description: "Description") -> list[str]:
    """What a file of the release before does not say, and what is done instead."""
    lacks = []
    if description.class_names is None:
        lacks.append("it has no names of classes: they are numbers")
    if description.mean is None and description.input == "normalized":
        lacks.append(
            "it has no mean and deviation: pixels are brought to -1 to 1, which may not be what "
            "it was trained with; export it again"
        )
    return lacks


def _row(one: "Prediction", description: "Description") -> PrintedImage:
    pairs = zip(one.classes, one.probabilities, strict=True)
    size = one.resized_from
    return {
        "image": str(one.path),
        "resized_from": None if size is None else {"width": size[1], "height": size[0]},
        "classes": [
            {"class": description.name_of(number), "number": number, "probability": probability}
            for number, probability in pairs
        ],
    }


def _shown(row: PrintedImage, rank: int, guess: Guess) -> dict[str, object]:
    return {
        "image": _plain(row["image"]),
        "rank": rank,
        "class": _plain(guess["class"]),
        "probability": guess["probability"],
    }


def _plain(text: str) -> str:
    """A name from a file or a folder: nothing in it reaches the terminal as a command."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)
