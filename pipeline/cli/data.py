"""``nasnet data``: what a data set is, before anything is trained on it."""

from typing import Annotated

import typer

from pipeline.actions.data import look_at
from pipeline.cli.options import DatasetArgument
from pipeline.cli.output import JsonFlag, print_json, print_rows, say
from pipeline.cli.progress import image_bar
from pipeline.config.run import DataConfig
from pipeline.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Data sets.")

MOST_NAMED = 20  # files that cannot be read, on a terminal


@app.command()
def check(
    dataset: DatasetArgument,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            min=4,
            max=4096,
            help="Bring all images to this many pixels a side, as the key image_size does.",
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            "--validation",
            min=1,
            help="How many images to hold out for validation, as the key validation.",
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Decode every file, not only a sample of a large data set."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Look at a data set: sizes, classes, the split, what is left out, what is suspicious.

    Exit code 0: it can be searched on; 2: it cannot, says why. Nothing is written.
    """
    config = DataConfig(dataset=dataset, image_size=image_size, validation=validation)
    with image_bar() as on_file:
        report = look_at(config, every=every, on_file=on_file)
    if as_json:
        print_json(report.to_data())
    else:
        for row in report.rows():
            say(row)
        columns = ("name", "train", "validation", "test")
        rows = [{key: getattr(one, key) for key in columns} for one in report.classes]
        print_rows(rows, columns, as_json=False)
        for problem in report.unreadable[:MOST_NAMED]:
            say(problem, to_stderr=True)
    if report.unreadable:
        raise UserError(
            f"{dataset}: {len(report.unreadable)} of {report.looked_at} files cannot be read: "
            "mend or remove them"
        )
